use bytes::Bytes;
use futures::future::join_all;
use sceau_event::{Framer, Meta, Micros, SourceId};
use sceau_store::{BatchBuilder, Expect, StateWrite, traits::CommitLimits};
use serde_json::json;

use super::*;
use crate::{
    Format, ImportPosition, IngestRequest, Log,
    testing::{Failure, Fixture},
    verify::{Cancel, VerifyOptions, verify_dir},
};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn lines() -> IngestRequest {
    IngestRequest { format: Format::Text, ..IngestRequest::default() }
}

fn step(id: &str, from: u64, offset: u64) -> Option<ImportMove> {
    let to = ImportPosition { offset, lines: offset / 2, tail: "0a".into() };
    Some(ImportMove { id: id.into(), from, to })
}

fn batch(log: &Log, received: Micros) -> Batch {
    let mut builder = BatchBuilder::new(log.reader().deriver().clone());
    let framer = Framer::new(received, &SourceId::parse("test").unwrap(), &Meta::default());
    builder.push_json(&framer, b"{\"a\":1}").unwrap();
    builder.finish().unwrap()
}

async fn green(fixture: &Fixture) {
    let report = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_gapless_and_survive_a_restart() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let requests =
        (0..300).map(|n| {
            let log = log.clone();
            async move {
                log.ingest(body(&format!("{{\"n\":{n}}}\n{{\"n\":{n}}}")), &IngestRequest::default()).await.unwrap()
            }
        });
    let mut firsts: Vec<_> = join_all(requests).await.iter().map(|answer| answer.first_index.unwrap()).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..300).map(|n| n * 2).collect::<Vec<_>>());
    log.close().await.unwrap();
    assert!(matches!(log.ingest(body("{}"), &IngestRequest::default()).await, Err(ServerError::Closing)));
    drop(log);
    green(&fixture).await;
    let log = fixture.log().await;
    let answer = log.ingest(body("{\"n\":300}"), &IngestRequest::default()).await.unwrap();
    assert_eq!((answer.first_index, answer.tree_size), (Some(600), 601));
    log.close().await.unwrap();
    drop(log);
    green(&fixture).await;
}

#[tokio::test]
async fn large_groups_are_hashed_elsewhere_with_the_same_result() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let text = "line\n".repeat(5_000);
    let answer = log.ingest(body(&text), &lines()).await.unwrap();
    assert_eq!((answer.accepted, answer.tree_size), (5_000, 5_000));
    log.ingest(body("one more"), &lines()).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    green(&fixture).await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let request = IngestRequest { idempotency: Some("k".into()), ..lines() };
    let first = log.ingest(body("a\nb"), &request).await.unwrap();
    assert!(!first.replayed);
    let again = log.ingest(body("a\nb"), &request).await.unwrap();
    assert!(again.replayed);
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&again).unwrap());
    let other = log.ingest(body("a\nc"), &request).await.unwrap_err();
    assert_eq!((other.status(), other.code()), (422, "idempotency_mismatch"));
    let elsewhere = IngestRequest { actor: "somebody".into(), ..request.clone() };
    assert!(!log.ingest(body("a\nc"), &elsewhere).await.unwrap().replayed);
    log.close().await.unwrap();
    drop(log);
    let log = fixture.log().await;
    assert!(log.ingest(body("a\nb"), &request).await.unwrap().replayed);
    assert_eq!(log.head().borrow().size.0, 4);
}

#[tokio::test]
async fn what_is_kept_with_a_key_is_bounded() {
    let mut fixture = Fixture::new().await;
    fixture.config.limits.idempotency_keys = 2;
    let log = fixture.log().await;
    let keyed = |key: &str| IngestRequest { idempotency: Some(key.into()), format: Format::Ndjson, ..lines() };
    let bad = body(&format!("{{}}\n{}", "x\n".repeat(900)));
    let first = log.ingest(bad.clone(), &keyed("a")).await.unwrap();
    assert_eq!((first.rejected, first.errors.len()), (900, 900));
    let again = log.ingest(bad.clone(), &keyed("a")).await.unwrap();
    assert_eq!((again.replayed, again.accepted, again.rejected), (true, 1, 900));
    assert!((5..=20).contains(&again.errors.len()) && first.errors.starts_with(&again.errors), "{again:?}");
    let kept = log.reader().store().get(IDEMPOTENCY, "local/a", 0).await.unwrap().unwrap();
    assert!(kept.text.len() < 3_000, "{}", kept.text.len());
    log.ingest(body("{}"), &keyed("b")).await.unwrap();
    let refused = log.ingest(body("{}"), &keyed("c")).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (429, "too_many_keys"));
    assert!(log.ingest(body("{}"), &keyed("b")).await.unwrap().replayed);
    log.ingest(body("{}"), &IngestRequest::default()).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let log = fixture.log().await;
    assert_eq!(log.ingest(body("{}"), &keyed("c")).await.unwrap_err().code(), "too_many_keys");
    assert_eq!(log.head().borrow().size.0, 3);
}

