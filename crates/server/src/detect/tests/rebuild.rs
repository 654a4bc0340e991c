//! Alerts made again from what is sealed.

use std::sync::atomic::{AtomicUsize, Ordering};

use sceau_detect::{Finding, Phase};
use sceau_ledger::Index;
use sceau_store::{StoreError, traits::CommitLimits};

use super::*;
use crate::{
    detect::{alert::tests::finding, desk::MAX_ALERTS, finding::Sealed, rebuild::Rebuilding},
    guard::StateChange,
    sequencer::AppendOptions,
};

/// Writes the state as somebody does who has the database, and maybe the MAC key.
async fn tamper(log: &Log, key: &str, value: Option<Value>, signs: bool) {
    let change = crate::guard::StateChange {
        collection: desk::COLLECTION.into(),
        key: key.into(),
        value,
        expect: sceau_store::Expect::Any,
        expires: None,
    };
    let mut writes = crate::guard::signed(&log.keys().mac_keys(), vec![change]);
    writes.iter_mut().filter(|_| !signs).for_each(|write| write.mac = write.mac.take().map(|_| vec![0; 32]));
    log.reader().store().write(writes).await.unwrap();
}

/// Alerts of all kinds: open, over, worked on, closed and come again, suppressed.
async fn many_alerts(log: &Log, detection: &Arc<Detection>) -> Vec<Alert> {
    let rule = brute_force(detection);
    let quiet = Excepted {
        rule: Some(rule.clone()),
        fields: BTreeMap::from([("source.ip".to_owned(), "10.0.4.4".to_owned())]),
        until: None,
        mode: Mode::Suppress,
        reason: String::new(),
    };
    detection.add_exception(&quiet, "ann").await.unwrap();
    let burst = |ip: &str, from: i64| (0..6).map(|n| failure(ip, "ann", from + n)).collect::<String>();
    for ip in ["10.0.4.1", "10.0.4.2", "10.0.4.3", "10.0.4.4"] {
        send(log, &burst(ip, 0)).await;
    }
    caught_up(detection).await;
    let of = async |ip: &str| {
        let all = alerts(detection).await;
        all.into_iter().find(|alert| alert.rule == rule && alert.group["source.ip"] == ip).unwrap().id
    };
    let change = |state, assignee: &str, comment: Option<&str>| AlertChange {
        state,
        assignee: Some(assignee.to_owned()),
        comment: comment.map(str::to_owned),
    };
    let seen = change(Some(AlertState::Acknowledged), " bob ", Some("looking at it"));
    detection.change_alert(&of("10.0.4.1").await, seen, "ann").await.unwrap();
    let closed = change(Some(AlertState::Closed), "", None);
    detection.change_alert(&of("10.0.4.2").await, closed, "bob").await.unwrap();
    // The bursts of before are over, and two addresses come again.
    send(log, &burst("10.0.4.2", 7_200)).await;
    send(log, &burst("10.0.4.3", 7_200)).await;
    caught_up(detection).await;
    alerts(detection).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_made_again_from_what_is_sealed() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let before = many_alerts(&log, &detection).await;
    let states: std::collections::BTreeSet<_> = before.iter().map(|alert| alert.state).collect();
    assert_eq!(states.len(), 3, "{states:?}");
    assert!(before.iter().any(|alert| alert.suppressed_by.is_some()));
    assert!(
        before.iter().any(|alert| alert.finding_count == 2) && before.iter().any(|alert| !alert.comments.is_empty())
    );
    let changed = |alert: &Alert| Some(to_value(&Alert { state: AlertState::FalsePositive, ..alert.clone() }).unwrap());
    let damage = async || {
        tamper(&log, &before[0].id, None, true).await;
        tamper(&log, &before[1].id, changed(&before[1]), true).await;
        tamper(&log, &before[2].id, changed(&before[2]), false).await;
        tamper(&log, "never found", changed(&Alert { id: "never found".into(), ..before[3].clone() }), true).await;
    };
    // While the server runs…
    damage().await;
    assert_eq!(rebuild_alerts(&log, Some(&detection)).await.unwrap(), before.len() as u64);
    assert_eq!(alerts(&detection).await, before);
    let loaded = async || {
        let desk = Desk::load(&**log.reader().store(), log.keys()).await.unwrap();
        desk.list(|_| true, None, 1_000).await
    };
    assert_eq!(loaded().await, before);
    // …and while none does.
    detection.stop().await;
    damage().await;
    assert_ne!(loaded().await, before);
    log.close().await.unwrap();
    drop((detection, log));
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let made = reader.rebuild(Some(&fixture.config), &|_, _| ()).await.unwrap();
    assert_eq!((made.alerts.unwrap().unwrap(), made.records.is_ok()), (before.len() as u64, true));
    reader.close().await.unwrap();
    let log = fixture.log().await;
    let detection = start(&log).await;
    caught_up(&detection).await;
    assert_eq!(alerts(&detection).await, before);
    detection.stop().await;
    log.close().await.unwrap();
}

/// A finding about an address.
fn of(ip: &str, id: &str, phase: Phase) -> Finding {
    let mut found = finding(id, phase, 5, 0);
    found.group[0].1 = ip.to_owned();
    found
}

