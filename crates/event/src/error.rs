//! What can go wrong, in words that say what to do.

use crate::{MAX_DEPTH, MAX_ENTRY};

/// Why an event was refused. Offsets are in bytes from the event's first byte, as it was received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// There is nothing but white space.
    #[error("the event is empty: send one JSON object or one line of text")]
    Empty,
    /// The JSON value is not an object.
    #[error("an event must be a JSON object, starting with '{{': wrap other values, as in {{\"message\": …}}")]
    NotAnObject,
    /// The bytes are not JSON (RFC 8259).
    #[error("not valid JSON at byte {offset}: expected {why}")]
    Json {
        /// Where the fault is.
        offset: usize,
        /// What was expected there.
        why: &'static str,
    },
    /// One object has the same key twice, escapes resolved. Readers of such an object disagree
    /// about its meaning (RFC 8259, section 4), so it can't be evidence of anything.
    #[error("the key {key:?} at byte {offset} is there twice in one object: rename or remove one")]
    DuplicateKey {
        /// The key, at most its first 64 characters.
        key: String,
        /// Where its second occurrence starts.
        offset: usize,
    },
    /// Objects and arrays are nested more than [`MAX_DEPTH`] deep.
    #[error("nested deeper than {MAX_DEPTH} levels at byte {offset}: flatten the event")]
    TooDeep {
        /// Where the level too many opens.
        offset: usize,
    },
    /// A JSON event is not UTF-8.
    #[error("not valid UTF-8 at byte {offset}: JSON is sent in UTF-8 (RFC 8259, section 8.1)")]
    InvalidUtf8 {
        /// The first byte that is wrong.
        offset: usize,
    },
    /// The entry would be larger than [`MAX_ENTRY`].
    #[error("the entry would have {size} bytes, {limit} are possible: shorten or split the event")]
    TooLarge {
        /// Bytes of the entry, envelope included (for a line, escapes included).
        size: usize,
        /// The limit, [`MAX_ENTRY`].
        limit: usize,
    },
}

impl EventError {
    /// A stable word for this kind of error, for programs and for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAnObject => "not_an_object",
            Self::Json { .. } => "invalid_json",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::TooDeep { .. } => "too_deep",
            Self::InvalidUtf8 { .. } => "invalid_utf8",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// The same error in a text that starts `by` bytes earlier.
    pub(crate) fn shifted(mut self, by: usize) -> Self {
        match &mut self {
            Self::Json { offset, .. }
            | Self::DuplicateKey { offset, .. }
            | Self::TooDeep { offset }
            | Self::InvalidUtf8 { offset } => *offset += by,
            Self::Empty | Self::NotAnObject | Self::TooLarge { .. } => {}
        }
        self
    }

    pub(crate) fn too_large(size: usize) -> Self {
        Self::TooLarge { size, limit: MAX_ENTRY }
    }
}

/// Why stored bytes are not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The envelope is not the one of format version 1.
    #[error("not an entry of format 1 at byte {offset}: {why}")]
    Envelope {
        /// Where it differs, from the entry's first byte.
        offset: usize,
        /// What was expected there.
        why: &'static str,
    },
    /// A newer version wrote it.
    #[error("an entry of format {found}, this version reads up to 1; use a newer sceau")]
    Newer {
        /// Its format.
        found: String,
    },
    /// The envelope is right, the event in it is not.
    #[error("the entry's data is not an event: {0}")]
    Data(#[from] EventError),
}

/// A parser file can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {reason}", rule.map(|n| format!(", rule {n}")).unwrap_or_default())]
pub struct ParserError {
    /// The file's name, as given.
    pub file: String,
    /// The rule that is wrong, counted from 1, if it is one rule.
    pub rule: Option<usize>,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// A source's name can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a source name: use 1 to 64 of the characters a-z 0-9 . _ -")]
pub struct SourceError(pub String);

/// A part of [`crate::Meta`] can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// The zone is unknown.
    #[error("{0:?} is not a time zone: use an IANA name such as Europe/Paris, or an offset such as +01:00")]
    Zone(String),
    /// A text is longer than is sensible in every entry.
    #[error("meta.{key} has {size} bytes, at most 255 are possible")]
    TooLong {
        /// Which member of `meta`.
        key: &'static str,
        /// Its bytes.
        size: usize,
    },
}

/// A text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: use 2026-11-22T08:00:00Z, 2026-11-22, seconds since 1970, now, or now-15m (s m h d w)")]
pub struct TimeError(pub String);
