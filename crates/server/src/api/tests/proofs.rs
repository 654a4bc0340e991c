use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::Method;
use sceau_ledger::{Head, LogKey, VerifierKey, leaf_hash, open_checkpoint, sign_checkpoint, verify_tlog_proof};
use serde_json::{Value, json};

use super::{Server, json};
use crate::hex;

async fn bytes(server: &Server, path: &str) -> (u16, Vec<u8>) {
    let response = server.ask(Method::GET, path).send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        assert!(response.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    }
    (status, response.bytes().await.unwrap().to_vec())
}

/// The checkpoint of everything that is there now.
async fn published(server: &Server, vkey: &VerifierKey) -> sceau_ledger::Head {
    let size = server.good("/api/v1/integrity").await["head"]["tree_size"].as_u64().unwrap();
    server.good(&format!("/api/v1/events/{}/proof", size - 1)).await;
    let note = server.ask(Method::GET, "/log/checkpoint").send().await.unwrap();
    assert_eq!(note.headers()["content-type"], "text/plain; charset=utf-8");
    let head = open_checkpoint(note.text().await.unwrap().as_bytes(), vkey).unwrap().head;
    assert!(head.size.0 >= size);
    head
}

#[tokio::test]
async fn proofs_hold_in_both_forms() {
    let server = Server::new().await;
    let vkey: VerifierKey = server.fixture.report.verifier_key.parse().unwrap();
    let lines: String = (0..300).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    server.send(&lines).await;
    for index in [0, 1, 255, 256, 300] {
        let path = format!("/api/v1/events/{index}/proof");
        let proof = server.good(&path).await;
        let entry = proof["entry"].as_str().unwrap();
        assert_eq!(proof["leaf_hash"], hex(&leaf_hash(entry.as_bytes()).0));
        let head = open_checkpoint(proof["checkpoint"].as_str().unwrap().as_bytes(), &vkey).unwrap().head;
        assert_eq!((&proof["tree_size"], &proof["root_hash"]), (&json!(head.size.0), &json!(hex(&head.root.0))));
        let hashes: Vec<[u8; 32]> = proof["proof"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| BASE64_STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap())
            .collect();
        sceau_ledger::check_inclusion(sceau_ledger::Index(index), leaf_hash(entry.as_bytes()), &head, &hashes).unwrap();
        let by_format = server.ask(Method::GET, &format!("{path}?format=tlog")).send().await.unwrap();
        let text = by_format.text().await.unwrap();
        verify_tlog_proof(&text, entry.as_bytes(), &vkey).unwrap();
        let by_accept = server.ask(Method::GET, &path).header("accept", "text/plain").send().await.unwrap();
        assert_eq!(by_accept.headers()["content-type"], "text/plain; charset=utf-8");
        assert!(verify_tlog_proof(&text, b"another entry", &vkey).is_err());
    }
    let (status, problem) = server.get("/api/v1/events/302/proof").await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (404, Some("not_found")));
    let (status, _) = server.get("/api/v1/events/0/proof?format=pdf").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn tiles_lead_to_the_checkpoint() {
    let server = Server::new().await;
    let vkey: VerifierKey = server.fixture.report.verifier_key.parse().unwrap();
    let lines: String = (0..600).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    server.send(&lines).await;
    let head = published(&server, &vkey).await;
    assert_eq!(head.size.0, 602);
    let mut leaves = Vec::new();
    for (path, width) in [("000", 256), ("001", 256), ("002.p/90", 90)] {
        let (status, tile) = bytes(&server, &format!("/log/tile/0/{path}")).await;
        assert_eq!((status, tile.len()), (200, width * 32), "{path}");
        let (status, mut entries) = bytes(&server, &format!("/log/tile/entries/{path}")).await;
        assert_eq!(status, 200);
        for hash in tile.chunks(32) {
            let length = usize::from(u16::from_be_bytes([entries[0], entries[1]]));
            let rest = entries.split_off(2 + length);
            let leaf = leaf_hash(&entries[2..]);
            assert_eq!(leaf.0, hash);
            leaves.push(leaf);
            entries = rest;
        }
        assert!(entries.is_empty());
    }
    let mut tree = sceau_ledger::Tree::new();
    let hashes = tree.append(&leaves);
    assert_eq!(tree.head(), head);
    let (status, level) = bytes(&server, "/log/tile/1/000.p/2").await;
    assert_eq!((status, level), (200, hashes.iter().flat_map(|tile| tile.hash).collect::<Vec<_>>()));
    for path in [
        "0/002",
        "0/002.p/91",
        "0/003.p/1",
        "1/000",
        "1/000.p/3",
        "2/000.p/1",
        "63/000.p/1",
        "64/000",
        "0/2",
        "0/x000/000",
        "0/000.p/0",
        "0/000.p/256",
        "entries/002",
        "entries/002.p/91",
        "0/../000",
        "x",
    ] {
        assert_eq!(bytes(&server, &format!("/log/tile/{path}")).await.0, 404, "{path}");
    }
    assert_eq!(bytes(&server, "/log/tile/0/000.p/7").await.0, 200, "a smaller partial tile");
}

