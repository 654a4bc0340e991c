//! The whole log checked again, trusting nothing that is derived: entries up to the root, every guard, every stored
//! record against its entry, and the state against the audit entries that explain it.

mod given;
mod input;
mod keys;
mod records;
mod retention;
mod side;
mod state;
mod stated;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sceau_event::Deriver;
use sceau_ledger::{AuditInput, Auditor, Checked, Fault, FaultKind, Index, KeyHistory, Seal, Verdict, WriterId};
use sceau_store::{AuditChunk, SealText, Store, StoreError};
use serde::Serialize;

use crate::{error::ServerError, guard};
use given::Given;
use input::VerifyInput;
pub use input::verify_dir;
#[cfg(test)]
pub(crate) use input::verify_store;
pub(crate) use input::{verify_log, verify_open};
use side::Sides;
pub use state::AUDITED;
pub(crate) use state::Explained;
use stated::Stated;

/// Stops a verification.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops it as soon as the present stretch is done.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), ServerError> {
        if self.0.load(Ordering::Relaxed) { Err(ServerError::Cancelled) } else { Ok(()) }
    }
}

/// What an auditor brings along.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The first public keys of the chains of seals, as they were handed over at `init` and after a loss of keys.
    pub pins: Vec<String>,
    /// Checkpoints kept elsewhere: the texts of signed notes.
    pub since_checkpoints: Vec<String>,
    /// The log's verifier key as it was handed over at `init`, or one that took its place.
    pub verifier_key: Option<String>,
}

impl VerifyOptions {
    /// Makes sure that everything in it can be understood and speaks of the log of this origin.
    ///
    /// # Errors
    /// [`ServerError::Parameter`].
    pub(crate) fn check(&self, origin: &str) -> Result<(), ServerError> {
        Given::parse(self)?.check_origin(origin)
    }
}

/// What a verification says.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether no fault was found, as far as the guards reach that were given.
    pub ok: bool,
    /// Everything else.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl From<Verdict> for VerifyReport {
    fn from(verdict: Verdict) -> Self {
        Self { ok: verdict.ok(), verdict }
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)
    }
}

/// How much of one processor a verification may take, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace(u32);

impl Pace {
    /// As fast as it can.
    pub const FULL: Self = Self(100);

    /// At most this share, 1 to 100 percent.
    pub fn share(percent: u32) -> Self {
        Self(percent.clamp(1, 100))
    }

    /// How long to pause after so much work.
    fn pause(self, worked: Duration) -> Duration {
        worked * (100 - self.0) / self.0
    }
}

/// Where a verification that found no fault ended. The next one goes on there; see [`Checked`].
#[derive(Clone)]
pub(crate) struct Resume {
    checked: Checked,
    explained: state::Explained,
    stated: Stated,
}

impl Resume {
    /// How many entries were verified.
    pub fn size(&self) -> u64 {
        self.checked.size()
    }
}

/// How to go about a verification.
pub(crate) struct Way<'a> {
    /// Where to go on; from the first entry if left out.
    pub from: Option<Resume>,
    pub pace: Pace,
    /// Is told how many entries of how many are done.
    pub progress: &'a (dyn Fn(u64, u64) + Send + Sync),
    pub cancel: &'a Cancel,
}

impl<'a> Way<'a> {
    /// The whole log, as fast as it can.
    pub fn whole(progress: &'a (dyn Fn(u64, u64) + Send + Sync), cancel: &'a Cancel) -> Self {
        Self { from: None, pace: Pace::FULL, progress, cancel }
    }
}

/// The parts that go from thread to thread with each stretch.
struct Work {
    auditor: Auditor,
    records: records::Records,
    explained: state::Explained,
    stated: Stated,
}

