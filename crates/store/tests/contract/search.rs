//! Which entries a query finds.

use std::{future::Future as _, pin::pin, task::Context, time::Duration};

use sceau_event::{Field, Keyword};
use sceau_ledger::Index;
use sceau_store::{
    Ledger as _, Search as _, Store as _, StoreError,
    query::{Order, Page, Query},
};
use serde_json::json;

use super::{
    Home,
    events::{LIMIT, Log, batches, everything, page, query},
    writer::{SECOND, START, lines, text},
};

async fn small<H: Home>(home: &H) -> Log<H::Store> {
    let mut log = Log::open(home).await;
    log.json("web", &[
        json!({"user": "alice", "ip": "10.0.0.1", "status": "failed", "action": "login", "bytes": 10, "message": "Failed password for alice", "timestamp": text(START)}),
        json!({"user": "bob", "ip": "10.0.1.2", "status": "ok", "action": "logout", "bytes": 2000, "message": "Session closed", "timestamp": text(START + SECOND)}),
        json!({"user": "Alice", "ip": "2001:db8::1", "status": 404, "url": "/a/b.html?x=1", "team": "red", "timestamp": text(START + 2 * SECOND)}),
        json!({"user": "alice smith", "ip": "localhost", "status": "odd", "host": "web1.eu.example.com", "team": "dark blue", "load": 1.5, "timestamp": text(START + 3 * SECOND)}),
        json!({"labels": {"all": ["a", "b"]}, "nat": "10.0.0.9", "load": -2, "timestamp": text(START - 3600 * SECOND)}),
    ])
    .await;
    log
}

pub async fn filters_of_every_kind<H: Home>(home: &H) {
    let log = small(home).await;
    for (text, wanted) in [
        ("*", 5),
        ("user:alice", 1),
        ("user:(alice OR bob)", 2),
        ("user:IN [alice \"alice smith\" nobody]", 2),
        ("user:*", 4),
        ("NOT user:*", 1),
        ("user:al*", 2),
        ("user:*e", 2),
        ("user:a*i*h", 1),
        ("user:A*", 1),
        ("user:\"al*\"", 0),
        ("-user:alice", 4),
        ("user:alice status:failed", 1),
        ("user:alice OR team:red", 2),
        ("status:*", 4),
        ("status:failed", 2),
        ("status:404", 1),
        ("status:odd", 1),
        ("status:4*", 1),
        ("ip:10.0.0.1", 1),
        ("ip:10.0.0.0/16", 2),
        ("ip:10.0.0.0/24", 1),
        ("ip:0.0.0.0/0", 2),
        ("ip:2001:DB8:0::1", 1),
        ("ip:2001:db8::/32", 1),
        ("ip:localhost", 1),
        ("ip:10.0.*", 2),
        ("nat:10.0.0.0/8", 1),
        ("url:/a/*", 1),
        ("url:/a/b.html?x=1", 1),
        ("host:*.example.com", 1),
        ("team:\"dark blue\"", 1),
        ("team:[dark TO dusk]", 1),
        ("user:{alice TO bob}", 1),
        ("labels.all:a", 1),
        ("labels.all:(a AND b)", 1),
        ("-labels.all:a", 4),
        ("labels.all:c", 0),
        ("nothing:*", 0),
        ("-nothing:*", 5),
        ("message:failed", 1),
        ("source:web", 5),
        ("source:v*", 0),
        ("(user:alice OR (user:bob -status:failed)) bytes:>=10", 2),
    ] {
        log.finds(text, wanted).await;
    }
}

pub async fn numbers_and_times<H: Home>(home: &H) {
    let log = small(home).await;
    for (text, wanted) in [
        ("bytes:2000", 1),
        ("bytes:>10", 1),
        ("bytes:>=10", 2),
        ("bytes:<2000", 1),
        ("bytes:[10 TO 2000}", 1),
        ("bytes:{9.5 TO 10.5}", 1),
        ("bytes:>1e3", 1),
        ("bytes:<-5", 0),
        ("load:>1", 1),
        ("load:<0", 1),
        ("load:\"-2\"", 1),
        ("load:1.50", 0),
        ("status:>=400", 1),
        ("@timestamp:>=2026-11-22T08:00:01Z", 3),
        ("@timestamp:<now", 1),
        ("@timestamp:[now-1h TO now]", 2),
        ("@timestamp:2026-11-22", 5),
        ("@timestamp:2026-11-21", 0),
        ("received:2026-11-22T08:00:00Z", 5),
        ("received:>now", 0),
    ] {
        log.finds(text, wanted).await;
    }
}

