//! The whole log checked again, trusting nothing that is derived: entries up to the root, every guard, every stored
//! record against its entry, and the state against the audit entries that explain it.

mod given;
mod keys;
mod records;
mod retention;
mod side;
mod state;
mod stated;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sceau_event::Deriver;
use sceau_ledger::{
    AuditInput, Auditor, Checked, EpochPublic, Fault, FaultKind, Head, Index, KeyHistory, MacKeys, Seal, Verdict,
    WriterId,
};
use sceau_store::{
    AuditChunk, Document, SealText, Store, StoreError,
    embedded::{Embedded, Options},
    traits::BundleTag,
};
use serde::Serialize;

use crate::{config::Config, error::ServerError, guard, history, keydir::KeyDir, log::Log, reader::load_deriver};
use given::{Facts, Given};
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
    /// Makes sure that everything in it can be understood.
    ///
    /// # Errors
    /// [`ServerError::Parameter`].
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        Given::parse(self).map(|_| ())
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

/// What a verification starts from: everything that must be of the same moment.
pub(crate) struct VerifyInput {
    /// The log's public keys, by the store's own word.
    pub history: KeyHistory,
    pub current_epoch: Option<EpochPublic>,
    pub mac_keys: Option<MacKeys>,
    /// Whether every document of the state must have a MAC by now.
    pub state_noted: bool,
    pub pins: Vec<EpochPublic>,
    pub outside: Vec<Vec<u8>>,
    pub head_note: Option<Head>,
    /// Whose chain it is, by the store's own word.
    pub writer: Option<WriterId>,
    pub head: Head,
    /// The tag of the bundle that is not full.
    pub last_tag: Option<BundleTag>,
    pub seals: Vec<SealText>,
    /// The documents of the collections that the log explains.
    pub documents: Vec<(&'static str, Vec<Document>)>,
    /// Whether entries are being added meanwhile: what is beyond the head is then no fault.
    pub live: bool,
    /// What is known to be wrong, or worth knowing, already.
    pub faults: Vec<Fault>,
    pub notes: Vec<String>,
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
    let state = guard::audit(&**store, input.mac_keys.as_ref(), input.state_noted).await;
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
        Some(from) => (Auditor::resume(audit, from.checked), from.explained, from.stated),
        None => (Auditor::new(audit), state::Explained::default(), Stated::new(&input.history)),
    };
    let (faults, unproven) = state.unwrap_or_else(|error| {
        (vec![Fault::whole(FaultKind::State, format!("the state can't be read: {error}"))], None)
    });
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
    sides.feed(&mut work.auditor, u64::MAX).await;
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

/// A stretch, or the end of the log if it can't be read: what was found until then must not be lost.
fn readable(read: Result<AuditChunk, StoreError>, auditor: &mut Auditor) -> AuditChunk {
    read.unwrap_or_else(|error| {
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
    let mut chunk = readable(store.audit(Index(next)).await, &mut work.auditor);
    while !chunk.is_empty() {
        cancel.check()?;
        let begun = Instant::now();
        progress(next.min(size), size);
        let before = std::mem::replace(&mut next, chunk.first.saturating_add(chunk.len() as u64));
        if next <= before {
            work.auditor.cut_off(&format!("what is stored behind entry {before} can't be walked"));
            return Ok(work);
        }
        sides.feed(&mut work.auditor, next).await;
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
        chunk = readable(read, &mut work.auditor);
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
        for (((entry, prefix), received), index) in rows.zip(&checked.received).zip(chunk.first..end) {
            let entry = entry.as_deref();
            self.auditor.entry(Index(index), entry, *prefix, *received);
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

/// Verifies a data directory that no server holds, with whatever keys are at hand.
///
/// # Errors
/// The directory can't be read at all, or an option can't be understood. Faults are in the report.
pub async fn verify_dir(
    config: &Config,
    options: VerifyOptions,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
    cancel: Cancel,
) -> Result<VerifyReport, ServerError> {
    let deriver = load_deriver(config)?;
    let inspect = Options { inspect: true, ..Options::default() };
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&config.data_dir, deriver.clone(), inspect).await?);
    let keys = open_keys(&config.key_dir, &config.data_dir)?;
    let input = offline_input(&*store, keys.as_ref(), options).await?;
    let (verdict, _) = verify(&store, &deriver, input, Way::whole(progress, &cancel)).await?;
    Ok(verdict.into())
}

/// Verifies a log that goes on meanwhile, up to its present head.
pub(crate) async fn verify_log(
    log: &Log,
    options: VerifyOptions,
    way: Way<'_>,
) -> Result<(VerifyReport, Option<Resume>), ServerError> {
    let (store, deriver) = (log.reader().store(), log.reader().deriver());
    // What is there now must stay until it has been read.
    let _still = log.upkeep().read().await;
    let links = log.publisher().links().await?;
    let moment = {
        let _gate = log.gate().lock().await;
        let head = store.head().await?;
        let last_tag = store.audit_macs(head.size.0 / 256, 1).await?.into_iter().next();
        (head, last_tag, state::documents(&**store).await?)
    };
    let (head, last_tag, documents) = moment;
    let keys = log.keys();
    let given = Given::parse(&options)?;
    let mut facts = Facts::read(&**store).await?;
    let held = Some(keys.log_key().verifier());
    let history = facts.history(&given, held, state::of(&documents, history::COLLECTION))?;
    facts.faults.extend(keys::check_held(&history, keys));
    let writer = facts.writer();
    let input = VerifyInput {
        history,
        current_epoch: Some(links.current),
        mac_keys: Some(keys.mac_keys()),
        state_noted: keys.notes_state(),
        pins: given.pins,
        outside: given.outside,
        head_note: None,
        writer,
        head,
        last_tag,
        seals: links.seals,
        documents,
        live: true,
        faults: facts.faults,
        notes: Vec::new(),
    };
    let (verdict, resume) = verify(store, deriver, input, way).await?;
    Ok((verdict.into(), resume))
}

/// Verifies an open store that nobody writes to, with what is left of its keys.
pub(crate) async fn verify_open(
    store: &Arc<dyn Store>,
    deriver: &Arc<Deriver>,
    mac_keys: Option<MacKeys>,
    head_note: Option<Head>,
    options: VerifyOptions,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<VerifyReport, ServerError> {
    let input = offline_input(&**store, None, options).await?;
    let input = VerifyInput { mac_keys, head_note, ..input };
    let (verdict, _) = verify(store, deriver, input, Way::whole(progress, &Cancel::new())).await?;
    Ok(verdict.into())
}

fn open_keys(path: &Path, data: &Path) -> Result<Option<KeyDir>, ServerError> {
    if path.exists() { KeyDir::open(path, data).map(Some) } else { Ok(None) }
}

async fn offline_input(
    store: &dyn Store,
    keys: Option<&KeyDir>,
    options: VerifyOptions,
) -> Result<VerifyInput, ServerError> {
    let given = Given::parse(&options)?;
    let mut facts = Facts::read(store).await?;
    let mut notes = Vec::new();
    if keys.is_none() {
        notes.push("the key directory was not given, so neither MACs nor its note of the head were checked".to_owned());
    }
    if keys.is_none() && given.vkey.is_none() {
        notes.push("no verifier key was given, so that of the checkpoints is the store's own word".to_owned());
    }
    let documents = state::documents(store).await?;
    let held = keys.map(|keys| keys.log_key().verifier());
    let history = facts.history(&given, held, state::of(&documents, history::COLLECTION))?;
    if let Some(keys) = keys {
        facts.faults.extend(keys::check_held(&history, keys));
    }
    let writer = facts.writer();
    let seals = store.seals().await?;
    let head = store.head().await?;
    Ok(VerifyInput {
        current_epoch: keys.map(|keys| keys::current_epoch(keys, &seals, &history)).transpose()?,
        mac_keys: keys.map(|keys| keys::held_macs(keys, &history)),
        state_noted: keys.is_some_and(KeyDir::notes_state),
        history,
        pins: given.pins,
        outside: given.outside,
        head_note: keys.and_then(KeyDir::noted_head),
        writer,
        head,
        last_tag: None,
        seals,
        documents,
        live: false,
        faults: facts.faults,
        notes,
    })
}

#[cfg(test)]
mod tests;
