//! What tests share: logs in temporary directories, and a store that fails on demand.

mod cluster;
#[path = "../../cli/tests/common/copy.rs"]
mod copy;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
pub use cluster::{Cluster, Desk};
use copy::copy_directory;
use sceau_event::{Deriver, Field};
use sceau_ledger::{Head, Index, TileHash, TreeSize};
use sceau_store::{
    AuditChunk, Commit, CommitError, Counts, Document, EntryRows, Histogram, Hits, Ledger, Moved, SealText, Search,
    State, StateWrite, Store, StoreError, TopTable,
    embedded::Embedded,
    query::{Page, Query},
    traits::{BundleTag, CommitLimits, Lease, Stretch},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{
    Config, Log,
    init::{InitReport, init},
    keydir::KeyDir,
};

/// The body of an event of which the making panics.
pub const PANICS: &[u8] = b"{\"panic\":\"now\"}";

/// A new log in a temporary directory.
pub struct Fixture {
    _directory: TempDir,
    pub config: Config,
    pub report: InitReport,
}

impl Fixture {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path().join("data"), directory.path().join("keys"));
        // So that the log holds what a test sent; those of detection begin it themselves.
        config.detection.enabled = false;
        config.origin = Some("example.org/log".into());
        config.listen = "127.0.0.1:0".parse().unwrap();
        let report = init(&config).await.unwrap();
        Self { _directory: directory, config, report }
    }

    pub async fn log(&self) -> Log {
        Log::open(&self.config).await.unwrap()
    }

    /// A log over a store that fails as told.
    pub async fn failing(&self) -> (Log, Arc<Failing>) {
        let deriver = Arc::new(Deriver::builtin());
        let store = Embedded::open(self.data(), deriver.clone(), self.config.store_options()).await.unwrap();
        let store = Arc::new(Failing::over(store));
        let keys = KeyDir::open(&self.config.key_dir, Some(self.data())).unwrap();
        (Log::assemble(&self.config, store.clone(), deriver, keys).await.unwrap(), store)
    }

    pub fn data(&self) -> &Path {
        self.config.place.directory().unwrap()
    }

    /// A copy of the data directory of a closed log, beside the same keys.
    pub fn copy(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        copy_directory(self.data(), &data);
        let config = Config { place: data.into(), ..self.config.clone() };
        Self { _directory: directory, config, report: self.report.clone() }
    }
}

/// How the next write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    None,
    /// Nothing is written.
    Commit,
    /// The database goes away for this one; nothing is written.
    CommitAway,
    /// It is too large for the database, which takes a quarter of its entries from now on; nothing is written.
    CommitTooLarge,
    /// It is written, and yet it fails.
    CommitPersisted,
    Full,
    HeadMoved,
    Conflict,
    Seal,
    SealPersisted,
    /// The database goes away; the seal is not kept.
    SealAway,
    /// The same, but it is.
    SealAwayPersisted,
    Checkpoint,
    /// The database goes away; the checkpoint is kept.
    CheckpointAwayPersisted,
    CommitPanic,
    CheckpointPanic,
    Audit,
    AuditPanic,
    Macs,
    /// No checkpoint is forgotten.
    Thin,
    /// Nothing is deleted.
    Prune,
    /// A tile comes back without its last hash.
    ShortTile,
}

/// A store that fails on demand.
pub struct Failing {
    inner: Arc<dyn Store>,
    next: AtomicU8,
    /// How many of the writes that could fail go well before.
    before: AtomicU32,
    /// Whether the database can't be reached.
    away: AtomicBool,
    limits: Mutex<CommitLimits>,
    commits: AtomicU32,
    /// The lease, and what this server's fence is.
    desk: Option<(Arc<Desk>, AtomicU64)>,
    head: Mutex<Option<Head>>,
    facts: Mutex<BTreeMap<String, String>>,
    misnumbered: AtomicBool,
    pause: Mutex<Option<Pause>>,
    swapped: Mutex<Option<(u64, Vec<u8>)>>,
}

/// Halts whoever reads the state: told when somebody has come, and tells when they may go on.
type Pause = (oneshot::Sender<()>, oneshot::Receiver<()>);

