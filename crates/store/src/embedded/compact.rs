//! The background: turning the tail into segments, rewriting segments, moving SQLite's log into its file.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use datafusion::arrow::array::RecordBatch;
use rusqlite::Connection;
use sceau_event::Deriver;
use sceau_ledger::{LeafHash, Tree, leaf_hash};

use super::{
    Inner, Snapshot, Wake, Workers,
    db::{self, SegmentRow, TailRow},
    segment::{DIRECTORY, Segment},
    state::now_micros,
    tail::{self, Chunk},
    write,
};
use crate::{batch::BatchBuilder, error::StoreError, schema};

/// Entries of a bundle, the unit by which a segment ends, so that every level-0 tile lies in one place.
pub const BUNDLE: usize = 256;

/// Starts the background threads of an open store.
pub fn start(inner: &Arc<Inner>) -> Result<Workers, StoreError> {
    let mut workers = Workers::default();
    let mut threads = Vec::new();
    let mut spawn = |name: &str, work: Box<dyn FnOnce(mpsc::Receiver<Wake>) + Send>| -> Result<(), StoreError> {
        let (bell, woken) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || work(woken))
            .map_err(|source| StoreError::Io { context: format!("starting the thread {name}"), source })?;
        workers.bells.push(bell);
        threads.push(thread);
        Ok(())
    };
    let shared = inner.clone();
    spawn("sceau-segments", Box::new(move |woken| write_segments(&shared, &woken)))?;
    let shared = inner.clone();
    let connection = inner.db.connection()?;
    spawn("sceau-wal", Box::new(move |woken| move_wal(&shared, &connection, &woken)))?;
    workers.threads = std::sync::Mutex::new(threads);
    // A tail that is full from the start takes no commit that would wake them.
    workers.committed();
    Ok(workers)
}

/// How long a failed segment is left alone: on a full disk, trying at every commit would only make it fuller.
const PAUSE: Duration = Duration::from_secs(30);

fn write_segments(inner: &Inner, woken: &mpsc::Receiver<Wake>) {
    let mut not_before = None;
    // The time-out is for the age of the oldest entry, which no commit announces.
    while woken.recv_timeout(Duration::from_secs(60)) != Ok(Wake::Stop) {
        if not_before.is_some_and(|moment| Instant::now() < moment) {
            continue;
        }
        not_before = None;
        // A panic must not end this thread unnoticed: without it the tail fills and the log stops.
        let one = || panic::catch_unwind(AssertUnwindSafe(|| inner.db.costs.segment.of(|| compact(inner))));
        let result = loop {
            match one() {
                Ok(Ok(true)) => (),
                Ok(Ok(false)) => break Ok(()),
                Ok(Err(error)) => break Err(error.to_string()),
                Err(_) => break Err("a bug: writing a segment panicked".to_owned()),
            }
        };
        if let Err(error) = result {
            tracing::error!(%error, "writing a segment failed; the entries stay in the tail, which is bounded");
            *inner.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            inner.room.notify_waiters();
            not_before = Instant::now().checked_add(PAUSE);
        }
    }
}

fn move_wal(inner: &Inner, connection: &Connection, woken: &mpsc::Receiver<Wake>) {
    let wal = inner.dir.join(format!("{}-wal", db::FILE));
    while let Ok(Wake::Committed) = woken.recv() {
        let long = std::fs::metadata(&wal).is_ok_and(|file| file.len() > 2 * u64::from(db::WAL_KEPT));
        if !long || inner.db.stopped().is_some() {
            continue;
        }
        match inner.db.checkpoint(connection) {
            Ok(()) => (),
            // What was committed is in the log and stays there, so the next start moves it again. To go on would be to
            // write to a disk that doesn't keep what it is given, while the log grows without end.
            Err(error) if db::disk_failed(&error) => {
                inner.db.stop(format_args!("the write-ahead log can't be moved into the database: {error}"));
            }
            Err(error) => {
                tracing::warn!(%error, "moving the write-ahead log failed; it is tried again at the next commit");
            }
        }
    }
}