pub async fn words_and_texts<H: Home>(home: &H) {
    let mut log = small(home).await;
    log.json(
        "web",
        &[json!({"message": "Crash: ÉLÉMENT n°5 (50%) — kernel_panic", "note": "see ticket-42", "n": 4711})],
    )
    .await;
    log.add(vec![lines(&[b"a plain line without sense, ticket 42"])]).await;
    for (text, wanted) in [
        ("failed", 1),
        ("FAILED", 1),
        ("fail", 0),
        // The word `failure` is in an outcome.
        ("fail*", 2),
        ("\"failed password\"", 1),
        ("\"password failed\"", 0),
        ("\"failed pass\"*", 1),
        ("alice", 3),
        ("\"ticket 42\"", 2),
        ("ticket-42", 2),
        ("ticket 42", 2),
        ("élément", 1),
        ("n°5", 1),
        ("panic", 1),
        ("4711", 1),
        ("web1.eu", 1),
        ("sense -web", 1),
        ("message:ticket", 1),
        ("note:ticket-42", 0),
        ("note:\"see ticket-42\"", 1),
        ("note:see*", 1),
        ("note:ticket", 0),
        ("absent", 0),
        ("-absent", 7),
        ("message:*kernel*", 1),
    ] {
        log.finds(text, wanted).await;
    }
}

pub async fn time_ranges_are_half_open<H: Home>(home: &H) {
    let log = small(home).await;
    for (from, to, wanted) in [
        (None, None, 5),
        (Some(START), None, 4),
        (Some(START + 1), None, 3),
        (None, Some(START), 1),
        (None, Some(START + 1), 2),
        (Some(START), Some(START + 3 * SECOND), 3),
        (Some(START), Some(START), 0),
        (Some(START + 1), Some(START - 1), 0),
        (Some(i64::MIN), Some(i64::MAX), 5),
    ] {
        let query = Query { from, to, ..everything() };
        assert_eq!(log.check("times", &query).await, wanted, "{from:?} {to:?}");
    }
}

pub async fn internal_sources_are_hidden<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    for source in ["web", "sceau.audit", "sceau.finding", "sceaux"] {
        log.json(source, &[json!({"user": "alice"})]).await;
    }
    for (text, wanted) in [
        ("*", 2),
        ("user:alice", 2),
        ("alice", 2),
        ("source:sceau.audit", 1),
        ("source:sceau.*", 2),
        ("source:sceau*", 3),
        ("user:alice source:(sceau.audit OR web)", 2),
        ("-source:sceau.audit", 2),
    ] {
        log.finds(text, wanted).await;
    }
    assert_eq!(log.check("all", &everything()).await, 4);
}

pub async fn refusals<H: Home>(home: &H) {
    let log = small(home).await;
    let all = everything();
    for limit in [0, Page::MAX + 1, usize::MAX] {
        let refused = log.store.search(&all, &page(Order::Newest, limit, None), LIMIT).await;
        assert!(matches!(refused, Err(StoreError::Query(_))), "{limit}: {refused:?}");
    }
    for interval in [0, -1, i64::MIN] {
        let refused = log.store.histogram(&all, interval, None, LIMIT).await;
        assert!(matches!(refused, Err(StoreError::Query(_))), "{interval}: {refused:?}");
    }
    let user = Field::Keyword(Keyword::UserName);
    for rows in [0, usize::MAX] {
        let refused = log.store.top(&all, &user, rows, LIMIT).await;
        assert!(matches!(refused, Err(StoreError::Query(_))), "{rows}: {refused:?}");
    }
}

pub async fn time_limits<H: Home>(home: &H) {
    let mut log = small(home).await;
    log.add(batches(600, 3)).await;
    home.settle(&log.store).await;
    let (query, none) = (query("Failed OR user:*"), Duration::ZERO);
    let user = Field::Keyword(Keyword::UserName);
    let late = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Timeout(0))), "{result:?}");
    late(log.store.search(&query, &page(Order::Newest, 10, None), none).await.map(drop));
    late(log.store.count(&query, none).await.map(drop));
    late(log.store.histogram(&query, SECOND, None, none).await.map(drop));
    late(log.store.top(&query, &user, 10, none).await.map(drop));
    log.check("after", &query).await;
}

pub async fn dropped_futures<H: Home>(home: &H) {
    let mut log = small(home).await;
    log.add(batches(1_500, 4)).await;
    home.settle(&log.store).await;
    let query = query("for -absent");
    let user = Field::Keyword(Keyword::UserName);
    let first_page = page(Order::Oldest, 100, None);
    for _ in 0..30 {
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        let _ = pin!(log.store.search(&query, &first_page, LIMIT)).poll(&mut nobody);
        let _ = pin!(log.store.count(&query, LIMIT)).poll(&mut nobody);
        let _ = pin!(log.store.histogram(&query, SECOND, Some(&user), LIMIT)).poll(&mut nobody);
        let _ = pin!(log.store.top(&query, &user, 10, LIMIT)).poll(&mut nobody);
        // Time for some of them to have begun.
        let _ = tokio::time::timeout(Duration::from_micros(500), log.store.count(&query, LIMIT)).await;
    }
    log.check("after", &query).await;
    assert_eq!(log.store.entries(Index(0), 1).await.unwrap().entries.len(), 1);
    tokio::time::timeout(LIMIT, log.store.close()).await.unwrap().unwrap();
}
