//! The MongoDB backend against a MongoDB-compatible server.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use sceau_store::mongo::{Mongo, MongoOptions, MongoUri};

mod contract;
#[path = "mongo/large.rs"]
mod large;
#[path = "mongo/lease.rs"]
mod lease;
mod mongo_server;
#[path = "mongo/outcome.rs"]
mod outcome;
#[path = "mongo/people.rs"]
mod people;
#[path = "mongo/refusals.rs"]
mod refusals;
#[path = "mongo/tamper.rs"]
mod tamper;

use contract::{Home, deriver};
use mongo_server::Server;

/// A database on a server of its own.
struct Base {
    server: Server,
    options: MongoOptions,
}

impl Base {
    /// `None`: there is no server, which was said.
    fn new() -> Option<Self> {
        let server = Server::start("MongoDB")?;
        let uri = MongoUri::new(server.uri("", "sceau")).unwrap();
        let options = MongoOptions { stretch: 512, ..MongoOptions::new(uri) };
        Some(Self { server, options })
    }

    /// Past the product, with full rights.
    async fn database(&self) -> mongodb::Database {
        self.server.database().await
    }
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

impl Base {
    /// Opens the log, without the lease.
    async fn look(&self) -> Mongo {
        if !Mongo::exists(&self.options).await.unwrap() {
            Mongo::create(&self.options).await.unwrap();
        }
        Mongo::open(deriver(), self.options.clone()).await.unwrap()
    }
}

impl Home for Base {
    type Store = Mongo;

    async fn open(&self) -> Mongo {
        let store = self.look().await;
        store.take_lease("test", LONG).await.unwrap();
        store
    }

    /// Entries have their place at once.
    async fn settle(&self, _: &Mongo) {}
}

/// A database, or the end of the test.
#[macro_export]
macro_rules! base {
    () => {
        match $crate::Base::new() {
            Some(base) => base,
            None => return,
        }
    };
}

mod suite {
    crate::contract!(crate::base!());
}
