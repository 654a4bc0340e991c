//! The SQLite file: heads, tiles, codes, checkpoints, seals, facts, state and the tail.

mod open;

use std::{
    error::Error,
    path::Path,
    sync::{Mutex, OnceLock},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params, types::ValueRef};
use sceau_ledger::{Head, RootHash, TileHash, TreeSize};

pub use open::Access;
use open::{Opened, connect, see};

use crate::{
    costs::Costs,
    error::StoreError,
    traits::{BundleTag, SealText},
};

/// The database's file name within the data directory.
pub const FILE: &str = "sceau.db";
/// Bytes that the write-ahead log keeps on disk once it has been moved.
pub const WAL_KEPT: u32 = 4 << 20;
/// The version of the tables below, in `PRAGMA user_version`.
pub const FORMAT: u64 = 2;

const TABLES: &str = "
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL);
CREATE TABLE tail (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, prefixes BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE tile (level INTEGER, position INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, position)) WITHOUT ROWID;
CREATE TABLE mac (bundle INTEGER PRIMARY KEY, count INTEGER NOT NULL, tag BLOB NOT NULL);
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE seal (epoch INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE segment (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, file TEXT NOT NULL);
CREATE TABLE state (
    collection TEXT, key TEXT, value TEXT NOT NULL, version INTEGER NOT NULL, expires INTEGER, mac BLOB,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;
CREATE INDEX state_expires ON state (expires) WHERE expires IS NOT NULL;
CREATE TABLE leaf_tile (bundle INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
";

/// One committed batch of the tail.
#[derive(Debug)]
pub struct TailRow {
    /// Index of the first entry.
    pub first: u64,
    /// How many entries.
    pub count: u64,
    /// Four bytes of each leaf.
    pub prefixes: Vec<u8>,
    /// Zstandard of the entries, a line feed behind each.
    pub data: Vec<u8>,
}

/// A segment as the catalogue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Index of the first entry.
    pub first: u64,
    /// How many entries.
    pub count: u64,
    /// File name within `segments/`.
    pub file: String,
}

/// The connections: one that writes, and some that read.
///
/// Invariant: once a write has failed of which nobody knows how much of it is on the disk, nothing more is written. A
/// transaction after it could be committed on top of one that start-up would have found, or instead of it.
#[derive(Debug)]
pub struct Db {
    path: std::path::PathBuf,
    access: Access,
    /// The format of the file, which a connection that only reads leaves as it is.
    format: u64,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    stopped: OnceLock<String>,
    /// What is counted.
    pub costs: Costs,
}

pub(super) fn number(value: u64) -> i64 {
    // Indexes beyond 2^63 can't come into being: a log would have to take a billion entries a second for 292 years.
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    // A negative index can only have been written by somebody else; as the greatest one it fails every check.
    u64::try_from(value).unwrap_or(u64::MAX >> 1)
}

/// A whole number; whatever else somebody may have put there reads as one that fits nothing.
pub(super) fn odd_integer(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(value) => unsigned(value),
        _ => unsigned(-1),
    })
}

/// Bytes; whatever else somebody may have put there reads as none.
pub(super) fn odd_bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}

/// Bytes, or none: whatever else somebody may have put there reads as bytes that fit nothing.
pub(super) fn odd_blob(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => Some(Vec::new()),
    })
}

/// A moment, or never.
pub(super) fn odd_expiry(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<i64>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Integer(value) => Some(value),
        _ => Some(i64::MIN),
    })
}

pub(super) fn odd_text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&odd_bytes(row, column)?).into_owned())
}

/// Whether the disk, and not the request, is what made this fail.
pub(super) fn disk_failed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code) {
            return matches!(
                code,
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
            );
        }
        next = error.source();
    }
    false
}

fn poisoned<T>(_: T) -> StoreError {
    StoreError::Internal("a thread died while it used the database".into())
}