impl Failing {
    fn over(store: Embedded) -> Self {
        Self::within(Arc::new(store), CommitLimits::NONE)
    }

    /// One that refuses commits beyond these limits.
    pub fn within(inner: Arc<dyn Store>, limits: CommitLimits) -> Self {
        Self {
            inner,
            next: AtomicU8::new(Failure::None as u8),
            before: AtomicU32::new(0),
            away: AtomicBool::new(false),
            limits: Mutex::new(limits),
            commits: AtomicU32::new(0),
            desk: None,
            head: Mutex::default(),
            facts: Mutex::default(),
            misnumbered: AtomicBool::new(false),
            pause: Mutex::default(),
            swapped: Mutex::default(),
        }
    }

    /// Halts the next reader of the whole state. The first end is rung when it has come, the other lets it go on.
    pub fn halt(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (come, has_come) = oneshot::channel();
        let (go, may_go) = oneshot::channel();
        *self.pause.lock().unwrap() = Some((come, may_go));
        (has_come, go)
    }

    /// Says from now on that this is its head, as if somebody had written it into the database.
    pub fn claim(&self, head: Option<Head>) {
        *self.head.lock().unwrap() = head;
    }

    /// Gives other bytes for one entry from now on.
    pub fn swap(&self, entry: Option<(u64, Vec<u8>)>) {
        *self.swapped.lock().unwrap() = entry;
    }

    /// Says from now on that a fact is another one.
    pub fn lie(&self, name: &str, value: &str) {
        self.facts.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Gives seals and checkpoints under numbers that are not theirs.
    pub fn misnumber(&self) {
        self.misnumbered.store(true, Ordering::SeqCst);
    }

    pub fn fail(&self, failure: Failure) {
        self.next.store(failure as u8, Ordering::SeqCst);
    }

    /// Fails so after some writes of that kind went well.
    pub fn fail_after(&self, writes: u32, failure: Failure) {
        self.before.store(writes, Ordering::SeqCst);
        self.fail(failure);
    }

    /// Can't be reached from now on, or can again.
    pub fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Wants no more in one commit from now on.
    pub fn limit(&self, limits: CommitLimits) {
        *self.limits.lock().unwrap() = limits;
    }

    /// How many commits went well.
    pub fn commits(&self) -> u32 {
        self.commits.load(Ordering::SeqCst)
    }

    fn here(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(away()) } else { Ok(()) }
    }

    fn is(&self, failure: Failure) -> bool {
        let this = failure as u8;
        if self.next.load(Ordering::SeqCst) != this {
            return false;
        }
        let fewer = |writes: u32| writes.checked_sub(1);
        if self.before.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return false;
        }
        self.next.compare_exchange(this, Failure::None as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("the test pulled the plug".into())
}

fn broken() -> StoreError {
    StoreError::Io { context: "fsync".into(), source: std::io::Error::other("the disk is on fire") }
}

#[async_trait]
impl Ledger for Failing {
    async fn head(&self) -> Result<Head, StoreError> {
        self.here()?;
        let claimed = *self.head.lock().unwrap();
        if let Some(head) = claimed { Ok(head) } else { self.inner.head().await }
    }

    async fn commit(&self, expected: Head, commit: Commit) -> Result<(), CommitError> {
        assert!(!self.is(Failure::CommitPanic), "as the test wants it");
        if self.here().is_err() || self.is(Failure::CommitAway) {
            return Err(CommitError::Unavailable("the test pulled the plug".into()));
        }
        if self.is_fenced_out() {
            return Err(CommitError::HeadMoved { actual: Head::empty() });
        }
        if self.is(Failure::CommitTooLarge) {
            let entries: usize = commit.batches.iter().map(|batch| batch.len()).sum();
            self.limits.lock().unwrap().entries = entries.div_ceil(4);
            return Err(CommitError::TooLarge("that is too much".into()));
        }
        let limits = *self.limits.lock().unwrap();
        let (entries, bytes) = commit
            .batches
            .iter()
            .fold((0, 0), |(entries, bytes), batch| (entries + batch.len(), bytes + batch.weight()));
        assert!(entries <= limits.entries && (bytes <= limits.bytes || entries == 1), "{entries} {bytes}");
        if self.is(Failure::Commit) {
            return Err(broken().into());
        }
        if self.is(Failure::Full) {
            return Err(CommitError::Full);
        }
        if self.is(Failure::HeadMoved) {
            return Err(CommitError::HeadMoved { actual: Head::empty() });
        }
        if !commit.state.is_empty() && self.is(Failure::Conflict) {
            let write = &commit.state[0];
            let (collection, key) = (write.collection.clone(), write.key.clone());
            return Err(CommitError::StateConflict { collection, key });
        }
        self.inner.commit(expected, commit).await?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.is(Failure::CommitPersisted) {
            return Err(broken().into());
        }
        Ok(())
    }

