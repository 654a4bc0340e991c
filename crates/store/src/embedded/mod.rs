//! The default store: SQLite for what changes, immutable Parquet segments for what doesn't.
//!
//! Order of every commit: one SQLite transaction (durable) → the rows in memory → the answer. Order of every segment:
//! file written and durable → reopened and checked against the tree → one transaction that names it and drops its part
//! of the tail → the rows in memory.

mod adopt;
mod aggregate;
mod audit;
mod compact;
pub mod db;
pub mod eval;
mod filter;
mod footers;
mod hidden;
mod ledger;
mod needed;
mod pages;
mod prune;
mod scan;
mod search;
pub mod segment;
mod state;
pub mod tail;
pub mod write;

use std::{
    fs::File,
    num::NonZero,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use footers::Footers;
use sceau_event::Deriver;
use segment::{DIRECTORY, Segment};
use tail::Chunk;
use tokio::sync::Notify;

use crate::{error::StoreError, traits::Store};

/// Sizes and bounds. The defaults are the product's; tests use smaller ones.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment is written when the tail has so many entries (a multiple of 256).
    pub segment_entries: usize,
    /// … or so many bytes of entries and of text in their records. 256 of the heaviest must be less: a segment holds
    /// whole bundles.
    pub segment_bytes: usize,
    /// … or its oldest entry is so many seconds old.
    pub segment_age: u64,
    /// Rows of a row group (a multiple of 256).
    pub group_rows: usize,
    /// From this many entries in the tail on, commits wait, and are then refused as `Full`.
    pub tail_entries: usize,
    /// From this many bytes of entries and text in the tail on, commits wait, and are then refused as `Full`.
    pub tail_bytes: usize,
    /// How long a commit waits for room while segments are being written.
    pub patience: Duration,
    /// Memory that all queries together may use for groups, in bytes.
    pub query_memory: usize,
    /// Only look: nothing is loaded, repaired or written, so that a damaged store can be verified.
    pub inspect: bool,
}

impl Options {
    /// With segments of so many entries (a multiple of 256); an eighth more may wait in the tail.
    pub fn of_segments(segment_entries: usize) -> Self {
        Self {
            segment_entries,
            segment_bytes: 160 << 20,
            segment_age: 24 * 3600,
            group_rows: 65_536,
            tail_entries: segment_entries + segment_entries / 8,
            tail_bytes: (160 + 20) << 20,
            patience: Duration::from_secs(2),
            query_memory: 256 << 20,
            inspect: false,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::of_segments(262_144)
    }
}

/// Where a new database is made before it gets its place.
const MAKING: &str = "making";

/// What queries see: one moment of segments and tail.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The first entry that is kept.
    pub first: u64,
    /// By index, gapless.
    pub segments: Vec<Arc<Segment>>,
    /// By index, following the segments.
    pub tail: Vec<Arc<Chunk>>,
}

impl Snapshot {
    /// Where the tail begins.
    pub fn tail_first(&self) -> u64 {
        self.segments.last().map_or(self.first, |segment| segment.end())
    }

    /// The index behind the newest entry.
    pub fn end(&self) -> u64 {
        self.tail.last().map_or_else(|| self.tail_first(), |chunk| chunk.end())
    }

    fn tail_size(&self) -> (usize, usize) {
        self.tail.iter().fold((0, 0), |(rows, bytes), chunk| (rows + chunk.rows.num_rows(), bytes + chunk.bytes))
    }
}

/// What a background thread is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Committed,
    Stop,
}

/// The background threads and the bells that wake them.
#[derive(Default)]
struct Workers {
    bells: Vec<mpsc::SyncSender<Wake>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    fn committed(&self) {
        for bell in &self.bells {
            // A full channel means that the thread is about to look anyway.
            let _ = bell.try_send(Wake::Committed);
        }
    }

    fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for bell in self.bells.iter().filter(|_| !threads.is_empty()) {
            let _ = bell.send(Wake::Stop);
        }
        for thread in threads {
            let _ = thread.join();
        }
    }
}

struct Inner {
    dir: PathBuf,
    db: db::Db,
    deriver: Arc<Deriver>,
    options: Options,
    snapshot: RwLock<Arc<Snapshot>>,
    queries: aggregate::Engine,
    footers: Arc<Footers>,
    /// Serialises those who replace segments: the compactor and a rebuild.
    segments: Mutex<()>,
    /// The last failure of the background thread, shown by commits once the tail is full.
    trouble: Mutex<Option<String>>,
    /// Rung when a segment has taken entries out of the tail, or could not be written.
    room: Notify,
}

impl Inner {
    fn is_full(&self) -> bool {
        let (rows, bytes) = self.snapshot().tail_size();
        rows >= self.options.tail_entries || bytes >= self.options.tail_bytes
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, change: impl FnOnce(&mut Snapshot) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut guard = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&guard);
        change(&mut next)?;
        *guard = Arc::new(next);
        Ok(())
    }
}