#[tokio::test]
async fn refusals_that_wait_have_weight() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let gate = log.gate().lock().await;
    let waiting = tokio::spawn({
        let (log, request) = (log.clone(), IngestRequest { format: Format::Ndjson, ..lines() });
        async move { log.ingest(body(&format!("{{}}\n{}", "x\n".repeat(900))), &request).await }
    });
    while log.queued() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(log.queued() > 900 * 100, "{}", log.queued());
    drop(gate);
    assert_eq!(waiting.await.unwrap().unwrap().rejected, 900);
}

#[tokio::test]
async fn repetitions_within_one_group_count_once() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let request = IngestRequest { idempotency: Some("k".into()), ..lines() };
    let gate = log.gate().lock().await;
    let requests: Vec<_> = (0..10)
        .map(|n| {
            let (log, request) = (log.clone(), request.clone());
            let text = if n == 9 { "other" } else { "same" };
            tokio::spawn(async move { log.ingest(body(text), &request).await })
        })
        .collect();
    // The sequencer waits at the gate, so that all but the first of them form one group.
    while log.queued() < 10 * REQUEST_COST {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let answers: Vec<_> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    let good: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(good.len(), 9, "{answers:?}");
    assert_eq!(good.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(good.iter().all(|answer| answer.first_index == Some(0)));
    assert_eq!(log.head().borrow().size.0, 1);
}

#[tokio::test]
async fn imports_go_on_where_they_stopped() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let import = |from, to| IngestRequest { import: step("file", from, to), ..lines() };
    assert_eq!(log.reader().import_position("file").await.unwrap(), None);
    log.ingest(body("a\n"), &import(0, 2)).await.unwrap();
    log.ingest(body("b\n"), &import(2, 4)).await.unwrap();
    let refused = log.ingest(body("b\n"), &import(2, 4)).await.unwrap_err();
    let ServerError::ImportPosition(Some(stored)) = refused else { panic!("{refused}") };
    assert_eq!(stored, ImportPosition { offset: 4, lines: 2, tail: "0a".into() });
    let refused = log.ingest(body("c\n"), &IngestRequest { import: step("new", 1, 2), ..lines() }).await.unwrap_err();
    assert!(matches!(refused, ServerError::ImportPosition(None)), "{refused}");
    // Lines that can't be kept are dealt with all the same.
    let bad = IngestRequest { import: step("file", 4, 6), format: Format::Ndjson, ..lines() };
    let refused = log.ingest(body("x\n"), &bad).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (400, "all_rejected"));
    // As are blank ones.
    let answer = log.ingest(body("\n\n"), &import(6, 8)).await.unwrap();
    assert_eq!((answer.accepted, answer.first_index), (0, None));
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 8);
    // But nothing of an atomic request is.
    let atomic = IngestRequest { atomic: true, format: Format::Ndjson, import: step("file", 8, 10), ..lines() };
    assert_eq!(log.ingest(body("{}\nx\n"), &atomic).await.unwrap_err().code(), "atomic_refused");
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 8);
    assert_eq!(log.head().borrow().size.0, 2);
    log.close().await.unwrap();
    drop(log);
    let log = fixture.log().await;
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 8);
}

#[tokio::test]
async fn steps_of_one_import_follow_each_other_within_a_group() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let gate = log.gate().lock().await;
    let requests: Vec<_> = [(0, 2), (2, 4), (2, 4), (4, 6)]
        .into_iter()
        .map(|(from, to)| {
            let log = log.clone();
            let options = AppendOptions { import: step("f", from, to), ..AppendOptions::default() };
            let batch = batch(&log, log.now());
            tokio::spawn(async move { log.append(batch, options).await })
        })
        .collect();
    while log.queued() < 4 * REQUEST_COST {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let answers: Vec<_> = join_all(requests).await.into_iter().map(|answer| answer.unwrap().is_ok()).collect();
    assert_eq!(answers, [true, true, false, true]);
    assert_eq!(log.reader().import_position("f").await.unwrap().unwrap().offset, 6);
}

