use serde_json::{Value, json};

use super::Server;

async fn filled() -> Server {
    let server = Server::new().await;
    let lines: String = (0..120)
        .map(|n| {
            let (user, status) = (["alice", "bob", "carol"][n % 3], if n % 4 == 0 { "failed" } else { "success" });
            let minute = n % 60;
            let hour = 8 + n / 60;
            format!(
                "{{\"timestamp\":\"2026-11-20T{hour:02}:{minute:02}:00Z\",\"user\":\"{user}\",\"status\":\"{status}\",\
                 \"ip\":\"10.0.0.{n}\",\"team\":\"t{}\"}}\n",
                n % 2
            )
        })
        .collect();
    assert_eq!(server.send(&lines).await["accepted"], 120);
    server
}

#[tokio::test]
async fn search_goes_page_by_page() {
    let server = filled().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/events?q=user:alice&order=oldest&limit=15".to_owned();
    loop {
        let page = server.good(&path).await;
        for event in page["events"].as_array().unwrap() {
            assert_eq!(event["record"]["user.name"], "alice");
            seen.push(event["index"].as_u64().unwrap());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/events?q=user:alice&order=oldest&limit=15&cursor={cursor}");
    }
    assert_eq!(seen.len(), 40);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
    let newest = server.good("/api/v1/events?limit=1").await;
    assert_eq!(newest["events"][0]["record"]["@timestamp"], "2026-11-20T09:59:00.000000Z");
    let window = server.good("/api/v1/events?from=2026-11-20T08:10:00Z&to=2026-11-20T08:20:00Z").await;
    assert_eq!(window["events"].as_array().unwrap().len(), 10);
    // The product's own entries are left out unless asked for.
    assert_eq!(server.good("/api/v1/events/count").await, json!({"count": 120, "occurrences": 120}));
    assert_eq!(server.good("/api/v1/events/count?q=source:sceau.audit").await["count"], 2);
}

#[tokio::test]
async fn counts_tops_and_histograms() {
    let server = filled().await;
    assert_eq!(server.good("/api/v1/events/count?q=user:alice%20AND%20status:failed").await["count"], 10);
    let top = server.good("/api/v1/events/top?field=user&q=status:failed&limit=2").await;
    assert_eq!((&top["field"], &top["distinct"]), (&json!("user"), &json!(3)));
    assert_eq!(top["values"].as_array().unwrap().len(), 2);
    assert_eq!(top["values"][0], json!({"value": "alice", "count": 10, "occurrences": 10}));
    let times = server.good("/api/v1/events/top?field=@timestamp&limit=1").await;
    assert_eq!(times["values"][0], json!({"value": "2026-11-20T08:00:00.000000Z", "count": 1, "occurrences": 1}));
    let split = server.good("/api/v1/events/histogram?interval=1h&by=@timestamp&to=2026-11-20T08:01:00Z").await;
    assert_eq!(split["buckets"][0]["by"], "2026-11-20T08:00:00.000000Z");
    let histogram = server.good("/api/v1/events/histogram?interval=1h").await;
    let hour = |start: &str| json!({"start": start, "count": 60, "occurrences": 60});
    assert_eq!(histogram["interval"], "1h");
    assert_eq!(histogram["buckets"], json!([hour("2026-11-20T08:00:00.000000Z"), hour("2026-11-20T09:00:00.000000Z")]));
    let split = server.good("/api/v1/events/histogram?interval=1h&by=team").await;
    assert_eq!(split["buckets"].as_array().unwrap().len(), 4);
    assert_eq!(split["buckets"][0]["by"], "t0");
    let chosen = server.good("/api/v1/events/histogram").await;
    assert_eq!(chosen["interval"], "5m");
    assert!(chosen["buckets"].as_array().unwrap().len() <= 100);
    let empty = server.good("/api/v1/events/histogram?q=user:nobody").await;
    assert_eq!(empty["buckets"], json!([]));
}

#[tokio::test]
async fn histograms_of_sparse_times() {
    let server = filled().await;
    server.send("{\"timestamp\":\"2015-05-17T10:05:03Z\"}\n{\"timestamp\":\"9999-12-01T00:00:00Z\"}\n").await;
    let starts = async |parameters: &str| -> (String, Vec<String>) {
        let found = server.good(&format!("/api/v1/events/histogram?{parameters}")).await;
        let buckets = found["buckets"].as_array().unwrap().iter();
        let starts = buckets.map(|bucket| bucket["start"].as_str().unwrap().to_owned()).collect();
        (found["interval"].as_str().unwrap().to_owned(), starts)
    };
    let (_, narrow) = starts("interval=10m").await;
    assert_eq!(narrow.len(), 14);
    assert_eq!(
        (narrow[0].as_str(), narrow[13].as_str()),
        ("2015-05-17T10:00:00.000000Z", "9999-12-01T00:00:00.000000Z")
    );
    // A clock that is far off does not make the bars of all others wider.
    assert_eq!(starts("").await.0, "90d");
    assert_eq!(starts("from=2026-11-20").await.0, "10m");
    assert_eq!(starts("from=9000-01-01").await.1.len(), 1);
    // The 17th of May 2015 was a Sunday, the 20th of November 2026 a Friday.
    let (interval, weeks) = starts("interval=1w&to=2030-01-01").await;
    assert_eq!(interval, "1w");
    assert_eq!(weeks, ["2015-05-11T00:00:00.000000Z", "2026-11-16T00:00:00.000000Z"]);
}

#[tokio::test]
async fn what_can_not_be_understood_is_named() {
    let server = filled().await;
    for (path, code, member, value) in [
        ("/api/v1/events?q=user:alice%20AND%20(", "query_syntax", "column", json!(16)),
        ("/api/v1/events?limit=0", "bad_parameter", "parameter", json!("limit")),
        ("/api/v1/events?limit=1001", "bad_parameter", "parameter", json!("limit")),
        ("/api/v1/events?limit=ten", "bad_parameter", "parameter", json!("limit")),
        ("/api/v1/events?order=up", "bad_parameter", "parameter", json!("order")),
        ("/api/v1/events?cursor=x", "bad_parameter", "parameter", json!("cursor")),
        ("/api/v1/events?from=yesterday", "bad_parameter", "parameter", json!("from")),
        ("/api/v1/events?query=x", "unknown_parameter", "parameter", json!("query")),
        ("/api/v1/events/count?limit=1", "unknown_parameter", "parameter", json!("limit")),
        ("/api/v1/events/top", "bad_parameter", "parameter", json!("field")),
        ("/api/v1/events/top?field=user&limit=1001", "bad_parameter", "parameter", json!("limit")),
        ("/api/v1/events/histogram?by=", "bad_parameter", "parameter", json!("by")),
        ("/api/v1/events/histogram?interval=0m", "bad_parameter", "parameter", json!("interval")),
        ("/api/v1/events/x", "bad_parameter", "parameter", json!("index")),
        ("/api/v1/events/0?verbose=1", "unknown_parameter", "parameter", json!("verbose")),
        ("/api/v1/entries?limit=10001", "bad_parameter", "parameter", json!("limit")),
    ] {
        let (status, problem) = server.get(path).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (400, Some(code)), "{path} {problem}");
        assert_eq!(problem[member], value, "{path} {problem}");
    }
    let (status, problem) = server.get("/api/v1/events/100000").await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (404, Some("not_found")));
}

