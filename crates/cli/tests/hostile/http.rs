//! HTTP that is broken, cut off, slow or too much.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::{
    Victim,
    common::{TOKEN, until},
    problem,
    wire::Answer,
};

/// A request's head with a token, up to the further headers.
fn head(line: &str) -> String {
    format!("{line}\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n")
}

fn post() -> String {
    head("POST /api/v1/events HTTP/1.1")
}

/// What a server says to these bytes, after which nothing comes.
fn say(victim: &Victim, bytes: &[u8]) -> Vec<Answer> {
    let mut wire = victim.wire();
    wire.send(bytes);
    wire.end();
    wire.answers()
}

/// What is no HTTP, or not the HTTP of a well-meaning client.
fn broken() -> Vec<Vec<u8>> {
    let many = (0..10_000).map(|n| format!("h{n}: v\r\n")).collect::<String>();
    [
        "\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1 extra\r\n\r\n".to_owned(),
        "G\u{0}T / HTTP/1.1\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)),
        format!("{}X: {}\r\n\r\n", head("GET /api/v1/integrity HTTP/1.1"), "a".repeat(1 << 20)),
        format!("{}{many}\r\n", head("GET /api/v1/integrity HTTP/1.1")),
        format!("{}Bad Header: 1\r\n\r\n", head("GET /api/v1/integrity HTTP/1.1")),
        format!("{}X: a\r\n folded\r\n\r\n", head("GET /api/v1/integrity HTTP/1.1")),
        format!("{}X: \u{0}\r\n\r\n", head("GET /api/v1/integrity HTTP/1.1")),
        format!("{}: no name\r\n\r\n", head("GET /api/v1/integrity HTTP/1.1")),
        format!("{}Content-Length: -1\r\n\r\n", post()),
        format!("{}Content-Length: +2\r\n\r\n{{}}", post()),
        format!("{}Content-Length: 0x2\r\n\r\n{{}}", post()),
        format!("{}Content-Length: 2, 3\r\n\r\n{{}}", post()),
        format!("{}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", post()),
        format!("{}Content-Length: 99999999999999999999999\r\n\r\n{{}}", post()),
        format!("{}Transfer-Encoding: gzip\r\n\r\n{{}}", post()),
        format!("{}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", post()),
        format!("{}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", post()),
        format!("{}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n", post()),
        format!("{}Transfer-Encoding: chunked\r\n\r\n-2\r\n{{}}\r\n0\r\n\r\n", post()),
        format!("{}Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{{}}", post()),
        format!("{}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}2\r\n{{}}\r\n0\r\n\r\n", post()),
        format!("{}Transfer-Encoding: chunked\r\n\r\n2;{}\r\n{{}}\r\n0\r\n\r\n", post(), "e".repeat(1 << 20)),
        format!("{}Transfer-Encoding: chunked\r\n\r\n0\r\n{many}{many}\r\n", post()),
        format!("{}Expect: nonsense\r\nContent-Length: 300000000\r\n\r\n", post()),
    ]
    .map(String::into_bytes)
    .into_iter()
    .chain([
        // A TLS client's hello, and noise.
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], [0x5a; 512].as_slice()].concat(),
        (0..=255).collect(),
        vec![0; 1 << 20],
        vec![b'A'; 1 << 20],
    ])
    .collect()
}

#[test]
fn broken_requests_are_refused_or_cut_off() {
    let victim = Victim::new();
    for request in &broken() {
        let shown = String::from_utf8_lossy(&request[..request.len().min(160)]).into_owned();
        let answers = say(&victim, request);
        assert!(answers.len() <= 1, "{shown:?}: {answers:?}");
        for answer in &answers {
            assert!((400..500).contains(&answer.status), "{shown:?}: {answer:?}");
        }
        victim.alive();
    }
    assert_eq!(victim.get("/api/v1/events/count").json()["count"], 0, "nothing of that was taken for an event");
    victim.survived();
}

#[test]
fn half_requests_leave_nothing_behind() {
    let victim = Victim::new();
    let event = "{\"a\":1}\n".repeat(1_000);
    for cut in [0, 1, 100, event.len() - 1] {
        let request = format!("{}Content-Length: {}\r\n\r\n{}", post(), event.len(), &event[..cut]);
        for answer in say(&victim, request.as_bytes()) {
            problem(&answer, 400, "bad_body");
        }
        let chunked = format!("{}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}", post(), event.len(), &event[..cut]);
        for answer in say(&victim, chunked.as_bytes()) {
            problem(&answer, 400, "bad_body");
        }
        // Gone without a word.
        victim.wire().send(request.as_bytes());
    }
    let request = format!("{}Content-Length: 8\r\n\r\n{{\"a\":1}}\n", post());
    for cut in 0..request.len() {
        victim.wire().send(&request.as_bytes()[..cut]);
    }
    victim.alive();
    assert_eq!(victim.get("/api/v1/events/count").json()["count"], 0);
    victim.survived();
}