impl Db {
    /// Creates the tables in a new file.
    pub fn create(dir: &Path) -> Result<(), StoreError> {
        let mut connection = connect(&dir.join(FILE), Access::Create)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", number(FORMAT))?;
        let head = Head::empty();
        transaction.execute("INSERT INTO head VALUES (1, 0, ?1)", params![head.root.0.as_slice()])?;
        transaction.commit()?;
        // The file is renamed next, without its log. Closing would move the log too, but not say when that failed.
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(StoreError::Internal("the new database's log could not be moved into its file".into()));
        }
        connection.close().map_err(|(_, error)| error.into())
    }

    /// Opens an existing file.
    pub fn open(dir: &Path, access: Access) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let Opened { connection, access, format } =
            open::existing(&path, access).map_err(|error| error.in_database(&path))?;
        let (writer, readers) = (Mutex::new(connection), Mutex::default());
        Ok(Self { path, access, format, writer, readers, stopped: OnceLock::new(), costs: Costs::default() })
    }

    /// Writes nothing more. The first reason counts.
    pub fn stop(&self, reason: impl std::fmt::Display) {
        let reason = reason.to_string();
        tracing::error!(%reason, "nothing more is written to the store before it is opened anew");
        let _ = self.stopped.set(reason);
    }

    /// Why nothing more is written, once that is so.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Refuses once nothing more is written.
    pub fn check(&self) -> Result<(), StoreError> {
        self.stopped().map_or(Ok(()), |reason| Err(StoreError::Stopped(reason.to_owned())))
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let connection = connect(&self.path, self.access)?;
        see(&connection, self.format)?;
        Ok(connection)
    }

    /// Runs `work` on a connection that only reads.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let pooled = self.readers.lock().map_err(poisoned)?.pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = work(&connection).map_err(|error| error.in_database(&self.path));
        let mut readers = self.readers.lock().map_err(poisoned)?;
        if readers.len() < 8 {
            readers.push(connection);
        }
        result
    }

    /// Runs `work` in one transaction, durable when this returns `Ok`. `then` runs while no other writer can. After an
    /// error, nothing was written, unless [`Self::stopped`] gives a reason: then nobody knows, and nothing more is.
    pub fn write<T, E: From<StoreError> + Error + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
        then: impl FnOnce(&T),
    ) -> Result<T, E> {
        let mut connection = self.writer.lock().map_err(poisoned)?;
        self.check()?;
        let transaction = connection.transaction().map_err(StoreError::from)?;
        let value = work(&transaction).inspect_err(|error| {
            if disk_failed(error) {
                self.stop(format_args!("a write failed: {error}"));
            }
        })?;
        self.costs.sync.waiting(|| transaction.commit()).map_err(|error| {
            self.stop(format_args!("a commit failed, and nobody knows whether it is durable: {error}"));
            StoreError::from(error)
        })?;
        self.costs.synced(1);
        then(&value);
        Ok(value)
    }

    /// Runs `work` on one moment of the database, however many statements it takes.
    pub fn read_moment<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let value = work(&moment)?;
            moment.finish()?;
            Ok(value)
        })
    }

    /// Copies what the write-ahead log holds into the database file, as far as readers allow.
    pub fn checkpoint(&self, connection: &Connection) -> Result<(), StoreError> {
        // Of the log, then of the file.
        self.costs.synced(2);
        self.costs.wal.of(|| connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())))?;
        Ok(())
    }

    /// A connection of one's own, for the thread that moves the write-ahead log.
    pub fn connection(&self) -> Result<Connection, StoreError> {
        self.connect()
    }
}