    async fn adopt(&self, moved: Moved) -> Result<(), CommitError> {
        let failed = match moved {
            Moved::Seals(_) => self.is(Failure::Seal),
            Moved::Checkpoints(_) => self.is(Failure::Checkpoint),
            Moved::Leaves(_) => self.is(Failure::Commit),
        };
        if failed {
            return Err(broken().into());
        }
        let seals = matches!(moved, Moved::Seals(_));
        self.inner.adopt(moved).await?;
        if seals && self.is(Failure::SealPersisted) {
            return Err(broken().into());
        }
        Ok(())
    }

    fn commit_limits(&self) -> CommitLimits {
        *self.limits.lock().unwrap()
    }

    async fn entries(&self, first: Index, limit: usize) -> Result<EntryRows, StoreError> {
        self.here()?;
        let mut rows = self.inner.entries(first, limit).await?;
        if let Some((index, bytes)) = &*self.swapped.lock().unwrap()
            && let Some(at) = index.checked_sub(first.0).and_then(|at| usize::try_from(at).ok())
            && let Some(entry) = rows.entries.get_mut(at)
        {
            entry.clone_from(bytes);
        }
        Ok(rows)
    }

    async fn kept_from(&self) -> Result<Index, StoreError> {
        self.inner.kept_from().await
    }

    async fn stretches(&self) -> Result<Vec<Stretch>, StoreError> {
        self.inner.stretches().await
    }

    async fn prune(&self, before: Index) -> Result<Index, StoreError> {
        if self.is(Failure::Prune) {
            return Err(broken());
        }
        self.inner.prune(before).await
    }

    async fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
        let mut hashes = self.inner.tile(level, n, width).await?;
        if self.is(Failure::ShortTile) {
            hashes.pop();
        }
        Ok(hashes)
    }

    async fn put_checkpoint(&self, size: TreeSize, note: &str) -> Result<(), StoreError> {
        assert!(!self.is(Failure::CheckpointPanic), "as the test wants it");
        self.may_write()?;
        if self.is(Failure::Checkpoint) {
            return Err(broken());
        }
        self.inner.put_checkpoint(size, note).await?;
        if self.is(Failure::CheckpointAwayPersisted) { Err(away()) } else { Ok(()) }
    }