/// Checks everything.
pub(crate) async fn verify(
    store: &Arc<dyn Store>,
    deriver: &Arc<Deriver>,
    input: VerifyInput,
    way: Way<'_>,
) -> Result<(Verdict, Option<Resume>), ServerError> {
    let VerifyInput { head, live, .. } = input;
    let mac_keys = || input.keys.as_ref().map(|keys| keys.mac_keys()).or_else(|| input.mac_keys.clone());
    let state = guard::audit(&**store, mac_keys, input.state_noted).await;
    let audit = AuditInput {
        origin: input.history.log().first().origin().to_owned(),
        head,
        history: input.history.clone(),
        mac_keys: input.mac_keys,
        current_epoch: input.current_epoch,
        pins: input.pins,
        outside: input.outside,
    };
    let (first, epochs) = way.from.as_ref().map_or((0, 0), |from| (from.size(), from.checked.epochs()));
    let (mut auditor, explained, stated) = match way.from {
        Some(from) => (Auditor::resume(audit, from.checked), from.explained, from.stated.wanting(&input.history)),
        None => (Auditor::new(audit), state::Explained::default(), Stated::new(&input.history)),
    };
    let (faults, unproven) = known(state, |error| {
        (vec![Fault::whole(FaultKind::State, format!("the state can't be read: {error}"))], None)
    })?;
    for fault in input.faults.into_iter().chain(faults) {
        auditor.fault(fault);
    }
    if let Some(noted) = input.head_note {
        auditor.noted_head(noted);
    }
    let seals = input.seals.iter().filter(|seal| seal.epoch >= epochs);
    feed_seals(&mut auditor, seals, input.writer, &input.history);
    let mut sides = Sides::new(&**store, first, head.size.0, live, input.last_tag);
    let records = records::Records::new(deriver.clone());
    let mut work = Work { auditor, records, explained, stated };
    let span = Span { first, size: head.size.0, live };
    work = walk(store, work, &mut sides, span, (way.pace, way.progress, way.cancel)).await?;
    sides.feed(&mut work.auditor, u64::MAX).await?;
    let Work { mut auditor, records, explained, stated } = work;
    stated.compare(&input.history).into_iter().for_each(|fault| auditor.fault(fault));
    explained.compare(&input.documents).into_iter().for_each(|fault| auditor.fault(fault));
    let (faults, notes) = records.finish();
    faults.into_iter().for_each(|fault| auditor.fault(fault));
    let (mut verdict, checked) = auditor.finish_checked();
    verdict.notes.extend(keys::told(&input.history));
    verdict.notes.extend(input.notes);
    verdict.notes.extend(unproven);
    verdict.notes.extend(notes);
    if first > 0 {
        verdict.notes.push(format!("the entries before {first} were verified earlier and not read again"));
    }
    Ok((verdict, checked.map(|checked| Resume { checked, explained, stated })))
}

/// Feeds the seals, comparing what the store says of them by itself with what they say.
fn feed_seals<'s>(
    auditor: &mut Auditor,
    seals: impl Iterator<Item = &'s SealText>,
    writer: Option<WriterId>,
    history: &KeyHistory,
) {
    let mut other = false;
    for row in seals {
        auditor.seal(row.text.as_bytes());
        // What can't be parsed is named by the auditor.
        let Ok(seal) = Seal::parse(row.text.as_bytes()) else { continue };
        let body = seal.body();
        if body.epoch != row.epoch {
            let detail = format!("the seal of epoch {} is stored as that of epoch {}", body.epoch, row.epoch);
            auditor.fault(Fault::whole(FaultKind::Seal, detail));
        }
        // The fact is that of the first chain; a later one says itself who writes it.
        let of_chain = history.chain_of(body.epoch).and_then(|chain| chain.writer);
        if let Some(writer) = writer.filter(|_| of_chain.is_none()).filter(|writer| *writer != body.writer && !other) {
            let detail = format!("the fact writer is {writer}, the seal of epoch {} says {}", body.epoch, body.writer);
            auditor.fault(Fault::whole(FaultKind::SealChain, detail));
            other = true;
        }
    }
}

