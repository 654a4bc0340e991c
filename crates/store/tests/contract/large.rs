//! A log that lies in all the places where a backend keeps entries.

use sceau_event::field;
use sceau_store::{Ledger as _, Store, query::Query};

use super::{
    Home, deriver,
    events::{LIMIT, Log, batches, everything, query},
    reopen,
    writer::{SECOND, START},
};

const QUERIES: [&str; 40] = [
    "*",
    "user:alice",
    "user:élodie",
    "user:al*",
    "user:*@example.com",
    "user:nobody",
    "-user:*",
    "status:failed",
    "status:404",
    "status:odd",
    "status:[200 TO 403]",
    "ip:10.0.0.7",
    "ip:10.1.0.0/16",
    "ip:2001:db8::/32",
    "ip:2001:db8::1d",
    "action:log*",
    "action:log-in",
    "bytes:>2500",
    "bytes:[-100 TO 0}",
    "url:/admin/*",
    "url:*/3.html?q=1",
    "host:web1*",
    "team:\"dark blue\"",
    "team:(red OR blue)",
    "labels.size:>=7.5",
    "labels.all:a",
    "failed",
    "fail*",
    "\"failed password for root\"",
    "\"pass word\"",
    "dark",
    "example",
    "élodie",
    "absent",
    "-failed -accepted",
    "source:sceau.audit user:alice",
    "source:vpn",
    "user:bob status:failed (ip:10.0.0.0/8 OR bytes:<100) -action:read \"for bob\"",
    "@timestamp:[now-10m TO now+10m]",
    "received:>now",
];

async fn answers<S: Store>(log: &Log<S>) {
    for text in QUERIES {
        let mut query = query(text);
        log.check(text, &query).await;
        (query.from, query.to) = (Some(START), Some(START + 3_000 * SECOND));
        log.check(text, &query).await;
    }
    let failed = query("status:failed");
    for query in [&everything(), &failed, &Query { from: Some(START + 1), ..everything() }] {
        for by in [None, Some("user"), Some("http.response.status_code"), Some("labels.all")] {
            let by = by.map(field);
            let found = log.store.histogram(query, 900 * SECOND, by.as_ref(), LIMIT).await.unwrap().rows;
            assert_eq!(found, log.wanted_histogram(query, 900 * SECOND, by.as_ref()), "{by:?}");
        }
        for name in ["user", "ip", "bytes", "status_code", "team", "labels.all", "source", "message"] {
            for rows in [3, 5_000] {
                let found = log.store.top(query, &field(name), rows, LIMIT).await.unwrap();
                assert_eq!(found, log.wanted_top(query, &field(name), rows), "{name}");
            }
        }
    }
}

async fn grown<H: Home>(home: &H) -> Log<H::Store> {
    let mut log = Log::open(home).await;
    for part in 0..6 {
        for batch in batches(500, 40 + part) {
            log.add(vec![batch]).await;
        }
        home.settle(&log.store).await;
    }
    log.add(batches(200, 50)).await;
    log
}

pub async fn answers_are_those_of_the_model<H: Home>(home: &H) {
    answers(&grown(home).await).await;
}

pub async fn answers_survive_reopening<H: Home>(home: &H) {
    let log = grown(home).await;
    let Log { store, writer, records } = log;
    let store = reopen(home, store).await;
    assert_eq!(store.head().await.unwrap(), writer.head());
    let mut log = Log { store, writer, records };
    answers(&log).await;
    log.add(batches(300, 51)).await;
    answers(&log).await;
}

pub async fn rebuilding_changes_nothing<H: Home>(home: &H) {
    let log = grown(home).await;
    log.store.rebuild(deriver(), &|_, _| ()).await.unwrap();
    answers(&log).await;
    let Log { store, writer, records } = log;
    let store = reopen(home, store).await;
    answers(&Log { store, writer, records }).await;
}