#[tokio::test]
async fn after_a_failed_commit_nothing_more_is_accepted() {
    for failure in [Failure::Commit, Failure::CommitPersisted, Failure::HeadMoved] {
        let fixture = Fixture::new().await;
        let (log, store) = fixture.failing().await;
        log.ingest(body("a"), &lines()).await.unwrap();
        store.fail(failure);
        let refused = log.ingest(body("b"), &lines()).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (503, "store_failed"), "{failure:?}");
        // The store would work again, but nobody knows what is in it.
        for _ in 0..2 {
            assert_eq!(log.ingest(body("c"), &lines()).await.unwrap_err().code(), "store_failed");
        }
        assert!(log.publisher().publish().await.is_err());
        assert!(log.close().await.is_err());
        drop((log, store));
        let log = fixture.log().await;
        let size = if failure == Failure::CommitPersisted { 2 } else { 1 };
        assert_eq!(log.head().borrow().size.0, size, "{failure:?}");
        log.ingest(body("d"), &lines()).await.unwrap();
        log.close().await.unwrap();
        drop(log);
        green(&fixture).await;
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_recovers() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.fail(Failure::Full);
    let refused = log.ingest(body("a"), &lines()).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "store_full"));
    assert_eq!(log.ingest(body("b"), &lines()).await.unwrap().first_index, Some(0));
}

#[tokio::test]
async fn a_conflict_refuses_only_its_own_request() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let gate = log.gate().lock().await;
    let (collection, key) = ("rules".to_owned(), "a".to_owned());
    let write = StateChange { collection, key, value: Some(json!(1)), expect: Expect::Absent, expires: None };
    let spawn = |writes| {
        let (log, batch) = (log.clone(), batch(&log, log.now()));
        let options = AppendOptions { writes, ..AppendOptions::default() };
        tokio::spawn(async move { log.append(batch, options).await })
    };
    // The first one is taken out of the queue alone: it only keeps the sequencer busy.
    let busy = spawn(Vec::new());
    while log.queued() < REQUEST_COST {
        tokio::task::yield_now().await;
    }
    let (writer, other) = (spawn(vec![write]), spawn(Vec::new()));
    while log.queued() < 3 * REQUEST_COST {
        tokio::task::yield_now().await;
    }
    store.fail(Failure::Conflict);
    drop(gate);
    busy.await.unwrap().unwrap();
    assert_eq!(writer.await.unwrap().unwrap_err().code(), "conflict");
    assert_eq!(other.await.unwrap().unwrap().first_index, Some(1));
    assert!(log.health().reason().is_none());
}

#[tokio::test]
async fn what_waited_too_long_is_refused() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let old = Micros(log.now().0 - MAX_AGE - 1_000_000);
    let refused = log.append(batch(&log, old), AppendOptions::default()).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "too_late"));
    assert_eq!(log.head().borrow().size.0, 0);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes() {
    let mut fixture = Fixture::new().await;
    fixture.config.limits.queue = 3 * REQUEST_COST;
    let log = fixture.log().await;
    let gate = log.gate().lock().await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (log, batch) = (log.clone(), batch(&log, log.now()));
            tokio::spawn(async move { log.append(batch, AppendOptions::default()).await })
        })
        .collect();
    while log.queued() < 2 * REQUEST_COST {
        tokio::task::yield_now().await;
    }
    let refused = log.append(batch(&log, log.now()), AppendOptions::default()).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "overloaded"));
    let patient = {
        let (log, batch) = (log.clone(), batch(&log, log.now()));
        let options = AppendOptions { wait: true, ..AppendOptions::default() };
        tokio::spawn(async move { log.append(batch, options).await })
    };
    drop(gate);
    for answer in join_all(waiting).await {
        answer.unwrap().unwrap();
    }
    patient.await.unwrap().unwrap();
    // A request larger than the whole queue still gets through, alone.
    let large = "x".repeat(400) + "\n";
    log.ingest(body(&large.repeat(50)), &lines()).await.unwrap();
}

