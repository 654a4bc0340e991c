use std::io::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, json};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn events_of_every_kind_are_kept_exactly() {
    let mut server = Server::new().await;
    let first = server.send("{\"id\":9007199254740993,\"b\":1.10}").await;
    assert_eq!(first["accepted"], 1);
    assert_eq!(first["rejected"], 0);
    let index = first["first_index"].as_u64().unwrap();
    assert_eq!(first["tree_size"], index + 1);
    let event = server.good(&format!("/api/v1/events/{index}")).await;
    assert!(event["entry"].as_str().unwrap().contains("{\"id\":9007199254740993,\"b\":1.10}"), "{event}");
    assert_eq!(event["leaf_hash"].as_str().unwrap().len(), 64);
    assert_eq!(event["record"]["source"], "http");
    for (kind, body, accepted) in [
        ("application/json", "{\"a\":1}", 1),
        ("application/json", "[{\"a\":1},{\"a\":2}]", 2),
        ("application/json", "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", 3),
        ("application/jsonl", "{\"a\":1}\r\n\r\n{\"a\":2}", 2),
        ("text/plain", "one line\nanother\n", 2),
        ("application/json", "[]", 0),
    ] {
        let (status, value) = server.post("?source=vpn", kind, body).await;
        assert_eq!((status.as_u16(), &value["accepted"]), (200, &json!(accepted)), "{kind} {body}: {value}");
    }
    let (status, _) = json(server.ask(Method::POST, "/api/v1/events").body("{\"a\":1}").send().await.unwrap()).await;
    assert_eq!(status, 200, "no content type");
    assert_eq!(server.good("/api/v1/events/count?q=source:vpn").await["count"], 10);
    server.stop().await;
    assert!(server.verify().await.ok);
}

#[tokio::test]
async fn packed_bodies_are_unpacked_within_limits() {
    let server = Server::with(|config| config.limits.inflated = 1 << 20).await;
    let lines = "{\"a\":1}\n".repeat(20_000);
    for (encoding, body) in [("gzip", gzip(lines.as_bytes())), ("zstd", zstd::encode_all(lines.as_bytes(), 3).unwrap())]
    {
        let request = server.ask(Method::POST, "/api/v1/events").header("content-encoding", encoding);
        let (status, value) = json(request.body(body).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &value["accepted"]), (200, &json!(20_000)), "{value}");
    }
    let bomb = vec![b' '; 8 << 20];
    for (encoding, body) in [("gzip", gzip(&bomb)), ("zstd", zstd::encode_all(bomb.as_slice(), 19).unwrap())] {
        let request = server.ask(Method::POST, "/api/v1/events").header("content-encoding", encoding);
        let (status, value) = json(request.body(body).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), value["code"].as_str()), (413, Some("body_too_large")), "{value}");
    }
    for (header, value) in [("content-encoding", "br"), ("content-type", "application/xml")] {
        let request = server.ask(Method::POST, "/api/v1/events").header(header, value);
        let (status, problem) = json(request.body("{}").send().await.unwrap()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (415, Some("unsupported_type")));
    }
}

#[tokio::test]
async fn bad_lines_are_told_and_good_ones_kept() {
    let server = Server::new().await;
    let body = "{\"good\":1}\nbroken\n{\"a\":1,\"a\":2}\n{\"good\":2}\n";
    let (status, value) = server.post("", "application/x-ndjson", body).await;
    assert_eq!((status.as_u16(), &value["accepted"], &value["rejected"]), (200, &json!(2), &json!(2)));
    let told: Vec<_> =
        value["errors"].as_array().unwrap().iter().map(|e| (e["line"].clone(), e["code"].clone())).collect();
    assert_eq!(told, [(json!(2), json!("invalid_json")), (json!(3), json!("duplicate_key"))]);
    let before = server.good("/api/v1/integrity").await["head"]["tree_size"].clone();
    for (query, body, status, code) in [
        ("?atomic=true", body.to_owned(), 400, "atomic_refused"),
        ("", "broken\nbroken".to_owned(), 400, "all_rejected"),
        ("", format!("{{\"a\":\"{}\"}}", "x".repeat(70_000)), 413, "too_large"),
        ("?atomic=true", format!("{{}}\n{{\"a\":\"{}\"}}", "x".repeat(70_000)), 413, "atomic_refused"),
    ] {
        let (found, value) = server.post(query, "application/x-ndjson", body).await;
        assert_eq!((found.as_u16(), value["code"].as_str()), (status, Some(code)), "{value}");
        assert!(value["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{value}");
    }
    let (status, value) = server.post("", "application/json", "[{\"a\":1}").await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (400, Some("bad_body")));
    assert_eq!(server.good("/api/v1/integrity").await["head"]["tree_size"], before);
}

