//! Answers in pages.

use std::collections::BTreeSet;

use sceau_store::{
    Ledger as _, Search as _, Store as _,
    query::{Cursor, Order},
};
use serde_json::json;

use super::{
    Home,
    events::{LIMIT, Log, batches, everything, page, query},
    writer::{SECOND, START, text},
};

pub async fn both_orders<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    log.add(batches(400, 7)).await;
    for text in ["*", "user:alice", "password -user:bob"] {
        let query = query(text);
        for order in [Order::Newest, Order::Oldest] {
            let wanted = log.wanted(&query, order);
            for limit in [1, 7, wanted.len(), wanted.len() + 1] {
                assert_eq!(log.pages(&query, order, limit).await, wanted, "{text} {order:?} {limit}");
            }
        }
    }
}

pub async fn equal_times<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    for _ in 0..3 {
        let events: Vec<_> = (0..20).map(|n| json!({"n": n, "timestamp": text(START + n / 10 * SECOND)})).collect();
        log.json("web", &events).await;
    }
    for order in [Order::Newest, Order::Oldest] {
        assert_eq!(log.pages(&everything(), order, 7).await, log.wanted(&everything(), order));
    }
    let oldest = log.pages(&everything(), Order::Oldest, 100).await;
    assert!(oldest.is_sorted() && oldest[..3] == [(START, 0), (START, 1), (START, 2)]);
    let newest = log.pages(&everything(), Order::Newest, 100).await;
    assert_eq!(newest.into_iter().rev().collect::<Vec<_>>(), oldest);
}

/// Whoever pages sees every entry that was there at the start once, and nothing twice.
pub async fn while_entries_are_committed<H: Home>(home: &H) {
    for order in [Order::Newest, Order::Oldest] {
        let mut log = Log::open(home).await;
        // Each round goes on with the log that the one before left.
        let head = log.store.head().await.unwrap();
        log.writer = super::writer::Writer::new();
        if head.size.0 > 0 {
            let old = log.store.entries(sceau_ledger::Index(0), 1_000_000).await.unwrap().entries;
            let again = super::writer::batch(|b| old.iter().for_each(|entry| b.push_entry(entry).unwrap()));
            log.writer.commit_of(vec![again], vec![]);
            assert_eq!(log.writer.head(), head);
        }
        log.add(batches(300, 11)).await;
        let there: BTreeSet<_> = log.wanted(&everything(), order).into_iter().collect();
        let mut seen = vec![];
        let mut after = None;
        let mut seed = 100;
        loop {
            let hits = log.store.search(&everything(), &page(order, 40, after), LIMIT).await.unwrap();
            seen.extend(hits.hits.iter().map(|hit| (hit.time, hit.index.0)));
            // New ones on both sides of the cursor, as long as there is a chance to see the end.
            if seed < 115 {
                log.add(batches(37, seed)).await;
                seed += 1;
            }
            after = hits.next;
            if after.is_none() {
                break;
            }
        }
        let unique: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(unique.len(), seen.len(), "{order:?}");
        assert!(there.is_subset(&unique), "{order:?}");
        log.store.close().await.unwrap();
    }
}

/// A cursor is a place, whether or not an entry is there.
pub async fn foreign_cursors<H: Home>(home: &H) {
    let mut log = Log::open(home).await;
    log.json("web", &(0..10).map(|n| json!({"timestamp": text(START + n * SECOND)})).collect::<Vec<_>>()).await;
    let times = async |order, time, index| {
        let page = page(order, 100, Some(Cursor { time, index }));
        let hits = log.store.search(&everything(), &page, LIMIT).await.unwrap().hits;
        hits.iter().map(|hit| hit.index.0).collect::<Vec<_>>()
    };
    assert_eq!(times(Order::Oldest, START + 7 * SECOND, 7).await, [8, 9]);
    assert_eq!(times(Order::Oldest, START + 7 * SECOND, 6).await, [7, 8, 9]);
    assert_eq!(times(Order::Oldest, START + 7 * SECOND, u64::MAX).await, [8, 9]);
    assert_eq!(times(Order::Newest, START + 2 * SECOND, 2).await, [1, 0]);
    assert_eq!(times(Order::Newest, START + 2 * SECOND + 1, 0).await, [2, 1, 0]);
    assert_eq!(times(Order::Newest, i64::MIN, 0).await, [0; 0]);
    assert_eq!(times(Order::Oldest, i64::MAX, 0).await, [0; 0]);
    assert_eq!(times(Order::Newest, i64::MAX, u64::MAX).await.len(), 10);
}