#[tokio::test]
async fn entries_are_exported_as_they_are() {
    let server = filled().await;
    let mut next = 0;
    let mut entries = Vec::new();
    loop {
        let path = format!("/api/v1/entries?from={next}&limit=50");
        let response = server.ask(reqwest::Method::GET, &path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let behind: u64 = response.headers()["sceau-next-index"].to_str().unwrap().parse().unwrap();
        let text = response.text().await.unwrap();
        if text.is_empty() {
            assert_eq!(behind, next);
            break;
        }
        entries.extend(text.lines().map(str::to_owned));
        assert_eq!(behind as usize, entries.len());
        next = behind;
    }
    // The token, the set-up link, and that entries are taken away.
    assert_eq!(entries.len(), 120 + 3);
    for (index, entry) in entries.iter().enumerate().step_by(40) {
        assert_eq!(server.good(&format!("/api/v1/events/{index}")).await["entry"], entry.as_str());
        let parsed: Value = serde_json::from_str(entry).unwrap();
        assert_eq!(parsed["v"], 1);
    }
    let (status, _) = server.get("/api/v1/entries?from=18446744073709551616").await;
    assert_eq!(status, 400);
    let far = server.ask(reqwest::Method::GET, "/api/v1/entries?from=18446744073709551615").send().await.unwrap();
    assert_eq!((far.status().as_u16(), far.text().await.unwrap()), (200, String::new()));
}
