//! A strict reader of JSON (RFC 8259) that keeps every token as it is.
//!
//! The usual libraries answer "what does it mean"; a sealed log has to answer "what was sent".
//! Numbers keep their digits, duplicate keys are seen, lone surrogates survive, and everything is
//! found in one pass over the bytes that allocates nothing per value.

mod scan;
mod shape;
mod text;

pub(crate) use scan::{Kind, Scan, Token, scan, scan_into};
pub(crate) use shape::Shape;
pub(crate) use text::{Escapes, string_size, unescape_mapped, write_string};

use crate::error::EventError;

/// Checks that the bytes are one JSON value as Sceau accepts it inside an event: RFC 8259, UTF-8,
/// no duplicate keys, at most [`crate::MAX_DEPTH`] levels. Unlike events it need not be an object.
///
/// # Errors
/// What is wrong and where.
pub fn validate_json(bytes: &[u8]) -> Result<(), EventError> {
    check_utf8(bytes)?;
    scan(bytes).map(|_| ())
}

/// The bytes as text.
#[inline]
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<&str, EventError> {
    std::str::from_utf8(bytes).map_err(|e| EventError::InvalidUtf8 { offset: e.valid_up_to() })
}