/// What was read, or what stands for it if it can't be. That a database is away says nothing about the log: it ends a
/// verification without a verdict.
fn known<T>(read: Result<T, StoreError>, otherwise: impl FnOnce(StoreError) -> T) -> Result<T, StoreError> {
    match read {
        Err(error) if !matches!(error, StoreError::Unavailable(_)) => Ok(otherwise(error)),
        read => read,
    }
}

/// A stretch, or the end of the log if it can't be read: what was found until then must not be lost.
fn readable(read: Result<AuditChunk, StoreError>, auditor: &mut Auditor) -> Result<AuditChunk, StoreError> {
    known(read, |error| {
        auditor.cut_off(&format!("can't be read from here on: {error}"));
        AuditChunk::default()
    })
}

/// Which entries are walked.
#[derive(Clone, Copy)]
struct Span {
    first: u64,
    size: u64,
    live: bool,
}

/// Feeds the auditor with everything that is stored, stretch by stretch.
async fn walk(
    store: &Arc<dyn Store>,
    mut work: Work,
    sides: &mut Sides<'_>,
    Span { first, size, live }: Span,
    (pace, progress, cancel): (Pace, &(dyn Fn(u64, u64) + Send + Sync), &Cancel),
) -> Result<Work, ServerError> {
    let mut next = first;
    if first > 0 && live && next >= size {
        return Ok(work);
    }
    let mut chunk = readable(store.audit(Index(next)).await, &mut work.auditor)?;
    while !chunk.is_empty() {
        cancel.check()?;
        let begun = Instant::now();
        progress(next.min(size), size);
        let before = std::mem::replace(&mut next, chunk.first.saturating_add(chunk.len() as u64));
        if next <= before {
            work.auditor.cut_off(&format!("what is stored behind entry {before} can't be walked"));
            return Ok(work);
        }
        sides.feed(&mut work.auditor, next).await?;
        let end = if live { size } else { u64::MAX };
        let stretch = move || {
            work.chunk(chunk, end);
            work
        };
        let ahead =
            async { if live && next >= size { Ok(AuditChunk::default()) } else { store.audit(Index(next)).await } };
        // The next stretch is read while this one is checked.
        let (read, checked) = tokio::join!(ahead, tokio::task::spawn_blocking(stretch));
        work = checked.map_err(|error| ServerError::Internal(error.to_string()))?;
        chunk = readable(read, &mut work.auditor)?;
        tokio::time::sleep(pace.pause(begun.elapsed())).await;
    }
    progress(next.min(size), size);
    chunk.faults.into_iter().for_each(|fault| work.auditor.fault(fault));
    Ok(work)
}

impl Work {
    fn chunk(&mut self, chunk: AuditChunk, end: u64) {
        let checked = self.records.check(&chunk);
        for fault in chunk.faults.into_iter().chain(checked.faults) {
            self.auditor.fault(fault);
        }
        let rows = chunk.entries.iter().zip(chunk.prefixes.iter().chain(std::iter::repeat(&None)));
        let tags = chunk.tags.iter().chain(std::iter::repeat(&None));
        let tagged = !chunk.tags.is_empty();
        for ((((entry, prefix), received), tag), index) in rows.zip(&checked.received).zip(tags).zip(chunk.first..end) {
            let (index, entry) = (Index(index), entry.as_deref());
            if tagged {
                self.auditor.tagged_entry(index, entry, *prefix, *received, *tag);
            } else {
                self.auditor.entry(index, entry, *prefix, *received);
            }
        }
        for (leaf, index) in chunk.pruned.iter().zip(chunk.first..end) {
            self.auditor.pruned(Index(index), *leaf);
        }
        self.stated.pruned(chunk.first, &chunk.pruned);
        for row in checked.audit {
            let index = chunk.first.saturating_add(row as u64);
            if let Some(Some(entry)) = chunk.entries.get(row).filter(|_| index < end) {
                self.explained.add(index, entry);
                self.stated.add(index, entry);
                if let Some(before) = retention::deleted_before(index, entry) {
                    self.auditor.explain_pruned(before);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