/// The committed head.
pub fn head(connection: &Connection) -> Result<Head, StoreError> {
    let (size, root): (i64, Vec<u8>) = connection
        .prepare_cached("SELECT size, root FROM head WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::Damaged("the table `head` is empty".into()))?;
    let root = <[u8; 32]>::try_from(root.as_slice())
        .map_err(|_| StoreError::Damaged("the stored root is not 32 bytes".into()))?;
    let size = u64::try_from(size).map_err(|_| StoreError::Damaged("the stored tree size is negative".into()))?;
    Ok(Head { size: TreeSize(size), root: RootHash(root) })
}

/// Replaces the head.
pub fn set_head(transaction: &Transaction<'_>, head: &Head) -> Result<(), StoreError> {
    transaction
        .prepare_cached("UPDATE head SET size = ?1, root = ?2 WHERE id = 1")?
        .execute(params![number(head.size.0), head.root.0.as_slice()])?;
    Ok(())
}

/// Adds a batch to the tail.
pub fn insert_tail(transaction: &Transaction<'_>, row: &TailRow) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT INTO tail (first, count, prefixes, data) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![number(row.first), number(row.count), row.prefixes, row.data])?;
    Ok(())
}

/// The tail's batches from the one that holds `from`, at most `limit`, by index.
pub fn tail_rows(connection: &Connection, from: u64, limit: usize) -> Result<Vec<TailRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT first, count, prefixes, data FROM tail WHERE first + count > ?1 ORDER BY first LIMIT ?2",
    )?;
    let rows = statement.query_map(params![number(from), number(limit as u64)], |row| {
        Ok(TailRow {
            first: unsigned(row.get(0)?),
            count: unsigned(row.get(1)?),
            prefixes: row.get(2)?,
            data: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The catalogue of segments, by index.
pub fn segments(connection: &Connection) -> Result<Vec<SegmentRow>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT first, count, file FROM segment ORDER BY first")?;
    let rows = statement.query_map([], |row| {
        Ok(SegmentRow { first: odd_integer(row, 0)?, count: odd_integer(row, 1)?, file: odd_text(row, 2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The tail's batches from the one that begins at or before `from`, at most `limit`, whatever their `count` says.
///
/// No more are read once there are `bytes` of them, but two always: the first may end before `from`.
pub fn odd_tail_rows(
    connection: &Connection,
    from: u64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<TailRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT first, count, prefixes, data FROM tail
         WHERE first >= coalesce((SELECT max(first) FROM tail WHERE first <= ?1), ?1) ORDER BY first LIMIT ?2",
    )?;
    let rows = statement.query_map(params![number(from), number(limit as u64)], |row| {
        Ok(TailRow {
            first: odd_integer(row, 0)?,
            count: odd_integer(row, 1)?,
            prefixes: odd_bytes(row, 2)?,
            data: odd_bytes(row, 3)?,
        })
    })?;
    let (mut found, mut size) = (Vec::new(), 0);
    for row in rows {
        let row = row?;
        size += row.data.len() + row.prefixes.len();
        found.push(row);
        if size >= bytes && found.len() > 1 {
            break;
        }
    }
    Ok(found)
}

/// First index and count of every batch of the tail, by index.
pub fn tail_spans(connection: &Connection) -> Result<Vec<(u64, u64)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT first, count FROM tail ORDER BY first")?;
    let rows = statement.query_map([], |row| Ok((odd_integer(row, 0)?, odd_integer(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Names a segment in the catalogue, instead of an older file of the same entries if there is one.
pub fn put_segment(transaction: &Transaction<'_>, row: &SegmentRow) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO segment (first, count, file) VALUES (?1, ?2, ?3)")?
        .execute(params![number(row.first), number(row.count), row.file])?;
    Ok(())
}

/// Keeps subtree hashes.
pub fn insert_tiles(transaction: &Transaction<'_>, tiles: &[TileHash]) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached("INSERT INTO tile (level, position, hash) VALUES (?1, ?2, ?3)")?;
    for tile in tiles {
        statement.execute(params![tile.level, number(tile.position), tile.hash.as_slice()])?;
    }
    Ok(())
}

/// Subtree hashes of one level from `from`, at most `limit`, by position. One that is not 32 bytes is read as zeros, so
/// that it fits nothing.
pub fn tiles(connection: &Connection, level: u8, from: u64, limit: usize) -> Result<Vec<TileHash>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT position, hash FROM tile WHERE level = ?1 AND position >= ?2 ORDER BY position LIMIT ?3",
    )?;
    let rows = statement.query_map(params![level, number(from), number(limit as u64)], |row| {
        let hash = <[u8; 32]>::try_from(odd_bytes(row, 1)?.as_slice()).unwrap_or([0; 32]);
        Ok(TileHash { level, position: odd_integer(row, 0)?, hash })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps bundle tags, replacing those of a bundle that has grown.
pub fn put_macs(transaction: &Transaction<'_>, macs: &[BundleTag]) -> Result<(), StoreError> {
    let mut statement =
        transaction.prepare_cached("INSERT OR REPLACE INTO mac (bundle, count, tag) VALUES (?1, ?2, ?3)")?;
    for mac in macs {
        statement.execute(params![number(mac.bundle), mac.count, mac.tag.as_slice()])?;
    }
    Ok(())
}

/// Bundle tags from `from`, at most `limit`. A tag that is not 32 bytes is read as zeros, so that it fails.
pub fn macs(connection: &Connection, from: u64, limit: usize) -> Result<Vec<BundleTag>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT bundle, count, tag FROM mac WHERE bundle >= ?1 ORDER BY bundle LIMIT ?2")?;
    let rows = statement.query_map(params![number(from), number(limit as u64)], |row| {
        Ok(BundleTag {
            bundle: odd_integer(row, 0)?,
            count: u16::try_from(odd_integer(row, 1)?).unwrap_or(0),
            tag: <[u8; 32]>::try_from(odd_bytes(row, 2)?.as_slice()).unwrap_or([0; 32]),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keeps a checkpoint; the same again is no error.
pub fn put_checkpoint(transaction: &Transaction<'_>, size: u64, note: &str) -> Result<(), StoreError> {
    transaction
        .execute("INSERT OR IGNORE INTO checkpoint (size, note) VALUES (?1, ?2)", params![number(size), note])?;
    let kept: String =
        transaction.query_row("SELECT note FROM checkpoint WHERE size = ?1", [number(size)], |row| row.get(0))?;
    if kept == note { Ok(()) } else { Err(StoreError::Exists(format!("the checkpoint of size {size}"))) }
}

/// Checkpoints of size ≥ `from`, at most `limit`, by size.
pub fn checkpoints(connection: &Connection, from: u64, limit: usize) -> Result<Vec<(TreeSize, String)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT size, note FROM checkpoint WHERE size >= ?1 ORDER BY size LIMIT ?2")?;
    let rows = statement.query_map(params![number(from), number(limit as u64)], |row| {
        Ok((TreeSize(odd_integer(row, 0)?), odd_text(row, 1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The checkpoint of the greatest size.
pub fn latest_checkpoint(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?)
}

/// Keeps a seal; the same again is no error.
pub fn put_seal(transaction: &Transaction<'_>, seal: &SealText) -> Result<(), StoreError> {
    let epoch = number(seal.epoch);
    transaction.execute("INSERT OR IGNORE INTO seal (epoch, text) VALUES (?1, ?2)", params![epoch, seal.text])?;
    let kept: String = transaction.query_row("SELECT text FROM seal WHERE epoch = ?1", [epoch], |row| row.get(0))?;
    if kept == seal.text { Ok(()) } else { Err(StoreError::Exists(format!("the seal of epoch {}", seal.epoch))) }
}

/// Forgets all but the greatest checkpoint of each span of sizes, its first size left out.
pub fn thin_checkpoints(transaction: &Transaction<'_>, spans: &[(TreeSize, TreeSize)]) -> Result<u64, StoreError> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM checkpoint WHERE size > ?1 AND size < (SELECT max(size) FROM checkpoint WHERE size <= ?2)",
    )?;
    let thin = |(above, to): &(TreeSize, TreeSize)| statement.execute([number(above.0), number(to.0)]);
    Ok(spans.iter().map(thin).sum::<Result<usize, _>>()? as u64)
}

/// Seals of epochs ≥ `from`, at most `limit`, by epoch. From the first on, an epoch that can't be is there too.
pub fn seals(connection: &Connection, from: u64, limit: usize) -> Result<Vec<SealText>, StoreError> {
    let from = if from == 0 { i64::MIN } else { number(from) };
    let mut statement =
        connection.prepare_cached("SELECT epoch, text FROM seal WHERE epoch >= ?1 ORDER BY epoch LIMIT ?2")?;
    let rows = statement.query_map(params![from, number(limit as u64)], |row| {
        Ok(SealText { epoch: odd_integer(row, 0)?, text: odd_text(row, 1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The seal of the greatest epoch.
pub fn last_seal(connection: &Connection) -> Result<Option<SealText>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT epoch, text FROM seal ORDER BY epoch DESC LIMIT 1")?
        .query_row([], |row| Ok(SealText { epoch: odd_integer(row, 0)?, text: odd_text(row, 1)? }))
        .optional()?)
}

/// A fact fixed at `init`.
pub fn fact(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM fact WHERE name = ?1")?
        .query_row([name], |row| odd_text(row, 0))
        .optional()?)
}

/// Fixes a fact; another value later is refused.
pub fn fix_fact(transaction: &Transaction<'_>, name: &str, value: &str) -> Result<(), StoreError> {
    transaction.execute("INSERT OR IGNORE INTO fact (name, value) VALUES (?1, ?2)", [name, value])?;
    match fact(transaction, name)? {
        Some(kept) if kept == value => Ok(()),
        _ => Err(StoreError::Exists(format!("the fact {name}"))),
    }
}

/// Forgets the tail's batches that lie wholly before `end`.
pub fn drop_tail(transaction: &Transaction<'_>, end: u64) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM tail WHERE first + count <= ?1", [number(end)])?;
    Ok(())
}

/// Forgets one batch of the tail.
pub fn delete_tail_row(transaction: &Transaction<'_>, first: u64) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM tail WHERE first = ?1", [number(first)])?;
    Ok(())
}
