//! Lines of text: headers, years, what the entry holds.
#![allow(clippy::unwrap_used)]

mod common;

use common::{framer, framer_with, get, line, line_bytes, line_with};
use proptest::prelude::*;
use sceau_event::{Deriver, EventError, Keyword, MAX_ENTRY, Meta};

#[test]
fn rfc5424() {
    let record = line(
        "<34>1 2026-11-22T07:59:59.003+01:00 gate.example app 8710 ID47 [a@1 x=\"1\" y=\"q\\\"\"][b z=\"2\"] \u{feff}it's on",
    );
    for (name, value) in [
        ("@timestamp", "2026-11-22T06:59:59.003000Z"),
        ("host.name", "gate.example"),
        ("process.name", "app"),
        ("process.pid", "8710"),
        ("log.syslog.msgid", "ID47"),
        ("log.level", "critical"),
        ("log.syslog.facility.name", "auth"),
        ("log.syslog.structured_data.a@1.x", "1"),
        ("log.syslog.structured_data.a@1.y", "q\""),
        ("log.syslog.structured_data.b.z", "2"),
        ("message", "it's on"),
        ("event.dataset", "syslog"),
    ] {
        assert_eq!(get(&record, name).as_deref(), Some(value), "{name}");
    }
    let nil = line("<14>1 - - - - - -");
    assert_eq!(nil.time, nil.received);
    assert_eq!((nil.keyword(Keyword::HostName), nil.keyword(Keyword::Message)), (None, Some("")));
    assert!(!nil.has_tag("unparsed"));
}

#[test]
fn rfc3164_and_its_kin() {
    for (text, host, program, pid, message) in [
        ("<34>Nov 22 07:00:00 gate su: 'su root' failed", "gate", "su", "", "'su root' failed"),
        ("Nov  2 07:00:00 gate app[12]: hello", "gate", "app", "12", "hello"),
        ("Nov 22 2026 07:00:00 gate app: hello", "gate", "app", "", "hello"),
        ("<13>Nov 22 07:00:00 app[12]: no host", "", "app", "12", "no host"),
        ("2026-11-22T07:00:00.5+00:00 gate app[12]: iso", "gate", "app", "12", "iso"),
        ("<13>2026-11-22T07:00:00Z gate app: iso", "gate", "app", "", "iso"),
        ("<13>app: no time", "", "app", "", "no time"),
        ("<13>no tag at all", "", "", "", "no tag at all"),
        ("Nov 22 07:00:00 2001:db8::1 app:  two spaces", "2001:db8::1", "app", "", " two spaces"),
        ("Nov 22 07:00:00 gate /usr/sbin/cron[4]: x", "gate", "/usr/sbin/cron", "4", "x"),
        ("Nov 22 07:00:00 gate last message repeated 5 times", "gate", "last", "", "message repeated 5 times"),
        ("Nov 22 07:00:00 gate", "gate", "", "", ""),
        ("Nov 22 07:00:00 gate app[12]:", "gate", "app", "12", ""),
        ("Nov 22 07:00:00 gate {not: json}", "gate", "", "", "{not: json}"),
    ] {
        let record = line(text);
        let value = |name| get(&record, name).unwrap_or_default();
        assert_eq!(
            (value("host.name"), value("process.name"), value("process.pid"), value("message")),
            (host.into(), program.into(), pid.into(), message.into()),
            "{text}"
        );
        assert!(!record.has_tag("unparsed"), "{text}");
    }
}

#[test]
fn what_is_no_header_stays_whole() {
    for text in [
        "hello",
        "{\"json\":1}",
        "2026-11-22 07:00:00 INFO started",
        "2026-11-22T07:00:00Z INFO started",
        "<999>x",
        "<>x",
        "Mayor of x",
        "[x] y",
        "é",
    ] {
        let record = line(text);
        assert_eq!(record.keyword(Keyword::Message), Some(text));
        assert_eq!(record.time, record.received);
        assert!(record.has_tag("unparsed"), "{text}");
    }
}

