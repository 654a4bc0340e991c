//! Texts that break other programs, in every place where a client can put one.

use std::fs;

use serde_json::{Value, json};

use crate::{Victim, shared, wire::Answer};

/// Some of our own, for machines without the shared data.
const OWN: [&str; 16] = [
    "'; DROP TABLE entry; --",
    "\u{0} \u{1} \u{7f} \u{85} \u{2028} \u{feff}",
    "<script>alert(1)</script>",
    "${jndi:ldap://x}",
    "\u{202e}reversed\u{202c}",
    "{\"a\":1}",
    "]]>",
    "%00%0d%0aSet-Cookie: a=b",
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "../../../etc/passwd",
    "1e309 -0 NaN 0x10 9007199254740993",
    "\\u0000\\\"\\",
    "田中さんにあげて下さい 👩‍👩‍👧‍👦 ﷽",
    "=cmd|' /C calc'!A0",
    "",
];

fn payloads() -> Vec<String> {
    let mut texts: Vec<String> = OWN.map(str::to_owned).into();
    if let Some(folder) = shared("payloads") {
        let strings = fs::read(folder.join("blns/resources/blns.json")).unwrap();
        texts.extend(serde_json::from_slice::<Vec<String>>(&strings).unwrap());
        for name in ["XSS_Polyglots.txt", "crlfinjection.txt"] {
            let text = fs::read(folder.join("payloadsallthethings").join(name)).unwrap();
            texts.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        }
    }
    texts
}

/// A text in a query string.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn ndjson(events: &[String]) -> Vec<u8> {
    events.iter().flat_map(|event| [event.as_str(), "\n"]).collect::<String>().into_bytes()
}

fn accepted(answer: &Answer) -> (u64, usize) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let value = answer.json();
    assert_eq!(value["rejected"], 0, "{value}");
    (value["first_index"].as_u64().unwrap(), usize::try_from(value["accepted"].as_u64().unwrap()).unwrap())
}

#[test]
fn values_keys_and_lines_come_back_as_they_were_sent() {
    let victim = Victim::new();
    let texts = payloads();
    let values: Vec<String> =
        texts.iter().enumerate().map(|(n, text)| json!({"n": n, "message": text, "user": text}).to_string()).collect();
    let (first, count) = accepted(&victim.post("?source=values", &[], &ndjson(&values)));
    assert_eq!(count, texts.len());
    same(&victim, first, &values);
    for order in ["oldest", "newest"] {
        found(&victim, &format!("/api/v1/events?q=source:values&limit=1000&order={order}"), &texts);
    }
    let keys: Vec<String> = texts.iter().map(|text| json!({text: {text: [text]}}).to_string()).collect();
    let (first, count) = accepted(&victim.post("?source=keys", &[], &ndjson(&keys)));
    assert_eq!(count, texts.len());
    same(&victim, first, &keys);

    // Lines are cut at line feeds, and a carriage return before one belongs to it.
    let lines: Vec<&str> =
        texts.iter().flat_map(|text| text.split('\n')).map(|line| line.trim_end_matches('\r')).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.trim_matches([' ', '\t', '\r']).is_empty()).collect();
    let body = lines.join("\n");
    let (first, count) = accepted(&victim.post("?source=lines", &[("Content-Type", "text/plain")], body.as_bytes()));
    assert_eq!(count, lines.len());
    for (entry, line) in victim.entries(first, count).iter().zip(&lines) {
        let entry: Value = serde_json::from_slice(entry).unwrap();
        assert_eq!(entry["data"].as_str(), Some(*line));
    }
    exported(&victim, &values, &keys, &lines);
    victim.survived();
}

fn same(victim: &Victim, first: u64, events: &[String]) {
    for (entry, event) in victim.entries(first, events.len()).iter().zip(events) {
        let wanted = format!(",\"data\":{event}}}");
        assert!(entry.ends_with(wanted.as_bytes()), "{event} became {}", String::from_utf8_lossy(entry));
    }
}

