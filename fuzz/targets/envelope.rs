//! Entries: whatever comes in, writing and reading them agrees, and the JSON scanner agrees with serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_event::{Deriver, EventError, Framer, MAX_ENTRY, Memory, Meta, Micros, SourceId, validate_json};
use serde_json::value::RawValue;
use std::sync::LazyLock;

static DERIVER: LazyLock<Deriver> = LazyLock::new(Deriver::builtin);
const RECEIVED: i64 = 1_795_334_400_123_456;
/// Stands between several events or entries in one input: no UTF-8 has it.
const BETWEEN: u8 = 0xff;

fuzz_target!(|data: &[u8]| {
    scanner(data);
    // As a stored entry, which somebody may have altered.
    if let Ok(record) = DERIVER.derive(data) {
        assert!(data.len() <= MAX_ENTRY && std::str::from_utf8(data).is_ok());
        assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "an entry is JSON");
        assert_eq!(DERIVER.derive(data), Ok(record), "derived twice, it is the same");
    }
    written(data);
    neighbours(data);
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
    let framer = Framer::new(Micros(RECEIVED), &source, &meta);
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

/// What came before changes nothing: every event is sealed, and every entry read, as it is alone.
fn neighbours(data: &[u8]) {
    let Ok(source) = SourceId::parse("fuzz") else { return };
    let zoned = Meta { zone: Some("Europe/Paris".into()), parser: Some("auto".into()), ..Meta::default() };
    let metas = [Meta::default(), zoned];
    let parts = || data.split(|byte| *byte == BETWEEN);
    let (mut memory, mut replay) = (Memory::learning(), DERIVER.replay());
    let (mut out, mut expected, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (number, event) in (0..).zip(parts()) {
        // The same receive time as the one before, or the next.
        let framer = Framer::new(Micros(RECEIVED + number / 2), &source, &metas[event.len() % 2]);
        let (start, mut alone) = (out.len(), Vec::new());
        let wanted = DERIVER.push_json(&framer, event, &mut alone).map(|record| record.into_owned());
        let found = DERIVER.push_next_json(&framer, event, &mut memory, &mut out).map(|record| record.into_owned());
        assert_eq!(found, wanted, "beside others");
        assert_eq!(&out[start..], alone, "beside others");
        match found {
            Ok(record) => assert_eq!(DERIVER.derive(&alone), Ok(record)),
            Err(_) => {
                assert!(alone.is_empty(), "a refusal leaves nothing behind");
                // Entries of lines lie between those of objects.
                let _ = DERIVER.push_line(&framer, event, &mut out);
                alone.extend_from_slice(&out[start..]);
            }
        }
        if !alone.is_empty() {
            places.push(start..out.len());
        }
        expected.append(&mut alone);
    }
    assert_eq!(out, expected, "what was there is untouched");
    let made = || places.iter().map(|place| &out[place.clone()]);
    // The parts as stored entries, which somebody may have altered.
    for entry in made().chain(parts()).chain(made()) {
        assert_eq!(replay.derive(entry), DERIVER.derive(entry), "beside others");
    }
}
