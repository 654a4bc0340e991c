//! The seal chain: an epoch's key, the steps that close it, and what to do about steps that a crash left undone.
//!
//! Order of closing (`docs/format.md`): next key durable in the free slot → seal signed over the committed head → seal
//! durable in the store → old slot overwritten, durably → key wiped from memory.
//!
//! Invariant: an epoch's key signs one seal. While the database is away, nobody knows whether it has that seal, so the very
//! same one is given to it until it is known to be there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sceau_event::Micros;
use sceau_ledger::{EpochKey, EpochPublic, FIRST_PREVIOUS, Head, KeyHistory, Seal, SealBody, Slot, WriterId, choose};
use sceau_store::{SealText, Store, StoreError};

use crate::{
    error::ServerError,
    keydir::{KeyDir, random},
};

/// An epoch with entries ends so long after the first of them.
pub const WITH_ENTRIES: Duration = Duration::from_secs(60);
/// An epoch without entries ends after so long.
pub const WITHOUT_ENTRIES: Duration = Duration::from_secs(3600);

/// The chain as far as it goes.
pub struct Epochs {
    keys: Arc<KeyDir>,
    origin: String,
    writer: WriterId,
    slot: Slot,
    previous: [u8; 32],
    /// Size and time of the last seal.
    last: (u64, i64),
    /// The last seal as stored.
    text: Option<Arc<str>>,
    /// The seal of the present epoch and the key of the next one, while it is not known whether the seal is stored.
    unsure: Option<(Slot, Seal)>,
    timer: Timer,
    /// How long after its first entry an epoch is due.
    seal_after: Duration,
}

/// When an epoch is due, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Timer {
    opened: Instant,
    first_entry: Option<Instant>,
}

impl Timer {
    fn new(now: Instant) -> Self {
        Self { opened: now, first_entry: None }
    }

    fn is_due(&mut self, has_entries: bool, seal_after: Duration, now: Instant) -> bool {
        if has_entries {
            let first = *self.first_entry.get_or_insert(now);
            return now.saturating_duration_since(first) >= seal_after;
        }
        now.saturating_duration_since(self.opened) >= WITHOUT_ENTRIES
    }
}

/// All seals from an epoch on.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn seals(store: &dyn Store, from: u64) -> Result<Vec<SealText>, StoreError> {
    const PAGE: usize = 4_096;
    let (mut all, mut next) = (Vec::new(), Some(from));
    while let Some(from) = next {
        let page = store.seals(from, PAGE).await?;
        next = page.last().filter(|_| page.len() == PAGE).and_then(|last| last.epoch.checked_add(1));
        all.extend(page);
    }
    Ok(all)
}

/// The seals' end that the store holds: the last seal, if any.
///
/// # Errors
/// The store can't be read, or the seal in it is malformed.
pub async fn last_seal(store: &dyn Store) -> Result<Option<Seal>, ServerError> {
    let Some(last) = store.last_seal().await? else { return Ok(None) };
    let damaged = |error| StoreError::Damaged(format!("the seal of epoch {}: {error}", last.epoch));
    Ok(Some(Seal::parse(last.text.as_bytes()).map_err(damaged)?))
}

/// The epoch after the last stored seal, and its public key: the one that this seal names, unless a new chain begins there.
pub(crate) fn expected(last: Option<&Seal>, history: &KeyHistory) -> (u64, EpochPublic) {
    let begins = |epoch: u64| history.present_chain().filter(|chain| chain.epoch == epoch).map(|chain| chain.key);
    match last {
        Some(seal) => {
            let epoch = seal.body().epoch.saturating_add(1);
            (epoch, begins(epoch).unwrap_or(seal.body().next))
        }
        None => (0, begins(0).unwrap_or(EpochPublic([0; 32]))),
    }
}

