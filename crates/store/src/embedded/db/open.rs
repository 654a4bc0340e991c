//! Opening the SQLite file: to write, to read only, or still, where nothing can be written at all; older formats.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{FORMAT, WAL_KEPT, number};
use crate::error::StoreError;

/// What makes each format of the one before it, from 2 on.
const MIGRATIONS: [&str; 1] = ["
ALTER TABLE state ADD COLUMN mac BLOB;
CREATE TABLE leaf_tile (bundle INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
"];

/// What makes a connection that may not write see the tables of the present format in a file of format 1.
const SEEN_AS_NEW: &str = "
PRAGMA temp_store = MEMORY;
CREATE TEMP VIEW state AS SELECT *, NULL AS mac FROM main.state;
CREATE TEMP TABLE leaf_tile (bundle INTEGER PRIMARY KEY, hashes BLOB NOT NULL);
";

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Make the file.
    Create,
    /// Read and write.
    Write,
    /// Only read, so that evidence stays as it was found.
    Read,
    /// The same where SQLite can't even make the files that it reads with: nothing changes meanwhile.
    Still,
}

/// An existing file, opened.
pub(super) struct Opened {
    pub connection: Connection,
    /// What it turned out that the connection may do.
    pub access: Access,
    pub format: u64,
}

/// Opens an existing file.
pub(super) fn existing(path: &Path, mut access: Access) -> Result<Opened, StoreError> {
    let mut connection = connect(path, access)?;
    let mut format = match format_of(&connection) {
        Err(error) if access == Access::Read && nothing_can_be_made(&error) => {
            still(path)?;
            access = Access::Still;
            connection = connect(path, access)?;
            format_of(&connection)?
        }
        found => found?,
    };
    if format > FORMAT {
        return Err(StoreError::Newer { what: path.display().to_string(), found: format, known: FORMAT });
    }
    if format == 0 {
        return Err(StoreError::Damaged(format!("{} has no tables", path.display())));
    }
    if matches!(access, Access::Read | Access::Still) {
        see(&connection, format)?;
    } else if format < FORMAT {
        migrate(&mut connection)?;
        tracing::info!(file = %path.display(), from = format, to = FORMAT, "the database was migrated");
        format = FORMAT;
    }
    Ok(Opened { connection, access, format })
}

fn nothing_can_be_made(error: &StoreError) -> bool {
    let StoreError::Sqlite(error) = error else { return false };
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

/// Makes sure that the file alone holds everything that was committed.
fn still(path: &Path) -> Result<(), StoreError> {
    for end in ["-wal", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let io = |source| StoreError::Io { context: format!("looking at {}", beside.display()), source };
        match std::fs::metadata(&beside) {
            Ok(found) if found.len() > 0 => {
                return Err(StoreError::Io {
                    context: format!(
                        "the last of what was committed is in {} still, which can't be read where nothing may be written; \
                         copy the whole directory to where you may write, and look at the copy",
                        beside.display()
                    ),
                    source: std::io::ErrorKind::PermissionDenied.into(),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
    }
    Ok(())
}

/// The path as the URI of a file that does not change, which no lock and no shared memory are needed for.
fn immutable(path: &Path) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(byte);
    let encode = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    let path: String = path.as_os_str().as_encoded_bytes().iter().map(encode).collect();
    format!("file:{path}?immutable=1")
}

fn format_of(connection: &Connection) -> Result<u64, StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or(u64::MAX))
}

/// Brings a file to the present format, in one transaction: a crash leaves the old one whole.
fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = format_of(&transaction)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", number(FORMAT))?;
    Ok(transaction.commit()?)
}

pub(super) fn see(connection: &Connection, format: u64) -> Result<(), StoreError> {
    if format < FORMAT {
        connection.execute_batch(SEEN_AS_NEW)?;
    }
    Ok(())
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
        | match access {
            Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Still => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
        };
    let connection = match access {
        Access::Still => Connection::open_with_flags(immutable(path), flags)?,
        _ => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // What it puts aside is little, and a server that is confined to its directories has none for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if matches!(access, Access::Create | Access::Write) {
        // To its end: an error of the change itself comes only behind the row that tells the new mode.
        let mut change = connection.prepare("PRAGMA journal_mode = WAL")?;
        let modes: Vec<String> = change.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if modes != ["wal"] {
            return Err(StoreError::Internal(format!("{} can't have a write-ahead log: {modes:?}", path.display())));
        }
        drop(change);
        connection.pragma_update(None, "synchronous", "FULL")?;
        // A thread of its own moves the log, so that no commit pays for it.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    }
    Ok(connection)
}