#[tokio::test]
async fn a_change_of_state_is_sealed_with_it() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let value = json!({"hash": "00", "name": "x"});
    let done = log.record_state_change("tokens", "abc", Some(value.clone()), "system").await.unwrap();
    let event = log.reader().event(done.first_index.unwrap()).await.unwrap();
    assert_eq!(event.record["source"], "sceau.audit");
    assert_eq!(event.record["user.name"], "system");
    let stored = log.reader().store().get("tokens", "abc", 0).await.unwrap().unwrap();
    assert_eq!(stored.value, value);
    log.close().await.unwrap();
    drop(log);
    green(&fixture).await;
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let key = "evil".to_owned();
    let forged = StateWrite {
        collection: "tokens".into(),
        key,
        value: Some(value),
        expect: Expect::Any,
        expires: None,
        mac: None,
    };
    reader.store().write(vec![forged]).await.unwrap();
    drop(reader);
    let report = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(!report.ok && report.to_string().contains("tokens/evil"), "{report}");
}

#[tokio::test]
async fn an_event_that_makes_a_panic_fails_alone() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let gate = log.gate().lock().await;
    let spawn = |text: &'static [u8]| {
        let log = log.clone();
        tokio::spawn(async move { log.ingest(Bytes::from_static(text), &IngestRequest::default()).await })
    };
    // The first one is taken out of the queue alone: it only keeps the sequencer busy.
    let busy = spawn(b"{}");
    while log.queued() < REQUEST_COST {
        tokio::task::yield_now().await;
    }
    let mut requests = Vec::new();
    for text in [b"{\"n\":1}".as_slice(), crate::testing::PANICS, b"{\"n\":2}", crate::testing::PANICS] {
        let before = log.queued();
        requests.push(spawn(text));
        while log.queued() == before {
            tokio::task::yield_now().await;
        }
    }
    drop(gate);
    busy.await.unwrap().unwrap();
    let answers: Vec<_> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    let first = |at: usize| answers[at].as_ref().map(|answer| answer.first_index.unwrap()).map_err(ServerError::code);
    assert_eq!([first(0), first(1), first(2), first(3)], [Ok(1), Err("internal"), Ok(2), Err("internal")]);
    for (index, wanted) in [(1, "1"), (2, "2")] {
        assert_eq!(log.reader().event(index).await.unwrap().record["n"], wanted);
    }
    assert_eq!(log.health().reason(), None);
    log.close().await.unwrap();
    drop(log);
    green(&fixture).await;
}

#[tokio::test]
async fn a_panic_of_the_sequencer_stops_the_log() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.fail(Failure::CommitPanic);
    for _ in 0..2 {
        let refused = log.ingest(body("a"), &lines()).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (503, "store_failed"));
    }
    assert!(log.health().reason().unwrap().contains("sequencer panicked"), "{:?}", log.health());
    assert!(log.close().await.is_err());
}

/// A body of so many lines, all of the same length.
fn numbered(count: usize) -> Bytes {
    body(&(0..count).map(|n| format!("line {n:05}\n")).collect::<String>())
}

#[tokio::test]
async fn a_request_larger_than_a_commit_is_split_and_acknowledged_as_one() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.limit(CommitLimits { entries: 64, bytes: 6_000 });
    let request = IngestRequest { idempotency: Some("k".into()), ..lines() };
    let answer = log.ingest(numbered(1_000), &request).await.unwrap();
    assert_eq!((answer.accepted, answer.first_index, answer.tree_size), (1_000, Some(0), 1_000));
    assert!(store.commits() >= 1_000 / 64, "{}", store.commits());
    assert!(log.ingest(numbered(1_000), &request).await.unwrap().replayed);
    let import = IngestRequest { import: step("file", 0, 11_000), ..lines() };
    log.ingest(numbered(100), &import).await.unwrap();
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 11_000);
    assert_eq!(log.head().borrow().size.0, 1_100);
    for index in [0u64, 63, 64, 999] {
        let event = log.reader().event(index).await.unwrap();
        assert!(event.entry.contains(&format!("line {index:05}")), "{}", event.entry);
    }
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}

