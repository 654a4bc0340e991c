//! Following the log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    super::stream::{Tail, Until},
    Server,
};
use crate::{
    Format, IngestRequest, Log,
    auth::{Accounts, By, Presented},
    reader::{Filtered, SearchParams},
    testing::Fixture,
};

/// Nothing that is waited for here takes so long, unless it never comes.
const NEVER: Duration = Duration::from_secs(60);

/// One event: its kind, its id, its data.
type Told = (String, Option<u64>, Value);

/// The events of a text that ends with one.
fn events(text: &str) -> Vec<Told> {
    let event = |block: &str| {
        let part = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = serde_json::from_str(&part("data: ")?).unwrap();
        Some((part("event: ").unwrap(), part("id: ").map(|id| id.parse().unwrap()), data))
    };
    text.split("\n\n").filter_map(event).collect()
}

/// A stream as its client reads it.
struct Feed {
    response: Response,
    rest: String,
    told: VecDeque<Told>,
}

impl Feed {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, rest: String::new(), told: VecDeque::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Told> {
        while self.told.is_empty() {
            let chunk = tokio::time::timeout(NEVER, self.response.chunk()).await.expect("something comes").ok()??;
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
            if let Some(end) = self.rest.rfind("\n\n") {
                let rest = self.rest.split_off(end + 2);
                self.told.extend(events(&std::mem::replace(&mut self.rest, rest)));
            }
        }
        self.told.pop_front()
    }
}

fn follow(server: &Server, query: &str) -> RequestBuilder {
    server.ask(Method::GET, &format!("/api/v1/stream{query}"))
}

#[tokio::test]
async fn what_is_committed_comes_as_a_search_would_find_it() {
    let server = Server::new().await;
    server.send("{\"user\":\"before\"}").await;
    let mut feed = Feed::of(follow(&server, "?q=user.name:ann")).await;
    let mut all = Feed::of(follow(&server, "")).await;
    let first = server.send("{\"user\":\"bob\"}\n{\"user\":\"ann\",\"message\":\"a\\nb é\"}\n").await;
    let first = first["first_index"].as_u64().unwrap();
    let (kind, id, event) = feed.next().await.unwrap();
    assert_eq!((kind.as_str(), id), ("event", Some(first + 1)));
    assert_eq!(event, {
        let mut found = server.good(&format!("/api/v1/events/{}", first + 1)).await;
        found.as_object_mut().unwrap().remove("leaf_hash");
        found
    });
    assert_eq!(all.next().await.unwrap().1, Some(first));
    assert_eq!(all.next().await.unwrap().1, Some(first + 1));
    // The product's own entries come to those who ask for them.
    let mut audit = Feed::of(follow(&server, "?q=source:sceau.audit&after=0")).await;
    server.ask(Method::POST, "/api/v1/integrity/verify").send().await.unwrap();
    let (_, _, sealed) = audit.next().await.unwrap();
    assert_eq!(sealed["record"]["source"], "sceau.audit");
    server.send("{\"user\":\"carl\"}").await;
    assert_eq!(all.next().await.unwrap().2["record"]["user.name"], "carl", "findings and audit entries are left out");
}

#[tokio::test]
async fn whoever_comes_back_goes_on_where_he_was() {
    let server = Server::new().await;
    let first = server.send(&"{\"user\":\"ann\"}\n".repeat(10)).await["first_index"].as_u64().unwrap();
    let mut feed = Feed::of(follow(&server, &format!("?after={}", first + 3))).await;
    assert_eq!(feed.next().await.unwrap().1, Some(first + 4));
    // What a browser sends when it comes back goes before what its address says.
    let back = follow(&server, &format!("?after={first}")).header("last-event-id", (first + 7).to_string());
    let mut feed = Feed::of(back).await;
    assert_eq!(feed.next().await.unwrap().1, Some(first + 8));
    assert_eq!(feed.next().await.unwrap().1, Some(first + 9));
    for (query, header, code) in [
        ("?after=1000000", None, "bad_parameter"),
        ("?after=x", None, "bad_parameter"),
        ("", Some("-1"), "bad_parameter"),
        ("?events=false", None, "bad_parameter"),
        ("?q=(", None, "query_syntax"),
        ("?limit=1", None, "unknown_parameter"),
    ] {
        let mut request = follow(&server, query);
        if let Some(header) = header {
            request = request.header("last-event-id", header);
        }
        let (status, problem) = super::json(request.send().await.unwrap()).await;
        assert_eq!((status.as_u16(), problem["code"].as_str()), (400, Some(code)), "{query}");
    }
}

