//! What can go wrong in a store.

use std::path::Path;

use rusqlite::ErrorCode;
use sceau_ledger::Head;

/// A read that failed. The text is for the operator's log, never for a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the data directory.
    #[error(
        "another process holds {path}; stop it, or ask it with --url (one process may open a data directory at a time)"
    )]
    Locked {
        /// The data directory.
        path: String,
    },
    /// The directory holds no log.
    #[error("{path} holds no Sceau log; create one with `sceau init` or `sceau serve`")]
    NoLog {
        /// The data directory.
        path: String,
    },
    /// Written by a newer version of Sceau.
    #[error("{what} has format {found}, this version reads up to {known}; use a newer sceau")]
    Newer {
        /// Which part of the store.
        what: String,
        /// The version found.
        found: u64,
        /// The newest version that this build understands.
        known: u64,
    },
    /// A file is cut or garbled so that nothing can be read from it.
    #[error("{path} can't be used: {source}; {advice}")]
    Unusable {
        /// The file.
        path: String,
        /// What became of the attempt.
        source: Box<StoreError>,
        /// What to do.
        advice: &'static str,
    },
    /// What is stored contradicts itself.
    #[error("the store is damaged: {0}; run `sceau verify` for the whole picture")]
    Damaged(String),
    /// Asked for something that isn't there.
    #[error("{0} is not in the log")]
    Absent(String),
    /// Asked for an entry that retention deleted.
    #[error("entry {index} was deleted by retention; the log keeps its entries from {first} on")]
    Expired {
        /// The first of the entries asked for.
        index: u64,
        /// The first entry that is kept.
        first: u64,
    },
    /// A fact, checkpoint or seal exists already with another value.
    #[error("refused to overwrite {0}")]
    Exists(String),
    /// The query took longer than its limit.
    #[error("the query took longer than {0} s; narrow the time range or the filter")]
    Timeout(u64),
    /// The query needed more memory than its limit.
    #[error("the query needs more memory than it may use; narrow the time range or group by a field with fewer values")]
    Memory,
    /// The query asks for something that can't be done; the text is for the client.
    #[error("{0}")]
    Query(String),
    /// A write failed earlier, so that nothing more is written before the store is opened anew.
    #[error("nothing more is written before the store is opened anew: {0}")]
    Stopped(String),
    /// The database can't be reached or has no primary now; trying again later can help.
    #[error("the database can't be reached: {0}")]
    Unavailable(String),
    /// A MongoDB server that is no member of a replica set: it has no transactions.
    #[error(
        "the MongoDB server at {0} is not in a replica set, and without one it can't write several documents in one step; \
         start it with `mongod --replSet rs0 …` and run `rs.initiate()` once in mongosh: one member is enough"
    )]
    Standalone(String),
    /// The database's user may not do this.
    #[error("the database forbids {what}: {detail}")]
    Forbidden {
        /// What was wanted.
        what: String,
        /// What the database said.
        detail: String,
    },
    /// Somebody else changed the same documents; nothing was written.
    #[error("somebody else changed the same documents: {0}")]
    Conflict(String),
    /// MongoDB refused, or answered something that can't be.
    #[error("MongoDB: {0}")]
    Mongo(String),
    /// The operating system refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A Parquet file could not be read or written.
    #[error("Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Columns could not be computed.
    #[error("Arrow: {0}")]
    Arrow(#[from] datafusion::arrow::error::ArrowError),
    /// A query could not be run.
    #[error("DataFusion: {0}")]
    DataFusion(#[from] datafusion::error::DataFusionError),
    /// A stored entry or record is not what it should be.
    #[error("index {index}: {detail}")]
    Entry {
        /// Which entry.
        index: u64,
        /// What is wrong.
        detail: String,
    },
    /// A background task ended unexpectedly.
    #[error("internal: {0}")]
    Internal(String),
}

impl StoreError {
    /// With the segment's file and what to do, unless that is said already.
    pub(crate) fn in_segment(self, path: &Path) -> Self {
        let unsaid = match &self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Parquet(_) | Self::Arrow(_) => true,
            _ => false,
        };
        let advice = "`sceau verify` names the entries that are missing; put the file back from a backup, in which it is the \
                      same, since segments never change";
        if unsaid { self.unusable(path, advice) } else { self }
    }

    /// With the database's file and what to do, if the file and not the question is what is wrong.
    pub(crate) fn in_database(self, path: &Path) -> Self {
        let Self::Sqlite(error) = &self else { return self };
        let unsaid = match error.sqlite_error() {
            Some(error) => {
                matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
            }
            None => false,
        };
        let advice = "put the whole data directory back from its newest backup, then run `sceau verify` with a checkpoint that \
                      was kept elsewhere, which tells whether anything is missing";
        if unsaid { self.unusable(path, advice) } else { self }
    }

    fn unusable(self, path: &Path, advice: &'static str) -> Self {
        Self::Unusable { path: path.display().to_string(), source: Box::new(self), advice }
    }
}

/// A commit that did not happen, or of which nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else committed first; nothing was written.
    #[error("the log's head is {actual:?}, not the expected one: another writer is at work")]
    HeadMoved {
        /// The head found.
        actual: Head,
    },
    /// A document is not as expected; nothing was written.
    #[error("{collection}/{key} was changed by somebody else")]
    StateConflict {
        /// The document's collection.
        collection: String,
        /// The document's name.
        key: String,
    },
    /// The tail is at its bound since segments can't be written fast enough; nothing was written. Try again later.
    #[error("the store can't take more until a segment is written")]
    Full,
    /// The database can't be reached or has no primary now, and nothing was written. Try again later.
    #[error("the database can't be reached, and nothing was written: {0}")]
    Unavailable(String),
    /// It was more than the database takes in one transaction, and nothing was written: [`Ledger::commit_limits`] says
    /// now how much to come again with.
    ///
    /// [`Ledger::commit_limits`]: crate::Ledger::commit_limits
    #[error("the database takes less at once, and nothing was written: {0}")]
    TooLarge(String),
    /// The write failed: whether it is durable is unknown, so nothing may be written before the store is opened anew.
    #[error("the commit failed: {0}")]
    Failed(#[from] StoreError),
}

impl CommitError {
    /// As the error of a write of which nobody else can be in the way.
    #[must_use]
    pub fn into_store(self) -> StoreError {
        match self {
            Self::Failed(error) => error,
            Self::Unavailable(text) | Self::TooLarge(text) => StoreError::Unavailable(text),
            other => StoreError::Internal(other.to_string()),
        }
    }
}
