//! The coarse traits of a store, so that each backend commits and searches in its own best way.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use sceau_event::{Deriver, Field};
use sceau_ledger::{Fault, Head, Index, LeafHash, TileHash, TreeSize};

use crate::{
    batch::Batch,
    error::{CommitError, StoreError},
    query::{Page, Query},
};

/// Everything that becomes durable in one step, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The new entries in the order of their indexes; the first follows the expected head.
    pub batches: Vec<Arc<Batch>>,
    /// The head after these entries.
    pub head: Head,
    /// Hashes of the subtrees that these entries completed, levels from 1 up.
    pub tiles: Vec<TileHash>,
    /// Authentication codes of the 256-entry bundles that these entries touched.
    pub macs: Vec<BundleTag>,
    /// The HMAC of each entry, `sceau_ledger::entry_mac`, in the order of the entries; empty unless the store
    /// [keeps them](Ledger::keeps_tags).
    pub tags: Vec<[u8; 32]>,
    /// State that belongs to these entries.
    pub state: Vec<StateWrite>,
}

/// The most that one commit should hold. A greater request is split by the sequencer, and its state goes with the last
/// part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitLimits {
    /// Entries.
    pub entries: usize,
    /// Bytes, by [`Batch::weight`].
    pub bytes: usize,
}

impl CommitLimits {
    /// No limit of the store's own.
    pub const NONE: Self = Self { entries: usize::MAX, bytes: usize::MAX };
}

/// The HMAC of one bundle of up to 256 entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleTag {
    /// The bundle's number: its first index divided by 256.
    pub bundle: u64,
    /// How many entries the tag covers, 1 to 256.
    pub count: u16,
    /// HMAC-SHA-256, see `sceau_ledger::BundleMac`.
    pub tag: [u8; 32],
}

/// What must hold of a document for a write to it to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Whatever is there is replaced.
    Any,
    /// Nothing is there (or it has expired).
    Absent,
    /// The document is at this version.
    Version(u64),
}

/// One write to a small document: compare, then set or remove.
#[derive(Clone, Debug, PartialEq)]
pub struct StateWrite {
    /// Which kind of document, e.g. `tokens`.
    pub collection: String,
    /// The document's name within its collection.
    pub key: String,
    /// The new value; `None` removes the document.
    pub value: Option<serde_json::Value>,
    /// What must hold for the write to happen.
    pub expect: Expect,
    /// When the document stops to exist, in microseconds since the epoch; `None`: never.
    pub expires: Option<i64>,
    /// Bytes kept with the document, by which whoever writes it recognises it as his own; the store has no key and
    /// gives them back as they are.
    pub mac: Option<Vec<u8>>,
}

impl StateWrite {
    /// The exact text of the value, as it is stored and given back in [`Document::text`].
    pub fn text(&self) -> Option<String> {
        self.value.as_ref().map(serde_json::Value::to_string)
    }
}

/// A document of the state with its version, for compare-and-set.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The document's name within its collection.
    pub key: String,
    /// The value last written.
    pub value: serde_json::Value,
    /// The value's exact text as it is stored.
    pub text: String,
    /// Counts the writes to this document, from 1.
    pub version: u64,
    /// When the document stops to exist, in microseconds since the epoch.
    pub expires: Option<i64>,
    /// What was kept with it; `None` in documents that a version before format 2 wrote.
    pub mac: Option<Vec<u8>>,
}

/// Consecutive entries as stored.
#[derive(Clone, Debug)]
pub struct EntryRows {
    /// The index of the first entry.
    pub first: Index,
    /// The entries' exact bytes, in order.
    pub entries: Vec<Vec<u8>>,
}

/// A stored seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealText {
    /// The epoch that this seal closed.
    pub epoch: u64,
    /// The seal's text as `sceau_ledger::Seal` writes it.
    pub text: String,
}

