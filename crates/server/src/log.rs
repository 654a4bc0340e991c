//! An open log: store, keys, sequencer and publisher together.
//!
//! Invariant: before anything is accepted, the store is known to be where the key directory says it was left, the tree
//! is restored and leads to the stored root, what lies behind the noted head has this log's MACs, and the epoch that
//! was open before is closed.

mod open;
mod start;

use std::sync::Arc;

use bytes::Bytes;
use sceau_event::{Framer, Meta, Micros, SourceId};
use sceau_ledger::Head;
use sceau_store::{Batch, BatchBuilder, Expect};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, RwLock, Semaphore, watch},
    task::JoinHandle,
};

use crate::{
    auth::{self, NewToken, TokenSpec, Tokens},
    clock::Clock,
    config::Limits,
    disk::Disk,
    error::ServerError,
    guard::StateChange,
    ingest::{self, IngestAnswer, IngestRequest, Ingested, Single},
    keydir::KeyDir,
    lease::Keeper,
    metrics::Metrics,
    publisher::Publisher,
    reader::Reader,
    rotation::{self, Rotated, RotatedKey},
    sequencer::{AppendOptions, Appended, Health, Idempotency, Maker, Payload, Recent, Sequencer},
};
pub(crate) use open::Open;
pub(crate) use start::{check_head, check_noted, last_received, restore_bundle};

/// Bodies up to this size are made into entries where they are: handing them to another thread costs more.
const INLINE_BODY: usize = 64 << 10;

