//! The names of collections, views and fields. They are read by people and by their programs, so they never change.

use sceau_event::{Keyword, Number};

/// One document an entry.
pub const LOGS: &str = "logs";
/// The one document that every transaction updates.
pub const HEAD: &str = "sceau_head";
/// Who may write, and until when.
pub const LEASE: &str = "sceau_lease";
/// Small documents with compare-and-set.
pub const STATE: &str = "sceau_state";
/// Hashes of complete subtrees, from level 1 up.
pub const TILES: &str = "sceau_tiles";
/// Authentication codes of bundles.
pub const MACS: &str = "sceau_macs";
/// Signed checkpoints by size.
pub const CHECKPOINTS: &str = "sceau_checkpoints";
/// Seals by epoch.
pub const SEALS: &str = "sceau_seals";
/// What is fixed at `init`.
pub const FACTS: &str = "sceau_facts";
/// Leaf hashes of entries that retention deleted, one document a bundle.
pub const LEAVES: &str = "sceau_leaves";
/// All collections.
pub const COLLECTIONS: [&str; 10] = [LOGS, HEAD, LEASE, STATE, TILES, MACS, CHECKPOINTS, SEALS, FACTS, LEAVES];

/// View: five or more failures from one address within ten minutes.
pub const FAILED_LOGINS: &str = "failed_logins_10min";
/// View: what happened from 00:00 to 04:59 UTC.
pub const UNUSUAL_HOURS: &str = "unusual_hours";

/// The index of an entry, an Int64; the key of most other documents too.
pub const ID: &str = "_id";
/// Event time as ISO 8601 text with microseconds.
pub const TIMESTAMP: &str = "timestamp";
/// Event time as a date, cut to the millisecond.
pub const TIME: &str = "time";
/// Receive time as a date, cut to the millisecond.
pub const RECEIVED: &str = "received";
/// Source id.
pub const SOURCE: &str = "source";
/// All other fields, a list of pairs [`PAIR_KEY`], [`PAIR_VALUE`].
pub const FIELDS: &str = "fields";
/// Name of a pair.
pub const PAIR_KEY: &str = "k";
/// Value of a pair, always a string.
pub const PAIR_VALUE: &str = "v";
/// The entry's exact bytes: a string.
pub const ENTRY: &str = "entry";
/// Leaf hash of the entry, hexadecimal.
pub const HASH: &str = "hash";
/// HMAC over index and leaf, hexadecimal.
pub const HMAC: &str = "hmac";
/// By which rules the document was made, see `document::version`.
pub const DERIVER: &str = "deriver";
/// Event time, microseconds since the epoch, Int64: what orders and cursors go by.
pub const TIME_MICROS: &str = "time_micros";
/// Receive time, microseconds since the epoch, Int64.
pub const RECEIVED_MICROS: &str = "received_micros";
/// What searches need and people don't, see `document::shadow`.
pub const SHADOW: &str = "shadow";
/// Within [`SHADOW`]: the distinct folded words of all texts, sorted.
pub const WORDS: &str = "w";
/// Within [`SHADOW`]: one string a text, a tag and its folded words.
pub const TEXTS: &str = "t";
/// Within [`SHADOW`]: texts of columns that are numbers, by the column's name (Int64 if whole, else Double).
pub const NUMBERS: &str = "n";
/// Within [`SHADOW`]: texts of columns that are addresses, by the column's name (Binary, see `document::shadow`).
pub const ADDRESSES: &str = "a";
/// Within [`SHADOW`]: those pairs of [`FIELDS`] whose value is a number or an address: `{k, n}`, `{k, a}`.
pub const PAIRS: &str = "f";

/// The field that a text column has in a document.
#[must_use]
pub const fn keyword(keyword: Keyword) -> &'static str {
    match keyword {
        Keyword::SourceIp => "ip",
        Keyword::UserName => "user",
        Keyword::EventAction => "action",
        Keyword::EventOutcome => "status",
        Keyword::EventCategory => "category",
        Keyword::EventDataset => "dataset",
        Keyword::HostName => "host",
        Keyword::ServiceName => "service",
        Keyword::ProcessName => "process",
        Keyword::LogLevel => "level",
        Keyword::HttpMethod => "method",
        Keyword::Url => "url",
        Keyword::UserAgent => "user_agent",
        Keyword::Message => "message",
    }
}

/// The field that a number column has in a document.
#[must_use]
pub const fn number(number: Number) -> &'static str {
    match number {
        Number::SourcePort => "port",
        Number::ProcessPid => "pid",
        Number::StatusCode => "status_code",
        Number::BodyBytes => "bytes",
        Number::EventCount => "count",
    }
}

/// How `status` spells an outcome: the original specification's aggregation asks for `failed`. Whatever else there may be
/// stays as it is; the two words change places, so that nothing is spelled like something else.
#[must_use]
pub fn status_of_outcome(outcome: &str) -> &str {
    match outcome {
        "failure" => "failed",
        "failed" => "failure",
        other => other,
    }
}

/// The outcome that a `status` stands for.
#[must_use]
pub fn outcome_of_status(status: &str) -> &str {
    // An exchange of two words is its own inverse.
    status_of_outcome(status)
}
