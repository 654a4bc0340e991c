//! Events, entries and records: how Sceau seals what it receives and what it understands of it.
//!
//! An *event* is what a client sent: one JSON object or one line of text. An *entry* is the exact
//! bytes that are hashed: an envelope around the event. A *record* is the entry parsed and
//! normalised to ECS names. A record depends on nothing but its entry and the
//! [`Deriver::version`], so it can be thrown away and made again, and anyone can check it.
//!
//! ```
//! use sceau_event::{Deriver, Framer, Keyword, Meta, Micros, SourceId};
//!
//! let deriver = Deriver::builtin();
//! let received: Micros = "2026-11-22T08:00:01Z".parse()?;
//! let framer = Framer::new(received, &SourceId::parse("vpn")?, &Meta::default());
//! let mut out = Vec::new();
//! let record = deriver.push_json(&framer, br#"{"ip":"10.0.3.7","status":"failed"}"#, &mut out)?;
//! assert_eq!(record.keyword(Keyword::SourceIp), Some("10.0.3.7"));
//! assert_eq!(record.keyword(Keyword::EventOutcome), Some("failure"));
//! assert_eq!(deriver.derive(&out)?.time, received);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The crate does no I/O and knows no clock: time is always a parameter.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
mod builder;
mod deriver;
mod envelope;
mod error;
mod field;
mod json;
mod line;
mod meta;
mod normalise;
mod outcome;
mod parser;
mod record;
mod source;
mod time;
mod zone;

pub use address::canonical_ip;
pub use deriver::{Deriver, Memory, Replay};
pub use envelope::Framer;
pub use error::{EntryError, EventError, MetaError, ParserError, SourceError, TimeError};
pub use field::{Field, Keyword, Number, field};
pub use json::validate_json;
pub use meta::Meta;
pub use outcome::outcome;
pub use record::Record;
pub use source::SourceId;
pub use time::{Micros, parse_query_time, parse_time};
pub use zone::Zone;

/// The most bytes an entry can have, envelope included. Entry bundles of C2SP tlog-tiles give each
/// entry's length in 16 bits.
pub const MAX_ENTRY: usize = 65_535;

/// The most events that one entry can stand for (`event.count`); a greater number is not believed.
pub const MAX_COUNT: i64 = 1_000_000;

/// The deepest nesting of objects and arrays in an event, the event's own object being 1.
pub const MAX_DEPTH: usize = 64;

/// The most flattened pairs kept in [`Record::fields`]. More are sealed all the same; the record
/// then has the pair `("tags", "fields_cut")`.
pub const MAX_FIELDS: usize = 1_000;

/// The most bytes that names and values in [`Record::fields`] have together: this, and
/// [`FIELD_BYTES_FACTOR`] for each byte of the event. A name holds those of all objects around it,
/// so without a limit one event of 64 KB could become a record of 30 MB. Beyond it, as beyond
/// [`MAX_FIELDS`].
pub const FIELD_BYTES_BASE: usize = 8 << 10;

/// See [`FIELD_BYTES_BASE`].
pub const FIELD_BYTES_FACTOR: usize = 4;