#[tokio::test]
async fn requests_that_fit_one_by_one_are_never_split() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let gate = log.gate().lock().await;
    let requests: Vec<_> = (0..8)
        .map(|n| {
            let log = log.clone();
            // A single event weighs more once it has a record than in the queue.
            let text = body(&format!("{{\"n\":{n},\"message\":\"{}\"}}", "x".repeat(2_000)));
            tokio::spawn(async move { log.ingest(text, &IngestRequest::default()).await })
        })
        .collect();
    while log.queued() < 8 * (2_000 + REQUEST_COST) {
        tokio::task::yield_now().await;
    }
    store.limit(CommitLimits { entries: 100, bytes: 9_000 });
    drop(gate);
    let mut firsts: Vec<_> = join_all(requests).await.into_iter().map(|answer| answer.unwrap().unwrap()).collect();
    firsts.sort_unstable_by_key(|answer| answer.first_index);
    assert_eq!(firsts.iter().map(|answer| answer.first_index.unwrap()).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(store.commits() > 1);
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}

#[tokio::test]
async fn the_rest_of_a_split_request_waits_for_the_database() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.limit(CommitLimits { entries: 100, bytes: usize::MAX });
    store.fail_after(2, Failure::CommitAway);
    let answer = log.ingest(numbered(450), &lines()).await.unwrap();
    assert_eq!((answer.accepted, answer.tree_size), (450, 450));
    log.close().await.unwrap();
}

#[tokio::test]
async fn the_rest_of_a_split_request_is_split_anew_where_the_database_takes_less() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.limit(CommitLimits { entries: 100, bytes: usize::MAX });
    store.fail_after(2, Failure::CommitTooLarge);
    let request = IngestRequest { idempotency: Some("k".into()), ..lines() };
    let answer = log.ingest(numbered(450), &request).await.unwrap();
    assert_eq!((answer.accepted, answer.tree_size), (450, 450));
    assert!(log.ingest(numbered(450), &request).await.unwrap().replayed);
    assert_eq!(log.head().borrow().size.0, 450);
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}

#[tokio::test]
async fn what_is_too_large_for_the_database_is_written_in_smaller_commits_at_once() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.fail(Failure::CommitTooLarge);
    let answer = log.ingest(numbered(400), &IngestRequest { import: step("file", 0, 4_400), ..lines() }).await.unwrap();
    assert_eq!((answer.accepted, answer.tree_size, store.commits()), (400, 400, 4));
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 4_400);
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}

#[tokio::test]
async fn what_of_a_split_request_is_in_the_log_is_told() {
    let mut fixture = Fixture::new().await;
    fixture.config.limits.rest_time = std::time::Duration::ZERO;
    let (log, store) = fixture.failing().await;
    store.limit(CommitLimits { entries: 100, bytes: usize::MAX });
    log.ingest(body("before"), &lines()).await.unwrap();
    let request = IngestRequest { import: step("file", 0, 4_500), ..lines() };
    let going = tokio::spawn({
        let (log, request) = (log.clone(), request.clone());
        async move { log.ingest(numbered(450), &request).await }
    });
    let mut head = log.head();
    head.wait_for(|head| head.size.0 >= 201).await.unwrap();
    store.go_away(true);
    let refused = going.await.unwrap().unwrap_err();
    let ServerError::PartlyKept { kept, entries, first_index } = refused else { panic!("{refused}") };
    assert!((200..450).contains(&kept) && (entries, first_index) == (450, 1), "{kept} {entries} {first_index}");
    assert_eq!((refused.status(), refused.code()), (503, "partly_kept"));
    store.go_away(false);
    assert_eq!(log.reader().import_position("file").await.unwrap(), None);
    let answer = log.ingest(body("after"), &lines()).await.unwrap();
    assert_eq!(answer.first_index, Some(kept + 1));
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}

#[tokio::test]
async fn the_log_goes_on_by_itself_once_the_database_is_back() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let keyed = IngestRequest { idempotency: Some("k".into()), ..lines() };
    store.go_away(true);
    for request in [lines(), keyed.clone()] {
        let refused = log.ingest(body("a"), &request).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (503, "store_unavailable"));
    }
    assert!(log.publisher().publish().await.is_err());
    assert!(log.publisher().close_epoch().await.is_err());
    assert_eq!(log.health().reason(), None);
    store.go_away(false);
    assert_eq!(log.ingest(body("a"), &keyed).await.unwrap().first_index, Some(0));
    log.publisher().publish().await.unwrap();
    log.publisher().close_epoch().await.unwrap();
    log.close().await.unwrap();
    drop((log, store));
    green(&fixture).await;
}
