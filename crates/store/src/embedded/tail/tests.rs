#![allow(clippy::unwrap_used)]

use sceau_event::{Framer, Meta, Micros, SourceId};

use super::*;
use crate::embedded::Options;

fn batch(events: &[String]) -> Arc<Batch> {
    let framer = Framer::new(Micros(0), &SourceId::parse("test").unwrap(), &Meta::default());
    let mut builder = BatchBuilder::new(Arc::new(Deriver::builtin()));
    for event in events {
        builder.push_json(&framer, event.as_bytes()).unwrap();
    }
    let weight = builder.weight();
    let batch = builder.finish().unwrap();
    assert_eq!(batch.weight(), weight);
    Arc::new(batch)
}

/// What is counted while a batch is built is what its chunk counts, whole, merged or in part, and a message is in it twice.
#[test]
fn all_text_is_counted_once_as_an_entry_and_once_in_its_record() {
    let long = "a message ".repeat(1_000);
    let events: Vec<String> = (0..40)
        .map(|n| format!("{{\"message\":\"{long}\",\"user\":\"user{n}\",\"ip\":\"10.0.0.{n}\",\"more\":{{\"x\":\"y\",\"n\":{n}}}}}"))
        .collect();
    let (first, second) = (batch(&events[..30]), batch(&events[30..]));
    assert!(first.weight() > 30 * 2 * long.len(), "{}", first.weight());
    // Source, user, address and the names and values of two further fields, of the events from 10 on.
    let each =
        "test".len() + "user10".len() + "10.0.0.10".len() + "more.x".len() + "y".len() + "more.n".len() + "10".len();
    assert_eq!(second.weight(), second.bytes() + 10 * (long.len() + each));

    let mut chunks = Vec::new();
    push(&mut chunks, 0, rows(0, std::slice::from_ref(&first)).unwrap()).unwrap();
    assert_eq!(chunks[0].bytes, first.weight());
    push(&mut chunks, 30, rows(30, std::slice::from_ref(&second)).unwrap()).unwrap();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
    assert_eq!(bytes, first.weight() + second.weight());
    let (merged, _) = chunks.split_first().unwrap();
    let rest = merged.from(20).unwrap();
    assert_eq!(rest.bytes + weight(&merged.rows.slice(0, 20)).unwrap(), merged.bytes);
}

/// Else a tail that is full would hold no whole bundle, nothing would make room, and every commit were refused for ever.
#[test]
fn a_bundle_of_the_heaviest_entries_is_due_for_a_segment() {
    let long = "x".repeat(15_000);
    let name = "n".repeat(240);
    let values: Vec<String> = (0..990).map(|n| format!("\"{n}\":\"{n}\"")).collect();
    let fields = format!("{{\"message\":\"{long}\",\"{name}\":{{{}}}}}", values.join(","));
    let message = format!("{{\"message\":\"{}\"}}", "x".repeat(65_000));
    let heaviest = [fields, message].map(|event| batch(&[event]).weight()).into_iter().max().unwrap();
    assert!(heaviest > 3 * 65_000 / 2, "{heaviest}");
    // An entry's bytes, all of them once more in columns, and further fields up to their limit.
    let limit = 65_535 + 65_535 + 4 * 65_535 + sceau_event::FIELD_BYTES_BASE;
    assert!(heaviest <= limit);
    let options = Options::default();
    assert!(256 * limit < options.segment_bytes && options.segment_bytes < options.tail_bytes);
}
