//! A record as rsigma sees it, through the mapping of a log source.

use super::clock::Clock;
use super::names::{Fast, Place, slot};
use rsigma_eval::{Event, EventValue};
use sceau_event::{Field, Record};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Where the fields of the rules of one log source are, by the name that the rules use.
pub(super) type Table = HashMap<String, Vec<Place>, Fast>;

/// A record, and what was found out about it once for all log sources.
#[derive(Clone, Copy)]
pub(super) struct Seen<'v, 'a> {
    pub record: &'v Record<'a>,
    pub present: &'v [(u32, u32)],
    pub clock: &'v Clock,
}

impl<'v> Seen<'v, '_> {
    fn values(&self, number: u32) -> impl ExactSizeIterator<Item = &'v str> + use<'v> {
        let record = self.record;
        slot(self.present, number)
            .iter()
            .map(move |(_, at)| record.fields.get(*at as usize).map_or("", |(_, v)| v.as_ref()))
    }

    /// Whether a value of the first place that has one is as `wanted` says; `None` if no place has one.
    pub fn first(&self, places: &[Place], mut wanted: impl FnMut(&str) -> bool) -> Option<bool> {
        for place in places {
            if let Place::Other(_, number) = place {
                let mut values = self.values(*number);
                if values.len() > 0 {
                    return Some(values.any(wanted));
                }
                continue;
            }
            let mut there = false;
            let found = place.any(self.record, self.clock, |value| {
                there = true;
                wanted(&value)
            });
            if there {
                return Some(found);
            }
        }
        None
    }

    /// What is in the first place that has something.
    pub fn value(&self, places: &[Place]) -> Option<EventValue<'v>> {
        places.iter().find_map(|place| self.value_at(place))
    }

    fn value_at(&self, place: &Place) -> Option<EventValue<'v>> {
        let record = self.record;
        match place {
            Place::Column(Field::Keyword(keyword)) => {
                record.keyword(*keyword).map(|v| EventValue::Str(Cow::Borrowed(v)))
            }
            Place::Column(Field::Number(number)) => record.number(*number).map(EventValue::Int),
            Place::Column(Field::Source) => Some(EventValue::Str(Cow::Borrowed(&record.source))),
            Place::Column(Field::Time) => Some(EventValue::Str(Cow::Owned(record.time.to_string()))),
            Place::Column(Field::Received) => Some(EventValue::Str(Cow::Owned(record.received.to_string()))),
            Place::Column(Field::Other(_)) => None,
            Place::Other(_, number) => {
                let mut values = self.values(*number).map(|value| EventValue::Str(Cow::Borrowed(value)));
                match values.len() {
                    0 | 1 => values.next(),
                    _ => Some(EventValue::Array(values.collect())),
                }
            }
            Place::Hour => Some(EventValue::Int(self.clock.hour(record.time))),
            Place::Weekday => Some(EventValue::Str(Cow::Borrowed(self.clock.weekday(record.time)))),
            Place::Url(piece) => piece.in_record(record).map(|value| EventValue::Str(Cow::Borrowed(value))),
        }
    }
}

/// What rsigma asks.
pub(super) struct View<'v, 'a> {
    pub seen: Seen<'v, 'a>,
    pub table: &'v Table,
}

impl Event for View<'_, '_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        self.seen.value(self.table.get(path)?)
    }

    fn any_string_value(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        let record = self.seen.record;
        let columns = record.keywords.iter().flatten();
        // The message comes last of the columns, but is the likeliest.
        columns.rev().any(|value| wanted(value)) || record.fields.iter().any(|(_, value)| wanted(value))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        let record = self.seen.record;
        let columns = record.keywords.iter().flatten();
        columns.chain(record.fields.iter().map(|(_, value)| value)).map(|v| Cow::Borrowed(v.as_ref())).collect()
    }

    fn visit_string_values(&self, visit: &mut dyn FnMut(&str)) {
        let record = self.seen.record;
        record.keywords.iter().flatten().for_each(|value| visit(value));
        record.fields.iter().for_each(|(_, value)| visit(value));
    }

    /// Only for match details, which are switched off.
    fn to_json(&self) -> Value {
        Value::Null
    }
}
