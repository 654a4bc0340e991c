//! What can't be worked with at all. What is wrong with one rule is a [`crate::Refusal`] instead.

use thiserror::Error;

/// Settings that make no sense, whatever the rules.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetectError {
    /// [`crate::Settings::zone`] is no time zone.
    #[error("{0:?} is no time zone: give UTC or a name such as Europe/Paris")]
    Zone(String),
    /// [`crate::Settings::lateness`] is negative or more than a day.
    #[error("a lateness of {0} microseconds: give 0 to 86400000000 (a day)")]
    Lateness(i64),
    /// An exception that would hide everything.
    #[error("exception {0:?} names no fields: it would hide everything")]
    EmptyException(String),
    /// A list that is too long.
    #[error("list {name:?} has {count} values: at most {most}")]
    LongList {
        /// The list.
        name: String,
        /// How many it has.
        count: usize,
        /// How many it may have.
        most: usize,
    },
    /// More rules than can be worked with.
    #[error("{0} rule documents: at most {1}")]
    TooManyRules(usize, usize),
    /// An override that makes no sense.
    #[error("override of rule {0:?}: the threshold must be at least 1")]
    ZeroThreshold(String),
}
