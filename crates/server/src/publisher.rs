//! Signs what is committed: checkpoints once a second, seals at the end of each epoch.
//!
//! Invariant: only heads read back from the store are signed, so two checkpoints of one size never differ, whatever
//! crashed in between; and only if they are the sequencer's own, so that whoever writes the database without a key gets
//! nothing signed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sceau_event::Micros;
use sceau_ledger::{EpochPublic, Head, LogKeys, TreeSize, open_checkpoint_of, sign_checkpoint};
use sceau_store::{SealText, Store, StoreError};
use tokio::sync::{Mutex, watch};

use crate::{
    clock::Clock,
    epochs::{self, Epochs, WITHOUT_ENTRIES},
    error::ServerError,
    keydir::KeyDir,
    lease::Keeper,
    metrics::Metrics,
    sequencer::{Cause, Health},
    thinning::Thinning,
};

/// How often it looks for a newer head.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often expired state is forgotten, in rounds.
const PURGE_ROUNDS: u32 = 600;
/// How often old checkpoints are thinned, in rounds.
const THIN_ROUNDS: u32 = 60;

/// A signed checkpoint.
#[derive(Clone, Debug)]
pub struct Published {
    /// What it signs.
    pub head: Head,
    /// The note.
    pub note: Arc<str>,
}

/// The signer.
pub struct Publisher {
    store: Arc<dyn Store>,
    keys: Arc<KeyDir>,
    clock: Arc<Clock>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    gate: Arc<Mutex<()>>,
    /// The head that the sequencer committed last.
    head: watch::Receiver<Head>,
    /// One signs at a time.
    epochs: Mutex<Epochs>,
    signing: Mutex<()>,
    thinning: Mutex<Thinning>,
    /// Only while it is held anything is signed.
    lease: Arc<Keeper>,
    /// The time of the last seal.
    sealed: AtomicI64,
    published: watch::Sender<Option<Published>>,
}

/// What a publisher works with.
pub(crate) struct Parts {
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyDir>,
    pub clock: Arc<Clock>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// Held by the sequencer from before a commit until it has told its head.
    pub gate: Arc<Mutex<()>>,
    /// The head that the sequencer committed last.
    pub head: watch::Receiver<Head>,
    /// Only while it is held anything is signed.
    pub lease: Arc<Keeper>,
}

/// The seal chain at one moment.
pub(crate) struct Links {
    /// Seals by epoch.
    pub seals: Vec<SealText>,
    /// The public key of the epoch after them.
    pub current: EpochPublic,
}

/// Reads the newest checkpoint of the store, checking that it is this log's.
///
/// # Errors
/// The store can't be read, or what it holds is not signed by the log's key.
pub async fn newest(store: &dyn Store, log: &LogKeys) -> Result<Option<Published>, ServerError> {
    let Some(note) = store.latest_checkpoint().await? else { return Ok(None) };
    let checkpoint = open_checkpoint_of(note.as_bytes(), log)
        .map_err(|error| StoreError::Damaged(format!("the newest checkpoint: {error}")))?;
    Ok(Some(Published { head: checkpoint.head, note: Arc::from(note) }))
}

impl Publisher {
    /// Takes up where the store is.
    ///
    /// # Errors
    /// The newest checkpoint can't be read.
    pub(crate) async fn new(parts: Parts, epochs: Epochs, log: &LogKeys) -> Result<Self, ServerError> {
        let Parts { store, keys, clock, health, metrics, gate, head, lease } = parts;
        let published = newest(&*store, log).await?;
        let published = watch::channel(published).0;
        let sealed = AtomicI64::new(epochs.last_time().map_or(i64::MIN, |time| time.0));
        let (epochs, signing) = (Mutex::new(epochs), Mutex::new(()));
        let thinning = Mutex::default();
        Ok(Self {
            thinning,
            lease,
            store,
            keys,
            clock,
            health,
            metrics,
            gate,
            head,
            epochs,
            signing,
            sealed,
            published,
        })
    }

    /// The newest checkpoint.
    pub fn published(&self) -> Option<Published> {
        self.published.borrow().clone()
    }

    /// Keeps checkpoints from being signed as long as the guard lives.
    pub(crate) async fn pause(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.signing.lock().await
    }

    /// The last seal's text.
    pub async fn last_seal(&self) -> Option<Arc<str>> {
        self.epochs.lock().await.last_text()
    }

    /// Signs the committed head if it is newer than the newest checkpoint, and gives the newest checkpoint.
    ///
    /// # Errors
    /// The head can't be read, is not the one that was committed, or the checkpoint can't be stored; the latter two stop
    /// the log, unless the database is only away: then it may or may not have the checkpoint, and gets it again.
    pub async fn publish(&self) -> Result<Option<Published>, ServerError> {
        self.health.check()?;
        let _one = self.signing.lock().await;
        let (head, _) = self.committed().await?;
        let newest = self.published();
        if newest.as_ref().map_or(0, |newest| newest.head.size.0) >= head.size.0 {
            return Ok(newest);
        }
        let note = sign_checkpoint(&self.keys.log_key(), &head);
        if let Err(error) = self.store.put_checkpoint(TreeSize(head.size.0), &note).await.map_err(ServerError::from) {
            if !error.is_away() {
                let cause = self.lease.explain(Cause::Checkpoint.unless_stopped(&error)).await;
                self.health.poison(cause, format!("a checkpoint could not be stored: {error}"));
            }
            return Err(error);
        }
        let published = Published { head, note: Arc::from(note) };
        self.published.send_replace(Some(published.clone()));
        Ok(Some(published))
    }

