//! The log verifies itself, and seals what came of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::Server;
use crate::Schedule;

#[tokio::test]
async fn the_log_verifies_itself_on_schedule_and_seals_the_result() {
    let schedule = Schedule { every: Duration::from_millis(5), whole_every: Duration::from_secs(3_600), share: 100 };
    let mut server = Server::with(|config| config.schedule = Some(schedule)).await;
    let sealed = async |scope: &str| {
        let path = format!("/api/v1/events?q=source:sceau.audit%20action:verification%20verification.scope:{scope}");
        server.good(&path).await["events"].as_array().unwrap().clone()
    };
    // More than the entry of the last result is needed for the next one.
    let (mut whole, mut added) = (Vec::new(), Vec::new());
    while whole.is_empty() || added.is_empty() {
        server.send("{\"n\":1}\n{\"n\":2}\n").await;
        (whole, added) = (sealed("whole").await, sealed("added").await);
    }
    assert_eq!(whole.len(), 1, "everything is due once an hour: {whole:?}");
    let record = &added[0]["record"];
    assert_eq!((&record["event.outcome"], &record["user.name"]), (&json!("success"), &json!("schedule")));
    assert_eq!(record["verification.faults"], "0", "{record}");
    let metrics = server.ask(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sceau_verification_faults 0"), "{metrics}");
    let findings = server.good("/api/v1/events/count?q=source:sceau.finding").await;
    assert_eq!(findings["count"], 0);
    server.stop().await;
    let report = server.verify().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_words_for_those_who_send_it() {
    let server = Server::with(|config| config.schedule = None).await;
    let (verify, rotate) = ("/api/v1/integrity/verify", "/api/v1/keys/rotate");
    for (method, path, body, expected) in [
        (Method::POST, verify, "null", "expected an object"),
        (Method::POST, verify, "{\"pin\": 7}", "line 1, column 10: expected an object"),
        (Method::POST, verify, "{\"pin\": \"x\"}", "44 characters"),
        (Method::POST, rotate, "[]", "expected {\"key\""),
        (Method::POST, "/api/v1/events", "{\"a\":x}", "byte 5: expected a value"),
        (Method::GET, "/api/v1/events?cursor=x", "", "`next_cursor`"),
    ] {
        let request = server.ask(method, path).header("content-type", "application/x-ndjson").body(body);
        let told = request.send().await.unwrap().text().await.unwrap().replace("\\\"", "\"");
        assert!(told.contains(expected) && !told.contains("struct") && !told.contains("EpochPublic"), "{body}: {told}");
    }
}

#[tokio::test]
async fn a_verification_that_finds_something_is_a_finding() {
    let server = Server::with(|config| config.schedule = None).await;
    server.send("{\"n\":1}\n{\"n\":2}\n").await;
    let database = rusqlite::Connection::open(server.fixture.data().join("sceau.db")).unwrap();
    let token = "INSERT INTO state (collection, key, value, version) VALUES ('tokens', 'evil', '{}', 1)";
    assert_eq!(database.execute(token, []).unwrap(), 1);
    let started = server.ask(Method::POST, "/api/v1/integrity/verify").send().await.unwrap();
    assert_eq!(started.status(), 202);
    while server.good("/api/v1/integrity/verify").await["state"] == "running" {}
    let found = server.good("/api/v1/events?q=source:sceau.finding").await;
    let record = &found["events"][0]["record"];
    assert_eq!((&record["rule.id"], &record["log.level"]), (&json!("sceau-integrity"), &json!("critical")));
    assert!(record["message"].as_str().unwrap().contains("tokens/evil"), "{record}");
    let metrics = server.ask(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    // It has no MAC, and no entry explains it.
    assert!(metrics.contains("sceau_verification_faults 2"), "{metrics}");
}
