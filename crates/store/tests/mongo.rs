//! The MongoDB backend against a MongoDB-compatible server.
#![allow(clippy::unwrap_used, missing_docs)]

use sceau_store::mongo::Mongo;

mod contract;
#[path = "mongo/lease.rs"]
mod lease;
#[path = "mongo/outcome.rs"]
mod outcome;
#[path = "mongo/people.rs"]
mod people;
#[path = "mongo/refusals.rs"]
mod refusals;
#[path = "mongo/server.rs"]
mod server;
#[path = "../../cli/tests/common/shared.rs"]
#[allow(dead_code)]
mod shared;
#[path = "mongo/tamper.rs"]
mod tamper;

use contract::{Home, deriver};
use server::Base;

impl Home for Base {
    type Store = Mongo;

    async fn open(&self) -> Mongo {
        if !Mongo::exists(&self.options).await.unwrap() {
            Mongo::create(&self.options).await.unwrap();
        }
        Mongo::open(deriver(), self.options.clone()).await.unwrap()
    }

    /// Entries have their place at once.
    async fn settle(&self, _: &Mongo) {}
}

/// A database, or the end of the test.
#[macro_export]
macro_rules! base {
    () => {
        match $crate::server::Base::new().await {
            Some(base) => base,
            None => return,
        }
    };
}

mod suite {
    crate::contract!(crate::base!());
}