async fn finished(server: &Server, id: &str) -> Value {
    loop {
        let job = server.good(&format!("/api/v1/integrity/verify/{id}")).await;
        if job["state"] != "running" {
            return job;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_is_verified() {
    let server = Server::new().await;
    let (status, _) = server.get("/api/v1/integrity/verify").await;
    assert_eq!(status, 404);
    let lines: String = (0..1_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    server.send(&lines).await;
    let note = {
        let vkey: VerifierKey = server.fixture.report.verifier_key.parse().unwrap();
        published(&server, &vkey).await;
        server.ask(Method::GET, "/log/checkpoint").send().await.unwrap().text().await.unwrap()
    };
    let wanted = json!({"pin": server.fixture.report.first_epoch_key, "since_checkpoint": note});
    let request = || server.ask(Method::POST, "/api/v1/integrity/verify");
    let started = json(request().json(&wanted).send().await.unwrap()).await;
    assert_eq!(started.0, 202, "{}", started.1);
    // The log goes on meanwhile.
    for n in 0..20 {
        server.send(&format!("{{\"m\":{n}}}\n").repeat(7)).await;
    }
    let job = finished(&server, started.1["id"].as_str().unwrap()).await;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(job["verdict"]["ok"], true, "{job}");
    assert_eq!(job["verdict"]["consistent"], true, "{job}");
    assert_eq!(job["verdict"]["anchored"]["up_to"], 1_001, "{job}");
    let integrity = server.good("/api/v1/integrity").await;
    assert_eq!(integrity["last_verification"]["id"], started.1["id"]);
    assert_eq!((&integrity["writing"], &integrity["origin"]), (&json!("ok"), &json!("example.org/log")));
    assert_eq!(integrity["first_epoch_key"], server.fixture.report.first_epoch_key.as_str());
    assert!(integrity["last_seal"]["epoch"].is_u64());
    let other = LogKey::from_seed("elsewhere.example/log", &[9; 32]).unwrap();
    let other = json!({"since_checkpoint": sign_checkpoint(&other, &Head::empty())}).to_string();
    for (body, code) in [
        ("{\"pin\":\"x\"}", "bad_parameter"),
        ("{\"since_checkpoint\":\"\"}", "bad_parameter"),
        ("{\"since_checkpoint\":\"garbage\"}", "bad_parameter"),
        (other.as_str(), "bad_parameter"),
        ("{\"pun\":1}", "bad_body"),
        ("x", "bad_body"),
    ] {
        let (status, problem) = json(request().body(body.to_owned()).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (400, Some(code)), "{body}");
    }
    let (_, again) = json(request().send().await.unwrap()).await;
    let job = finished(&server, again["id"].as_str().unwrap()).await;
    assert_eq!(job["verdict"]["ok"], true, "{job}");
    assert!(job["verdict"]["sealed"]["unproven"].is_string(), "without a pin this is said: {job}");
}

#[tokio::test]
async fn keys_are_rotated_over_http() {
    let server = Server::new().await;
    server.send("{\"n\":1}\n").await;
    let request = || server.ask(Method::POST, "/api/v1/keys/rotate");
    let (status, log) = json(request().json(&json!({"key": "log"})).send().await.unwrap()).await;
    assert_eq!(status, 200, "{log}");
    assert_ne!(log["verifier_key"], server.fixture.report.verifier_key.as_str());
    let (status, mac) = json(request().json(&json!({"key": "mac"})).send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &mac["first_bundle"]), (200, &json!(1)), "{mac}");
    let integrity = server.good("/api/v1/integrity").await;
    assert_eq!(integrity["verifier_key"], server.fixture.report.verifier_key.as_str());
    assert_eq!(integrity["verifier_keys"][1], json!({"verifier_key": log["verifier_key"], "above": log["index"]}));
    assert_eq!(integrity["key_changes"][1]["note"], mac["note"]);
    assert_eq!(integrity["chains"].as_array().unwrap().len(), 1);
    for body in ["", "{}", "{\"key\":\"epoch\"}", "{\"key\":\"log\",\"x\":1}", "x"] {
        let (status, problem) = json(request().body(body).send().await.unwrap()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (400, Some("bad_body")), "{body}");
    }
    let pins = json!({"pin": [server.fixture.report.first_epoch_key]});
    let verify = server.ask(Method::POST, "/api/v1/integrity/verify");
    let (_, started) = json(verify.json(&pins).send().await.unwrap()).await;
    let job = finished(&server, started["id"].as_str().unwrap()).await;
    assert_eq!(job["verdict"]["ok"], true, "{job}");
}
