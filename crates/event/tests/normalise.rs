//! JSON events: where their values go.
#![allow(clippy::unwrap_used)]

mod common;

use common::{get, json, json_with};
use sceau_event::{Field, Keyword, MAX_FIELDS, Meta, Number, field};

/// Checks fields of an event's record; an empty text stands for "not there".
fn check(event: &str, wanted: &[(&str, &str)]) {
    let record = json(event);
    for (name, value) in wanted {
        let found = get(&record, name);
        assert_eq!(found.as_deref().unwrap_or(""), *value, "{name} of {event}: {record:#?}");
    }
}

#[test]
fn the_example_of_the_product() {
    let record = json(
        r#"{"timestamp":"2026-11-22T07:59:58Z","ip":"10.0.3.7","user":"alice","action":"login","status":"failed","service":"vpn"}"#,
    );
    assert_eq!(record.time.to_string(), "2026-11-22T07:59:58.000000Z");
    assert_eq!(record.received.to_string(), "2026-11-22T08:00:00.000000Z");
    assert_eq!(record.source, "app");
    assert_eq!(record.keyword(Keyword::SourceIp), Some("10.0.3.7"));
    assert_eq!(record.keyword(Keyword::UserName), Some("alice"));
    assert_eq!(record.keyword(Keyword::EventAction), Some("login"));
    assert_eq!(record.keyword(Keyword::EventOutcome), Some("failure"));
    assert_eq!(record.keyword(Keyword::ServiceName), Some("vpn"));
    assert!(record.fields.is_empty(), "{:?}", record.fields);
}

