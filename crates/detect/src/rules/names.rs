//! Where the values of a name are in a record.

use super::clock::Clock;
use sceau_event::{Field, Keyword, Record, field};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// One place to look for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A column.
    Column(Field),
    /// A pair of `Record::fields`; the number is the name's in [`Slots`].
    Other(String, u32),
    /// The hour of the record's time.
    Hour,
    /// The day of the week of the record's time.
    Weekday,
    /// A piece of `url.original`.
    Url(Piece),
}

/// A piece of a URL or of the target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What is after the first `?`, without a fragment.
    Query,
    /// What is before it, without scheme and host.
    Path,
    /// What is after the last dot of the path's last part.
    Extension,
}

impl Piece {
    pub fn of(self, url: &str) -> Option<&str> {
        let url = url.split('#').next().unwrap_or(url);
        let (before, query) = url.split_once('?').map_or((url, None), |(before, query)| (before, Some(query)));
        let path = match before.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => before,
        };
        match self {
            Self::Query => query,
            Self::Path => Some(path),
            Self::Extension => path.rsplit('/').next()?.rsplit_once('.').map(|(_, extension)| extension),
        }
    }

    pub fn in_record<'r>(self, record: &'r Record<'_>) -> Option<&'r str> {
        self.of(record.keyword(Keyword::Url)?)
    }
}

impl Place {
    /// What a name of a record means: an ECS name, an alias, or a flattened name.
    pub fn of(name: &str, slots: &mut Slots) -> Self {
        match (name, field(name)) {
            ("sceau.hour", _) => Self::Hour,
            ("sceau.weekday", _) => Self::Weekday,
            ("sceau.url_query", _) => Self::Url(Piece::Query),
            ("sceau.url_path", _) => Self::Url(Piece::Path),
            ("sceau.url_extension", _) => Self::Url(Piece::Extension),
            (_, Field::Other(name)) => slots.other(name),
            (_, column) => Self::Column(column),
        }
    }

    /// Where a name that no mapping tells anything of may be, in the order in which to look.
    pub fn unmapped(name: &str, slots: &mut Slots) -> Vec<Self> {
        let column = match Self::of(name, slots) {
            other @ Self::Other(..) => return vec![other],
            derived @ (Self::Hour | Self::Weekday | Self::Url(_)) => return vec![derived],
            Self::Column(column) => column,
        };
        // What an event itself calls by a name that the envelope uses, or that leads to a column which was taken, is
        // kept with `data.` before it.
        let mut places = vec![slots.other(format!("data.{name}")), slots.other(name.to_owned())];
        match &column {
            Field::Source | Field::Received if !name.contains('.') => return places,
            Field::Keyword(keyword) if keyword.name() == name => places.clear(),
            Field::Number(number) if number.name() == name => places.clear(),
            _ => {}
        }
        let is_address = column == Field::Keyword(Keyword::SourceIp);
        places.push(Self::Column(column));
        if is_address {
            places.push(slots.other("source.address".to_owned()));
        }
        places
    }

    /// Gives each value in order to `found` until that says true; says whether it did.
    pub fn any<'r>(&self, record: &'r Record<'_>, clock: &Clock, mut found: impl FnMut(Cow<'r, str>) -> bool) -> bool {
        match self {
            Self::Column(Field::Keyword(keyword)) => record.keyword(*keyword).is_some_and(|v| found(Cow::Borrowed(v))),
            Self::Column(Field::Number(number)) => {
                record.number(*number).is_some_and(|n| found(Cow::Owned(n.to_string())))
            }
            Self::Column(Field::Source) => found(Cow::Borrowed(&record.source)),
            Self::Column(Field::Time) => found(Cow::Owned(record.time.to_string())),
            Self::Column(Field::Received) => found(Cow::Owned(record.received.to_string())),
            Self::Column(Field::Other(_)) => false,
            Self::Other(name, _) => {
                let mut values = record.fields.iter().filter(|(key, _)| key == name);
                values.any(|(_, value)| found(Cow::Borrowed(value)))
            }
            Self::Hour => found(Cow::Borrowed(clock.hour_text(record.time))),
            Self::Weekday => found(Cow::Borrowed(clock.weekday(record.time))),
            Self::Url(piece) => piece.in_record(record).is_some_and(|value| found(Cow::Borrowed(value))),
        }
    }
}

/// The first place of some that has a value, and its values.
pub(super) fn values<'r>(places: &[Place], record: &'r Record<'_>, clock: &Clock) -> Vec<Cow<'r, str>> {
    let mut found = Vec::new();
    for place in places {
        place.any(record, clock, |value| {
            found.push(value);
            false
        });
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The flattened names that any rule or mapping asks for, numbered.
#[derive(Debug, Default)]
pub(super) struct Slots {
    numbers: HashMap<String, u32, Fast>,
}

impl Slots {
    pub fn other(&mut self, name: String) -> Place {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        Place::Other(name, number)
    }

    /// Where a record has which of the names: (name's number, place in `Record::fields`), sorted. One look at each pair,
    /// however many log sources and rules there are.
    pub fn present(&self, record: &Record<'_>) -> Vec<(u32, u32)> {
        let pairs = record.fields.iter().zip(0_u32..);
        let mut present: Vec<_> =
            pairs.filter_map(|((name, _), at)| self.numbers.get(name.as_ref()).map(|number| (*number, at))).collect();
        present.sort_unstable();
        present
    }
}

/// The places of one name in [`Slots::present`].
pub(super) fn slot(present: &[(u32, u32)], number: u32) -> &[(u32, u32)] {
    let start = present.partition_point(|(found, _)| *found < number);
    let length = present[start..].iter().take_while(|(found, _)| *found == number).count();
    &present[start..start + length]
}

pub(super) type Fast = BuildHasherDefault<Fnv>;

/// FNV-1a over eight bytes at a time: names are short, all keys are our own, and nothing depends on the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.add(word.try_into().map_or(0, u64::from_le_bytes));
        }
        let mut last = [0; 8];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(byte.into());
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_urls() {
        for (url, query, path, extension) in [
            ("/a/b.php?x=1&y=/c.d#e", Some("x=1&y=/c.d"), "/a/b.php", Some("php")),
            ("https://example.org/x.tar.gz", None, "/x.tar.gz", Some("gz")),
            ("http://example.org?q", Some("q"), "", None),
            ("/a.b/c", None, "/a.b/c", None),
        ] {
            let piece = |piece: Piece| piece.of(url);
            assert_eq!(
                (piece(Piece::Query), piece(Piece::Path), piece(Piece::Extension)),
                (query, Some(path), extension)
            );
        }
    }
}