#[test]
fn the_year_is_the_nearest() {
    for (text, received, zone, wanted) in [
        ("Dec 31 23:59:59", "2026-01-01T00:00:05Z", "UTC", "2025-12-31T23:59:59"),
        ("Jan  1 00:00:01", "2025-12-31T23:59:58Z", "UTC", "2026-01-01T00:00:01"),
        ("Nov 22 08:00:00", "2026-11-22T08:00:00Z", "UTC", "2026-11-22T08:00:00"),
        ("Jun  1 00:00:00", "2026-11-22T08:00:00Z", "UTC", "2026-06-01T00:00:00"),
        ("Apr  1 00:00:00", "2026-11-22T08:00:00Z", "UTC", "2027-04-01T00:00:00"),
        ("Feb 29 12:00:00", "2024-03-01T00:00:00Z", "UTC", "2024-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2025-03-01T00:00:00Z", "UTC", "2024-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2027-03-01T00:00:00Z", "UTC", "2028-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2099-01-01T00:00:00Z", "UTC", "2096-02-29T12:00:00"),
        ("Dec 31 23:30:00", "2025-12-31T22:31:00Z", "Europe/Paris", "2025-12-31T22:30:00"),
        ("Jan  1 00:30:00", "2025-12-31T23:31:00Z", "Europe/Paris", "2025-12-31T23:30:00"),
        ("Jul 14 10:00:00", "2026-07-14T08:00:00Z", "Europe/Paris", "2026-07-14T08:00:00"),
    ] {
        let meta = Meta { zone: Some(zone.into()), ..Meta::default() };
        let record = line_with(&format!("{text} gate app: x"), received, &meta);
        assert_eq!(record.time.to_string(), format!("{wanted}.000000Z"), "{text} at {received}");
        assert!(!record.has_tag("time_invalid"));
    }
    let impossible = line("Feb 30 12:00:00 gate app: x");
    assert_eq!(impossible.time, impossible.received);
    assert!(impossible.has_tag("time_invalid"));
    assert_eq!(impossible.others("event.time_raw").next(), Some("Feb 30 12:00:00"));
    assert_eq!(impossible.keyword(Keyword::ProcessName), Some("app"));
}

#[test]
fn json_in_syslog() {
    for body in [
        "@cee: {\"user\":\"a\",\"host\":\"other\",\"msg\":\"hi\",\"n\":1}",
        "{\"user\":\"a\",\"host\":\"other\",\"msg\":\"hi\",\"n\":1}",
    ] {
        let record = line(&format!("<14>Nov 22 07:00:00 gate app[3]: {body}"));
        assert_eq!(record.keyword(Keyword::UserName), Some("a"));
        assert_eq!(record.keyword(Keyword::HostName), Some("gate"));
        assert_eq!(record.others("data.host").next(), Some("other"));
        assert_eq!(record.others("n").next(), Some("1"));
        assert_eq!(record.keyword(Keyword::Message), Some("hi"));
        assert_eq!(record.keyword(Keyword::EventDataset), Some("syslog"));
    }
    let twice = line("Nov 22 07:00:00 gate app[3]: {\"a\":1,\"a\":2}");
    assert_eq!(twice.keyword(Keyword::Message), Some("{\"a\":1,\"a\":2}"));
}