/// The embedded store. One process at a time may hold a data directory.
pub struct Embedded {
    inner: Arc<Inner>,
    workers: Workers,
    _lock: File,
}

impl Embedded {
    /// Creates an empty log in a directory, which is made where it is missing.
    ///
    /// # Errors
    /// The directory holds a log already, or can't be written.
    pub fn create(dir: &Path) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { context: format!("creating {}", dir.display()), source };
        // Logs tell about people: nobody but the server's user reads them.
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(dir.join(DIRECTORY)).map_err(io)?;
        // The directory's own name must be as durable as what is acknowledged in it.
        if let Some(parent) = std::path::absolute(dir).map_err(io)?.parent() {
            write::sync_directory(parent)?;
        }
        let _lock = lock(dir)?;
        if dir.join(db::FILE).exists() {
            return Err(StoreError::Exists(format!("the log in {}", dir.display())));
        }
        // Made under another name and renamed, so that a crash never leaves half a log.
        let making = dir.join(MAKING);
        let _ = std::fs::remove_dir_all(&making);
        std::fs::create_dir(&making).map_err(io)?;
        db::Db::create(&making)?;
        std::fs::rename(making.join(db::FILE), dir.join(db::FILE)).map_err(io)?;
        std::fs::remove_dir_all(&making).map_err(io)?;
        write::sync_directory(dir)
    }

    /// Whether a directory holds a log.
    pub fn exists(dir: &Path) -> bool {
        dir.join(db::FILE).exists()
    }

    /// Opens a log: loads the tail, opens the segments, starts the background threads.
    ///
    /// # Errors
    /// Another process holds it, it is damaged (then open it with [`Options::inspect`]), or it can't be read.
    pub async fn open(dir: &Path, deriver: Arc<Deriver>, options: Options) -> Result<Self, StoreError> {
        let dir = dir.to_owned();
        blocking(move || Self::open_blocking(dir, deriver, options)).await
    }

    fn open_blocking(dir: PathBuf, deriver: Arc<Deriver>, options: Options) -> Result<Self, StoreError> {
        if !Self::exists(&dir) {
            return Err(StoreError::NoLog { path: dir.display().to_string() });
        }
        let lock = if options.inspect { look(&dir)? } else { lock(&dir)? };
        let access = if options.inspect { db::Access::Read } else { db::Access::Write };
        let db = db::Db::open(&dir, access)?;
        if !options.inspect {
            // SQLite has made its log by now, but does not mind if the log's name can't be made durable.
            write::sync_directory(&dir)?;
            let _ = std::fs::remove_dir_all(dir.join(MAKING));
        }
        let footers = Arc::default();
        let snapshot = if options.inspect { Snapshot::default() } else { load(&dir, &db, &deriver, &footers)? };
        let queries = aggregate::Engine::new(options.query_memory)?;
        let inner = Arc::new(Inner {
            dir,
            db,
            deriver,
            queries,
            footers,
            snapshot: RwLock::new(Arc::new(snapshot)),
            segments: Mutex::new(()),
            trouble: Mutex::new(None),
            room: Notify::new(),
            options,
        });
        let workers = if inner.options.inspect { Workers::default() } else { compact::start(&inner)? };
        Ok(Self { inner, workers, _lock: lock })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))?
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let io = |source: std::io::Error| {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let hint = match source.kind() {
            PermissionDenied | ReadOnlyFilesystem => {
                " (only `sceau verify` can look at a log where nothing may be written; for the rest, copy the directory to \
                 where you may)"
            }
            _ => "",
        };
        StoreError::Io { context: format!("locking {}{hint}", path.display()), source }
    };
    let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.display().to_string() }),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Like [`lock`], but leaves no trace in a directory that is only looked at.
fn look(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(db::FILE);
    let io = |source| StoreError::Io { context: format!("opening {}", path.display()), source };
    let file = match File::open(dir.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return File::open(&path).map_err(io),
        // It could be held, and then nothing that is read would be of one moment.
        Err(error) => return Err(io(error)),
    };
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.display().to_string() }),
        _ => Ok(file),
    }
}