#[tokio::test]
async fn parameters_are_checked_by_name() {
    let server = Server::new().await;
    for (query, status, code, parameter) in [
        ("?sourc=x", 400, "unknown_parameter", "sourc"),
        ("?source=UPPER", 400, "bad_parameter", "source"),
        ("?source=a&source=b", 400, "bad_parameter", "source"),
        ("?parser=nonesuch", 400, "bad_parameter", "parser"),
        ("?zone=Mars", 400, "bad_parameter", "zone"),
        ("?atomic=maybe", 400, "bad_parameter", "atomic"),
        ("?import_from=1", 400, "bad_parameter", "import"),
        ("?import=x", 400, "bad_parameter", "import_from"),
        ("?import=x&import_from=0&import_to=-1", 400, "bad_parameter", "import_to"),
    ] {
        let (found, value) = server.post(query, "application/json", "{}").await;
        assert_eq!((found.as_u16(), value["code"].as_str()), (status, Some(code)), "{query} {value}");
        assert_eq!(value["parameter"], parameter, "{query} {value}");
    }
    let (status, value) = server.post("?source=sceau.audit", "application/json", "{}").await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (403, Some("reserved_source")));
}

#[tokio::test]
async fn a_repeated_request_is_harmless() {
    let server = Server::new().await;
    let send = async |key: &str, body: &'static str| {
        let request = server.ask(Method::POST, "/api/v1/events").header("idempotency-key", key);
        let response = request.body(body).send().await.unwrap();
        let replay = response.headers().get("idempotent-replay").map(|value| value.to_str().unwrap().to_owned());
        let (status, value) = json(response).await;
        (status.as_u16(), replay, value)
    };
    let (status, replay, first) = send("k 1", "{\"a\":1}").await;
    assert_eq!((status, replay), (200, None));
    let (status, replay, again) = send("k 1", "{\"a\":1}").await;
    assert_eq!((status, replay.as_deref(), &again), (200, Some("true"), &first));
    let (status, _, other) = send("k 1", "{\"a\":2}").await;
    assert_eq!((status, other["code"].as_str()), (422, Some("idempotency_mismatch")));
    assert_eq!(send(&"k".repeat(129), "{}").await.0, 400);
}

#[tokio::test]
async fn imports_are_resumed_over_http() {
    let server = Server::new().await;
    let (status, _) = server.get("/api/v1/imports/f").await;
    assert_eq!(status, 404);
    let query = "?import=f&import_from=0&import_to=4&import_lines=2&import_tail=ff00";
    let (status, value) = server.post(query, "text/plain", "a\nb\n").await;
    assert_eq!((status.as_u16(), &value["accepted"]), (200, &json!(2)));
    let position = json!({"offset": 4, "lines": 2, "tail": "ff00"});
    assert_eq!(server.good("/api/v1/imports/f").await, position);
    let (status, problem) = server.post(query, "text/plain", "a\nb\n").await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (409, Some("import_position")));
    assert_eq!((&problem["offset"], &problem["tail"]), (&position["offset"], &position["tail"]));
    let (status, _) = server.get("/api/v1/imports/a%2Fb").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_stop_is_there_after_it() {
    let mut server = Server::new().await;
    let clients = (0..8).map(|client| {
        let request = server.ask(Method::POST, "/api/v1/events");
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..10_000 {
                let Some(request) = request.try_clone() else { break };
                let text = format!("{{\"client\":{client},\"n\":{n}}}");
                match request.body(text.clone()).send().await {
                    Ok(response) if response.status() == 200 => {
                        let value: Value = response.json().await.unwrap();
                        acknowledged.push((value["first_index"].as_u64().unwrap(), text));
                    }
                    _ => break,
                }
            }
            acknowledged
        })
    });
    let clients: Vec<_> = clients.collect();
    while server.good("/api/v1/integrity").await["head"]["tree_size"].as_u64().unwrap() < 200 {}
    server.stop().await;
    let reader = crate::Reader::open(&server.fixture.config).await.unwrap();
    let mut count = 0;
    for client in clients {
        for (index, text) in client.await.unwrap() {
            assert!(reader.event(index).await.unwrap().entry.contains(&text), "{index}");
            count += 1;
        }
    }
    assert!(count >= 190, "{count}");
    drop(reader);
    let report = server.verify().await;
    assert!(report.ok && report.verdict.sealed.younger == 0, "{report}");
}
