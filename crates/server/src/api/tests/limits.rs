use std::time::Duration;

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Server, TOKEN, json};

async fn raw(server: &Server, text: &str) -> String {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::with(|config| config.limits.body = 1_000).await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
    let (status, problem) = server.post("", "application/json", large.clone()).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (413, Some("body_too_large")));
    // Without a length the limit holds too.
    let chunks = futures::stream::iter(
        large.into_bytes().chunks(100).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>(),
    );
    let request = server.ask(Method::POST, "/api/v1/events").body(reqwest::Body::wrap_stream(chunks));
    if let Ok(response) = request.send().await {
        assert_eq!(json(response).await.0, 413);
    }
    assert_eq!(server.send("{\"a\":1}").await["accepted"], 1);
}

#[tokio::test]
async fn all_bodies_together_are_bounded() {
    let server = Server::with(|config| config.limits.bodies = 100).await;
    let response = server.ask(Method::POST, "/api/v1/events").body(format!("{{\"a\":\"{}\"}}", "x".repeat(200)));
    let response = response.send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, problem) = json(response).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(server.send("{\"a\":1}").await["accepted"], 1);
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let server = Server::with(|config| {
        config.limits.header_time = Duration::from_millis(50);
        config.limits.body_time = Duration::from_millis(50);
    })
    .await;
    let slow_head = raw(&server, "POST /api/v1/events HTTP/1.1\r\nHost: x\r\n").await;
    assert!(slow_head.is_empty() || slow_head.contains(" 408 "), "{slow_head}");
    let head =
        format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n");
    let slow_body = raw(&server, &format!("{head}Content-Length: 100\r\n\r\n{{\"a\"")).await;
    assert!(slow_body.contains(" 408 ") && slow_body.contains("body_timeout"), "{slow_body}");
    let garbage = raw(&server, "\0\0\0garbage\r\n\r\n").await;
    assert!(garbage.is_empty() || garbage.contains(" 400 "), "{garbage}");
    assert_eq!(server.send("{\"a\":1}").await["accepted"], 1);
}

#[tokio::test]
async fn a_full_queue_and_too_many_queries_are_told() {
    let server = Server::with(|config| {
        config.limits.queries = 0;
    })
    .await;
    let response = server.ask(Method::GET, "/api/v1/events").send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, problem) = json(response).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (429, Some("too_many_queries")));
}

#[tokio::test]
async fn counters_tell_what_was_taken_and_refused() {
    let server = Server::new().await;
    server.send("{\"a\":1}\nbroken\n").await;
    server.post("", "text/plain", "no parser knows this line\n").await;
    server.post("", "application/xml", "<a/>").await;
    let response = server.ask(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    for line in [
        "sceau_events_accepted_total 4",
        "sceau_events_refused_total{reason=\"invalid_json\"} 1",
        "sceau_requests_refused_total{code=\"unsupported_type\"} 1",
        "sceau_http_requests_total{method=\"POST\",status=\"415\"} 1",
        "sceau_queue_bytes 0",
        "sceau_tree_size 4",
        "sceau_accepting 1",
        "sceau_store_segments 0",
        "sceau_commits_total 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
    }
    assert!(text.contains("sceau_events_unparsed_total 1"), "{text}");
    assert!(text.contains("sceau_commit_seconds_bucket"), "{text}");
    assert!(!text.contains(TOKEN));
}

/// Sixteen megabytes of entries: more than the buffers between two sockets hold.
async fn with_much(server: &Server) {
    let event = format!("{{\"a\":\"{}\"}}\n", "x".repeat(60_000));
    assert_eq!(server.send(&event.repeat(260)).await["accepted"], 260);
}

/// Asks for all of it, and reads no more than the beginning.
async fn deaf(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    let request =
        format!("GET /api/v1/entries?limit=10000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

async fn until_answered(server: &Server) {
    let begun = std::time::Instant::now();
    while server.ask(Method::GET, "/api/v1/entries?limit=10000").send().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the answer that nobody reads keeps its place");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn answers_that_wait_are_bounded() {
    let server = Server::with(|config| config.limits.answers = 16 << 20).await;
    with_much(&server).await;
    let waits = deaf(&server).await;
    let response = server.ask(Method::GET, "/api/v1/entries?limit=10000").send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, problem) = json(response).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (429, Some("too_many_queries")));
    // Small answers are not held up, and the place is free again once the answer is gone.
    server.good("/api/v1/integrity").await;
    drop(waits);
    until_answered(&server).await;
}

#[tokio::test]
async fn who_takes_no_answer_is_cut_off() {
    let server = Server::with(|config| {
        config.limits.answers = 16 << 20;
        config.limits.write_time = Duration::from_millis(50);
    })
    .await;
    with_much(&server).await;
    let mut waits = deaf(&server).await;
    until_answered(&server).await;
    let mut rest = Vec::new();
    let _ = waits.read_to_end(&mut rest).await;
    assert!(rest.len() < 15_000_000, "all of it came: {}", rest.len());
}

#[tokio::test]
async fn idle_connections_make_room_for_others() {
    let server = Server::with(|config| {
        config.limits.connections = 2;
        config.limits.header_time = Duration::from_millis(100);
    })
    .await;
    let address = server.base.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(server.send("{\"a\":1}").await["accepted"], 1);
    for stream in &mut idle {
        assert_eq!(stream.read(&mut [0; 100]).await.unwrap_or(0), 0, "an idle connection is closed without a word");
    }
}

#[tokio::test]
async fn refusals_reach_whoever_is_still_sending() {
    let server = Server::new().await;
    let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    let size = 8 << 20;
    for (method, target, token, status) in [
        ("POST", "/api/v1/events", "wrong", "401"),
        ("POST", "/api/v1/events?nope=1", TOKEN, "400"),
        ("DELETE", "/api/v1/events", TOKEN, "405"),
        ("POST", "/nonesuch", TOKEN, "404"),
        ("POST", "/api/v1/integrity/verify", TOKEN, "413"),
    ] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
        stream.write_all(format!("{head}Content-Length: {size}\r\n\r\n").as_bytes()).await.unwrap();
        // All of it, on a connection that stays open for the next.
        stream.write_all(&vec![b' '; size]).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[9..], *status.as_bytes(), "{method} {target}");
        let mut text = Vec::new();
        while !text.ends_with(b"}") {
            text.push(stream.read_u8().await.unwrap());
        }
    }
}