fn fired(ip: &str, id: &str) -> Finding {
    of(ip, id, Phase::Fired)
}

/// Seals findings as the follower does.
async fn tell(log: &Log, desk: &Desk, findings: Vec<Finding>) {
    let commit = async |writes, findings: Vec<Sealed>, now| {
        let batch = finding::batch(log, &findings, now)?;
        log.append(batch, AppendOptions { writes, wait: true, ..AppendOptions::default() }).await.map(drop)
    };
    desk.take(findings, || log.now(), &BTreeMap::new(), commit).await.unwrap();
}

async fn put(log: &Log, desk: &Desk, id: &str, state: AlertState) {
    let change = AlertChange { state: Some(state), ..AlertChange::default() };
    desk.change(log, id, change, "ann").await.unwrap();
}

async fn rebuild(log: &Log, desk: &Desk) -> Result<u64, ServerError> {
    let head = || *log.head().borrow();
    desk.rebuild(&**log.reader().store(), log.keys(), head, |changes| snapshot::write(log, changes)).await
}

async fn all(desk: &Desk) -> Vec<Alert> {
    desk.list(|_| true, None, 10_000).await
}

/// As the state holds them.
async fn kept(log: &Log) -> Vec<Alert> {
    all(&Desk::load(&**log.reader().store(), log.keys()).await.unwrap()).await
}

/// Sends so much that it becomes segments, as many as there are to be.
async fn fill(log: &Log, segments: usize) {
    let filler = format!("{{\"timestamp\":\"{}\",\"message\":\"x\"}}\n", Micros(DAY * 1_000_000));
    send(log, &filler.repeat(700)).await;
    while log.reader().store().stretches().await.unwrap().len() < segments {
        tokio::task::yield_now().await;
    }
}

/// Old alerts of all kinds: of very many findings and closed since, opened again since, gone on, and left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_whose_beginning_retention_deleted_stay_as_they_are() {
    let mut fixture = Fixture::new().await;
    fixture.config.segment_entries = 256;
    let log = fixture.log().await;
    let (store, desk) = (log.reader().store(), Desk::default());
    let begun = ["many", "reopened", "going on", "alone"];
    tell(&log, &desk, begun.map(|name| fired(name, &format!("{name} 0"))).to_vec()).await;
    put(&log, &desk, "reopened 0", AlertState::Closed).await;
    put(&log, &desk, "alone 0", AlertState::Closed).await;
    fill(&log, 2).await;
    store.prune(Index(256)).await.unwrap();
    assert_eq!(store.kept_from().await.unwrap().0, 256);
    tell(&log, &desk, (1..180).map(|n| fired("many", &format!("many {n}"))).collect()).await;
    put(&log, &desk, "many 0", AlertState::Closed).await;
    tell(&log, &desk, vec![fired("reopened", "new 0"), of("going on", "going on 0", Phase::Ended)]).await;
    put(&log, &desk, "reopened 0", AlertState::Acknowledged).await;
    tell(&log, &desk, vec![fired("reopened", "new 1"), fired("going on", "going on 1")]).await;
    let before = all(&desk).await;
    let counts: BTreeMap<&str, u64> = before.iter().map(|alert| (alert.id.as_str(), alert.finding_count)).collect();
    let wanted = [("alone 0", 1), ("going on 0", 2), ("many 0", 180), ("new 0", 2), ("reopened 0", 1)];
    assert_eq!(counts, BTreeMap::from(wanted));
    assert_eq!(kept(&log).await, before);
    rebuild(&log, &desk).await.unwrap();
    assert_eq!((all(&desk).await, kept(&log).await), (before.clone(), before.clone()));
    let forged = Alert { state: AlertState::FalsePositive, ..before[0].clone() };
    tamper(&log, "new 0", None, true).await;
    tamper(&log, "forged", Some(to_value(&Alert { id: "forged".into(), ..forged }).unwrap()), false).await;
    assert_ne!(kept(&log).await, before);
    rebuild(&log, &desk).await.unwrap();
    assert_eq!((all(&desk).await, kept(&log).await), (before.clone(), before.clone()));
    // Of one that somebody deleted whose beginning is gone there is what its later findings say.
    tamper(&log, "many 0", None, true).await;
    rebuild(&log, &desk).await.unwrap();
    let left = desk.get("many 0").await.unwrap();
    assert_eq!((left.finding_count, left.state), (179, AlertState::Closed));
    let before = all(&desk).await;
    assert_eq!((before.len(), kept(&log).await), (5, before.clone()));
    // Retention deletes what all of them came from, after the first look at what it has left.
    fill(&log, 5).await;
    let mut rebuilding = Rebuilding::begin(&**store).await.unwrap();
    store.prune(Index(1_280)).await.unwrap();
    assert_eq!(store.kept_from().await.unwrap().0, 1_280);
    let head = *log.head().borrow();
    rebuilding.advance(&**store, head).await.unwrap();
    rebuilding.end(&**store, log.keys()).await.unwrap();
    assert!(rebuilding.changes(&**store, log.keys()).await.unwrap().is_empty());
    log.close().await.unwrap();
}