#[test]
fn the_entry_of_a_line() {
    let entry = |bytes: &[u8]| {
        let mut out = Vec::new();
        let meta =
            Meta { parser: Some("plain".into()), zone: Some("+01:00".into()), peer: Some("a\"b".into()), cut: Some(9) };
        Deriver::builtin().push_line(&framer_with("2026-11-22T08:00:00Z", &meta), bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let head = "{\"v\":1,\"received\":\"2026-11-22T08:00:00.000000Z\",\"source\":\"app\",\"meta\":{\"parser\":\"plain\",\"zone\":\"+01:00\",\"peer\":\"a\\\"b\",\"cut\":9}";
    assert_eq!(
        entry(b"say \"x\"\\\t\x01\xc3\xa9\r\n"),
        format!("{head},\"data\":\"say \\\"x\\\"\\\\\\t\\u0001\u{e9}\"}}")
    );
    assert_eq!(entry(b"a\xffb"), format!("{head},\"data_base64\":\"Yf9i\"}}"));
    let meta = Meta { cut: Some(70_000), ..Meta::default() };
    let record = line_bytes(b"a\xffb\n\n", "2026-11-22T08:00:00Z", &meta);
    assert_eq!(record.keyword(Keyword::Message), Some("a\u{fffd}b"));
    assert!(record.has_tag("cut") && record.has_tag("unparsed"));
}

#[test]
fn named_parsers() {
    let named = |name: &str| Meta { parser: Some(name.into()), ..Meta::default() };
    let at = "2026-11-22T08:00:00Z";
    let plain = line_with("Nov 22 07:00:00 gate app: x", at, &named("plain"));
    assert_eq!(plain.keyword(Keyword::Message), Some("Nov 22 07:00:00 gate app: x"));
    assert!(plain.fields.is_empty());
    let bare = line_with("Failed password for root from 192.0.2.8 port 4 ssh2", at, &named("sshd"));
    assert_eq!(bare.keyword(Keyword::EventAction), Some("ssh_login"));
    let other = line_with(
        "Nov 22 07:00:00 gate dropbear: Failed password for root from 192.0.2.8 port 4 ssh2",
        at,
        &named("sshd"),
    );
    assert_eq!(other.keyword(Keyword::EventAction), Some("ssh_login"));
    assert!(line_with("x", at, &named("sshd")).has_tag("unparsed"));
    let unknown = line_with("Nov 22 07:00:00 gate app: x", at, &named("nosuch"));
    assert!(unknown.has_tag("parser_unknown"));
    assert_eq!(unknown.keyword(Keyword::ProcessName), Some("app"));
}

#[test]
fn long_lines_are_refused_and_fit_when_cut() {
    let deriver = Deriver::builtin();
    let mut out = b"before".to_vec();
    assert_eq!(deriver.push_line(&framer("2026-11-22T08:00:00Z"), b"\r\n", &mut out), Err(EventError::Empty));
    for unit in ["x", "\"", "\u{1}", "é", "\u{fffd}"] {
        let long = unit.repeat(70_000);
        let framer = framer("2026-11-22T08:00:00Z");
        let error = deriver.push_line(&framer, long.as_bytes(), &mut out).unwrap_err();
        assert_eq!(error.code(), "too_large");
        assert_eq!(out, b"before");
        let end = framer.fit_line(long.as_bytes());
        assert!(long.is_char_boundary(end) && end > 9_000);
        let meta = Meta { cut: Some(long.len() as u64), ..Meta::default() };
        let mut out = Vec::new();
        deriver.push_line(&framer_with("2026-11-22T08:00:00Z", &meta), &long.as_bytes()[..end], &mut out).unwrap();
        assert!(out.len() <= MAX_ENTRY && out.len() > MAX_ENTRY - 60, "{}", out.len());
    }
    let raw = vec![0xff_u8; 70_000];
    let end = framer("2026-11-22T08:00:00Z").fit_line(&raw);
    line_bytes(&raw[..end], "2026-11-22T08:00:00Z", &Meta { cut: Some(70_000), ..Meta::default() });
}

#[test]
fn entries_that_are_not_ours() {
    let deriver = Deriver::builtin();
    let good =
        "{\"v\":1,\"received\":\"2026-11-22T08:00:00.000000Z\",\"source\":\"app\",\"meta\":{},\"data\":{\"a\":1}}";
    let record = deriver.derive(good.as_bytes()).unwrap();
    let mut replay = deriver.replay();
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("08:00:00.000000Z", "08:00:00Z"),
        ("08:00:00.000000Z", "08:60:00.000000Z"),
        ("\"app\"", "\"App\""),
        ("\"app\"", "\"\""),
        ("{}", "{ }"),
        ("{}", "{\"zone\":\"UTC\",\"parser\":\"x\"}"),
        ("{}", "{\"vault\":1}"),
        ("{}", "{\"cut\":01}"),
        ("{\"a\":1}", "[1]"),
        ("{\"a\":1}", "{\"a\":1,\"a\":2}"),
        ("{\"a\":1}", "{\"a\":\n1}"),
        ("{\"a\":1}", "\"a\"b\""),
        ("{\"a\":1}", "\"a"),
        ("{\"a\":1}}", "{\"a\":1}"),
        ("{\"a\":1}}", "{\"a\":1}}\n"),
        ("\"data\":{\"a\":1}", "\"data_base64\":\"*\""),
        ("\"data\":{\"a\":1}", "\"date\":1"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(deriver.derive(bad.as_bytes()).is_err(), "{bad}");
        // Neither is one what only begins as the entry before it, and it leaves nothing behind.
        assert_eq!(replay.derive(good.as_bytes()).unwrap(), record);
        assert_eq!(replay.derive(bad.as_bytes()), deriver.derive(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn what_came_before_changes_no_record() {
    let deriver = Deriver::builtin();
    let metas = [
        "{}",
        "{\"zone\":\"Europe/Paris\"}",
        "{\"zone\":\"nowhere\"}",
        "{\"zone\":\"+01:00\",\"peer\":\"10.0.0.1\"}",
        "{\"parser\":\"plain\",\"cut\":70000}",
        "{\"parser\":\"sshd\"}",
    ];
    let data = [
        "{\"time\":\"2026-07-01 10:00:00\",\"user\":\"a\",\"a\":{\"b\":[1,2]},\"message\":\"Failed password for x\"}",
        "{\"a\":1,\"a\":2}",
        "{\"message\":\"\\u0041\",\"\\u0061\":1,\"b\":{}}",
        "{}",
        "\"Jul  1 10:00:00 host sshd[1]: Failed password for x from 10.0.0.1 port 1 ssh2\"",
        "\"\"",
    ];
    let mut entries = Vec::new();
    for received in ["2026-11-22T08:00:00.000000Z", "2026-11-22T08:00:00.000001Z", "2026-13-22T08:00:00.000001Z"] {
        for source in ["app", "apple"] {
            for meta in metas {
                for data in data {
                    entries.push(format!(
                        "{{\"v\":1,\"received\":\"{received}\",\"source\":\"{source}\",\"meta\":{meta},\"data\":{data}}}"
                    ));
                }
            }
        }
    }
    let alone: Vec<_> = entries.iter().map(|entry| deriver.derive(entry.as_bytes())).collect();
    assert!(alone.iter().filter(|record| record.is_ok()).count() > 100);
    let mut replay = deriver.replay();
    // Steps that have no divisor in common with the count pass every entry, each time behind another one.
    for step in [1, 5, 7, 11, 107, 215] {
        for number in 0..entries.len() {
            let at = number * step % entries.len();
            assert_eq!(replay.derive(entries[at].as_bytes()), alone[at], "{}", entries[at]);
        }
    }
}

#[test]
fn user_parsers() {
    let file = |yaml: &str| [("own.yml".to_owned(), yaml.to_owned())];
    let yaml =
        "name: own\nprograms: [app]\nrules:\n  - match: '^in (?P<user.name>.+)$'\n    set: {event.action: enter}\n";
    let deriver = Deriver::with_parsers(&file(yaml)).unwrap();
    assert!(deriver.has_parser("own") && deriver.has_parser("sshd"));
    assert!(deriver.version().starts_with("4+") && deriver.version().len() == 10);
    let mut out = Vec::new();
    let record =
        deriver.push_line(&framer("2026-11-22T08:00:00Z"), b"Nov 22 07:00:00 gate app: in zoe", &mut out).unwrap();
    assert_eq!((record.keyword(Keyword::UserName), record.keyword(Keyword::EventAction)), (Some("zoe"), Some("enter")));
    assert_eq!(deriver.check_samples().len(), 1, "its rule has no sample");
    for (wrong, wanted) in [
        (yaml.replace("name: own", "name: Own"), "own.yml: name must"),
        (yaml.replace("set:", "sett:"), "sett"),
        (yaml.replace("(?P<user.name>.+)", "(?P<user.name>.+"), "own.yml, rule 1: "),
        (yaml.replace("'^in", "'in"), "rule 1: match must start with ^"),
        (yaml.replace(".+)$", "(?=x))$"), "rule 1: "),
        (yaml.replace("programs: [app]\n", ""), "never be used"),
        (yaml.replace("^in", "^{{x}}"), "{{x}} is not among"),
    ] {
        let error = Deriver::with_parsers(&file(&wrong)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

proptest! {
    #[test]
    fn any_line_has_the_record_of_its_entry(text in "[ -~\\n\\r\\té\"\\\\]{1,120}") {
        if text.trim_end_matches(['\r', '\n']).is_empty() { return Ok(()) }
        let record = line(&text);
        prop_assert!(record.keyword(Keyword::Message).is_some());
    }

    #[test]
    fn any_header_has_the_record_of_its_entry(
        head in "(<[0-9]{1,3}>)?(1 )?(Nov 22 07:00:00|2026-11-22T07:00:00Z|Feb 30 1:2:3|-)?",
        rest in "( [a-z\\[\\]:\"={}\\\\]{0,9}){0,8}",
    ) {
        let text = format!("{head}{rest}");
        if !text.is_empty() {
            line(&text);
        }
    }

    #[test]
    fn any_bytes_have_the_record_of_their_entry(bytes in prop::collection::vec(any::<u8>(), 1..80)) {
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) { return Ok(()) }
        line_bytes(&bytes, "2026-11-22T08:00:00Z", &Meta::default());
    }
}

#[test]
fn a_long_id_of_structured_data_is_not_multiplied() {
    let parameters: String = (0..3_000).map(|n| format!(" p{n}=\"1\"")).collect();
    let text = format!("<34>1 2026-11-22T08:00:00Z host app 1 - [{}{parameters}] said", "i".repeat(20_000));
    let record = line(&text);
    let size: usize = record.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(size <= 8 * 1024 + 4 * text.len() + 100, "{size} bytes of {}", text.len());
    assert!(record.has_tag("fields_cut"));
    assert_eq!(record.keyword(Keyword::HostName), Some("host"));
}

#[test]
fn characters_that_are_no_digits_are_no_time() {
    for text in ["2026-11-\u{1}2 08:00:00,123", "2026-\u{b}1-22T08:00:00Z", "\u{7f}026-11-22T08:00:00Z"] {
        assert!(!line(text).has_tag("time_invalid"), "{text:?}");
        let entry = format!("{{\"v\":1,\"received\":\"{text}\",\"source\":\"app\",\"meta\":{{}},\"data\":{{}}}}");
        assert!(Deriver::builtin().derive(entry.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_written() {
    let deriver = Deriver::builtin();
    let framer = framer("2026-11-22T08:00:00Z");
    let mut out = Vec::new();
    for line in [&b"\x01".repeat(1 << 20)[..], &b"\xff".repeat(1 << 20), &b"x".repeat(1 << 20)] {
        let error = deriver.push_line(&framer, line, &mut out).unwrap_err();
        let EventError::TooLarge { size, .. } = error else { panic!("{error}") };
        assert!(size > 1 << 20, "{size}");
        assert_eq!(out.capacity(), 0, "nothing was written on the way");
    }
    // The size is that of the entry: one byte less than fits, and what fits exactly.
    for (piece, size) in [("x", 1), ("\"", 2), ("\t", 2), ("\u{1}", 6), ("é", 2)] {
        let room = framer.room() - 2;
        let line = piece.repeat(room / size) + &"y".repeat(room % size);
        assert!(deriver.push_line(&framer, line.as_bytes(), &mut out).is_ok(), "{piece:?}");
        assert_eq!(out.len(), MAX_ENTRY, "{piece:?}");
        out.clear();
        let error = deriver.push_line(&framer, (line + "y").as_bytes(), &mut out).unwrap_err();
        assert_eq!(error, EventError::TooLarge { size: MAX_ENTRY + 1, limit: MAX_ENTRY }, "{piece:?}");
        out = Vec::new();
    }
    let value = format!("{{\"a\":[{}]}}", "1,".repeat(4 << 20));
    let error = deriver.push_json(&framer, value.as_bytes(), &mut out).unwrap_err();
    assert_eq!(error.code(), "too_large");
    // Line breaks between tokens are no part of an entry, so they don't count.
    let spread = format!("{{\"a\":{}1}}", "\r\n".repeat(1 << 20));
    assert!(deriver.push_json(&framer, spread.as_bytes(), &mut out).is_ok());
}