/// Two lengths for one body: front and back servers disagree about where the next request begins.
#[test]
fn requests_are_not_smuggled() {
    let victim = Victim::new();
    let hidden = format!("{}Content-Length: 14\r\n\r\n{{\"hidden\":true}}", post());
    for (first, second) in [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 5"),
        ("Transfer-Encoding: identity, chunked", "Content-Length: 5"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding : chunked", "Content-Length: 5"),
        ("Transfer-Encoding:\u{b}chunked", "Content-Length: 5"),
    ] {
        let request = format!("{}{first}\r\n{second}\r\n\r\n0\r\n\r\n{hidden}", post());
        let answers = say(&victim, request.as_bytes());
        // A server that takes both must close the connection behind it (RFC 9112, section 6.1).
        assert!(answers.len() <= 1, "{first}, {second}: {answers:?}");
    }
    assert_eq!(victim.get("/api/v1/events/count?q=hidden:true").json()["count"], 0);
    victim.survived();
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let victim = Victim::new();
    let count = 500;
    let mut pipeline = String::new();
    for n in 0..count {
        let event = format!("{{\"n\":{n}}}");
        pipeline += &format!("{}Content-Length: {}\r\n\r\n{event}", post(), event.len());
        pipeline += &head("GET /healthz HTTP/1.1");
        pipeline += "\r\n";
    }
    let mut wire = victim.wire();
    std::thread::scope(|scope| {
        let mut answers = victim.wire();
        std::mem::swap(&mut wire, &mut answers);
        answers.send(pipeline.as_bytes());
        scope.spawn(move || {
            for n in 0..count {
                let taken = answers.answer().unwrap();
                assert_eq!((taken.status, taken.json()["accepted"].as_u64()), (200, Some(1)), "{n}");
                assert_eq!(answers.answer().unwrap().status, 200);
            }
        });
    });
    let entries = victim.entries(2, count);
    let in_order = (0..count).zip(&entries).all(|(n, entry)| entry.ends_with(format!("{{\"n\":{n}}}}}").as_bytes()));
    assert!(in_order, "their events are in the order in which they were sent");
    victim.survived();
}

#[test]
fn others_are_served_beside_idle_and_slow_ones() {
    let victim = Victim::new();
    let idle: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(victim.address()).unwrap()).collect();
    let half: Vec<_> = (0..200)
        .map(|n| {
            let mut wire = victim.wire();
            let request = format!("{}Content-Length: 8\r\n\r\n{{\"a\":1}}\n", post());
            wire.send(&request.as_bytes()[..request.len() * n / 200]);
            wire
        })
        .collect();
    // Large answers that nobody reads.
    let body = format!("{{\"a\":\"{}\"}}\n", "x".repeat(60_000)).repeat(400);
    assert_eq!(victim.post("", &[("Content-Type", "application/x-ndjson")], body.as_bytes()).status, 200);
    let request = format!("{}\r\n", head("GET /api/v1/entries?limit=10000 HTTP/1.1"));
    let deaf: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(victim.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            (stream, start)
        })
        .collect();
    let told: HashSet<_> = deaf.iter().map(|(_, start)| start).collect();
    assert_eq!(told, HashSet::from([b"HTTP/1.1 200", b"HTTP/1.1 429"]), "so many wait to be read, and no more");
    let mut wire = victim.wire();
    for _ in 0..100 {
        assert_eq!(wire.get("/healthz").status, 200);
        assert_eq!(wire.post("/api/v1/events", &[], b"{\"a\":1}").status, 200);
    }
    drop(deaf);
    until("an answer", || wire.get("/api/v1/entries?limit=10").status == 200);
    drop((idle, half));
    victim.survived();
}

#[test]
fn wrong_methods_and_types() {
    let victim = Victim::new();
    let mut wire = victim.wire();
    wire.patience(Duration::from_secs(30));
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW", "get"] {
        problem(&wire.ask(method, "/api/v1/events", &[], b"{}"), 405, "method_not_allowed");
    }
    for kind in [
        "application/xml",
        "multipart/form-data; boundary=x",
        "text/html",
        "application/json; charset=utf-16",
        "",
        "\t",
        "\u{e9}",
    ] {
        problem(&victim.post("", &[("Content-Type", kind)], b"{\"a\":1}"), 415, "unsupported_type");
    }
    for encoding in ["br", "deflate", "gzip, gzip", "chunked", "*"] {
        problem(&victim.post("", &[("Content-Encoding", encoding)], b"{\"a\":1}"), 415, "unsupported_type");
    }
    let long = "k".repeat(129);
    for key in ["", long.as_str(), "\u{e9}"] {
        problem(&victim.post("", &[("Idempotency-Key", key)], b"{\"a\":1}"), 400, "bad_parameter");
    }
    for path in ["/api/v1/integrity/verify", "/api/v1/integrity/verify?x=1"] {
        for body in ["{\"pin\":", "[1]", "{\"pin\":7}", "{\"nope\":1}", "{\"pin\":\"x\"}", "\u{0}"] {
            let answer = wire.post(path, &[], body.as_bytes());
            assert_eq!(answer.problem()["status"], 400, "{body}: {answer:?}");
        }
    }
    for token in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x y", &format!("Bearer {}", "t".repeat(20_000))] {
        let answer = wire.ask("GET", "/api/v1/integrity", &[("Authorization", token)], b"");
        problem(&answer, 401, "unauthorized");
    }
    victim.survived();
}