fn found(victim: &Victim, path: &str, texts: &[String]) {
    let answer = victim.get(path);
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let events = page["events"].as_array().unwrap();
    assert_eq!(events.len(), texts.len());
    for event in events {
        let entry: Value = serde_json::from_str(event["entry"].as_str().unwrap()).unwrap();
        let text = &texts[usize::try_from(entry["data"]["n"].as_u64().unwrap()).unwrap()];
        assert_eq!(entry["data"]["message"], **text);
        assert_eq!(event["record"]["message"], **text, "{event}");
        assert_eq!(event["record"]["user.name"], **text, "{event}");
    }
}

fn exported(victim: &Victim, values: &[String], keys: &[String], lines: &[&str]) {
    let export = victim.server.run(&["export"]).with(0).out;
    // A line separator of Unicode is no line break of NDJSON.
    let entries: Vec<&str> = export.split_terminator('\n').collect();
    for event in values.iter().chain(keys) {
        let wanted = format!(",\"data\":{event}}}");
        assert!(entries.iter().any(|entry| entry.ends_with(&wanted)), "{event} is not in the export");
    }
    let data = |entry: &str| serde_json::from_str::<Value>(entry).unwrap()["data"].as_str().map(str::to_owned);
    let texts: Vec<String> = entries.iter().filter_map(|entry| data(entry)).collect();
    assert_eq!(texts, lines);
}

#[test]
fn parameters_and_headers_take_them_or_say_no() {
    let victim = Victim::new();
    let mut wire = victim.wire();
    let event = b"{\"a\":1}";
    for text in payloads() {
        let short: String = text.chars().take(300).collect();
        let part = encoded(&short);
        let answer = wire.post(&format!("/api/v1/events?source={part}"), &[], event);
        let good = (1..=64).contains(&short.len())
            && short.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        assert_eq!(answer.status == 200, good, "{text:?}: {answer:?}");
        refused_or_fine(&answer, &["bad_parameter", "reserved_source"]);
        for name in ["parser", "zone", "atomic", "import"] {
            let answer = wire.post(&format!("/api/v1/events?{name}={part}"), &[], event);
            refused_or_fine(&answer, &["bad_parameter"]);
        }
        for path in ["events", "events/count", "events/histogram"] {
            let answer = wire.get(&format!("/api/v1/{path}?q={part}"));
            refused_or_fine(&answer, &["query_syntax"]);
            assert!(answer.status == 200 || answer.json()["column"].as_u64() >= Some(1), "{answer:?}");
        }
        for query in ["from", "to", "order", "limit", "cursor"] {
            refused_or_fine(&wire.get(&format!("/api/v1/events?{query}={part}")), &["bad_parameter"]);
        }
        refused_or_fine(&wire.get(&format!("/api/v1/events/top?field={part}")), &["bad_parameter"]);
        refused_or_fine(&wire.get(&format!("/api/v1/events/histogram?interval={part}")), &["bad_parameter"]);
        refused_or_fine(&wire.get(&format!("/api/v1/events?{part}=1")), &["unknown_parameter", "bad_parameter"]);
        refused_or_fine(&wire.get(&format!("/log/tile/{part}")), &["not_found", "bad_body"]);
        refused_or_fine(&wire.get(&format!("/api/v1/events/{part}")), &["bad_parameter", "not_found", "bad_body"]);
        headers(&victim, &short);
    }
    victim.survived();
}

fn refused_or_fine(answer: &Answer, codes: &[&str]) {
    if answer.status != 200 {
        let problem = answer.problem();
        assert!(codes.contains(&problem["code"].as_str().unwrap()), "{problem}");
    }
}

/// As the value of headers, where the text can't break HTTP itself; where it can, on a connection of its own.
fn headers(victim: &Victim, text: &str) {
    for name in ["Idempotency-Key", "Content-Type", "Authorization"] {
        let mut wire = victim.wire();
        wire.send(
            format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\n{name}: {text}\r\nContent-Length: 2\r\n").as_bytes(),
        );
        wire.send(b"Connection: close\r\n\r\n{}");
        wire.end();
        for answer in wire.answers() {
            // No token came with it.
            assert!((400..500).contains(&answer.status), "{name}: {text:?}: {answer:?}");
        }
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) || name == "Authorization" {
            continue;
        }
        let answer = victim.post("", &[(name, text)], b"{\"a\":1}");
        refused_or_fine(&answer, &["bad_parameter", "unsupported_type", "bad_body", "idempotency_mismatch"]);
    }
}
