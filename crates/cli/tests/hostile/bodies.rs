//! Bodies too large, too deep, too many, or packed so that they become so.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::{Victim, event_codes, problem, wire::Answer};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const TEXT: (&str, &str) = ("Content-Type", "text/plain");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

const MIB: usize = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(3));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// A gigabyte of one byte, in pieces.
fn gigabyte(byte: u8, mut write: impl FnMut(&[u8])) {
    let piece = vec![byte; MIB];
    (0..1_024).for_each(|_| write(&piece));
}

/// The event by event refusals of a body of which nothing was kept.
fn refused(answer: &Answer, status: u16, code: &str, of_events: &[&str]) {
    problem(answer, status, code);
    assert_eq!(event_codes(&answer.json()), of_events, "{}", answer.json());
}

#[test]
fn lines_of_a_hundred_megabytes() {
    let victim = Victim::new();
    let line = |end: &str| [vec![b'x'; 100 * MIB].as_slice(), end.as_bytes()].concat();
    let object = [b"{\"a\":\"".as_slice(), &vec![b'x'; 100 * MIB], b"\"}"].concat();
    // Said at once how long it is: refused at once.
    for (kind, body) in [(TEXT, line("")), (TEXT, line("\n")), (JSON, object.clone()), (NDJSON, line("\n"))] {
        problem(&victim.post("", &[kind], &body), 413, "body_too_large");
    }
    // Not said: as soon as it is too long.
    let mut wire = victim.wire();
    wire.send(
        format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", crate::common::TOKEN)
            .as_bytes(),
    );
    wire.send(b"Transfer-Encoding: chunked\r\n\r\n");
    for piece in object.chunks(MIB) {
        wire.send(format!("{:x}\r\n", piece.len()).as_bytes());
        wire.send(piece);
        wire.send(b"\r\n");
    }
    wire.send(b"0\r\n\r\n");
    if let Some(answer) = wire.answer() {
        problem(&answer, 413, "body_too_large");
    }
    for (encoding, pack) in [(GZIP, gzip as fn(&[u8]) -> Vec<u8>), (ZSTD, zstd)] {
        for (kind, body) in [(TEXT, &line("\n")), (JSON, &object)] {
            problem(&victim.post("", &[kind, encoding], &pack(body)), 413, "body_too_large");
        }
        // Within the limit of a body, and still one line too long, whatever it is made of.
        for byte in *b"x\x01\xff\"" {
            let body = pack(&vec![byte; 60 * MIB]);
            refused(&victim.post("", &[TEXT, encoding], &body), 413, "too_large", &["too_large"]);
            let answer = victim.post("", &[NDJSON, encoding], &body);
            assert!(matches!(event_codes(&answer.problem())[0], "too_large" | "invalid_utf8"), "{answer:?}");
        }
        for (start, piece, end) in [("{\"a\":[", "1,", "1]}"), ("[[", "1,", "1]]"), ("{\"a\":[", "[],", "[]]}")] {
            let body = format!("{start}{}{end}", piece.repeat(60 * MIB / piece.len()));
            let answer = victim.post("", &[JSON, encoding], &pack(body.as_bytes()));
            refused(&answer, 413, "too_large", &["too_large"]);
        }
    }
    // Its neighbours are kept all the same.
    let body = [b"before\n".as_slice(), &vec![b'x'; 20 * MIB], b"\nbehind\n"].concat();
    let answer = victim.post("", &[TEXT], &body).json();
    assert_eq!((answer["accepted"].as_u64(), answer["errors"][0]["line"].as_u64()), (Some(2), Some(2)), "{answer}");
    victim.survived();
}