/// Who has the database, but no keys, changes an entry: the log's MAC is not put under what comes of it.
#[tokio::test]
async fn nothing_is_made_of_entries_that_were_changed() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let desk = Desk::default();
    tell(&log, &desk, vec![fired("a", "a"), fired("b", "b")]).await;
    put(&log, &desk, "a", AlertState::Closed).await;
    let before = kept(&log).await;
    let index = log.head().borrow().size.0 - 1;
    let entry = log.reader().event(index).await.unwrap().entry;
    let changed = entry.replace("\"closed\"", "\"false_positive\"");
    assert_ne!(entry, changed);
    tamper(&log, "b", None, true).await;
    let damaged = kept(&log).await;
    // In the bundle that still grows, and in a whole one.
    for entries in [0, 300] {
        send(&log, &failure("10.0.9.9", "ann", 0).repeat(entries)).await;
        store.swap(Some((index, changed.clone().into_bytes())));
        let refused = rebuild(&log, &desk).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, ServerError::Store(StoreError::Entry { index: 0, .. })), "{text}");
        assert!(text.contains("sceau verify"), "{text}");
        assert_eq!((kept(&log).await, all(&desk).await), (damaged.clone(), before.clone()));
        store.swap(None);
    }
    rebuild(&log, &desk).await.unwrap();
    assert_eq!((kept(&log).await, all(&desk).await), (before.clone(), before));
    log.close().await.unwrap();
}

#[tokio::test]
async fn keys_of_another_log_sign_nothing() {
    let (fixture, other) = (Fixture::new().await, Fixture::new().await);
    let log = fixture.log().await;
    tell(&log, &Desk::default(), vec![fired("a", "a")]).await;
    let before = kept(&log).await;
    log.close().await.unwrap();
    drop(log);
    let config = crate::Config { key_dir: other.config.key_dir.clone(), ..fixture.config.clone() };
    let reader = crate::Reader::open(&config).await.unwrap();
    let made = reader.rebuild(Some(&config), &|_, _| ()).await.unwrap();
    let refused = made.alerts.unwrap().unwrap_err();
    assert!(matches!(refused, ServerError::KeyDir { .. }), "{refused}");
    assert!(made.records.is_ok(), "what needs no keys is done");
    reader.close().await.unwrap();
    let log = fixture.log().await;
    assert_eq!(kept(&log).await, before);
    log.close().await.unwrap();
}

/// Where there are too many, the same ones go as when they came.
#[tokio::test]
async fn beyond_the_limit_the_same_ones_are_made_again() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let desk = Desk::default();
    for round in 0..MAX_ALERTS / 20 + 4 {
        tell(&log, &desk, (0..20).map(|n| fired(&format!("{round} {n}"), &format!("{round} {n}"))).collect()).await;
        for n in 0..round % 3 {
            put(&log, &desk, &format!("{round} {n}"), AlertState::Closed).await;
        }
    }
    let before = all(&desk).await;
    assert_eq!((before.len(), desk.counts().dropped), (MAX_ALERTS, 80));
    tamper(&log, &before[7].id, None, true).await;
    assert_eq!(rebuild(&log, &desk).await.unwrap(), MAX_ALERTS as u64);
    assert_eq!((kept(&log).await, all(&desk).await), (before.clone(), before));
    log.close().await.unwrap();
}

/// A database that takes less at once, and one that goes away in the middle.
#[tokio::test]
async fn what_is_in_memory_is_what_could_be_written() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let names: Vec<String> = (0..7).map(|n| format!("alert {n}")).collect();
    tell(&log, &Desk::default(), names.iter().map(|name| fired(name, name)).collect()).await;
    let before = kept(&log).await;
    for name in &names[1..] {
        tamper(&log, name, None, true).await;
    }
    let limit = |entries| store.limit(CommitLimits { entries, bytes: usize::MAX });
    let away = || ServerError::Store(StoreError::Unavailable("it went away".into()));
    let (head, writes) = (|| *log.head().borrow(), AtomicUsize::new(0));
    let desk = Desk::load(&**log.reader().store(), log.keys()).await.unwrap();
    limit(2);
    let write = async |changes: Vec<StateChange>| match writes.fetch_add(1, Ordering::Relaxed) {
        1 => Err(away()),
        _ => snapshot::write(&log, changes).await,
    };
    assert!(desk.rebuild(&**log.reader().store(), log.keys(), head, write).await.unwrap_err().is_away());
    assert_eq!((all(&desk).await.len(), writes.load(Ordering::Relaxed)), (3, 2));
    assert_eq!(all(&desk).await, kept(&log).await);
    let write = async |changes: Vec<StateChange>| {
        if changes.len() > 1 {
            limit(1);
            return Err(away());
        }
        snapshot::write(&log, changes).await
    };
    desk.rebuild(&**log.reader().store(), log.keys(), head, write).await.unwrap();
    assert_eq!((all(&desk).await, kept(&log).await), (before.clone(), before));
    limit(usize::MAX);
    log.close().await.unwrap();
}
