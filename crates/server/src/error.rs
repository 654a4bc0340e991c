//! What can go wrong in the server. What of it a client is told is decided in [`crate::problem`] alone.

use std::path::PathBuf;

use sceau_ledger::{Head, LedgerError};
use sceau_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{imports::ImportPosition, sequencer::Cause};

/// One refused event of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[schema(as = RefusedEvent)]
pub struct LineError {
    /// The number of the event in its request, from 1 (of the line, for bodies of lines).
    pub line: u64,
    /// A stable word for the kind of error.
    pub code: String,
    /// What to do about it.
    pub message: String,
}

/// The refused events of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Refusals {
    /// How many events were refused.
    pub rejected: u64,
    /// The first of them, at most [`Refusals::MAX`].
    pub errors: Vec<LineError>,
    /// Whether size was the only fault.
    #[serde(skip)]
    pub only_size: bool,
}

impl Refusals {
    /// How many errors are kept with an idempotency key, and how many bytes of text they may have.
    const KEPT: (usize, usize) = (20, 1_024);

    /// Roughly the bytes of memory that they take while their request waits: here, and in the answer.
    pub(crate) fn weight(&self) -> usize {
        let error = |error: &LineError| size_of::<LineError>() + error.code.len() + error.message.len();
        self.errors.iter().map(error).sum::<usize>().saturating_mul(2)
    }

    /// The first errors, as far as they are kept with an idempotency key.
    pub(crate) fn kept(errors: &[LineError]) -> Vec<LineError> {
        let (count, mut room) = Self::KEPT;
        let fits = |error: &&LineError| {
            let left = room.checked_sub(error.code.len() + error.message.len());
            left.inspect(|left| room = *left).is_some()
        };
        errors.iter().take(count).take_while(fits).cloned().collect()
    }

    /// How many errors are told one by one; the rest is only counted.
    pub const MAX: usize = 1_000;
}