    async fn latest_checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.inner.latest_checkpoint().await
    }

    async fn checkpoints(&self, from: TreeSize, limit: usize) -> Result<Vec<(TreeSize, String)>, StoreError> {
        let mut found = self.inner.checkpoints(from, limit).await?;
        if self.misnumbered.load(Ordering::SeqCst) {
            found.iter_mut().for_each(|(size, _)| size.0 -= 1);
        }
        Ok(found)
    }

    async fn thin_checkpoints(&self, spans: Vec<(TreeSize, TreeSize)>) -> Result<u64, StoreError> {
        if self.is(Failure::Thin) {
            return Err(broken());
        }
        self.inner.thin_checkpoints(spans).await
    }

    async fn put_seal(&self, seal: SealText) -> Result<(), StoreError> {
        self.may_write()?;
        if self.is(Failure::Seal) {
            return Err(broken());
        }
        if self.is(Failure::SealAway) {
            return Err(away());
        }
        self.inner.put_seal(seal).await?;
        if self.is(Failure::SealAwayPersisted) {
            return Err(away());
        }
        if self.is(Failure::SealPersisted) {
            return Err(broken());
        }
        Ok(())
    }

    async fn seals(&self, from: u64, limit: usize) -> Result<Vec<SealText>, StoreError> {
        let mut seals = self.inner.seals(from, limit).await?;
        if self.misnumbered.load(Ordering::SeqCst) {
            seals.iter_mut().for_each(|seal| seal.epoch += 7);
        }
        Ok(seals)
    }

    async fn last_seal(&self) -> Result<Option<SealText>, StoreError> {
        self.inner.last_seal().await
    }

    async fn audit(&self, first: Index) -> Result<AuditChunk, StoreError> {
        self.here()?;
        assert!(!self.is(Failure::AuditPanic), "as the test wants it");
        if self.is(Failure::Audit) {
            return Err(broken());
        }
        self.inner.audit(first).await
    }

    async fn audit_tiles(&self, level: u8, from: u64, limit: usize) -> Result<Vec<TileHash>, StoreError> {
        self.here()?;
        self.inner.audit_tiles(level, from, limit).await
    }

    async fn audit_macs(&self, from: u64, limit: usize) -> Result<Vec<BundleTag>, StoreError> {
        self.here()?;
        if limit > 1 && self.is(Failure::Macs) {
            return Err(broken());
        }
        self.inner.audit_macs(from, limit).await
    }

    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let lie = self.facts.lock().unwrap().get(name).cloned();
        if lie.is_some() { Ok(lie) } else { self.inner.fact(name).await }
    }

    async fn fix_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.inner.fix_fact(name, value).await
    }
}

#[async_trait]
impl Search for Failing {
    async fn search(&self, query: &Query, page: &Page, limit: Duration) -> Result<Hits, StoreError> {
        self.inner.search(query, page, limit).await
    }

    async fn histogram(
        &self,
        query: &Query,
        interval: i64,
        by: Option<&Field>,
        limit: Duration,
    ) -> Result<Histogram, StoreError> {
        self.inner.histogram(query, interval, by, limit).await
    }

    async fn top(&self, query: &Query, field: &Field, rows: usize, limit: Duration) -> Result<TopTable, StoreError> {
        self.inner.top(query, field, rows, limit).await
    }

    async fn count(&self, query: &Query, limit: Duration) -> Result<Counts, StoreError> {
        self.inner.count(query, limit).await
    }
}

#[async_trait]
impl State for Failing {
    async fn get(&self, collection: &str, key: &str, now: i64) -> Result<Option<Document>, StoreError> {
        self.here()?;
        self.inner.get(collection, key, now).await
    }

    async fn list(&self, collection: &str, after: &str, limit: usize) -> Result<Vec<Document>, StoreError> {
        self.here()?;
        self.inner.list(collection, after, limit).await
    }

    async fn audit_state(&self, after: (&str, &str), limit: usize) -> Result<Vec<(String, Document)>, StoreError> {
        let pause = self.pause.lock().unwrap().take();
        if let Some((come, may_go)) = pause {
            come.send(()).unwrap();
            may_go.await.unwrap();
        }
        self.inner.audit_state(after, limit).await
    }

    async fn write(&self, writes: Vec<StateWrite>) -> Result<(), CommitError> {
        self.may_write().map_err(|error| match error {
            StoreError::Unavailable(reason) => CommitError::Unavailable(reason),
            error => error.into(),
        })?;
        self.inner.write(writes).await
    }

    async fn count_documents(&self, collection: &str, now: i64) -> Result<u64, StoreError> {
        self.inner.count_documents(collection, now).await
    }

    async fn purge(&self, now: i64) -> Result<u64, StoreError> {
        self.here()?;
        self.inner.purge(now).await
    }
}

#[async_trait]
impl Store for Failing {
    fn writing(&self) -> Option<&dyn Lease> {
        self.desk.as_ref().map(|_| self as &dyn Lease)
    }

    async fn rebuild(
        &self,
        deriver: Arc<Deriver>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        self.inner.rebuild(deriver, progress).await
    }

    async fn gauges(&self) -> Result<Vec<(&'static str, f64)>, StoreError> {
        self.inner.gauges().await
    }

    fn stopped(&self) -> Option<String> {
        self.inner.stopped()
    }

    async fn close(&self) -> Result<(), StoreError> {
        if self.desk.is_some() {
            // Others use it too.
            return Ok(());
        }
        self.inner.close().await
    }
}