impl Epochs {
    /// Takes the chain up: picks the present epoch's key and destroys the other, whatever step a crash left undone.
    ///
    /// # Errors
    /// No key is the one that the last seal names, that seal is of another writer, or a file can't be read or written.
    pub async fn resume(
        keys: Arc<KeyDir>,
        store: &dyn Store,
        writer: WriterId,
        history: &KeyHistory,
    ) -> Result<Self, ServerError> {
        let last = last_seal(store).await?;
        let writer_of = |epoch| history.chain_of(epoch).and_then(|chain| chain.writer).unwrap_or(writer);
        if let Some(seal) = last.as_ref().filter(|seal| seal.body().writer != writer_of(seal.body().epoch)) {
            // The fact decides what the next seals say, so it must be right before the first of them is signed.
            let (writer, found) = (writer_of(seal.body().epoch), seal.body().writer);
            let text = format!("the fact writer is {writer}, the last seal is of writer {found}");
            return Err(StoreError::Damaged(text).into());
        }
        let (epoch, public) = expected(last.as_ref(), history);
        let writer = writer_of(epoch);
        let chosen = {
            let keys = keys.clone();
            off_thread(move || {
                let broken = |error: sceau_ledger::LedgerError| ServerError::KeyDir {
                    path: keys.path().join(crate::keydir::EPOCH_KEY),
                    reason: error.to_string(),
                };
                let chosen = choose(&keys.epoch_slots()?, epoch, &public).map_err(broken)?;
                keys.wipe_slot(chosen.wipe)?;
                Ok(chosen)
            })
            .await?
        };
        Ok(Self {
            origin: keys.origin().to_owned(),
            keys,
            writer,
            slot: chosen.slot,
            previous: last.as_ref().map_or(FIRST_PREVIOUS, Seal::hash),
            last: last.as_ref().map_or((0, i64::MIN), |seal| (seal.body().head.size.0, seal.body().time_micros)),
            text: last.map(|seal| Arc::from(seal.text())),
            unsure: None,
            timer: Timer::new(Instant::now()),
            seal_after: WITH_ENTRIES,
        })
    }

    /// The same, with epochs that are due so long after their first entry.
    pub fn sealing_after(self, seal_after: Duration) -> Self {
        Self { seal_after: seal_after.min(WITHOUT_ENTRIES), ..self }
    }

    /// Whether the epoch has lasted long enough, for a log of `size` entries, or was sealed already.
    pub fn is_due(&mut self, size: u64, now: Instant) -> bool {
        self.unsure.is_some() || self.timer.is_due(size > self.last.0, self.seal_after, now)
    }

    /// Whether the present epoch has a seal of which it is not known whether it is stored.
    pub fn is_unsure(&self) -> bool {
        self.unsure.is_some()
    }

    /// The public key of the present epoch.
    pub fn public(&self) -> EpochPublic {
        self.slot.key().public()
    }

    /// The time of the last seal.
    pub fn last_time(&self) -> Option<Micros> {
        self.text.as_ref().map(|_| Micros(self.last.1))
    }

    /// The last seal's text.
    pub fn last_text(&self) -> Option<Arc<str>> {
        self.text.clone()
    }

    /// Closes the epoch with all its steps; of one that was sealed while the database went away, those that are left: the
    /// seal then is that of the head and time of before, and what came since belongs to the epoch after it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it goes on where it stopped when it is called again. Any other: a step failed, and the
    /// log must not go on before it is opened anew, which resolves what the step left.
    pub async fn close(&mut self, store: &dyn Store, head: Head, time: Micros) -> Result<(), ServerError> {
        let (next, seal) = match self.unsure.take() {
            Some(unsure) => unsure,
            None => {
                let next = self.prepare().await?;
                let seal = self.seal(&next, head, time)?;
                (next, seal)
            }
        };
        let text = SealText { epoch: self.slot.epoch, text: seal.text().to_owned() };
        if let Err(error) = store.put_seal(text).await {
            if matches!(error, StoreError::Unavailable(_)) {
                self.unsure = Some((next, seal));
            }
            return Err(error.into());
        }
        self.destroy().await?;
        self.previous = seal.hash();
        self.last = (seal.body().head.size.0, seal.body().time_micros);
        self.text = Some(Arc::from(seal.text()));
        // The old slot's seed is wiped as it is dropped.
        self.slot = next;
        self.timer = Timer::new(Instant::now());
        Ok(())
    }

    /// Makes the next epoch's key durable beside the present one.
    async fn prepare(&self) -> Result<Slot, ServerError> {
        let key = EpochKey::from_seed(self.slot.epoch + 1, &*random::<32>()?);
        let next = self.slot.next(&key);
        let (keys, slot) = (self.keys.clone(), next.clone());
        off_thread(move || keys.write_slot(&slot)).await?;
        Ok(next)
    }

    fn seal(&self, next: &Slot, head: Head, time: Micros) -> Result<Seal, ServerError> {
        let body = SealBody {
            origin: self.origin.clone(),
            writer: self.writer,
            epoch: self.slot.epoch,
            head,
            time_micros: time.0.max(self.last.1),
            previous: self.previous,
            next: next.key().public(),
        };
        Ok(Seal::close(body, &self.slot.key())?)
    }

    /// Overwrites the present key in the file.
    async fn destroy(&self) -> Result<(), ServerError> {
        let (keys, place) = (self.keys.clone(), self.slot.place);
        off_thread(move || keys.wipe_slot(place)).await
    }
}

/// Runs file work off the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))?
}

#[cfg(test)]
#[path = "epochs_tests.rs"]
mod tests;
