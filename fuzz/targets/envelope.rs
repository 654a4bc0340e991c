//! Entries: whatever comes in, writing and reading them agrees, and the JSON scanner agrees with serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_event::{Deriver, EventError, Framer, MAX_ENTRY, Meta, Micros, SourceId, validate_json};
use serde_json::value::RawValue;
use std::sync::LazyLock;

static DERIVER: LazyLock<Deriver> = LazyLock::new(Deriver::builtin);

fuzz_target!(|data: &[u8]| {
    scanner(data);
    // As a stored entry, which somebody may have altered.
    if let Ok(record) = DERIVER.derive(data) {
        assert!(data.len() <= MAX_ENTRY && std::str::from_utf8(data).is_ok());
        assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "an entry is JSON");
        assert_eq!(DERIVER.derive(data), Ok(record), "derived twice, it is the same");
    }
    written(data);
});

/// What one of the two takes, the other takes too, but for what Sceau refuses on purpose.
fn scanner(data: &[u8]) {
    let other = serde_json::from_slice::<&RawValue>(data).is_ok();
    match validate_json(data) {
        Ok(()) => assert!(other, "serde_json refuses it"),
        Err(EventError::DuplicateKey { .. } | EventError::TooDeep { .. } | EventError::TooLarge { .. }) => {}
        Err(error) => assert!(!other, "serde_json takes it, we say {error}"),
    }
}

/// An entry made of an event holds it untouched and derives to the same record as when it was made.
fn written(event: &[u8]) {
    let mut meta = Meta { peer: Some("2001:db8::1".into()), ..Meta::default() };
    if event.len() % 2 == 1 {
        meta.zone = Some("Europe/Paris".into());
        meta.parser = Some("auto".into());
    }
    let Ok(source) = SourceId::parse("fuzz") else { return };
    let framer = Framer::new(Micros(1_795_334_400_123_456), &source, &meta);
    let before = b"what was there".to_vec();
    let mut out = before.clone();
    match DERIVER.push_json(&framer, event, &mut out) {
        Ok(record) => {
            let record = record.into_owned();
            let entry = &out[before.len()..];
            assert_eq!(DERIVER.derive(entry), Ok(record));
            let kept: Vec<u8> = event.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            let kept = kept.trim_ascii();
            assert!(entry.strip_suffix(b"}").is_some_and(|entry| entry.ends_with(kept)), "its tokens were touched");
        }
        Err(_) => assert_eq!(out, before, "a refusal leaves nothing behind"),
    }
    let mut out = before.clone();
    match DERIVER.push_line(&framer, event, &mut out) {
        Ok(record) => {
            let record = record.into_owned();
            let entry = &out[before.len()..];
            assert_eq!(DERIVER.derive(entry), Ok(record));
            let value: serde_json::Value = serde_json::from_slice(entry).expect("an entry is JSON");
            let line = &event[..event.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1)];
            match value["data"].as_str() {
                Some(text) => assert_eq!(text.as_bytes(), line),
                None => assert!(std::str::from_utf8(line).is_err() && value["data_base64"].is_string()),
            }
        }
        Err(error) => {
            assert_eq!(out, before, "a refusal leaves nothing behind");
            let long = matches!(error, EventError::TooLarge { .. });
            let fits = framer.fit_line(event);
            let mut out = Vec::new();
            assert!(!long || DERIVER.push_line(&framer, &event[..fits], &mut out).is_ok(), "cut, it fits");
        }
    }
}