/// A stretch of the log as it lies in the store, for the auditor: nothing in it has been checked or repaired.
#[derive(Debug, Default)]
pub struct AuditChunk {
    /// The index of the first row.
    pub first: u64,
    /// One row an index, gapless; `None`: missing or unreadable (a fault of the chunk says which).
    pub entries: Vec<Option<Bytes>>,
    /// The stored first four bytes of each leaf.
    pub prefixes: Vec<Option<[u8; 4]>>,
    /// The stored records (schema `schema::records()`), one row an entry, in consecutive batches, and the version of the
    /// deriver that made them. `None` where the backend stores no columns for this stretch.
    pub records: Option<(Vec<RecordBatch>, String)>,
    /// Instead of entries: the stored leaves of entries that [`Ledger::prune`] deleted, one an index, gapless.
    pub pruned: Vec<LeafHash>,
    /// The stored HMAC of each entry, one row an entry, `None` where there is none; empty where the store does not
    /// [keep them](Ledger::keeps_tags).
    pub tags: Vec<Option<[u8; 32]>>,
    /// What the store itself found wrong here.
    pub faults: Vec<Fault>,
}

impl AuditChunk {
    /// How many entries it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len().max(self.pruned.len())
    }

    /// Whether it is the end of the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Consecutive entries that a backend deletes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The index of the first entry, a multiple of 256.
    pub first: u64,
    /// How many entries, a multiple of 256.
    pub count: u64,
    /// Bytes of storage that go with them.
    pub bytes: u64,
}

impl Stretch {
    /// The index behind the last entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// Leaves of entries that retention deleted before the log moved, in the place of a commit.
#[derive(Clone, Debug)]
pub struct MovedLeaves {
    /// The head in front of them; no entries may be there yet.
    pub expected: Head,
    /// The head behind them.
    pub head: Head,
    /// Whole bundles of 256.
    pub leaves: Vec<LeafHash>,
    /// Hashes of the subtrees that they complete, levels from 1 up.
    pub tiles: Vec<TileHash>,
    /// The tags of their bundles.
    pub macs: Vec<BundleTag>,
}

impl MovedLeaves {
    /// Makes sure that they are whole bundles, and that the heads fit them.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let (first, count) = (self.expected.size.0, self.leaves.len() as u64);
        if first.is_multiple_of(256) && count.is_multiple_of(256) && first + count == self.head.size.0 {
            return Ok(());
        }
        Err(StoreError::Internal("leaves that moved are no whole bundles, or don't fit their head".into()))
    }
}

/// What a log brings along that moves from another store, besides entries and state.
#[derive(Clone, Debug)]
pub enum Moved {
    /// Seals that are not there yet.
    Seals(Vec<SealText>),
    /// Checkpoints that are not there yet.
    Checkpoints(Vec<(TreeSize, String)>),
    /// What retention has left of its beginning.
    Leaves(MovedLeaves),
}