/// How many entries of the tail are due for a segment.
pub(super) fn due(inner: &Inner, snapshot: &Snapshot) -> usize {
    let options = &inner.options;
    let (rows, bytes) = snapshot.tail_size();
    let oldest =
        snapshot.tail.first().and_then(|chunk| write::times(&chunk.rows, schema::RECEIVED).ok()?.first().copied());
    let age = oldest.map_or(0, |received| (now_micros() - received) / 1_000_000);
    let old = age > i64::try_from(options.segment_age).unwrap_or(i64::MAX);
    if rows < options.segment_entries && bytes < options.segment_bytes && !old {
        return 0;
    }
    let (mut taken, mut size) = (0, 0);
    for chunk in &snapshot.tail {
        if size >= options.segment_bytes {
            break;
        }
        taken += chunk.rows.num_rows();
        size += chunk.bytes;
    }
    taken.min(options.segment_entries) / BUNDLE * BUNDLE
}

/// Writes one segment from the tail if it is due; says whether it did.
fn compact(inner: &Inner) -> Result<bool, StoreError> {
    let _one = inner.segments.lock().unwrap_or_else(PoisonError::into_inner);
    if inner.db.stopped().is_some() {
        return Ok(false);
    }
    let snapshot = inner.snapshot();
    let count = due(inner, &snapshot);
    if count == 0 {
        return Ok(false);
    }
    let first = snapshot.tail_first();
    let mut rows = Vec::new();
    let mut left = count;
    for chunk in &snapshot.tail {
        let take = left.min(chunk.rows.num_rows());
        rows.push(chunk.rows.slice(0, take));
        left -= take;
        if left == 0 {
            break;
        }
    }
    let segment = Arc::new(write_checked(inner, first, count as u64, &inner.deriver, &rows)?);
    let end = segment.end();
    name(inner, &segment, |transaction| cut_tail(transaction, end))?;
    inner.replace(|snapshot| {
        let mut tail = Vec::with_capacity(snapshot.tail.len());
        for chunk in snapshot.tail.iter().filter(|chunk| chunk.end() > end) {
            tail.push(if chunk.first < end { Arc::new(Chunk::from(chunk, end)?) } else { chunk.clone() });
        }
        snapshot.tail = tail;
        snapshot.segments.push(segment.clone());
        Ok(())
    })?;
    *inner.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    inner.room.notify_waiters();
    tracing::info!(first, count, bytes = segment.bytes(), "segment written");
    Ok(true)
}

/// Names a segment in the catalogue, with what else belongs to that.
fn name(
    inner: &Inner,
    segment: &Segment,
    besides: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let work = |transaction: &rusqlite::Transaction<'_>| {
        db::put_segment(transaction, &segment.row)?;
        besides(transaction)
    };
    inner.db.write(work, |()| ()).inspect_err(|_| {
        // A commit that failed may be found by the next start, with this name in it: then the file must be there. If it
        // isn't found, that start removes the file.
        if inner.db.stopped().is_none() {
            segment.retire();
        }
    })
}

/// Drops the tail before `end`; a batch that straddles it is written anew with what lies behind.
fn cut_tail(transaction: &rusqlite::Transaction<'_>, end: u64) -> Result<(), StoreError> {
    let straddling = db::tail_rows(transaction, end, 1)?.into_iter().find(|row| row.first < end);
    db::drop_tail(transaction, end)?;
    let Some(row) = straddling else { return Ok(()) };
    let skip = usize::try_from(end - row.first).unwrap_or(usize::MAX);
    let (inflated, whole) = tail::inflate(&row.data);
    let kept: Vec<&[u8]> = tail::lines(&inflated).skip(skip).collect();
    if !whole || kept.len() as u64 != row.count - skip as u64 || row.prefixes.len() as u64 != 4 * row.count {
        return Err(StoreError::Damaged(format!("the batch of entries from {} was changed under us", row.first)));
    }
    let mut lines = kept.join(&b'\n');
    lines.push(b'\n');
    let data = zstd::bulk::compress(&lines, 1)
        .map_err(|source| StoreError::Io { context: "compressing a batch".into(), source })?;
    db::delete_tail_row(transaction, row.first)?;
    let rest = TailRow { first: end, count: kept.len() as u64, prefixes: row.prefixes[4 * skip..].to_vec(), data };
    db::insert_tail(transaction, &rest)
}