/// Loads what a running store keeps in memory, refusing whatever contradicts itself.
fn load(dir: &Path, db: &db::Db, deriver: &Arc<Deriver>, footers: &Arc<Footers>) -> Result<Snapshot, StoreError> {
    let (head, catalogue) = db.read(|connection| Ok((db::head(connection)?, db::segments(connection)?)))?;
    let mut snapshot = Snapshot { first: db.read(prune::end)?, ..Snapshot::default() };
    for row in catalogue.iter().cloned() {
        if row.first != snapshot.tail_first() {
            return Err(StoreError::Damaged(format!("no segment holds entry {}", snapshot.tail_first())));
        }
        let path = dir.join(DIRECTORY).join(&row.file);
        let segment = Segment::open(dir, row).map_err(|error| error.in_segment(&path))?;
        snapshot.segments.push(Arc::new(segment.sharing(footers)));
    }
    let first = snapshot.tail_first();
    loop {
        let next = snapshot.end();
        let rows = db.read(|connection| db::tail_rows(connection, next, 64))?;
        if rows.is_empty() {
            break;
        }
        for (row, decoded) in rows.iter().zip(decode(&rows, deriver)) {
            if row.first != snapshot.end() {
                return Err(StoreError::Damaged(format!("the tail lacks entry {}", snapshot.end())));
            }
            tail::push(&mut snapshot.tail, row.first, decoded?)?;
        }
    }
    if snapshot.end() != head.size.0 {
        return Err(StoreError::Damaged(format!(
            "the head says {} entries, segments hold {first} and the tail goes to {}",
            head.size.0,
            snapshot.end()
        )));
    }
    // Only once everything fits: a catalogue that somebody cut must not make us remove what it no longer names.
    remove_strays(dir, &catalogue)?;
    Ok(snapshot)
}

/// Reads batches of the tail back into rows, on all processors: a start waits for nothing else as long.
fn decode(rows: &[db::TailRow], deriver: &Arc<Deriver>) -> Vec<Result<RecordBatch, StoreError>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let part = |rows: &[db::TailRow]| rows.iter().map(|row| tail::decode(row, deriver)).collect::<Vec<_>>();
        let parts = rows.chunks(rows.len().div_ceil(threads).max(1));
        let working: Vec<_> = parts.map(|rows| (rows.len(), scope.spawn(move || part(rows)))).collect();
        let panicked = || Err(StoreError::Internal("a bug: reading the tail panicked".into()));
        working
            .into_iter()
            .flat_map(|(count, thread)| thread.join().unwrap_or_else(|_| (0..count).map(|_| panicked()).collect()))
            .collect()
    })
}

/// Removes files of segments that were being written, or replaced, when the process ended.
fn remove_strays(dir: &Path, catalogue: &[db::SegmentRow]) -> Result<(), StoreError> {
    let directory = dir.join(DIRECTORY);
    let io = |source| StoreError::Io { context: format!("reading {}", directory.display()), source };
    for file in std::fs::read_dir(&directory).map_err(io)? {
        let file = file.map_err(io)?;
        let name = file.file_name();
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("seg-") && (name.ends_with(".parquet") || name.ends_with(".parquet.tmp"))
        });
        if ours && !catalogue.iter().any(|row| row.file.as_str() == name) {
            tracing::info!(file = %file.path().display(), "removing a segment that was never, or is no longer, in use");
            std::fs::remove_file(file.path()).map_err(io)?;
        }
    }
    Ok(())
}

#[async_trait]
impl Store for Embedded {
    async fn rebuild(
        &self,
        deriver: Arc<Deriver>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<u64, StoreError> {
        let segments = self.inner.snapshot().segments.clone();
        let total = segments.iter().map(|segment| segment.row.count).sum();
        let mut done = 0;
        for segment in segments {
            let (inner, deriver) = (self.inner.clone(), deriver.clone());
            let count = segment.row.count;
            blocking(move || compact::rewrite(&inner, &segment, &deriver)).await?;
            done += count;
            progress(done, total);
        }
        Ok(done)
    }

    async fn gauges(&self) -> Result<Vec<(&'static str, f64)>, StoreError> {
        let inner = self.inner.clone();
        blocking(move || {
            let snapshot = inner.snapshot();
            let (rows, bytes) = snapshot.tail_size();
            let database = std::fs::metadata(inner.dir.join(db::FILE)).map_or(0, |file| file.len());
            let wal = std::fs::metadata(inner.dir.join(format!("{}-wal", db::FILE))).map_or(0, |file| file.len());
            let trouble = inner.trouble().is_some();
            let mut gauges = vec![
                ("store_segments_failing", if trouble { 1.0 } else { 0.0 }),
                ("store_segments", snapshot.segments.len() as f64),
                ("store_segment_bytes", snapshot.segments.iter().map(|segment| segment.bytes()).sum::<u64>() as f64),
                ("store_tail_entries", rows as f64),
                ("store_tail_bytes", bytes as f64),
                ("store_database_bytes", database as f64),
                ("store_wal_bytes", wal as f64),
            ];
            gauges.extend(inner.db.costs.gauges());
            Ok(gauges)
        })
        .await
    }

    fn stopped(&self) -> Option<String> {
        self.inner.db.stopped().map(str::to_owned)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.workers.stop();
        let inner = self.inner.clone();
        // What failed is left as it is for the next start to find out.
        if inner.options.inspect || inner.db.stopped().is_some() {
            return Ok(());
        }
        blocking(move || inner.db.read(|connection| inner.db.checkpoint(connection))).await
    }
}