#[test]
fn bombs() {
    let victim = Victim::new();
    let mut one = GzEncoder::new(Vec::new(), Compression::fast());
    gigabyte(0, |piece| one.write_all(piece).unwrap());
    let one = one.finish().unwrap();
    let many = gzip(&vec![0; MIB]).repeat(1_024);
    let mut frame = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    gigabyte(b'\n', |piece| frame.write_all(piece).unwrap());
    let frame = frame.finish().unwrap();
    let frames = zstd(&vec![b' '; MIB]).repeat(1_024);
    for (encoding, bomb) in [(GZIP, &one), (GZIP, &many), (ZSTD, &frame), (ZSTD, &frames)] {
        for kind in [JSON, NDJSON, TEXT] {
            let answer = victim.post("", &[kind, encoding], bomb);
            problem(&answer, 413, "body_too_large");
            assert!(answer.json()["detail"].as_str().unwrap().contains("inflated"), "{answer:?}");
        }
    }
    // Packed twice is only unpacked once, and then it is not what it says.
    let twice = gzip(&one);
    assert_eq!(victim.post("", &[JSON, GZIP], &twice).problem()["code"], "all_rejected");
    // Members without content cost nothing but their reading.
    let nothing = victim.post("", &[TEXT, GZIP], &gzip(b"").repeat(1_000_000)).json();
    assert_eq!((nothing["accepted"].as_u64(), nothing["rejected"].as_u64()), (Some(0), Some(0)), "{nothing}");
    // A window of 2 GiB, and of 64 MiB, in the head of a frame (RFC 8878, section 3.1.1.1.2).
    for window in [0xa8, 0x80] {
        let huge = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x0b, 0x00, 0x00], b"x".as_slice()].concat();
        problem(&victim.post("", &[TEXT, ZSTD], &huge), 400, "bad_body");
    }
    let good = gzip(b"{\"a\":1}\n");
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    for (encoding, body) in [
        (GZIP, &good[..good.len() - 4]),
        (GZIP, &good[..12]),
        (GZIP, &wrong_sum),
        (GZIP, &[good.as_slice(), b"garbage"].concat()),
        (GZIP, b"{\"a\":1}"),
        (ZSTD, &good),
        (ZSTD, &zstd(b"{\"a\":1}")[..9]),
    ] {
        problem(&victim.post("", &[JSON, encoding], body), 400, "bad_body");
    }
    // Many at once: only so many are unpacked at one moment, and others are served.
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| problem(&victim.post("", &[JSON, ZSTD], &frame), 413, "body_too_large"));
        }
        victim.alive();
    });
    victim.survived();
}

#[test]
fn too_many_events_and_none() {
    let victim = Victim::new();
    let none = victim.post("", &[TEXT], &b"\n".repeat(10_000_000)).json();
    assert_eq!((none["accepted"].as_u64(), none["rejected"].as_u64()), (Some(0), Some(0)), "{none}");
    for (kind, piece) in [(NDJSON, "{}\n"), (JSON, "{}\n"), (TEXT, "a\n"), (NDJSON, "x\n")] {
        problem(&victim.post("", &[kind], piece.repeat(10_000_000).as_bytes()), 413, "too_many_events");
    }
    for piece in ["{},", "0,"] {
        let array = format!("[{}{{}}]", piece.repeat(7_000_000));
        problem(&victim.post("", &[JSON], array.as_bytes()), 413, "too_many_events");
    }
    let full = victim.post("?source=full", &[NDJSON], &b"{}\n".repeat(65_536)).json();
    assert_eq!(full["accepted"], 65_536);
    // Refused ones are counted, but only so many are told.
    let answer = victim.post("", &[NDJSON], &b"x\n".repeat(65_536)).problem();
    assert_eq!((answer["rejected"].as_u64(), event_codes(&answer).len()), (Some(65_536), 1_000));
    victim.survived();
}

