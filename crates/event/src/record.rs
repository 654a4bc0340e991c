//! The record: what Sceau understands of an entry.

use crate::field::{Field, Keyword, Number};
use crate::time::Micros;
use std::borrow::Cow;

/// An entry parsed and normalised. Texts borrow from the entry's bytes where they can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The event's own time; [`Self::received`] if it tells none or a wrong one.
    pub time: Micros,
    /// When the server received it.
    pub received: Micros,
    /// Who sent it.
    pub source: Cow<'a, str>,
    /// The text columns, by [`Keyword`].
    pub keywords: [Option<Cow<'a, str>>; Keyword::COUNT],
    /// The number columns, by [`Number`].
    pub numbers: [Option<i64>; Number::COUNT],
    /// Everything else, in the event's order: nested names joined with dots, one pair per element
    /// of an array, numbers with their exact digits. A name may be there several times.
    pub fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Record<'a> {
    /// A record of which nothing is known but who sent it and when.
    #[must_use]
    #[inline]
    pub fn new(received: Micros, source: Cow<'a, str>) -> Self {
        Self {
            time: received,
            received,
            source,
            keywords: [const { None }; Keyword::COUNT],
            numbers: [None; Number::COUNT],
            fields: Vec::new(),
        }
    }

    /// A text column.
    #[must_use]
    pub fn keyword(&self, keyword: Keyword) -> Option<&str> {
        self.keywords[keyword as usize].as_deref()
    }

    /// A number column.
    #[must_use]
    pub fn number(&self, number: Number) -> Option<i64> {
        self.numbers[number as usize]
    }

    /// The values of a name in [`Self::fields`], in order.
    pub fn others<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The first value of a field as text; times in RFC 3339.
    #[must_use]
    pub fn get<'r>(&'r self, field: &'r Field) -> Option<Cow<'r, str>> {
        match field {
            Field::Time => Some(Cow::Owned(self.time.to_string())),
            Field::Received => Some(Cow::Owned(self.received.to_string())),
            Field::Source => Some(Cow::Borrowed(&self.source)),
            Field::Keyword(keyword) => self.keyword(*keyword).map(Cow::Borrowed),
            Field::Number(number) => self.number(*number).map(|n| Cow::Owned(n.to_string())),
            Field::Other(name) => self.others(name).next().map(Cow::Borrowed),
        }
    }

    /// How many events the record stands for: `event.count`, at least 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.number(Number::EventCount).and_then(|n| u64::try_from(n).ok()).map_or(1, |n| n.max(1))
    }

    /// Does it carry this tag (`time_invalid`, `unparsed`, `fields_cut`, …)?
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.others("tags").any(|value| value == tag)
    }

    /// The same record without borrows.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        self.map(|text| Cow::Owned(text.into_owned()))
    }

    /// The record with each text replaced by what `change` makes of it.
    pub(crate) fn map<'b>(self, mut change: impl FnMut(Cow<'a, str>) -> Cow<'b, str>) -> Record<'b> {
        Record {
            time: self.time,
            received: self.received,
            source: change(self.source),
            keywords: self.keywords.map(|text| text.map(&mut change)),
            numbers: self.numbers,
            fields: self.fields.into_iter().map(|(name, value)| (change(name), change(value))).collect(),
        }
    }
}