/// The sealed log: the ground truth.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The committed head.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Makes a batch durable if the head is still `expected`; on success it is durable and can be searched.
    ///
    /// # Errors
    /// [`CommitError`] says whether the store is unchanged (`HeadMoved`, `StateConflict`, `Full`, `Unavailable`) or
    /// unknown (`Failed`).
    async fn commit(&self, expected: Head, commit: Commit) -> Result<(), CommitError>;

    /// What one commit should hold at most.
    fn commit_limits(&self) -> CommitLimits {
        CommitLimits::NONE
    }

    /// Whether the HMAC of each single entry is kept beside it ([`Commit::tags`]), and not of bundles alone.
    fn keeps_tags(&self) -> bool {
        false
    }

    /// Makes durable in one step what a log brings along that moves here.
    ///
    /// # Errors
    /// As for [`Ledger::commit`]; something else is there already.
    async fn adopt(&self, moved: Moved) -> Result<(), CommitError>;

    /// Up to `limit` consecutive entries from `first`; fewer at the log's end.
    ///
    /// # Errors
    /// [`StoreError::Expired`] if the first of them was deleted by [`Ledger::prune`].
    async fn entries(&self, first: Index, limit: usize) -> Result<EntryRows, StoreError>;

    /// The first `width` hashes of tile `n` of `level`; level 0 holds leaf hashes, those of deleted entries too.
    async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError>;

    /// The first entry that is kept: 0, unless older ones were deleted.
    async fn kept_from(&self) -> Result<Index, StoreError>;

    /// What can be deleted as a whole, by index, from the first entry that is kept on; what is too young to have got its
    /// place among older entries is not in it.
    async fn stretches(&self) -> Result<Vec<Stretch>, StoreError>;

    /// Deletes the oldest stretches, as far as they end at or before `before`, and gives the first entry that is kept
    /// then. Each stretch goes in one durable step, in which its leaf hashes take its place, so that tiles and proofs
    /// stay what they were; before that its entries are compared with the tree once more. Who reads them goes on
    /// undisturbed.
    ///
    /// # Errors
    /// A stretch is not what was sealed ([`StoreError::Entry`]), or can't be read: it is kept, and so is what follows.
    async fn prune(&self, before: Index) -> Result<Index, StoreError>;

    /// Keeps a signed checkpoint. Keeping the same note twice is no error; another note of the same size is.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] it may have been kept or not: the same note can be given again.
    async fn put_checkpoint(&self, size: TreeSize, note: &str) -> Result<(), StoreError>;

    /// The checkpoint of the greatest size.
    async fn latest_checkpoint(&self) -> Result<Option<String>, StoreError>;

    /// Up to `limit` checkpoints of size ≥ `from`, by size.
    async fn checkpoints(&self, from: TreeSize, limit: usize) -> Result<Vec<(TreeSize, String)>, StoreError>;

    /// Of the checkpoints of a size above the first and up to the second of each pair, forgets all but the greatest; gives
    /// how many went.
    async fn thin_checkpoints(&self, spans: Vec<(TreeSize, TreeSize)>) -> Result<u64, StoreError>;

    /// Keeps a seal durably. Keeping the same text twice is no error; another seal of the same epoch is.
    ///
    /// # Errors
    /// After [`StoreError::Unavailable`] it may have been kept or not: the same text must be given again before anything
    /// else is sealed. What a writer gave that has lost the log to another must never be kept later.
    async fn put_seal(&self, seal: SealText) -> Result<(), StoreError>;

    /// Up to `limit` seals of epochs ≥ `from`, by epoch.
    async fn seals(&self, from: u64, limit: usize) -> Result<Vec<SealText>, StoreError>;

    /// The seal of the greatest epoch.
    async fn last_seal(&self) -> Result<Option<SealText>, StoreError>;

    /// A stretch of the log as it lies in the store, from `first`, of the size that suits the store (at most 65,536
    /// rows); empty at the end. Faults are reported in the chunk, never as an error, where the rest can still be read.
    async fn audit(&self, first: Index) -> Result<AuditChunk, StoreError>;

    /// The stored subtree hashes with `level` ≥ 1 and `position` ≥ `from`, by position, at most `limit`.
    async fn audit_tiles(&self, level: u8, from: u64, limit: usize) -> Result<Vec<TileHash>, StoreError>;

    /// The stored bundle tags from bundle `from`, at most `limit`.
    async fn audit_macs(&self, from: u64, limit: usize) -> Result<Vec<BundleTag>, StoreError>;

    /// Facts fixed at `init` (`origin`, `verifier_key`, `first_epoch_key`, `writer`).
    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Fixes a fact; fixing it to another value later is an error.
    async fn fix_fact(&self, name: &str, value: &str) -> Result<(), StoreError>;
}

/// An entry that a query found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The entry's index.
    pub index: Index,
    /// The record's time, microseconds since the epoch.
    pub time: i64,
    /// The entry's exact bytes.
    pub entry: Vec<u8>,
}

/// One page of hits.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// In the order that was asked for.
    pub hits: Vec<Hit>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<crate::query::Cursor>,
}

/// How many entries match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries.
    pub entries: u64,
    /// Occurrences: an entry that says `message repeated 5 times` counts five.
    pub occurrences: u64,
}

/// One bar of a histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramRow {
    /// Start of the interval, microseconds since the epoch; a multiple of the interval, for whole weeks counted from a Monday.
    pub start: i64,
    /// The value of the field that the histogram is split by; `None` where there is none.
    pub by: Option<String>,
    /// What falls into it.
    pub counts: Counts,
}

/// A histogram; intervals without entries are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By start, then by value.
    pub rows: Vec<HistogramRow>,
}

/// One of the most frequent values of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// The value as text.
    pub value: String,
    /// How often it occurs.
    pub counts: Counts,
}

