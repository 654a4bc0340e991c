//! One query model for every backend: a time range, a filter tree, an order and a page.

mod cursor;
mod filter;
mod network;
pub mod number;
mod parse;
pub(crate) mod value;
pub mod words;

use std::net::IpAddr;

use sceau_event::Field;

pub use cursor::CursorError;
pub use parse::{MAX_CONDITIONS, MAX_DEPTH, MAX_TEXT, MAX_WORDS, QueryError, parse};

/// Which entries: those whose event time lies in `[from, to)` and which the filter accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Earliest event time, microseconds since the epoch, inclusive.
    pub from: Option<i64>,
    /// Latest event time, exclusive.
    pub to: Option<i64>,
    /// What must hold of the record.
    pub filter: Filter,
    /// Whether the product's own sources (`sceau.…`) are searched too. A filter that names `source:sceau.…` asks for
    /// them as well; [`parse`]'s callers set this from [`Filter::names_internal`].
    pub internal: bool,
}

/// A tree of conditions on one record.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Accepts everything.
    All,
    /// All of them hold; of none: true.
    And(Vec<Filter>),
    /// At least one holds; of none: false.
    Or(Vec<Filter>),
    /// Does not hold. A record without the field does not satisfy a condition on it, so it satisfies its negation.
    Not(Box<Filter>),
    /// A condition on one field; for [`Field::Other`] it holds if any of the field's values satisfies it.
    Is(Field, Test),
    /// The words occur, next to each other and in this order, in `message` or any other text of the record.
    Text(words::Phrase),
}

/// A condition on one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The field is there.
    Exists,
    /// Equal, exactly (upper and lower case differ; numbers are compared as numbers on number and time fields).
    Equals(String),
    /// Matches a pattern of literal pieces: `log*in` is `["log", "in"]`, `*x` is `["", "x"]`. Case matters.
    Wildcard(Vec<String>),
    /// The words occur in the value, as for [`Filter::Text`]; used for `message:"…"`.
    Words(words::Phrase),
    /// Within bounds. Numbers where both bounds are numbers (text that is not a number never matches), else by text.
    Range {
        /// Lower bound.
        low: Bound,
        /// Upper bound.
        high: Bound,
    },
    /// An address in this network.
    Cidr(Network),
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// Open.
    Unbounded,
    /// The bound belongs to the range.
    Inclusive(String),
    /// The bound does not.
    Exclusive(String),
}

/// An IP network in CIDR notation (RFC 4632, RFC 4291). IPv4 and IPv6 never match each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's address with the host bits cleared.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest event first; among equal times the greater index first.
    #[default]
    Newest,
    /// Oldest first; among equal times the lesser index first.
    Oldest,
}

/// Which part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The order of hits.
    pub order: Order,
    /// At most so many, 1 to [`Page::MAX`].
    pub limit: usize,
    /// Continue behind this hit.
    pub after: Option<Cursor>,
}

impl Page {
    /// The greatest page.
    pub const MAX: usize = 10_000;
}

/// A place in an ordered answer: the hit that was last given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The hit's event time, microseconds since the epoch.
    pub time: i64,
    /// The hit's index.
    pub index: u64,
}
