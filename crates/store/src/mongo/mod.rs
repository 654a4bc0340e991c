//! MongoDB as the store: one document an entry, one transaction a commit.
//!
//! What is written goes through `transaction`, one transaction after the other; what is read is read at majority, so
//! nothing is seen that could still be rolled back. The log's documents are made for people: see `document`.

mod audit;
mod connect;
pub mod document;
mod head;
mod hold;
pub mod indexes;
mod init;
mod insert;
pub mod lease;
mod ledger;
pub mod names;
mod prune;
pub mod query;
mod rebuild;
pub mod roles;
pub mod search;
mod size;
mod state;
mod step;
mod transaction;
mod trouble;
mod validators;
mod views;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use sceau_event::Deriver;
use tokio::{sync::Mutex, time::timeout};

pub use connect::{MongoLimits, MongoOptions, MongoUri, Secret};

use crate::{
    costs::Stage,
    error::StoreError,
    traits::{self, Store},
};
use head::HeadNote;
use search::Questions;
use size::Size;
use transaction::Writer;

struct Inner {
    database: Database,
    /// The same over connections of its own: questions that take long never keep a commit or the lease waiting.
    writing: Database,
    deriver: Arc<Deriver>,
    options: MongoOptions,
    /// One transaction at a time.
    writer: Arc<Mutex<Writer>>,
    /// The outcome of a transaction is being asked for: nothing else is written meanwhile.
    unsettled: AtomicBool,
    stopped: OnceLock<String>,
    /// How much commits hold.
    size: Size,
    /// The lease, if this process has taken it.
    held: std::sync::Mutex<Option<lease::Lease>>,
    /// CPU time of making documents.
    costs: Stage,
    questions: Questions,
}

/// A log in MongoDB. Any number of processes may read it; see [`lease`] for who writes.
pub struct Mongo {
    inner: Arc<Inner>,
}

impl Mongo {
    /// Makes an empty log: collections, validators, indexes, views.
    ///
    /// # Errors
    /// The database holds a log already, can't be reached, or forbids it.
    pub async fn create(options: &MongoOptions) -> Result<(), StoreError> {
        let database = connect::connect(options).await?;
        if HeadNote::find(&database).await?.is_some() {
            return Err(StoreError::Exists(format!("the log in {}", options.uri)));
        }
        init::prepare(&database).await?;
        init::begin(&database).await
    }

    /// Makes what is missing of collections, validators, indexes and views, whether or not there is a log yet.
    ///
    /// # Errors
    /// The database can't be reached, or forbids it.
    pub async fn prepare(options: &MongoOptions) -> Result<(), StoreError> {
        init::prepare(&connect::connect(options).await?).await
    }

    /// Makes the product's [`roles`] in the database, or replaces them.
    ///
    /// # Errors
    /// The database can't be reached, or forbids it.
    pub async fn create_roles(options: &MongoOptions) -> Result<(), StoreError> {
        roles::create(&connect::connect(options).await?).await
    }

    /// Whether the database holds a log.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn exists(options: &MongoOptions) -> Result<bool, StoreError> {
        Ok(HeadNote::find(&connect::connect(options).await?).await?.is_some())
    }

    /// Opens a log; nothing is written by that, nor after it before the [`lease`] is taken.
    ///
    /// # Errors
    /// There is none, it was written by a newer version, or it can't be reached.
    pub async fn open(deriver: Arc<Deriver>, options: MongoOptions) -> Result<Self, StoreError> {
        let (database, writing) = connect::connect_both(&options).await?;
        let head = match HeadNote::find(&database).await {
            // What is left of a damaged log can still be looked at.
            Err(StoreError::Damaged(_)) | Ok(None) if options.inspect && init::begun(&database).await? => None,
            found => found?,
        };
        if head.is_none() && !options.inspect {
            return Err(StoreError::NoLog { path: options.uri.to_string() });
        }
        let session = writing.client().start_session().await?;
        let questions = Questions::new(&database);
        let inner = Inner {
            database,
            writing,
            deriver,
            options,
            writer: Arc::new(Mutex::new(Writer::new(session))),
            unsettled: AtomicBool::new(false),
            stopped: OnceLock::new(),
            size: Size::default(),
            held: std::sync::Mutex::default(),
            costs: Stage::default(),
            questions,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// Writes nothing more. The first reason counts.
    fn stop(&self, reason: String) {
        tracing::error!(reason, "nothing more is written to the store before it is opened anew");
        let _ = self.stopped.set(reason);
    }

    /// Refuses once nothing more is written.
    fn check(&self) -> Result<(), StoreError> {
        self.stopped.get().map_or(Ok(()), |reason| Err(StoreError::Stopped(reason.clone())))
    }

    /// Waits for an answer no longer than an operation may take.
    async fn timed<T>(&self, work: impl Future<Output = mongodb::error::Result<T>>) -> Result<T, StoreError> {
        self.timed_store(async { Ok(work.await?) }).await
    }

    async fn timed_store<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let limit = self.options.limits.operation;
        let silent = |_| StoreError::Unavailable(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, work).await.map_err(silent)?
    }

    /// What the database says of its size, or of a collection's.
    async fn statistics(&self, command: Document) -> Result<Document, StoreError> {
        self.timed(async { self.database.run_command(command).await }).await
    }

    /// The bytes of a usual document of `logs`, if the database tells.
    async fn document_bytes(&self) -> Option<u64> {
        let told = self.statistics(doc! { "collStats": names::LOGS }).await.ok()?;
        let value = |name: &str| connect::whole(&told, name).and_then(|value| u64::try_from(value).ok());
        value("size")?.checked_div(value("count")?).filter(|bytes| *bytes > 0)
    }
}

/// Runs work of the processor off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))?
}

#[async_trait]
impl Store for Mongo {
    fn writing(&self) -> Option<&dyn traits::Lease> {
        Some(self)
    }

    async fn rebuild(
        &self,
        deriver: Arc<Deriver>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        rebuild::rebuild(&self.inner, &deriver, progress).await
    }

    async fn gauges(&self) -> Result<Vec<(&'static str, f64)>, StoreError> {
        let mut gauges = vec![
            ("store_commit_cpu_seconds", self.inner.costs.seconds()),
            ("store_unsettled", if self.inner.unsettled.load(Ordering::Acquire) { 1.0 } else { 0.0 }),
        ];
        // A role may lack the right to ask, and that is no reason to show nothing.
        if let Ok(told) = self.inner.statistics(doc! { "dbStats": 1 }).await {
            let number = |name: &str| match told.get(name) {
                Some(Bson::Int32(value)) => f64::from(*value),
                Some(Bson::Int64(value)) => *value as f64,
                Some(Bson::Double(value)) => *value,
                _ => 0.0,
            };
            gauges.extend([
                ("store_database_bytes", number("storageSize")),
                ("store_index_bytes", number("indexSize")),
                ("store_data_bytes", number("dataSize")),
            ]);
        }
        Ok(gauges)
    }

    fn stopped(&self) -> Option<String> {
        self.inner.stopped.get().cloned()
    }

    async fn close(&self) -> Result<(), StoreError> {
        // A transaction that is under way ends first; what is left of the connections goes with the last user.
        let _ = timeout(CLOSING.max(self.inner.options.limits.patience), self.inner.writer.lock()).await;
        Ok(())
    }
}

/// How long closing waits for a transaction at least.
const CLOSING: Duration = Duration::from_secs(1);
