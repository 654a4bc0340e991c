//! The one place where entries get their indexes.
//!
//! Invariants: one task owns the tree; nothing is answered before it is durable; after a write of which nobody knows
//! whether it happened, nothing more is accepted.

mod edge;
mod live;
mod parts;
mod plan;
mod recent;
mod supervise;
mod task;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sceau_event::Deriver;
use sceau_ledger::{Head, MacKey, Tree};
use sceau_store::{Batch, Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
};

pub(crate) use edge::{Edge, Grown};
pub(crate) use plan::hex;
pub(crate) use recent::{Recent, Streaming};
pub(crate) use supervise::supervise;

use crate::{
    clock::Clock,
    config::Limits,
    error::{Refusals, ServerError},
    guard::StateChange,
    imports::ImportMove,
    ingest::Single,
    keydir::KeyDir,
    metrics::Metrics,
};

/// The collection of the state that holds idempotency keys.
pub const IDEMPOTENCY: &str = "idempotency";
/// How long an idempotency key stands for its request, in microseconds.
const IDEMPOTENCY_TIME: i64 = 24 * 3600 * 1_000_000;
/// How old a receive time may be when its entry is sequenced, in microseconds: the auditor allows so much before the
/// last seal's time.
const MAX_AGE: i64 = 60 * 1_000_000;
/// What a request costs in the queue besides its entries, so that empty ones are bounded too.
const REQUEST_COST: usize = 1_024;

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Appended {
    /// How many entries were added.
    pub accepted: u64,
    /// How many events were refused.
    pub rejected: u64,
    /// The index of the first entry; `None` if none was added.
    pub first_index: Option<u64>,
    /// The log's size after them.
    pub tree_size: u64,
    /// The events that were refused.
    pub errors: Vec<crate::LineError>,
    /// Whether this is the answer to an earlier request with the same idempotency key.
    #[serde(skip)]
    pub replayed: bool,
}

/// Makes a repeated request harmless.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key, unique among all clients.
    pub key: String,
    /// The hash of everything that the request says.
    pub content: [u8; 32],
}

/// What goes with a batch.
#[derive(Debug, Default)]
pub struct AppendOptions {
    /// Makes the request repeatable.
    pub idempotency: Option<Idempotency>,
    /// The step of an import that the batch is.
    pub import: Option<ImportMove>,
    /// State that belongs to the entries.
    pub(crate) writes: Vec<StateChange>,
    /// Nothing is kept if an event that is still to be made into an entry can't be.
    pub(crate) atomic: bool,
    /// The request's events that are not in the batch.
    pub refusals: Refusals,
    /// Waits for room in the queue instead of being refused.
    pub wait: bool,
}

/// What kind of failure stopped the log: all that is told of it to those who ask the server. Its own log says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A commit, of which nobody knows whether it is durable.
    Commit,
    /// A checkpoint could not be stored.
    Checkpoint,
    /// An epoch could not be closed: its seal or its keys could not be written.
    Epoch,
    /// The committed head could not be noted in the key directory.
    Note,
    /// A new key could not be put in the place of the old one.
    Keys,
    /// A write of the store's own: its log could not be moved, a segment not named, old state not removed.
    Store,
    /// Somebody else wrote to the store.
    Changed,
    /// Another server has taken the log over.
    Lease,
    /// A bug.
    Bug,
}

impl Cause {
    /// This cause, unless the store had stopped before: then it is the store's own.
    pub(crate) fn unless_stopped(self, error: &ServerError) -> Self {
        if matches!(error, ServerError::Store(StoreError::Stopped(_))) { Self::Store } else { self }
    }

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint",
            Self::Epoch => "epoch",
            Self::Note => "note",
            Self::Keys => "keys",
            Self::Store => "store",
            Self::Changed => "changed",
            Self::Lease => "lease",
            Self::Bug => "bug",
        }
    }

    /// The same in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Commit => "A commit failed, and it is not known whether it is durable.",
            Self::Checkpoint => "A checkpoint could not be stored.",
            Self::Epoch => "An epoch could not be closed: its seal or its key could not be written.",
            Self::Note => "The committed head could not be noted in the key directory.",
            Self::Keys => "A new key could not be put in the place of the old one.",
            Self::Store => "The store could not write to its own files.",
            Self::Changed => "Somebody else changed the store.",
            Self::Lease => "Another server has taken the log over.",
            Self::Bug => "A part of the server ended in a way that it must not.",
        }
    }
}

/// Why nothing more is accepted, once that is so.
#[derive(Debug, Default)]
pub struct Health {
    poisoned: OnceLock<(Cause, String)>,
}

impl Health {
    /// Stops everything for good. The first reason counts.
    pub fn poison(&self, cause: Cause, reason: impl std::fmt::Display) {
        let reason = reason.to_string();
        tracing::error!(cause = cause.word(), %reason, "the log stops accepting; restart the server once the cause is mended");
        let _ = self.poisoned.set((cause, reason));
    }

    /// Why it stopped, for the operator.
    pub fn reason(&self) -> Option<&str> {
        self.poisoned.get().map(|(_, reason)| reason.as_str())
    }

    /// Why it stopped, for those who ask.
    pub fn cause(&self) -> Option<Cause> {
        self.poisoned.get().map(|(cause, _)| *cause)
    }