#[tokio::test]
async fn there_is_a_limit_to_streams_and_they_end_with_the_server() {
    let mut server = Server::with(|config| {
        config.limits.streams = 2;
        config.detection.enabled = true;
    })
    .await;
    let mut one = Feed::of(follow(&server, "")).await;
    let two = Feed::of(follow(&server, "?alerts=true&events=false")).await;
    let (status, problem) = super::json(follow(&server, "").send().await.unwrap()).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (429, Some("too_many_streams")));
    drop(two);
    // It is seen that a client has gone.
    tokio::time::timeout(NEVER, async {
        while follow(&server, "").send().await.unwrap().status() == 429 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    server.stop().await;
    assert_eq!(one.next().await, None);
}

#[tokio::test]
async fn alerts_come_when_they_are_opened_and_when_somebody_works_on_them() {
    let server = Server::with(|config| config.detection.enabled = true).await;
    let mut feed = Feed::of(follow(&server, "?alerts=true&events=false")).await;
    let first =
        server.send("{\"user\":\"ann\",\"ip\":\"203.0.113.9\",\"action\":\"login\",\"status\":\"success\"}").await;
    let first = first["first_index"].as_u64().unwrap();
    let (kind, id, alert) = feed.next().await.unwrap();
    assert_eq!((kind.as_str(), id, alert["state"].as_str()), ("alert", None, Some("open")), "{alert}");
    let path = format!("/api/v1/alerts/{}", alert["id"].as_str().unwrap());
    let change = server.ask(Method::PATCH, &path).body(json!({"state": "acknowledged"}).to_string());
    assert_eq!(change.send().await.unwrap().status(), 200);
    let changed = loop {
        let (_, _, told) = feed.next().await.unwrap();
        if told["id"] == alert["id"] && told["state"] == "acknowledged" {
            break told;
        }
    };
    // Whoever was away gets what changed meanwhile.
    let mut back = Feed::of(follow(&server, &format!("?alerts=true&events=false&after={first}"))).await;
    let told = loop {
        let (_, _, told) = back.next().await.unwrap();
        if told["id"] == alert["id"] {
            break told;
        }
    };
    assert_eq!(told, changed);
}

fn until(allowed: bool) -> (watch::Sender<bool>, Until) {
    let (stop, stopping) = watch::channel(false);
    (
        stop,
        Until {
            stopping,
            allowed: Box::new(move || allowed),
            look: if allowed { NEVER } else { Duration::ZERO },
            over: false,
        },
    )
}

async fn fill(log: &Log, lines: &str) {
    let request = IngestRequest { format: Format::Ndjson, source: "test".into(), ..IngestRequest::default() };
    log.ingest(lines.to_owned().into(), &request).await.unwrap();
}

/// All that a stream tells without waiting for more than `last`.
async fn up_to(tail: &mut Tail, last: u64) -> Vec<Told> {
    let mut told = Vec::new();
    while told.last().is_none_or(|(_, id, _)| *id < Some(last)) {
        told.extend(events(std::str::from_utf8(&tail.piece().await.unwrap()).unwrap()));
    }
    told
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_told_what_it_missed() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    fill(&log, "{\"user\":\"first\"}").await;
    let query = log.reader().query(&Filtered::default()).unwrap();
    let (_stop, end) = until(true);
    let size = log.head().borrow().size.0;
    let mut tail = Tail::new(log.clone(), Some(query), size, None, end);
    assert!(tail.piece().await.unwrap().starts_with(b"retry: "));
    // It takes nothing while others send more than it may be behind.
    fill(&log, &"{\"user\":\"many\"}\n".repeat(25_000)).await;
    let last = log.head().borrow().size.0 - 1;
    let told = up_to(&mut tail, last).await;
    let (kind, id, skipped) = &told[0];
    let (from, to) = (skipped["from"].as_u64().unwrap(), skipped["to"].as_u64().unwrap());
    assert_eq!((kind.as_str(), from, *id), ("skipped", size, Some(to - 1)));
    assert_eq!(skipped["count"].as_u64(), Some(to - from));
    let ids: Vec<u64> = told[1..].iter().map(|(_, id, _)| id.unwrap()).collect();
    assert_eq!(ids, (to..=last).collect::<Vec<_>>());
    drop(tail);
    log.close().await.unwrap();
}

/// What was missed is read from the store, what is new from memory: nobody can tell which.
#[tokio::test]
async fn every_query_finds_in_a_stream_what_it_finds_in_a_search() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    fill(&log, "{\"user\":\"zero\"}").await;
    let lines = "{\"user\":\"ann\",\"ip\":\"10.0.0.1\",\"status\":\"failed\",\"message\":\"No such file\",\"bytes\":17}\n\
                 {\"user\":\"bob\",\"ip\":\"192.0.2.7\",\"timestamp\":\"2026-11-20T08:00:00Z\",\"tags\":[\"x\",\"y\"]}\n\
                 {\"user\":\"ann b\",\"message\":\"such a file\"}\n";
    fill(&log, &lines.repeat(200)).await;
    let recent = log.recent().stream();
    fill(&log, &lines.repeat(10)).await;
    let last = log.head().borrow().size.0 - 1;
    for q in [
        "",
        "user.name:ann",
        "user.name:ann*",
        "NOT user.name:ann",
        "source.ip:10.0.0.0/8",
        "\"such file\"",
        "file AND such",
        "tags:y",
        "event.outcome:failure OR tags:x",
        "bytes:[10 TO 20]",
        "source:sceau.*",
        "user.name:nobody",
    ] {
        for from in [None, Some("2026-11-21".to_owned())] {
            let filtered = Filtered { q: Some(q.to_owned()), from, to: None };
            let mut found = Vec::new();
            let mut cursor = None;
            loop {
                let search =
                    SearchParams { filtered: filtered.clone(), limit: Some(1_000), cursor, ..SearchParams::default() };
                let page = log.reader().search(&search).await.unwrap();
                found.extend(page.events.into_iter().map(|event| event.index).filter(|index| *index > 0));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            found.sort_unstable();
            let (_stop, end) = until(true);
            let mut tail = Tail::new(log.clone(), Some(log.reader().query(&filtered).unwrap()), 1, None, end);
            let told = match found.last() {
                Some(last) => up_to(&mut tail, *last).await,
                None => Vec::new(),
            };
            let ids: Vec<u64> = told.iter().map(|(_, id, _)| id.unwrap()).collect();
            assert_eq!(ids, found, "{q} {filtered:?} of {last}");
        }
    }
    drop(recent);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_its_caller_may_no_longer_ask() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    for (allowed, stops) in [(false, false), (true, true)] {
        let (stop, end) = until(allowed);
        let mut tail = Tail::new(log.clone(), None, 0, None, end);
        stop.send_replace(stops);
        assert_eq!(tail.piece().await, None);
    }
    log.close().await.unwrap();
}

/// The server looks at the token that the stream was asked for with.
#[tokio::test]
async fn a_token_that_is_taken_away_is_seen() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let token = log.new_admin_token("test").await.unwrap();
    let accounts = Accounts::of(&log, &fixture.config.accounts).await.unwrap();
    let app = Arc::new(super::super::App::new(log.clone(), accounts.clone(), &fixture.config));
    let here = [127, 0, 0, 1].into();
    let caller = accounts.authenticate(Presented::Bearer(token.secret.expose()), here, log.now()).unwrap();
    let allowed = super::super::stream::still_allowed(app, caller);
    assert!(allowed());
    accounts.revoke_token(&log, &By::local("test"), &token.id, log.now()).await.unwrap();
    assert!(!allowed());
    log.close().await.unwrap();
}
