//! Puts values into a record's columns.

use crate::address;
use crate::envelope::Context;
use crate::field::{Keyword, Number, Target};
use crate::outcome;
use crate::record::Record;
use crate::time::{Micros, parse_time};
use crate::zone::Zone;
use crate::{FIELD_BYTES_BASE, FIELD_BYTES_FACTOR, MAX_COUNT, MAX_FIELDS};
use std::borrow::Cow;

/// A record being made. The first value given for a column wins; others stay in `fields` under
/// the name they came with.
pub(crate) struct Builder<'a, 'z> {
    pub record: Record<'a>,
    zone: &'z Zone,
    timed: bool,
    /// The first time that could not be read: its name and text.
    bad_time: Option<(Cow<'a, str>, Cow<'a, str>)>,
    fields_cut: bool,
    /// Bytes that names and values of further fields may have.
    room: usize,
}

impl<'a, 'z> Builder<'a, 'z> {
    /// For an event of `size` bytes.
    #[inline]
    pub fn new(context: &'z Context, size: usize) -> Self {
        Self {
            record: Record::new(context.received, Cow::Borrowed("")),
            zone: &context.zone,
            timed: false,
            bad_time: None,
            fields_cut: false,
            room: FIELD_BYTES_BASE + FIELD_BYTES_FACTOR * size,
        }
    }

    pub fn zone(&self) -> &'z Zone {
        self.zone
    }

    /// Places a value where `target` says, or else under its own name.
    #[inline]
    pub fn place(&mut self, target: Option<Target>, name: Cow<'a, str>, value: Cow<'a, str>) {
        match target {
            // The envelope's own members have these names; what a client says must not stand beside them.
            None if matches!(&*name, "source" | "received" | "sceau.source" | "event.ingested") => {
                self.spare(name, value)
            }
            None => self.other(name, value),
            Some(Target::Time) => self.time(name, value),
            Some(Target::Ip) => self.ip(name, value),
            Some(Target::Outcome) => self.outcome(name, value),
            Some(Target::Status) => self.status(name, value),
            Some(Target::Keyword(keyword)) => self.keyword(keyword, name, value),
            Some(Target::Number(number)) => self.number(number, name, value),
        }
    }

    #[inline]
    pub fn other(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let size = name.len() + value.len();
        if self.fields_cut || self.record.fields.len() >= MAX_FIELDS || size > self.room {
            self.fields_cut = true;
            return;
        }
        self.room -= size;
        self.record.fields.push((name, value));
    }

    /// Whether no further field is kept; columns still are.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.fields_cut
    }

    /// Bytes that names and values of further fields may have.
    pub fn room(&self) -> usize {
        self.room
    }

    pub fn tag(&mut self, tag: &'static str) {
        self.record.fields.push((Cow::Borrowed("tags"), Cow::Borrowed(tag)));
    }

    #[inline]
    pub fn is_free(&self, keyword: Keyword) -> bool {
        self.record.keywords[keyword as usize].is_none()
    }

    /// Sets a column unless it is set.
    #[inline]
    pub fn set(&mut self, keyword: Keyword, value: Cow<'a, str>) {
        self.record.keywords[keyword as usize].get_or_insert(value);
    }

    #[inline]
    pub fn set_number(&mut self, number: Number, value: i64) {
        self.record.numbers[number as usize].get_or_insert(value);
    }

    /// Sets the event's time unless it is set.
    pub fn set_time(&mut self, time: Micros) {
        if !self.timed {
            self.timed = true;
            self.record.time = time;
        }
    }

    /// Keeps a value whose own name leads to a column that holds another one, or that it does not fit: under a name by
    /// which a search can still find it.
    fn spare(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        self.other(Cow::Owned(format!("data.{name}")), value);
    }

    #[inline]
    fn keyword(&mut self, keyword: Keyword, name: Cow<'a, str>, value: Cow<'a, str>) {
        let column = &mut self.record.keywords[keyword as usize];
        if column.is_none() {
            *column = Some(value);
        } else {
            self.spare(name, value);
        }
    }

    #[inline]
    fn number(&mut self, number: Number, name: Cow<'a, str>, value: Cow<'a, str>) {
        // A count beyond belief would drown all others in every sum; it stays a field like any other.
        let fits = |found: &i64| number != Number::EventCount || (1..=MAX_COUNT).contains(found);
        match integer(&value).filter(fits) {
            Some(found) if self.record.numbers[number as usize].is_none() => {
                self.record.numbers[number as usize] = Some(found);
            }
            _ => self.spare(name, value),
        }
    }

    fn ip(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let found = match &value {
            Cow::Borrowed(text) => address::parse(text),
            Cow::Owned(text) => address::parse(text).map(|(ip, port)| (Cow::Owned(ip.into_owned()), port)),
        };
        match found {
            None => self.other(Cow::Borrowed("source.address"), value),
            Some((ip, port)) if self.is_free(Keyword::SourceIp) => {
                self.record.keywords[Keyword::SourceIp as usize] = Some(ip);
                if let Some(port) = port {
                    self.set_number(Number::SourcePort, port.into());
                }
            }
            Some(_) => self.spare(name, value),
        }
    }

    fn outcome(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match outcome::outcome(&value) {
            Some(found) if self.is_free(Keyword::EventOutcome) => {
                self.set(Keyword::EventOutcome, Cow::Borrowed(found));
            }
            _ => self.spare(name, value),
        }
    }

    fn status(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match integer(&value) {
            Some(code @ 100..600) if self.record.number(Number::StatusCode).is_none() => {
                self.record.numbers[Number::StatusCode as usize] = Some(code);
            }
            // A word that is no outcome keeps its name: the search bar looks for it there.
            None if outcome::outcome(&value).is_some() => self.outcome(name, value),
            _ => self.other(name, value),
        }
    }

    fn time(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if self.timed {
            return self.spare(name, value);
        }
        match parse_time(&value, self.zone, self.record.received) {
            Some(time) => self.set_time(time),
            None => self.bad_time(name, value),
        }
    }

    /// Keeps a time that could not be read.
    pub fn bad_time(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if self.timed || self.bad_time.is_some() {
            self.spare(name, value);
        } else {
            self.bad_time = Some((name, value));
        }
    }

    /// The record, with what follows from the whole of it.
    #[inline]
    pub fn finish(mut self, context: &Context) -> Record<'a> {
        if let Some((name, value)) = self.bad_time.take() {
            if self.timed {
                // Another key told a good time; the bad one is still a value like any other.
                self.spare(name, value);
            } else {
                self.record.fields.push((Cow::Borrowed("event.time_raw"), value));
                self.tag("time_invalid");
            }
        }
        if self.is_free(Keyword::EventOutcome)
            && let Some(found) = self.record.number(Number::StatusCode).and_then(outcome::of_status)
        {
            self.set(Keyword::EventOutcome, Cow::Borrowed(found));
        }
        let tags = [(self.fields_cut, "fields_cut"), (context.cut, "cut"), (!context.zone_known, "zone_unknown")];
        for (_, tag) in tags.into_iter().filter(|(there, _)| *there) {
            self.tag(tag);
        }
        self.record
    }
}

/// A whole number that fits, written in the usual way.
#[inline]
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || digits.len() > 19 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