    /// Refuses if it stopped.
    ///
    /// # Errors
    /// [`ServerError::Poisoned`].
    pub fn check(&self) -> Result<(), ServerError> {
        let refused = |(cause, reason): &(Cause, String)| ServerError::Poisoned(*cause, reason.clone());
        self.poisoned.get().map_or(Ok(()), |stopped| Err(refused(stopped)))
    }
}

/// Entries that depend on their own index, and what goes with them.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub batch: Arc<Batch>,
    pub writes: Vec<StateChange>,
    /// A MAC key that counts from a later bundle on.
    pub mac: Option<(u64, MacKey)>,
}

type Make = dyn Fn(u64) -> Result<Made, ServerError> + Send + Sync;

/// Makes one entry for the index that it gets.
#[derive(Clone)]
pub(crate) struct Maker(Arc<Make>);

impl Maker {
    pub fn new(make: impl Fn(u64) -> Result<Made, ServerError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    fn make(&self, index: u64) -> Result<Made, ServerError> {
        self.0(index)
    }
}

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maker")
    }
}

/// What a request adds.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// One entry that is made once its index is known.
    Made(Maker),
    /// Entries that are made already.
    Batch(Arc<Batch>),
    /// One event, to be made into an entry together with others.
    Single(Arc<Single>),
}

impl Payload {
    fn len(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.len(),
            Self::Single(_) | Self::Made(_) => 1,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.weight(),
            Self::Single(single) => single.bytes(),
            Self::Made(_) => REQUEST_COST,
        }
    }

    /// The earliest receive time.
    fn received(&self) -> Option<i64> {
        match self {
            Self::Batch(batch) => batch.received().map(|(earliest, _)| earliest),
            Self::Single(single) => Some(single.received().0),
            Self::Made(_) => None,
        }
    }
}

/// A request on its way to the sequencer.
pub(crate) struct Request {
    payload: Payload,
    options: AppendOptions,
    reply: oneshot::Sender<Result<Appended, ServerError>>,
    room: OwnedSemaphorePermit,
}

/// What the sequencer works with.
pub(crate) struct Parts {
    pub store: Arc<dyn Store>,
    pub deriver: Arc<Deriver>,
    pub keys: Arc<KeyDir>,
    pub clock: Arc<Clock>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    /// Held while a group's ages are checked and it is committed, and while a seal takes head and time: so no entry
    /// behind a seal is older than [`MAX_AGE`] at that seal.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// Closes an epoch that has become too old to take in entries.
    pub publisher: Arc<crate::publisher::Publisher>,
    /// Only while it is held anything is written.
    pub lease: Arc<crate::lease::Keeper>,
    /// Where followers find what was committed; `None` if there is none.
    pub recent: Option<Arc<Recent>>,
}

/// The way to the sequencer.
pub(crate) struct Sequencer {
    queue: Mutex<Option<mpsc::UnboundedSender<Request>>>,
    room: Arc<Semaphore>,
    size: usize,
    health: Arc<Health>,
    lease: Arc<crate::lease::Keeper>,
    head: watch::Receiver<Head>,
    /// Closed once the task has ended and the reason, if it is a bad one, is known.
    ended: watch::Receiver<()>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Sequencer {
    /// Starts the task that owns the tree and tells `head` what it has committed.
    pub(crate) fn start(
        parts: Parts,
        tree: Tree,
        bundle: sceau_ledger::BundleMac,
        head_sender: watch::Sender<Head>,
    ) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let head = head_sender.subscribe();
        let size = parts.limits.queue.clamp(REQUEST_COST, u32::MAX as usize);
        let room = Arc::new(Semaphore::new(size));
        let (health, lease) = (parts.health.clone(), parts.lease.clone());
        let (ending, ended) = watch::channel(());
        let task = task::Task::new(parts, tree, bundle, head_sender).run(receiver);
        let watched = supervise("sequencer", health.clone(), task);
        let task = tokio::spawn(async move {
            watched.await;
            drop(ending);
        });
        Self { queue: Mutex::new(Some(sender)), room, size, health, lease, head, ended, task: Mutex::new(Some(task)) }
    }

    /// Adds entries and waits until they are durable.
    pub(crate) async fn append(&self, payload: Payload, options: AppendOptions) -> Result<Appended, ServerError> {
        self.health.check()?;
        // The task may be waiting for a database that is away: whoever comes now is told at once.
        self.lease.check()?;
        let weight = payload.weight().saturating_add(options.refusals.weight());
        let cost = weight.saturating_add(REQUEST_COST).min(self.size);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let room = if options.wait {
            self.room.clone().acquire_many_owned(cost).await.map_err(|_| ServerError::Closing)?
        } else {
            self.room.clone().try_acquire_many_owned(cost).map_err(|_| ServerError::Overloaded)?
        };
        let (reply, answer) = oneshot::channel();
        let request = Request { payload, options, reply, room };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if queue.ok_or(ServerError::Closing)?.send(request).is_err() {
            return Err(self.gone().await);
        }
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.gone().await),
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.size - self.room.available_permits()
    }

    /// Whether there is no room for anything.
    pub(crate) fn is_full(&self) -> bool {
        self.room.available_permits() < REQUEST_COST
    }

    /// The committed head and its changes.
    pub(crate) fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// Finishes what was taken and ends the task.
    pub(crate) async fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It only waits for the sequencer, whose own end is looked at there.
            drop(task.await);
        }
    }

    /// Why there is no answer: every request that is taken gets one, unless the task has ended.
    async fn gone(&self) -> ServerError {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
        self.health.check().err().unwrap_or(ServerError::Closing)
    }
}

#[cfg(test)]
mod tests;
