//! JSONTestSuite: what must be JSON is kept untouched, what can't be is refused, and nothing in between harms.

use std::fs;

use crate::{Victim, event_codes, shared};

const CODES: [&str; 7] =
    ["empty", "not_an_object", "invalid_json", "duplicate_key", "too_deep", "invalid_utf8", "too_large"];

#[test]
fn json_test_suite() {
    let Some(files) = shared("json/JSONTestSuite/test_parsing") else { return };
    let victim = Victim::new();
    let mut counts = [0; 3];
    let mut files: Vec<_> = fs::read_dir(files).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let content = fs::read(&path).unwrap();
        let object = content.trim_ascii_start().starts_with(b"{");
        let wrapped = if object { content.clone() } else { [b"{\"value\":", content.as_slice(), b"}"].concat() };
        let as_event = send(&victim, &wrapped);
        match name.as_bytes()[0] {
            // The one thing that is JSON and still no event: readers disagree about what it means.
            b'y' if name.contains("duplicated_key") => assert_eq!(as_event, Err("duplicate_key".to_owned()), "{name}"),
            b'y' => kept(&victim, &name, &wrapped, as_event),
            b'n' => assert!(as_event.is_err(), "{name} was taken"),
            _ => {}
        }
        counts[b"yni".iter().position(|first| *first == name.as_bytes()[0]).unwrap()] += 1;
        // As it is: an array is a row of events, anything else but an object is none.
        let raw = victim.post("", &[("Content-Type", "application/json")], &content);
        match raw.status {
            200 => assert!(raw.json()["accepted"].as_u64().unwrap() <= 1 || name.starts_with("y_"), "{name}: {raw:?}"),
            _ => drop(raw.problem()),
        }
        if name.starts_with("n_") && raw.status == 200 {
            let taken = raw.json();
            assert!(taken["accepted"] == 0 || taken["rejected"].as_u64() > Some(0), "{name}: {taken}");
        }
        victim.alive();
    }
    assert_eq!(counts, [95, 188, 35], "y, n and i files");
    victim.survived();
}

/// Where the event went, or the code by which it was refused.
fn send(victim: &Victim, body: &[u8]) -> Result<u64, String> {
    let answer = victim.post("", &[("Content-Type", "application/json")], body);
    if answer.status == 200 {
        let taken = answer.json();
        return match taken["rejected"].as_u64() {
            Some(0) => taken["first_index"].as_u64().ok_or("nothing".to_owned()),
            _ => Err("partly".to_owned()),
        };
    }
    let problem = answer.problem();
    assert!(matches!(problem["code"].as_str(), Some("all_rejected" | "too_large" | "bad_body")), "{problem}");
    let code = match problem["errors"].is_array() {
        true => event_codes(&problem)[0].to_owned(),
        false => "bad_body".to_owned(),
    };
    assert!(code == "bad_body" || CODES.contains(&code.as_str()), "{code}");
    Err(code)
}

fn kept(victim: &Victim, name: &str, sent: &[u8], index: Result<u64, String>) {
    let index = index.unwrap_or_else(|code| panic!("{name} was refused: {code}"));
    let entry = victim.entries(index, 1).remove(0);
    let tokens: Vec<u8> = sent.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let event = [b",\"data\":", tokens.trim_ascii(), b"}"].concat();
    assert!(entry.ends_with(&event), "{name} was touched: {}", String::from_utf8_lossy(&entry));
}