/// Writes a segment and opens it again, checking every entry in it against the tree.
fn write_checked(
    inner: &Inner,
    first: u64,
    count: u64,
    deriver: &Deriver,
    rows: &[RecordBatch],
) -> Result<Segment, StoreError> {
    // The time in the name keeps a rewritten segment apart from the file it replaces.
    let file = format!("seg-{first:012}-{:x}.parquet", now_micros());
    write::write_segment(&inner.dir, &file, first, deriver.version(), rows, inner.options.group_rows)?;
    // Of the file, then of the directory.
    inner.db.costs.synced(2);
    let segment = Segment::open(&inner.dir, SegmentRow { first, count, file: file.clone() }).inspect_err(|_| {
        let _ = std::fs::remove_file(inner.dir.join(DIRECTORY).join(&file));
    })?;
    let segment = segment.sharing(&inner.footers);
    let checked = check(inner, &segment, |_, _| ());
    if checked.is_err() {
        segment.retire();
    }
    checked.map(|()| segment)
}

/// Compares every entry of a segment with the tree, and gives the leaves of each bundle as its place and they are known.
pub(super) fn check(
    inner: &Inner,
    segment: &Segment,
    mut bundle: impl FnMut(u64, &[LeafHash]),
) -> Result<(), StoreError> {
    let mut expected = segment.row.first;
    let mut leaves = Vec::with_capacity(BUNDLE);
    let wrong = |index: u64| {
        let file = segment.row.file.clone();
        StoreError::Entry { index, detail: format!("differs from the sealed log when {file} is read back") }
    };
    for group in 0..segment.groups.len() {
        for rows in segment.pages(group, &[schema::INDEX, schema::ENTRY])? {
            let rows = rows?;
            let indexes = super::scan::indexes(&rows)?;
            for (index, entry) in indexes.iter().zip(tail::entries(&rows)?.iter()) {
                if *index != expected {
                    return Err(wrong(expected));
                }
                leaves.push(leaf_hash(entry.unwrap_or_default()));
                expected += 1;
                if leaves.len() == BUNDLE {
                    let first = expected - BUNDLE as u64;
                    check_bundle(inner, first, &leaves).map_err(|_| wrong(first))?;
                    bundle(first / BUNDLE as u64, &leaves);
                    leaves.clear();
                }
            }
        }
    }
    if expected != segment.end() || !leaves.is_empty() { Err(wrong(expected)) } else { Ok(()) }
}

fn check_bundle(inner: &Inner, first: u64, leaves: &[LeafHash]) -> Result<(), StoreError> {
    let position = first / BUNDLE as u64;
    let computed = Tree::new().append(leaves);
    let stored = inner.db.read(|connection| db::tiles(connection, 1, position, 1))?;
    let same = stored.first().is_some_and(|tile| {
        tile.position == position && computed.first().is_some_and(|hash| hash.level == 1 && hash.hash == tile.hash)
    });
    if same { Ok(()) } else { Err(StoreError::Damaged(format!("the bundle at {first} has another hash"))) }
}

/// Derives a segment's records again and puts a new file in its place.
pub fn rewrite(inner: &Inner, segment: &Arc<Segment>, deriver: &Arc<Deriver>) -> Result<(), StoreError> {
    let _one = inner.segments.lock().unwrap_or_else(PoisonError::into_inner);
    inner.db.check()?;
    if !inner.snapshot().segments.iter().any(|present| Arc::ptr_eq(present, segment)) {
        // Retention has deleted it since the list was made.
        return Ok(());
    }
    let mut rows = Vec::new();
    let mut first = segment.row.first;
    for group in 0..segment.groups.len() {
        let mut builder = BatchBuilder::new(deriver.clone());
        for batch in segment.read(group, &[schema::ENTRY], None, None)? {
            for entry in tail::entries(&batch?)?.iter().flatten() {
                let index = first + builder.len() as u64;
                builder.push_entry(entry).map_err(|error| StoreError::Entry { index, detail: error.to_string() })?;
            }
        }
        let batch = Arc::new(builder.finish()?);
        let count = batch.len() as u64;
        rows.push(tail::rows(first, &[batch])?);
        first += count;
    }
    let new = Arc::new(write_checked(inner, segment.row.first, segment.row.count, deriver, &rows)?);
    name(inner, &new, |_| Ok(()))?;
    inner.replace(|snapshot| {
        for place in &mut snapshot.segments {
            if place.row.first == new.row.first {
                *place = new.clone();
            }
        }
        Ok(())
    })?;
    segment.retire();
    Ok(())
}