#[test]
fn deep_wide_and_strange_objects() {
    let victim = Victim::new();
    let deep = |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let keys = |count: usize| (0..count).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    for (body, codes) in [
        ("[".repeat(100_000), vec!["bad_body"]),
        (deep("[", "]", 100_000), vec!["too_large"]),
        (format!("{{\"a\":{}", "[".repeat(100_000)), vec!["too_large"]),
        (deep("{\"a\":", "}", 100_000), vec!["too_large"]),
        (deep("{\"a\":", "}", 5_000), vec!["too_deep"]),
        (deep("{\"a\":", "}", 65), vec!["too_deep"]),
        (format!("{{{}}}", keys(1_000_000)), vec!["too_large"]),
        (format!("{{{},\"k0\":1}}", keys(4_000)), vec!["duplicate_key"]),
        ("{\"a\":1,\"\\u0061\":2}".into(), vec!["duplicate_key"]),
        ("{\"a\":{\"\\ud800\":1,\"\\uD800\":2}}".into(), vec!["duplicate_key"]),
        ("{\"a\":1e}".into(), vec!["invalid_json"]),
        ("{\"a\":\"\0\"}".into(), vec!["invalid_json"]),
        ("\u{feff}\u{feff}{\"a\":1}".into(), vec!["invalid_json"]),
        (format!("{{\"a\":1}}{}", "}".repeat(1_000)), vec!["invalid_json"]),
    ] {
        let answer = victim.post("", &[JSON], body.as_bytes());
        let value = answer.problem();
        let told = if value["errors"].is_array() { event_codes(&value) } else { vec![value["code"].as_str().unwrap()] };
        assert_eq!(told, codes, "{}: {value}", &body[..body.len().min(60)]);
    }
    refused(&victim.post("", &[JSON], b"{\"a\":\"\xff\xfe\"}"), 400, "all_rejected", &["invalid_utf8"]);
    for event in [
        deep("{\"a\":", "}", 64),
        format!("{{{}}}", keys(4_000)),
        format!("{{\"n\":{}.{}e-{}}}", "9".repeat(20_000), "1".repeat(20_000), "7".repeat(20_000)),
        "{\"n\":-0,\"m\":1E400,\"o\":0.1e-9999}".into(),
        "{\"a\":\"\\ud800\",\"\\udc00\\u0000\":\"\\u0000\"}".into(),
        "{\"\":{\"\":[[[],{}]]}}".into(),
        "{\"time\":\"2026-11-\\u00012 08:00:00,123\"}".into(),
        format!("{{\"source\":\"sceau.audit\",\"v\":2,\"meta\":{{\"parser\":\"{}\"}}}}", "é".repeat(20_000)),
    ] {
        let taken = victim.post("", &[JSON], event.as_bytes()).json();
        assert_eq!(taken["accepted"], 1, "{}: {taken}", &event[..event.len().min(60)]);
        let entry = victim.entries(taken["first_index"].as_u64().unwrap(), 1).remove(0);
        assert!(entry.ends_with(format!(",\"data\":{event}}}").as_bytes()), "{}", &event[..event.len().min(60)]);
        assert_eq!(victim.get(&format!("/api/v1/events/{}", taken["first_index"])).status, 200);
    }
    let taken = victim.post("", &[TEXT], b"nul \0 in it\n\xff\xfe is not UTF-8\n\xed\xa0\x80\n").json();
    assert_eq!(taken["accepted"], 3);
    let entries = victim.entries(taken["first_index"].as_u64().unwrap(), 3);
    let entry = |at: usize| serde_json::from_slice::<Value>(&entries[at]).unwrap();
    assert_eq!(entry(0)["data"], "nul \0 in it");
    assert_eq!(
        (entry(1)["data_base64"].as_str(), entry(2)["data_base64"].as_str()),
        (Some("//4gaXMgbm90IFVURi04"), Some("7aCA"))
    );
    victim.survived();
}

/// One name before each of a thousand values: what is derived of an event must not be a thousand times the event.
#[test]
fn events_that_grow_when_they_are_understood() {
    let victim = Victim::new();
    let members: Vec<String> = (0..1_500).map(|n| format!("\"{n:x}\":1")).collect();
    let large = format!("{{\"{}\":{{{}}}}}\n", "n".repeat(45_000), members.join(","));
    let small = format!("{{\"{}\":{{{}}}}}", "n".repeat(1_800), members[..250].join(","));
    let parameters: String = (0..3_000).map(|n| format!(" p{n}=\"1\"")).collect();
    let line = format!("<34>1 2026-11-22T08:00:00Z h app 1 - [{}{parameters}] said\n", "i".repeat(20_000));
    for (kind, event) in [(NDJSON, &large), (TEXT, &line)] {
        let count = 12 * MIB / event.len();
        let taken = victim.post("", &[kind], event.repeat(count).as_bytes()).json();
        assert_eq!(taken["accepted"].as_u64(), Some(count as u64), "{taken}");
        problem(&victim.post("", &[kind], event.repeat(30 * MIB / event.len()).as_bytes()), 413, "body_too_large");
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = victim.wire();
                (0..50).for_each(|_| assert_eq!(wire.post("/api/v1/events", &[JSON], small.as_bytes()).status, 200));
            });
        }
    });
    let page = victim.get("/api/v1/events?limit=1000").json();
    assert!(page["next_cursor"].is_string() && !page["events"].as_array().unwrap().is_empty());
    victim.survived();
}
