//! Questions that make no sense, or too much of it.

use crate::{Victim, problem};

/// Paths below `/api/v1/` and the code by which each is refused.
const ABSURD: [(&str, &str); 33] = [
    ("events?limit=-1", "bad_parameter"),
    ("events?limit=0", "bad_parameter"),
    ("events?limit=1001", "bad_parameter"),
    ("events?limit=18446744073709551616", "bad_parameter"),
    ("events?limit=1e3", "bad_parameter"),
    ("events?limit=", "bad_parameter"),
    ("events?limit=1&limit=2", "bad_parameter"),
    ("events?from=9e99", "bad_parameter"),
    ("events?from=-1", "bad_parameter"),
    ("events?to=99999999999999999999999999", "bad_parameter"),
    ("events?to=now-99999999999999999999d", "bad_parameter"),
    ("events?from=2026-13-45", "bad_parameter"),
    ("events?cursor=x", "bad_parameter"),
    ("events?cursor=%00%ff", "bad_parameter"),
    ("events?order=sideways", "bad_parameter"),
    ("events?%6c%69mit=5&nope=1", "unknown_parameter"),
    ("events/histogram?interval=0", "bad_parameter"),
    ("events/histogram?interval=0s", "bad_parameter"),
    ("events/histogram?interval=-5m", "bad_parameter"),
    ("events/histogram?interval=99999999999999999w", "bad_parameter"),
    ("events/histogram?by=", "bad_parameter"),
    ("events/top", "bad_parameter"),
    ("events/top?field=", "bad_parameter"),
    ("events/top?field=user&limit=99999", "bad_parameter"),
    ("events/18446744073709551616", "bad_parameter"),
    ("events/-1", "bad_parameter"),
    ("events/18446744073709551615", "not_found"),
    ("events/18446744073709551615/proof", "not_found"),
    ("events/0/proof?format=xml", "bad_parameter"),
    ("entries?limit=0", "bad_parameter"),
    ("entries?from=-1", "bad_parameter"),
    ("imports/..%2f..%2fetc", "bad_parameter"),
    ("imports/%FF", "bad_body"),
];

#[test]
fn absurd_parameters() {
    let victim = Victim::new();
    let events: String =
        (0..500).map(|n| format!("{{\"n\":{n},\"user\":\"u{n}\",\"a\":{{\"b\":\"c {n}\"}}}}\n")).collect();
    assert_eq!(victim.post("", &[("Content-Type", "application/x-ndjson")], events.as_bytes()).status, 200);
    let mut wire = victim.wire();
    for (path, code) in ABSURD {
        let answer = wire.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.problem()["code"], code, "{path}: {answer:?}");
    }
    for path in [
        "tile/64/000",
        "tile/0/999",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p/0",
        "tile/0/0",
        "tile/",
    ] {
        problem(&wire.get(&format!("/log/{path}")), 404, "not_found");
    }
    // Far away is no mistake.
    for path in [
        "entries?from=18446744073709551615",
        "entries?from=18446744073709551000&limit=10000",
        "events?cursor=_________38AAAAAAAAAAA",
        "events?cursor=gAAAAAAAAAAAAAAAAAAAAA&order=oldest",
        "events?from=9999-12-31&to=1970-01-01",
        "events/histogram?from=1970-01-01&to=9999-12-31",
        "events/histogram?interval=1s&from=1970-01-01&to=9999-12-31",
        "events/histogram?interval=10000w&by=user",
        "events/top?field=no.such.field",
    ] {
        let answer = wire.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    for size in [300, 60_000] {
        let name = "f".repeat(size);
        problem(&wire.get(&format!("/api/v1/events/top?field={name}")), 400, "bad_parameter");
        problem(&wire.get(&format!("/api/v1/events?{name}=1")), 400, "unknown_parameter");
    }
    // Longer than any head may be: HTTP's own refusal, and the connection is closed.
    let mut wire = victim.wire();
    wire.send(format!("GET /api/v1/events/top?field={} HTTP/1.1\r\nHost: x\r\n\r\n", "f".repeat(1 << 20)).as_bytes());
    assert!(wire.answers().iter().all(|answer| matches!(answer.status, 400 | 414 | 431)));
    victim.survived();
}

#[test]
fn queries_of_all_that_fits() {
    let victim = Victim::new();
    let events: String = (0..2_000).map(|n| format!("{{\"message\":\"a b c {n} a b\",\"user\":\"u{n}\"}}\n")).collect();
    assert_eq!(victim.post("", &[("Content-Type", "application/x-ndjson")], events.as_bytes()).status, 200);
    let mut wire = victim.wire();
    let half = 4_000;
    for (query, good) in [
        ("(".repeat(8_192), false),
        (format!("{}a{}", "(".repeat(half), ")".repeat(half)), false),
        (format!("{}a{}", "(".repeat(31), ")".repeat(31)), true),
        ("a".repeat(8_193), false),
        ("a".repeat(8_192), true),
        ("NOT+".repeat(2_000), false),
        (format!("{}a", "NOT+".repeat(2_000)), true),
        ("a+OR+".repeat(1_000) + "a", false),
        ("a+OR+".repeat(200) + "a", true),
        ("a+".repeat(4_000), false),
        (format!("%22{}%22", "a+".repeat(64)), true),
        (format!("%22{}%22", "a+".repeat(4_000)), false),
        (format!("user:{}", "*u".repeat(4_000)), true),
        (format!("user:IN+[{}]", "a+".repeat(250)), true),
        (format!("user:IN+[{}]", "a+".repeat(4_000)), false),
        ("user:[1+TO+2".into(), false),
        ("user:%22".into(), false),
        ("source.ip:10.0.0.0/99".into(), false),
        ("%C3%28%FF".into(), false),
        (format!("message:{}", "*a".repeat(3_000)), true),
    ] {
        for path in ["events", "events/count", "events/histogram", "events/top"] {
            let field = if path == "events/top" { "&field=user" } else { "" };
            let answer = wire.get(&format!("/api/v1/{path}?q={query}{field}"));
            let shown = &query[..query.len().min(40)];
            assert_eq!(answer.status == 200, good, "{path} {shown}: {answer:?}");
            if !good {
                assert!(matches!(answer.problem()["code"].as_str(), Some("query_syntax" | "bad_parameter")), "{shown}");
            }
        }
    }
    victim.survived();
}
