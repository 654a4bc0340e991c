//! What can go wrong, in words for the person at the terminal.

use std::{error::Error as _, io, path::Path};

use sceau_ledger::LedgerError;
use sceau_server::ServerError;
use sceau_store::StoreError;

use crate::client::{Broken, Problem};

/// The API's words for options and queries that make no sense.
const USAGE: [&str; 5] = ["bad_parameter", "unknown_parameter", "query_syntax", "bad_query", "reserved_source"];

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The options make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The command can't go on; the text says why.
    #[error("{0}")]
    Failed(String),
    /// The server can't be reached, or the connection broke.
    #[error("no answer from {url}: {reason}")]
    Connection {
        /// The server.
        url: String,
        /// What happened.
        reason: String,
        /// The cause.
        source: Broken,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The log refused, in its own place.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key, proof or checkpoint is wrong.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The operating system refused.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// The system's answer.
        source: io::Error,
    },
    /// An answer is not what it should be.
    #[error("{context} can't be understood: {source}")]
    Json {
        /// What was read.
        context: String,
        /// Where it stopped to make sense.
        source: serde_json::Error,
    },
    /// One of several inputs can't be imported; the others can.
    #[error(transparent)]
    Input(Box<CliError>),
    /// An import stopped half-way.
    #[error("{}. What was acknowledged is safe; the same command goes on from there", without_stop(.0))]
    Interrupted(#[source] Box<CliError>),
    /// Nobody reads the output any more, as in `sceau search … | head`.
    #[error("the output was closed")]
    OutputClosed,
}

impl CliError {
    /// Wraps an error of the operating system with what was being done.
    pub fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// Marks an error that is about one input only.
    pub fn of_input(self) -> Self {
        Self::Input(Box::new(self))
    }

    /// Whether the other inputs can be imported nevertheless.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::Input(_) => true,
            Self::Interrupted(error) => error.is_of_input(),
            _ => false,
        }
    }

    /// Wraps an error about a file.
    pub fn file(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{doing} {}", path.display()))
    }

    /// Wraps an answer that is not the expected JSON.
    pub fn json(context: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let context = context.into();
        move |source| Self::Json { context, source }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            // The value of an option, of which only the log could say that it is wrong.
            Self::Server(error) if USAGE.contains(&error.code()) => 2,
            Self::Store(StoreError::Query(_)) => 2,
            Self::Refused(problem) if USAGE.contains(&problem.code.as_str()) => 2,
            Self::Input(error) => error.code(),
            Self::OutputClosed => 0,
            _ => 1,
        }
    }

    /// Tells it on standard error: one line, and the causes if `verbose`.
    pub fn report(&self, verbose: bool) {
        if matches!(self, Self::OutputClosed) {
            return;
        }
        eprintln!("sceau: {self}");
        if !verbose {
            return;
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            eprintln!("  caused by: {error}");
            cause = error.source();
        }
    }
}

/// What an error says, for a sentence to go on with.
pub fn without_stop(error: &impl ToString) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

/// Errors of writing to standard output.
impl From<io::Error> for CliError {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Io { context: "writing the output".into(), source },
        }
    }
}
