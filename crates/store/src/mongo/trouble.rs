//! What the driver's errors mean to the product.

use mongodb::error::{Error, ErrorKind, TRANSIENT_TRANSACTION_ERROR, WriteFailure};

use crate::error::StoreError;

/// The user may not do this.
const UNAUTHORIZED: i32 = 13;
/// A document with this key is there already.
const DUPLICATE_KEY: i32 = 11_000;
/// A document is not what the collection's validator allows.
const INVALID_DOCUMENT: i32 = 121;
/// There is no such command.
const COMMAND_NOT_FOUND: i32 = 59;
/// The collection is there already.
const NAMESPACE_EXISTS: i32 = 48;
/// Another transaction changed the same document first.
const WRITE_CONFLICT: i32 = 112;
/// The transaction is not there any more.
const NO_SUCH_TRANSACTION: i32 = 251;
/// Something that should not happen.
const INTERNAL: i32 = 1;
/// What secantusd-rs, with that code, calls a transaction that is not there any more.
const CLOSED: &str = "transaction already closed";
/// The transaction is too much for the server's cache, or for its log.
const TOO_LARGE: [i32; 2] = [388, 257];
/// No primary, stepping down, shutting down, starting up; or in trouble of its own, such as a full disk.
const AWAY: [i32; 14] = [INTERNAL, 14_031, 6, 7, 89, 91, 134, 189, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435];

/// The server's code for an error, if the server made it.
pub fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => None,
    }
}

/// What to tell of an error.
pub fn text(error: &Error) -> String {
    const MOST: usize = 500;
    let text = match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => format!("{} (code {})", error.message, error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => format!("{} (code {})", error.message, error.code),
        kind => kind.to_string(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The database can't be reached, or has no primary now.
pub fn away(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => true,
        _ => code(error).is_some_and(|code| AWAY.contains(&code)) && !gone(error),
    }
}

/// The transaction did not happen since it holds too much.
pub fn too_large(error: &Error) -> bool {
    code(error).is_some_and(|code| TOO_LARGE.contains(&code))
}

/// The server has given the transaction up.
fn gone(error: &Error) -> bool {
    match code(error) {
        Some(NO_SUCH_TRANSACTION) => true,
        Some(INTERNAL) => error.to_string().contains(CLOSED),
        _ => false,
    }
}

/// The transaction did not happen, and may do better when it is tried again.
pub fn transient(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR) || code(error) == Some(WRITE_CONFLICT) || gone(error)
}

/// The server ended the transaction: it was neither away nor asked to.
pub fn ended(error: &Error) -> bool {
    transient(error) && !away(error)
}

/// A document is in the way, or is no valid one: trying again can't help.
pub fn hopeless(error: &Error) -> bool {
    code(error).is_some_and(|code| [DUPLICATE_KEY, INVALID_DOCUMENT].contains(&code))
        || matches!(
            *error.kind,
            ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) | ErrorKind::BsonSerialization(_)
        )
}

/// A key is taken.
pub fn duplicate(error: &Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}

/// A collection or view is there already.
pub fn exists(error: &Error) -> bool {
    code(error) == Some(NAMESPACE_EXISTS)
}

/// The server is too old for a command.
pub fn unknown(error: &Error) -> bool {
    code(error) == Some(COMMAND_NOT_FOUND)
}

/// The user's roles don't allow it.
pub fn forbidden(error: &Error) -> bool {
    code(error) == Some(UNAUTHORIZED)
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if away(&error) {
            return Self::Unavailable(text(&error));
        }
        if transient(&error) || duplicate(&error) {
            return Self::Conflict(text(&error));
        }
        if forbidden(&error) {
            return Self::Forbidden { what: "this".into(), detail: text(&error) };
        }
        Self::Mongo(text(&error))
    }
}