/// Why something was not done. The text is for the operator: a client gets what [`crate::problem`] makes of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A setting can't be used.
    #[error("{0}")]
    Config(String),
    /// The key directory can't be used.
    #[error("key directory {path}: {reason}")]
    KeyDir {
        /// The directory or the file in it.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The operating system refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A key, checkpoint, seal, proof or tile can't be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is behind the head that the key directory noted, or differs from it.
    #[error(
        "rollback: the key directory noted {noted} as committed, the store in {place} is at {found}; an older or another \
         copy of the data was put back. Restore the right copy, or look at it with `sceau verify`"
    )]
    Rollback {
        /// The data directory or the database.
        place: String,
        /// What was noted.
        noted: Head,
        /// What the store holds.
        found: Head,
    },
    /// A log has faults, and what was asked for needs a log without.
    #[error(
        "the log has faults, so nothing was changed; look at them, and say --despite-faults to go on nevertheless:\n{0}"
    )]
    Faults(String),
    /// The log stopped accepting after a failed write.
    #[error("the log accepts nothing more until the server is restarted: {1}")]
    Poisoned(Cause, String),
    /// Another server has the log; this one answers questions, and waits.
    #[error("another server has the log")]
    Standby,
    /// Detection is switched off, or could not begin.
    #[error("detection does not run on this server")]
    NoDetection,
    /// The log is being closed.
    #[error("the log is being closed")]
    Closing,
    /// The queue is full.
    #[error("the queue is full")]
    Overloaded,
    /// The store can't take more for now.
    #[error("the store can't take more until a segment is written")]
    Full,
    /// A file system is nearly full.
    #[error("the {dir} directory has {free} bytes free, and keeps {keep} for what was taken already")]
    DiskFull {
        /// `data` or `key`.
        dir: &'static str,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be.
        keep: u64,
    },
    /// Of a request that is too large for one commit the first entries are in the log, the others are not.
    #[error(
        "the first {kept} of {entries} entries are in the log, from index {first_index} on; the others could not be written"
    )]
    PartlyKept {
        /// How many are.
        kept: u64,
        /// How many the request had.
        entries: u64,
        /// The index of the first.
        first_index: u64,
    },
    /// The entries waited too long before they could be sequenced.
    #[error("the entries waited too long to be sealed with their receive time")]
    TooOld,
    /// A document of the state was changed by somebody else.
    #[error("{0} was changed by somebody else")]
    StateConflict(String),
    /// A document of the state without the MAC of this log's key.
    #[error("the document {0} of the state was not written by this log")]
    StateForged(String),
    /// No or no valid token.
    #[error("no valid token")]
    Unauthorized,
    /// Wrong user, password or code; which one is not said.
    #[error("user, password or code are wrong")]
    BadCredentials,
    /// The password is right, and a code is needed too.
    #[error("a code of the second factor is needed too")]
    SecondFactorRequired,
    /// Too many log-ins failed: the next may be in so many seconds.
    #[error("too many log-ins failed; the next may be in {0} seconds")]
    Delayed(u32),
    /// Too many log-ins wait at once.
    #[error("too many log-ins wait at once")]
    LoginBusy,
    /// A password that is not good enough.
    #[error("the password is not good enough: {0}")]
    WeakPassword(String),
    /// Whoever asks may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// A request by cookie that does not show that it comes from our own page.
    #[error("the request does not show that it comes from this server's own page")]
    Csrf,
    /// Nobody who can do everything would be left.
    #[error("{0} is the last administrator who can log in")]
    LastAdministrator(String),
    /// A link that is none, was used, or is too old.
    #[error("the link is not valid: it was used, or is too old")]
    LinkInvalid,
    /// It is there already.
    #[error("{0} is there already")]
    Exists(String),
    /// There are as many as there can be.
    #[error("{0}")]
    TooMany(String),
    /// As many streams are open as there may be.
    #[error("{0} streams are open, and there can't be more")]
    TooManyStreams(usize),
    /// A source that clients may not send to.
    #[error("the source {0:?} is the product's own")]
    ReservedSource(String),
    /// A parameter's value can't be used.
    #[error("parameter {name}: {detail}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// A parameter that this endpoint doesn't know.
    #[error("unknown parameter {name:?}; known: {known}")]
    UnknownParameter {
        /// Its name.
        name: String,
        /// What would be understood.
        known: String,
    },
    /// The search text can't be understood.
    #[error("query, column {column}: {detail}")]
    QuerySyntax {
        /// Where, in characters from 1.
        column: usize,
        /// What is wrong.
        detail: String,
    },
    /// The body is larger than allowed, as received or inflated.
    #[error("the body has more than {limit} bytes{}", if *.inflated { " when inflated" } else { "" })]
    BodyTooLarge {
        /// The limit.
        limit: usize,
        /// Whether it is the inflated size.
        inflated: bool,
    },
    /// The body holds more events than one request may.
    #[error("the body has more than {0} events")]
    TooManyEvents(usize),
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The body ended early or can't be inflated.
    #[error("the body can't be read: {0}")]
    Body(String),
    /// A content type or encoding that is not understood.
    #[error("{0}")]
    Unsupported(String),
    /// None of the request's events could be kept.
    #[error("none of the {} events could be kept", .0.rejected)]
    AllRejected(Refusals),
    /// Events of an atomic request could not be kept, so none was.
    #[error("{} events can't be kept, so none of the request was", .0.rejected)]
    AtomicRefused(Refusals),
    /// So many idempotency keys are remembered that no further one can be.
    #[error("{0} idempotency keys are remembered, and no more can be")]
    TooManyKeys(u64),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// An import does not go on where it stopped.
    #[error("the import is not at this position")]
    ImportPosition(Option<ImportPosition>),
    /// There is no such thing.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The method is not for this path.
    #[error("this path does not know that method")]
    Method,
    /// No signed checkpoint covers this yet.
    #[error("no checkpoint covers entry {0} yet")]
    NotPublished(u64),
    /// A verification runs already.
    #[error("a verification is running")]
    VerifyRunning(String),
    /// Somebody cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// Too many queries at once.
    #[error("too many queries at once")]
    Busy,
    /// Requests came faster than an address or a token may send them.
    #[error("requests come too fast")]
    RateLimited {
        /// When the next one is let through.
        wait: std::time::Duration,
    },
    /// Something that must not happen.
    #[error("internal: {0}")]
    Internal(String),
}

impl ServerError {
    /// Whether it is only that the database can't be reached now, which can pass by itself.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_)))
    }

    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// A parameter's value can't be used.
    pub(crate) fn parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::Parameter { name: name.to_owned(), detail: detail.to_string() }
    }
}