    /// Closes the epoch now.
    ///
    /// # Errors
    /// A step failed; that stops the log, unless the database is only away: the next round goes on there.
    pub async fn close_epoch(&self) -> Result<(), ServerError> {
        // One that was sealed while the database went away covers less than there is now.
        while self.close_if(|_| true).await? {}
        Ok(())
    }

    /// Closes an epoch that is older than it may be when it takes in entries. The publisher's own rounds see to that,
    /// except after the machine was asleep: the wall clock has moved on then, the monotonic one has not.
    ///
    /// # Errors
    /// It could not be closed, so it must not take in any more.
    pub(crate) async fn refresh_epoch(&self) -> Result<(), ServerError> {
        let oldest = i64::try_from(WITHOUT_ENTRIES.as_micros()).unwrap_or(i64::MAX);
        let is_old = || self.clock.now().0.saturating_sub(self.sealed.load(Ordering::Acquire)) > oldest;
        if is_old() { self.close_if(|_| is_old()).await.map(drop) } else { Ok(()) }
    }

    /// The committed head, read back from the store and compared with the sequencer's, and the time of that.
    async fn committed(&self) -> Result<(Head, Micros), ServerError> {
        // With the gate held, no commit is in flight, so the two can only be equal; and no group is between the check of
        // its entries' age and its commit.
        let _gate = self.gate.lock().await;
        // After a commit that failed while this waited, nobody knows where the store is.
        self.health.check()?;
        self.lease.check()?;
        if let Some(reason) = self.store.stopped() {
            // A write that no request waited for, or the lease is lost.
            self.health.poison(self.lease.explain(Cause::Store).await, reason);
            self.health.check()?;
        }
        let (found, known) = (self.store.head().await?, *self.head.borrow());
        if found != known {
            let reason = format!(
                "somebody else changed the store: it says that its head is {found}, this server committed {known}; nothing \
                 is signed. Stop the server and look at the data with `sceau verify`"
            );
            self.health.poison(self.lease.explain(Cause::Changed).await, reason);
            self.health.check()?;
        }
        Ok((found, self.clock.now()))
    }

    /// Closes the epoch if that is due. Says whether it was one that had been sealed before.
    async fn close_if(&self, due: impl FnOnce(&mut Epochs) -> bool) -> Result<bool, ServerError> {
        self.health.check()?;
        let mut epochs = self.epochs.lock().await;
        if !due(&mut epochs) {
            return Ok(false);
        }
        let before = epochs.is_unsure();
        let (head, time) = self.committed().await?;
        let closed = epochs.close(&*self.store, head, time).await;
        if let Some(error) = closed.as_ref().err().filter(|error| !error.is_away()) {
            let cause = self.lease.explain(Cause::Epoch.unless_stopped(error)).await;
            self.health.poison(cause, format!("an epoch could not be closed: {error}"));
        }
        self.sealed.store(epochs.last_time().map_or(i64::MIN, |time| time.0), Ordering::Release);
        closed.map(|()| before)
    }

    /// All seals from an epoch on, and the public key of the epoch after the last of them.
    ///
    /// # Errors
    /// The store can't be read.
    pub(crate) async fn links(&self, from: u64) -> Result<Links, ServerError> {
        // Of years of seals only the last ones are read while none can be added.
        let mut seals = epochs::seals(&*self.store, from).await?;
        let epochs = self.epochs.lock().await;
        let next = seals.last().map_or(from, |last| last.epoch.saturating_add(1));
        seals.extend(epochs::seals(&*self.store, next).await?);
        Ok(Links { seals, current: epochs.public() })
    }

    /// Works until `stop` says so.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut round, mut away) = (0u32, false);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if self.health.reason().is_some() {
                continue;
            }
            round = round.wrapping_add(1);
            match self.round(round).await {
                Ok(()) => away = false,
                // Once for each time that it is away is enough.
                Err(error) if error.is_away() => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "checkpoints and seals wait for the database");
                    }
                }
                Err(error) => tracing::error!(%error, "publishing failed"),
            }
        }
    }

    async fn round(&self, round: u32) -> Result<(), ServerError> {
        let published = self.publish().await?;
        let size = published.map_or(0, |published| published.head.size.0);
        self.close_if(|epochs| epochs.is_due(size, Instant::now())).await?;
        self.metrics.upkeep();
        let now = self.clock.now();
        if round.is_multiple_of(PURGE_ROUNDS)
            && let Err(error) = self.store.purge(now.0).await.map_err(ServerError::from)
            // What has expired is never used, so that it is still there does no harm.
            && !error.is_away()
        {
            self.health
                .poison(self.lease.explain(Cause::Store).await, format!("expired state could not be removed: {error}"));
            return Err(error);
        }
        if round.is_multiple_of(THIN_ROUNDS) { self.thin(now).await } else { Ok(()) }
    }

    /// Forgets most of the old checkpoints.
    pub(crate) async fn thin(&self, now: Micros) -> Result<(), ServerError> {
        // Housekeeping that can wait: a failed read says nothing, and after a failed write the store takes no more itself.
        Ok(self.thinning.lock().await.go_on(&*self.store, now).await?)
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