#[test]
fn ecs_names_nested_and_dotted() {
    let wanted = [("source.ip", "192.0.2.1"), ("source.port", "22"), ("host.name", "h"), ("labels.team", "x")];
    check(r#"{"source":{"ip":"192.0.2.1","port":22},"host":{"name":"h"},"labels":{"team":"x"}}"#, &wanted);
    check(r#"{"source.ip":"192.0.2.1","source.port":22,"host.name":"h","labels.team":"x"}"#, &wanted);
    check(
        r#"{"http":{"request":{"method":"GET"},"response":{"status_code":503}}}"#,
        &[("http.request.method", "GET"), ("http.response.status_code", "503"), ("event.outcome", "failure")],
    );
    check(
        r#"{"user":{"name":"bob","id":7},"process":{"pid":3},"nested":{"ip":"1.2.3.4"}}"#,
        &[("user.name", "bob"), ("user.id", "7"), ("process.pid", "3"), ("source.ip", ""), ("nested.ip", "1.2.3.4")],
    );
    // An access log of Caddy behind a proxy that it trusts.
    check(
        r#"{"msg":"handled request","request":{"remote_ip":"10.0.0.2","client_ip":"192.0.2.1"},"status":401}"#,
        &[("source.ip", "192.0.2.1"), ("request.remote_ip", "10.0.0.2"), ("event.outcome", "failure")],
    );
}

#[test]
fn first_given_wins_and_nothing_is_lost() {
    let record = json(
        r#"{"user":"a","user.name":"b","username":"c","x":null,"e":{},"l":[],"t":true,"n":1.50,"a":[1,[2,{"k":"v"}],null]}"#,
    );
    assert_eq!(record.keyword(Keyword::UserName), Some("a"));
    let pairs: Vec<_> = record.fields.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
    assert_eq!(
        pairs,
        [
            ("data.user.name", "b"),
            ("data.username", "c"),
            ("t", "true"),
            ("n", "1.50"),
            ("a", "1"),
            ("a", "2"),
            ("a.k", "v")
        ]
    );
}

#[test]
fn addresses() {
    check(r#"{"ip":"192.0.2.1:5678"}"#, &[("source.ip", "192.0.2.1"), ("source.port", "5678"), ("ip", "192.0.2.1")]);
    check(r#"{"client_ip":"[2001:DB8::1]:443"}"#, &[("source.ip", "2001:db8::1"), ("source.port", "443")]);
    check(r#"{"ip":"::ffff:192.0.2.1"}"#, &[("source.ip", "192.0.2.1")]);
    check(r#"{"ip":"gate.example"}"#, &[("source.ip", ""), ("source.address", "gate.example")]);
    check(r#"{"ip":["192.0.2.1","192.0.2.2"]}"#, &[("source.ip", "192.0.2.1")]);
    check(r#"{"ip":"192.0.\u0032.1"}"#, &[("source.ip", "192.0.2.1")]);
}

#[test]
fn outcomes() {
    for (event, outcome, code) in [
        (r#"{"status":"FAILED"}"#, "failure", ""),
        (r#"{"status":"ok"}"#, "success", ""),
        (r#"{"status":404}"#, "failure", "404"),
        (r#"{"status":"200"}"#, "success", "200"),
        (r#"{"status":404,"outcome":"success"}"#, "success", "404"),
        (r#"{"success":false}"#, "failure", ""),
        (r#"{"outcome":"denied"}"#, "failure", ""),
        (r#"{"event":{"outcome":"success"}}"#, "success", ""),
        (r#"{"status":17}"#, "", ""),
        (r#"{"status":"pending"}"#, "", ""),
        (r#"{"event.outcome":"unknown"}"#, "", ""),
    ] {
        check(event, &[("event.outcome", outcome), ("http.response.status_code", code)]);
    }
    let record = json(r#"{"status":"pending","result":"later"}"#);
    assert_eq!(record.others("status").next(), Some("pending"));
    assert_eq!(record.others("data.result").next(), Some("later"));
    assert_eq!(json(r#"{"event.outcome":"unknown"}"#).others("data.event.outcome").next(), Some("unknown"));
}

#[test]
fn what_has_no_place_can_still_be_found() {
    let record =
        json(r#"{"user":["x","y"],"source":"sceau.audit","received":"1999-01-01","event.count":9223372036854775807}"#);
    assert_eq!(record.keyword(Keyword::UserName), Some("x"));
    assert_eq!(record.count(), 1);
    for (name, value) in
        [("user", "y"), ("source", "sceau.audit"), ("received", "1999-01-01"), ("event.count", "9223372036854775807")]
    {
        let kept = format!("data.{name}");
        assert_eq!(record.others(&kept).next(), Some(value));
        assert_eq!(field(&kept), Field::Other(kept.clone()), "a search for it must find it");
    }
}

#[test]
fn numbers_that_do_not_fit_stay() {
    let record = json(r#"{"port":"22","pid":9223372036854775808,"bytes":1.5,"status_code":200}"#);
    assert_eq!(record.number(Number::SourcePort), Some(22));
    assert_eq!(record.number(Number::ProcessPid), None);
    assert_eq!(record.others("data.pid").next(), Some("9223372036854775808"));
    assert_eq!(record.others("data.bytes").next(), Some("1.5"));
    assert_eq!(record.number(Number::StatusCode), Some(200));
}

#[test]
fn times() {
    for (value, wanted) in [
        ("\"2026-11-22T07:00:00Z\"", "2026-11-22T07:00:00.000000Z"),
        ("\"2026-11-22T07:00:00.123456789Z\"", "2026-11-22T07:00:00.123456Z"),
        ("\"2026-11-22 07:00:00,5\"", "2026-11-22T07:00:00.500000Z"),
        ("\"2026-11-22T08:00:00+0100\"", "2026-11-22T07:00:00.000000Z"),
        ("\"2026-11-22T08:00:00+01\"", "2026-11-22T07:00:00.000000Z"),
        ("\"20261122T070000Z\"", "2026-11-22T07:00:00.000000Z"),
        ("\"2026/11/22 07:00:00\"", "2026-11-22T07:00:00.000000Z"),
        ("\"2026-11-22\"", "2026-11-22T00:00:00.000000Z"),
        ("1795330800", "2026-11-22T07:00:00.000000Z"),
        ("1795330800.25", "2026-11-22T07:00:00.250000Z"),
        ("\"1795330800123\"", "2026-11-22T07:00:00.123000Z"),
        ("1795330800123456", "2026-11-22T07:00:00.123456Z"),
        ("1795330800123456789", "2026-11-22T07:00:00.123456Z"),
        ("\"22/Nov/2026:08:00:00 +0100\"", "2026-11-22T07:00:00.000000Z"),
        ("\"Sun, 22 Nov 2026 07:00:00 GMT\"", "2026-11-22T07:00:00.000000Z"),
        ("\"Sunday, 22-Nov-26 07:00:00 GMT\"", "2026-11-22T07:00:00.000000Z"),
        ("\"Sun Nov 22 07:00:00 2026\"", "2026-11-22T07:00:00.000000Z"),
        ("\"Sun Nov 22 07:00:00.25 UTC 2026\"", "2026-11-22T07:00:00.250000Z"),
        ("\"Nov 22 07:00:00\"", "2026-11-22T07:00:00.000000Z"),
        ("\"2016-12-31T23:59:60Z\"", "2017-01-01T00:00:00.000000Z"),
    ] {
        for key in ["timestamp", "@timestamp", "time", "ts", "date", "eventTime", "datetime"] {
            let record = json(&format!("{{\"{key}\":{value}}}"));
            assert_eq!(record.time.to_string(), wanted, "{key} {value}");
            assert!(record.fields.is_empty(), "{:?}", record.fields);
        }
    }
}

#[test]
fn a_bad_time_is_kept_and_marked() {
    for value in [
        "\"2026-02-30T00:00:00Z\"",
        "\"soon\"",
        "0.35",
        "true",
        "\"2026-11-22T24:00:01Z\"",
        "\"2026-06-30T10:00:60Z\"",
        "\"9999-12-31T23:59:59-23:59\"",
        "\"0000-01-01T00:00:00+23:59\"",
        "\"\"",
        "-5",
    ] {
        let record = json(&format!("{{\"ts\":{value}}}"));
        assert_eq!(record.time, record.received, "{value}");
        assert!(record.has_tag("time_invalid"), "{value}");
        assert_eq!(record.others("event.time_raw").next(), Some(value.trim_matches('"')));
    }
    for last in ["0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"] {
        let record = json(&format!("{{\"ts\":\"{last}\"}}"));
        assert_eq!((record.time.to_string().as_str(), record.has_tag("time_invalid")), (last, false));
    }
    let none = json("{\"x\":1}");
    assert!(none.time == none.received && !none.has_tag("time_invalid"));
    let second = json(r#"{"date":"today","ts":"2026-11-22T07:00:00Z","time":1795330800}"#);
    assert_eq!(second.time.to_string(), "2026-11-22T07:00:00.000000Z");
    assert_eq!(second.others("data.date").next(), Some("today"));
    assert_eq!(second.others("data.time").next(), Some("1795330800"));
    assert!(!second.has_tag("time_invalid"));
}

#[test]
fn the_zone_of_the_source() {
    let zoned = |zone: &str, time: &str| {
        let meta = Meta { zone: Some(zone.into()), ..Meta::default() };
        json_with(&format!("{{\"time\":\"{time}\"}}"), &meta).time.to_string()
    };
    assert_eq!(zoned("Europe/Paris", "2026-11-22 08:00:00"), "2026-11-22T07:00:00.000000Z");
    assert_eq!(zoned("Europe/Paris", "2026-07-22 08:00:00"), "2026-07-22T06:00:00.000000Z");
    assert_eq!(zoned("Europe/Paris", "2026-07-22 08:00:00Z"), "2026-07-22T08:00:00.000000Z");
    assert_eq!(zoned("-03:30", "2026-11-22 08:00:00"), "2026-11-22T11:30:00.000000Z");
    // Skipped by clocks: as if they had not been put forward. Shown twice: the first.
    assert_eq!(zoned("Europe/Paris", "2026-03-29 02:30:00"), "2026-03-29T01:30:00.000000Z");
    assert_eq!(zoned("Europe/Paris", "2026-10-25 02:30:00"), "2026-10-25T00:30:00.000000Z");
    assert!(Meta { zone: Some("Mars/Base".into()), ..Meta::default() }.check().is_err());
}

#[test]
fn fields_have_a_limit() {
    let members: Vec<String> = (0..MAX_FIELDS + 5).map(|n| format!("\"k{n}\":{n}")).collect();
    let record = json(&format!("{{{}}}", members.join(",")));
    assert_eq!(record.fields.len(), MAX_FIELDS + 1);
    assert!(record.has_tag("fields_cut"));
}

#[test]
fn a_named_parser_reads_the_message() {
    let meta = Meta { parser: Some("sshd".into()), ..Meta::default() };
    let event = r#"{"user":"given","message":"Failed password for root from 192.0.2.8 port 40100 ssh2"}"#;
    let record = json_with(event, &meta);
    assert_eq!(get(&record, "event.action").as_deref(), Some("ssh_login"));
    assert_eq!(get(&record, "source.ip").as_deref(), Some("192.0.2.8"));
    assert_eq!(record.keyword(Keyword::UserName), Some("given"));
    assert_eq!(record.others("data.user.name").next(), Some("root"));
    assert_eq!(get(&json(event), "event.action"), None);
}

/// An object whose one long name stands before each of many others.
fn repeated_name(name: usize, members: usize) -> String {
    let members: Vec<String> = (0..members).map(|n| format!("\"{n:x}\":1")).collect();
    format!("{{\"before\":1,\"{}\":{{{}}},\"user\":\"alice\"}}", "n".repeat(name), members.join(","))
}

#[test]
fn a_record_does_not_outgrow_its_event() {
    for (name, members) in [(40_000, 2_000), (1_900, 250), (200, 900)] {
        let event = repeated_name(name, members);
        let record = json(&event);
        let size: usize = record.fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= 8 * 1024 + 4 * event.len() + 100, "{size} bytes of {}", event.len());
        assert!(record.has_tag("fields_cut"));
        assert_eq!(record.others("before").next(), Some("1"));
        // Columns are filled all the same.
        assert_eq!(record.keyword(Keyword::UserName), Some("alice"));
    }
    let nested = format!("{}1{}", "{\"a\":{\"b\":[1,2,{\"c\":".repeat(15), "}]}}".repeat(15));
    assert!(!json(&nested).has_tag("fields_cut"));
}

#[test]
fn passing_over_what_is_cut_finds_the_columns_behind_it() {
    let long = "n".repeat(30_000);
    let values = "[{\"x\":[1,{\"y\":2}]},3,[[]],{}],".repeat(400);
    let event =
        format!("{{\"{long}\":{{\"a\":[{values}4],\"source\":{{\"b\":1}}}},\"source\":{{\"ip\":\"192.0.2.1\"}}}}");
    let record = json(&event);
    assert!(record.has_tag("fields_cut"));
    assert_eq!(record.keyword(Keyword::SourceIp), Some("192.0.2.1"));
}