/// The most frequent values of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopTable {
    /// By occurrences downwards, ties by value.
    pub rows: Vec<TopRow>,
    /// How many different values there are in all.
    pub distinct: u64,
}

/// Questions over the records. Each call has a time limit; dropping its future cancels it.
#[async_trait]
pub trait Search: Send + Sync {
    /// One page of entries by event time, ties by index.
    async fn search(&self, query: &Query, page: &Page, limit: Duration) -> Result<Hits, StoreError>;

    /// Entries per interval of `interval` microseconds, optionally split by a field.
    async fn histogram(
        &self,
        query: &Query,
        interval: i64,
        by: Option<&Field>,
        limit: Duration,
    ) -> Result<Histogram, StoreError>;

    /// The `rows` most frequent values of `field`.
    async fn top(&self, query: &Query, field: &Field, rows: usize, limit: Duration) -> Result<TopTable, StoreError>;

    /// How many entries match.
    async fn count(&self, query: &Query, limit: Duration) -> Result<Counts, StoreError>;
}

/// Small JSON documents with compare-and-set.
#[async_trait]
pub trait State: Send + Sync {
    /// A document, unless it is absent or has expired at `now` (microseconds since the epoch).
    async fn get(&self, collection: &str, key: &str, now: i64) -> Result<Option<Document>, StoreError>;

    /// Up to `limit` documents of a collection with keys after `after`, by key.
    async fn list(&self, collection: &str, after: &str, limit: usize) -> Result<Vec<Document>, StoreError>;

    /// Up to `limit` documents of all collections behind the document `after` (collection and key), by collection and
    /// key, expired ones too: as they lie in the store, for the auditor.
    async fn audit_state(&self, after: (&str, &str), limit: usize) -> Result<Vec<(String, Document)>, StoreError>;

    /// How many documents of a collection there are that have not expired at `now`.
    async fn count_documents(&self, collection: &str, now: i64) -> Result<u64, StoreError>;

    /// Writes outside a commit, all or none.
    async fn write(&self, writes: Vec<StateWrite>) -> Result<(), CommitError>;

    /// Forgets what has expired at `now`; returns how many.
    async fn purge(&self, now: i64) -> Result<u64, StoreError>;
}

/// Who has the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name that they gave.
    pub owner: String,
    /// How long it still runs, unless it is prolonged.
    pub left: Duration,
}

/// What came of asking for the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours now.
    Ours,
    /// Somebody else's.
    Held(Holder),
}

/// Who may write to a store that several processes can reach. It is a promise with a time limit; that nothing of a former
/// holder's is ever written is seen to by the store itself, by a number that counts up with each that takes it.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Takes it for so long if nobody has it, what somebody had has run out, or `owner` has it already. From then on nothing
    /// that a former holder has sent, or sends, is written.
    async fn acquire(&self, owner: &str, time: Duration) -> Result<Acquired, StoreError>;

    /// Prolongs our own to so long from now, even if it has run out. `false`: somebody else has taken it meanwhile, and
    /// nothing more of ours is written.
    async fn renew(&self, time: Duration) -> Result<bool, StoreError>;

    /// Gives our own up, so that others need not wait for its end.
    async fn release(&self) -> Result<(), StoreError>;
}

/// A whole store.
#[async_trait]
pub trait Store: Ledger + Search + State {
    /// The lease that a writer must hold; `None` where the store is opened by one process at a time.
    fn writing(&self) -> Option<&dyn Lease> {
        None
    }

    /// Derives every stored record again with `deriver`; `progress` is told (entries done, entries in all).
    async fn rebuild(
        &self,
        deriver: Arc<Deriver>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<u64, StoreError>;

    /// What an operator wants to see of it: (name, value) pairs for `/metrics`, e.g. `segments`, `tail_entries`.
    async fn gauges(&self) -> Result<Vec<(&'static str, f64)>, StoreError>;

    /// Why nothing more is written before the store is opened anew, once that is so: a write failed, maybe one that
    /// nobody waited for. Reading goes on.
    fn stopped(&self) -> Option<String>;

    /// Finishes background work (a segment being written) and releases the store.
    async fn close(&self) -> Result<(), StoreError>;
}