/// An open log; clones share it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    reader: Reader,
    keys: Arc<KeyDir>,
    clock: Arc<Clock>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    limits: Limits,
    sequencer: Sequencer,
    publisher: Arc<Publisher>,
    gate: Arc<Mutex<()>>,
    /// Large bodies that are being worked on: as many as there are processors.
    workers: Arc<Semaphore>,
    lease: Arc<Keeper>,
    stop: watch::Sender<bool>,
    publishing: Mutex<Option<JoinHandle<()>>>,
    /// Space on the disks.
    disk: Arc<Disk>,
    /// What was committed last, for followers.
    recent: Arc<Recent>,
    /// Held for writing while entries are deleted, for reading while they are verified.
    upkeep: RwLock<()>,
    /// The guard of the disks, and retention.
    tending: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    /// Space on the disks.
    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Held for writing while entries are deleted, for reading while they are verified.
    pub(crate) fn upkeep(&self) -> &RwLock<()> {
        &self.0.upkeep
    }

    /// Whether it takes in what clients send, and why not.
    ///
    /// # Errors
    /// [`ServerError::Poisoned`], [`ServerError::DiskFull`], [`StoreError::Unavailable`].
    pub(crate) fn check_accepting(&self) -> Result<(), ServerError> {
        self.health().check()?;
        self.0.lease.check()?;
        self.0.disk.check()
    }

    /// Answers questions about it.
    pub fn reader(&self) -> &Reader {
        &self.0.reader
    }

    /// Its checkpoints and seals.
    pub fn publisher(&self) -> &Publisher {
        &self.0.publisher
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn shared_metrics(&self) -> Arc<Metrics> {
        self.0.metrics.clone()
    }

    /// Its key directory.
    pub fn keys(&self) -> &KeyDir {
        &self.0.keys
    }

    pub(crate) fn shared_keys(&self) -> Arc<KeyDir> {
        self.0.keys.clone()
    }

    /// Whether it still accepts, and why not.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Its time, which never runs backwards.
    pub fn now(&self) -> Micros {
        self.0.clock.now()
    }

    /// Bytes of entries that wait for the sequencer.
    pub fn queued(&self) -> usize {
        self.0.sequencer.queued()
    }

    /// The committed head, and its changes.
    pub fn head(&self) -> watch::Receiver<Head> {
        self.0.sequencer.head()
    }

    /// What was committed last.
    pub(crate) fn recent(&self) -> &Arc<Recent> {
        &self.0.recent
    }

    /// Held by whoever needs head, tags and entries of the same moment.
    pub(crate) fn gate(&self) -> &Mutex<()> {
        &self.0.gate
    }

    /// Makes entries of a body and adds them: what `POST /api/v1/events` does.
    ///
    /// # Errors
    /// Nothing, or (an import's position apart) nothing of the body, was kept; the error says why.
    pub async fn ingest(&self, body: Bytes, request: &IngestRequest) -> Result<IngestAnswer, ServerError> {
        let answer = self.take_in(body, request).await;
        self.0.metrics.of_source(&request.source, &answer);
        answer
    }

    async fn take_in(&self, body: Bytes, request: &IngestRequest) -> Result<IngestAnswer, ServerError> {
        let inner = &*self.0;
        self.check_accepting()?;
        if body.len() > INLINE_BODY {
            // Large work is not begun on what was true a second ago.
            inner.disk.look();
            inner.disk.check()?;
        }
        inner.metrics.received(body.len());
        if !request.wait && inner.sequencer.is_full() {
            return Err(ServerError::Overloaded);
        }
        let idempotency = request
            .idempotency
            .as_ref()
            .map(|key| Idempotency { key: format!("{}/{key}", request.actor), content: request.content(&body) });
        if let Some(single) = Single::of(self.reader().deriver(), self.now(), &body, request)? {
            let (wait, atomic) = (request.wait, request.atomic);
            let options = AppendOptions { idempotency, wait, atomic, ..AppendOptions::default() };
            let appended = inner.sequencer.append(Payload::Single(Arc::new(single)), options).await;
            if let Err(ServerError::AllRejected(refusals) | ServerError::AtomicRefused(refusals)) = &appended {
                inner.metrics.refusals(refusals);
            }
            return appended;
        }
        let started = std::time::Instant::now();
        let Ingested { batch, refusals } = self.make(body, request).await?;
        inner.metrics.ingested(started.elapsed());
        inner.metrics.refusals(&refusals);
        if request.atomic && refusals.rejected > 0 {
            return Err(ServerError::AtomicRefused(refusals));
        }
        let (import, wait) = (request.import.clone(), request.wait);
        if batch.is_empty() && refusals.rejected > 0 {
            if import.is_some() {
                self.append(batch, AppendOptions { import, wait, ..AppendOptions::default() }).await?;
            }
            return Err(ServerError::AllRejected(refusals));
        }
        self.append(batch, AppendOptions { idempotency, import, refusals, wait, ..AppendOptions::default() }).await
    }

    async fn make(&self, body: Bytes, request: &IngestRequest) -> Result<Ingested, ServerError> {
        let (deriver, limits) = (self.reader().deriver(), &self.0.limits);
        if body.len() <= INLINE_BODY && request.encoding == crate::Encoding::Identity {
            let make = || ingest::ingest(deriver, self.now(), &body, request, limits);
            return self.0.metrics.ingesting(make);
        }
        let worker = self.0.workers.clone().acquire_owned().await.map_err(|_| ServerError::Closing)?;
        let (deriver, limits, request, clock) =
            (deriver.clone(), limits.clone(), request.clone(), self.0.clock.clone());
        let metrics = self.0.metrics.clone();
        let work = move || {
            let _worker = worker;
            metrics.ingesting(|| ingest::ingest(&deriver, clock.now(), &body, &request, &limits))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))?
    }

    /// Adds a batch and waits until it is durable.
    ///
    /// # Errors
    /// Nothing of it was kept, except after [`ServerError::Poisoned`]: then nobody knows before the log is opened anew.
    pub async fn append(&self, batch: Batch, options: AppendOptions) -> Result<Appended, ServerError> {
        self.0.sequencer.append(Payload::Batch(Arc::new(batch)), options).await
    }

    /// Adds the entries that `maker` makes for the index that they get.
    pub(crate) async fn append_made(&self, maker: Maker) -> Result<Appended, ServerError> {
        let options = AppendOptions { wait: true, ..AppendOptions::default() };
        self.0.sequencer.append(Payload::Made(maker), options).await
    }

    /// Puts a new key in the place of the log key or the MAC key; the log says so, signed by old and new.
    ///
    /// # Errors
    /// Nothing was changed; or, after [`ServerError::Poisoned`], the next start finishes it or undoes it.
    pub async fn rotate(&self, key: RotatedKey, actor: &str) -> Result<Rotated, ServerError> {
        let (log, actor) = (self.clone(), actor.to_owned());
        // On a task of its own: whoever asked may go away between two steps.
        let rotating = tokio::spawn(async move { rotation::rotate(&log, key, &actor).await });
        rotating.await.map_err(|error| ServerError::Internal(error.to_string()))?
    }

    /// Changes a document of the state that decides who may do what or what is detected: the new value is sealed as an
    /// entry of `sceau.audit` in the same commit, so that nobody can change it unseen.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn record_state_change(
        &self,
        collection: &str,
        key: &str,
        value: Option<Value>,
        actor: &str,
    ) -> Result<Appended, ServerError> {
        let event = json!({
            "timestamp": self.now().to_string(),
            "action": "state_change",
            "collection": collection,
            "key": key,
            "value": value,
            "user": actor,
        });
        let (collection, key) = (collection.to_owned(), key.to_owned());
        let write = StateChange { collection, key, value, expect: Expect::Any, expires: None };
        self.note_with(SourceId::audit(), &event, vec![write]).await
    }

    /// Seals an event of the product's own.
    ///
    /// # Errors
    /// Nothing was sealed; or, after [`ServerError::Poisoned`], nobody knows.
    pub(crate) async fn note(&self, source: SourceId, event: &Value) -> Result<Appended, ServerError> {
        self.note_with(source, event, Vec::new()).await
    }

    /// Seals events of the product's own, all in one commit.
    ///
    /// # Errors
    /// As for [`Log::note`].
    pub(crate) async fn note_all(&self, source: SourceId, events: &[Value]) -> Result<Appended, ServerError> {
        self.note_events(source, events, Vec::new()).await
    }

    pub(crate) async fn note_with(
        &self,
        source: SourceId,
        event: &Value,
        writes: Vec<StateChange>,
    ) -> Result<Appended, ServerError> {
        self.note_events(source, std::slice::from_ref(event), writes).await
    }

    /// Seals events of the product's own and writes to the state, all in one commit.
    ///
    /// # Errors
    /// As for [`Log::note`].
    pub(crate) async fn note_events(
        &self,
        source: SourceId,
        events: &[Value],
        writes: Vec<StateChange>,
    ) -> Result<Appended, ServerError> {
        let framer = Framer::new(self.now(), &source, &Meta::default());
        let mut builder = BatchBuilder::new(self.reader().deriver().clone());
        let internal = |error: String| ServerError::Internal(error);
        for event in events {
            builder.push_json(&framer, event.to_string().as_bytes()).map_err(|error| internal(error.to_string()))?;
        }
        let batch = builder.finish().map_err(|error| internal(error.to_string()))?;
        self.append(batch, AppendOptions { writes, wait: true, ..AppendOptions::default() }).await
    }

    /// Writes documents of the state that no entry explains: they decide nothing by themselves.
    ///
    /// # Errors
    /// Nothing was written; or, after [`ServerError::Poisoned`], nobody knows.
    pub(crate) async fn write_state(&self, writes: Vec<StateChange>) -> Result<(), ServerError> {
        self.note_events(SourceId::audit(), &[], writes).await.map(drop)
    }

    /// Makes a further administrator's token: durable, and sealed as an entry of `sceau.audit`, before it is given. Its
    /// secret is kept nowhere.
    ///
    /// # Errors
    /// No token was made; or, after [`ServerError::Poisoned`], nobody knows whether one was that nobody has.
    pub async fn new_admin_token(&self, actor: &str) -> Result<NewToken, ServerError> {
        self.new_token(&TokenSpec::administrator("admin"), actor).await
    }

    /// The same of any token.
    ///
    /// # Errors
    /// As for [`Log::new_admin_token`]; or there can't be such a token.
    pub async fn new_token(&self, spec: &TokenSpec, actor: &str) -> Result<NewToken, ServerError> {
        let token = NewToken::of(spec, Some(actor), self.now())?;
        Tokens::load(&**self.reader().store(), self.keys()).await?.check_room()?;
        self.record_state_change(auth::COLLECTION, &token.id, Some(token.value.clone()), actor).await?;
        Ok(token)
    }

    /// Finishes and answers what was taken, signs it, closes the epoch and the store, and gives the log up to others who
    /// wait for it. Nothing is accepted any more.
    ///
    /// # Errors
    /// A step failed; the next start resolves what it left.
    pub async fn close(&self) -> Result<(), ServerError> {
        let inner = &*self.0;
        inner.sequencer.close().await;
        inner.stop.send_replace(true);
        let Some(publishing) = inner.publishing.lock().await.take() else { return Ok(()) };
        // It only waits for the publisher, whose own end is looked at there.
        drop(publishing.await);
        for task in std::mem::take(&mut *inner.tending.lock().await) {
            drop(task.await);
        }
        let signed = self.sign_off().await;
        inner.lease.release().await;
        inner.reader.store().close().await?;
        signed
    }

    async fn sign_off(&self) -> Result<(), ServerError> {
        self.0.publisher.publish().await?;
        self.0.publisher.close_epoch().await
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
