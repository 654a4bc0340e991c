//! What the tests share.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../cli/tests/common/shared.rs"]
mod shared;

use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};
#[allow(unused_imports)]
pub use shared::shared;

pub fn framer(received: &str) -> Framer {
    framer_with(received, &Meta::default())
}

pub fn framer_with(received: &str, meta: &Meta) -> Framer {
    meta.check().unwrap();
    Framer::new(received.parse::<Micros>().unwrap(), &SourceId::parse("app").unwrap(), meta)
}

/// The record of a JSON event, checked to be the one of its entry.
pub fn json(event: &str) -> Record<'static> {
    json_with(event, &Meta::default())
}

pub fn json_with(event: &str, meta: &Meta) -> Record<'static> {
    let deriver = Deriver::builtin();
    let mut out = Vec::new();
    let record = deriver.push_json(&framer_with("2026-11-22T08:00:00Z", meta), event.as_bytes(), &mut out);
    let record = record.unwrap().into_owned();
    assert_eq!(deriver.derive(&out).unwrap(), record);
    record
}

/// The record of a line, checked to be the one of its entry.
pub fn line(line: &str) -> Record<'static> {
    line_with(line, "2026-11-22T08:00:00Z", &Meta::default())
}

pub fn line_with(line: &str, received: &str, meta: &Meta) -> Record<'static> {
    line_bytes(line.as_bytes(), received, meta)
}

pub fn line_bytes(line: &[u8], received: &str, meta: &Meta) -> Record<'static> {
    let deriver = Deriver::builtin();
    let mut out = Vec::new();
    let record = deriver.push_line(&framer_with(received, meta), line, &mut out).unwrap().into_owned();
    assert!(!out.contains(&b'\n'));
    assert_eq!(deriver.derive(&out).unwrap(), record);
    record
}

/// A field's first value as text.
pub fn get(record: &Record<'_>, name: &str) -> Option<String> {
    record.get(&sceau_event::field(name)).map(std::borrow::Cow::into_owned)
}
