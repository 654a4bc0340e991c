mod rebuild;

use std::collections::BTreeMap;

use bytes::Bytes;
use sceau_detect::RuleOverride;
use sceau_event::Micros;

use super::*;
use crate::{
    Format, IngestRequest,
    config::DetectionConfig,
    testing::Fixture,
    verify::{Cancel, VerifyOptions, verify_dir},
};

/// 2026-11-22T10:00:00Z, inside of the usual hours.
const DAY: i64 = 1_795_341_600;

/// A log whose newest entries are kept in memory for the detector.
async fn detecting() -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.config.detection.enabled = true;
    fixture
}

async fn start(log: &Log) -> Arc<Detection> {
    Detection::start(log, &DetectionConfig::default()).await.unwrap()
}

/// Ends it as kill -9 does: nothing is kept.
async fn kill(detection: Arc<Detection>) {
    let tasks = std::mem::take(&mut *detection.tasks.lock().unwrap());
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        drop(task.await);
    }
}

fn failure(ip: &str, user: &str, second: i64) -> String {
    let time = Micros((DAY + second) * 1_000_000);
    format!(
        "{{\"timestamp\":\"{time}\",\"ip\":\"{ip}\",\"user\":\"{user}\",\"action\":\"login\",\"status\":\"failed\"}}\n"
    )
}

async fn send(log: &Log, lines: &str) {
    let request = IngestRequest { format: Format::Ndjson, source: "app".into(), ..IngestRequest::default() };
    log.ingest(Bytes::from(lines.to_owned()), &request).await.unwrap();
}

/// Waits until the detector has seen everything, its own findings too.
async fn caught_up(detection: &Detection) {
    loop {
        let (next, size) = detection.position();
        if next >= size {
            return;
        }
        assert!(detection.is_running());
        tokio::task::yield_now().await;
    }
}

async fn alerts(detection: &Detection) -> Vec<Alert> {
    detection.shared.desk.list(|_| true, None, 1_000).await
}

async fn alerts_of(detection: &Detection, title: &str) -> Vec<Alert> {
    let all = alerts(detection).await;
    all.into_iter().filter(|alert| alert.title.to_lowercase().contains(title)).collect()
}

/// The sealed findings, whole.
async fn sealed(log: &Log) -> Vec<Value> {
    let size = log.head().borrow().size.0;
    let mut found = Vec::new();
    for index in 0..size {
        let entry: Value = serde_json::from_str(&log.reader().event(index).await.unwrap().entry).unwrap();
        if entry["source"] == "sceau.finding" {
            found.push(entry["data"].clone());
        }
    }
    found
}

fn brute_force(detection: &Detection) -> String {
    let current = detection.current();
    let rule = |meta: &&sceau_detect::RuleMeta| {
        meta.kind == "event_count" && meta.group_by == ["source.ip"] && meta.threshold == Some(5)
    };
    current.rules.rules().iter().find(rule).unwrap().id.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fifth_failure_is_sealed_and_opens_an_alert_with_its_evidence() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    let before = log.head().borrow().size.0;
    let of_rule = async || {
        let all = alerts(&detection).await;
        all.into_iter().filter(|alert| alert.rule == rule).collect::<Vec<_>>()
    };
    for n in 0..4 {
        send(&log, &failure("10.0.9.9", "ann", n)).await;
    }
    caught_up(&detection).await;
    assert_eq!(of_rule().await, []);
    send(&log, &failure("10.0.9.9", "ann", 4)).await;
    caught_up(&detection).await;
    let found = of_rule().await;
    assert_eq!((found.len(), found[0].count, found[0].state), (1, 5, AlertState::Open));
    // It is told at most once a second.
    while detection.stats().rules.get(&rule).is_none_or(|rule| rule.bursts == 0) {
        assert!(detection.is_running());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(detection.stats().groups > 0);
    assert_eq!(found[0].group, BTreeMap::from([("source.ip".to_owned(), "10.0.9.9".to_owned())]));
    let mut evidence = found[0].evidence.clone();
    evidence.sort_unstable();
    assert_eq!(evidence.len(), 5);
    for index in &evidence {
        assert_eq!(log.reader().event(*index).await.unwrap().record["source.ip"], "10.0.9.9");
    }
    assert!(evidence[0] >= before);
    // Further failures of the same burst are no further alert.
    send(&log, &(5..9).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    assert_eq!(of_rule().await.len(), 1);
    let fired: Vec<_> =
        sealed(&log).await.into_iter().filter(|finding| finding["rule"]["id"] == rule.as_str()).collect();
    assert_eq!((fired.len(), &fired[0]["id"]), (1, &Value::from(found[0].id.as_str())));
    detection.stop().await;
    log.close().await.unwrap();
    drop((detection, log));
    let report = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_with_half_a_burst() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..3).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    detection.stop().await;
    log.close().await.unwrap();
    drop((detection, log));
    let log = fixture.log().await;
    // What comes while nothing detects is looked at later.
    send(&log, &failure("10.0.9.9", "ann", 3)).await;
    let detection = start(&log).await;
    send(&log, &failure("10.0.9.9", "ann", 4)).await;
    caught_up(&detection).await;
    let found = alerts(&detection).await.into_iter().filter(|alert| alert.rule == rule).collect::<Vec<_>>();
    assert_eq!((found.len(), found[0].count), (1, 5));
    detection.stop().await;
    log.close().await.unwrap();
}

/// As after kill -9: the windows are those of the beginning, the findings are sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_is_not_sealed_again_when_windows_are_old_or_lost() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    send(&log, &(0..3).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    detection.stop().await;
    let detection = start(&log).await;
    send(&log, &(3..7).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    send(&log, &(0..7).map(|n| failure("10.0.9.8", "bob", n)).collect::<String>()).await;
    caught_up(&detection).await;
    let (before, known) = (sealed(&log).await, alerts(&detection).await);
    assert!(before.len() >= 2, "{before:?}");
    kill(detection).await;
    let detection = start(&log).await;
    caught_up(&detection).await;
    assert_eq!((sealed(&log).await, alerts(&detection).await), (before.clone(), known.clone()));
    detection.stop().await;
    // Even with nothing left of where it was.
    let store = log.reader().store();
    let left = store.list(snapshot::COLLECTION, "", 1_000).await.unwrap();
    let gone = left.into_iter().map(|document| sceau_store::StateWrite {
        collection: snapshot::COLLECTION.into(),
        key: document.key,
        value: None,
        expect: sceau_store::Expect::Any,
        expires: None,
        mac: None,
    });
    store.write(gone.collect()).await.unwrap();
    let detection = start(&log).await;
    caught_up(&detection).await;
    let ended = |findings: &[Value]| findings.iter().filter(|finding| finding["phase"] == "fired").count();
    assert_eq!(ended(&sealed(&log).await), ended(&before));
    detection.stop().await;
    log.close().await.unwrap();
}

/// The rules changed between a crash and the next start: what they find in what the windows had not kept is sealed, and what
/// was sealed is not sealed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_under_other_rules_after_a_crash_loses_nothing() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..3).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    send(&log, &(0..5).map(|n| failure("10.0.9.8", "bob", n)).collect::<String>()).await;
    caught_up(&detection).await;
    kill(detection).await;
    let change = to_value(&RuleOverride { threshold: Some(3), ..RuleOverride::default() }).unwrap();
    log.record_state_change(COLLECTION, &settings::override_key(&rule), Some(change), "ann").await.unwrap();
    let detection = start(&log).await;
    caught_up(&detection).await;
    let found: BTreeMap<String, u64> = alerts(&detection)
        .await
        .into_iter()
        .filter(|alert| alert.rule == rule)
        .map(|alert| (alert.group["source.ip"].clone(), alert.finding_count))
        .collect();
    assert_eq!(found, BTreeMap::from([("10.0.9.8".to_owned(), 1), ("10.0.9.9".to_owned(), 1)]));
    detection.stop().await;
    log.close().await.unwrap();
}

/// Windows of rules that are no more as they were can't go on; what they had counted is told, once, and the alert has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_a_rule_that_changed_while_nothing_ran_are_told_as_ended() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..7).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    detection.stop().await;
    let change = to_value(&RuleOverride { threshold: Some(50), ..RuleOverride::default() }).unwrap();
    log.record_state_change(COLLECTION, &settings::override_key(&rule), Some(change), "ann").await.unwrap();
    // The first is killed before it keeps windows without the burst: the second is told of it again.
    for _ in 0..2 {
        let detection = start(&log).await;
        caught_up(&detection).await;
        while alerts(&detection).await.iter().any(|alert| alert.rule == rule && !alert.going_on.is_empty()) {
            assert!(detection.is_running());
            tokio::task::yield_now().await;
        }
        let found: Vec<Alert> = alerts(&detection).await.into_iter().filter(|alert| alert.rule == rule).collect();
        assert_eq!((found.len(), found[0].count, found[0].state), (1, 7, AlertState::Open));
        let ended = |finding: &&Value| finding["phase"] == "ended" && finding["rule"]["id"] == rule.as_str();
        let sealed = sealed(&log).await;
        let ended: Vec<&Value> = sealed.iter().filter(ended).collect();
        assert_eq!((ended.len(), &ended[0]["id"], &ended[0]["count"]), (1, &found[0].id.as_str().into(), &7.into()));
        kill(detection).await;
    }
    log.close().await.unwrap();
}

/// The same while a server reads again what its windows had not kept: its first findings there are sealed.
#[tokio::test]
async fn rules_that_change_while_entries_are_read_again_lose_nothing() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    // It keeps windows under these rules.
    let detection = start(&log).await;
    send(&log, &failure("10.0.9.7", "eve", 0)).await;
    caught_up(&detection).await;
    detection.stop().await;
    let from = log.head().borrow().size.0;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..3).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    send(&log, &(0..5).map(|n| failure("10.0.9.8", "bob", n)).collect::<String>()).await;
    caught_up(&detection).await;
    let mut set = (*detection.current().set).clone();
    set.overrides.insert(rule.clone(), RuleOverride { threshold: Some(3), ..RuleOverride::default() });
    let (set, rules) = build(None, set).await.unwrap();
    kill(detection).await;
    let detection = start(&log).await;
    // On this one thread nothing has been read yet.
    assert_eq!(detection.position().0, from);
    detection.commands.try_send(Command::Rules(Arc::new(rules), Arc::new(set))).unwrap();
    caught_up(&detection).await;
    let found: BTreeMap<String, u64> = alerts(&detection)
        .await
        .into_iter()
        .filter(|alert| alert.rule == rule)
        .map(|alert| (alert.group["source.ip"].clone(), alert.finding_count))
        .collect();
    assert_eq!(found, BTreeMap::from([("10.0.9.8".to_owned(), 1), ("10.0.9.9".to_owned(), 1)]));
    detection.stop().await;
    log.close().await.unwrap();
}

/// Windows of an older version can't be used, and it may not have seen that a burst is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_that_another_version_left_open_end_in_their_alerts() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..6).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    detection.stop().await;
    send(&log, &failure("10.0.9.8", "bob", 7_200)).await;
    let size = log.head().borrow().size.0;
    let parts = log.reader().store().list(snapshot::COLLECTION, "windows-", 100).await.unwrap();
    let gone = parts.into_iter().map(|part| crate::guard::StateChange {
        collection: snapshot::COLLECTION.into(),
        key: part.key,
        value: None,
        expect: sceau_store::Expect::Any,
        expires: None,
    });
    snapshot::write(&log, gone.chain([snapshot::position(size)]).collect()).await.unwrap();
    let detection = start(&log).await;
    caught_up(&detection).await;
    let found: Vec<Alert> = alerts(&detection).await.into_iter().filter(|alert| alert.rule == rule).collect();
    assert_eq!((found.len(), found[0].count, found[0].going_on.len()), (1, 6, 0));
    let told: Vec<Value> =
        sealed(&log).await.into_iter().filter(|finding| finding["rule"]["id"] == rule.as_str()).collect();
    assert_eq!(told.iter().map(|finding| &finding["phase"]).collect::<Vec<_>>(), ["fired", "ended"]);
    detection.stop().await;
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_sealed_before_they_count_and_forged_ones_are_named() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    let threshold = RuleOverride { threshold: Some(3), ..RuleOverride::default() };
    detection.set_override(&rule, Some(&threshold), "ann").await.unwrap();
    let meta =
        |detection: &Detection| detection.current().rules.rules().iter().find(|meta| meta.id == rule).unwrap().clone();
    assert_eq!(meta(&detection).threshold, Some(3));
    send(&log, &(0..3).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    assert_eq!(alerts(&detection).await.iter().filter(|alert| alert.rule == rule).count(), 1);
    let excepted = |mode| Excepted {
        rule: Some(rule.clone()),
        fields: BTreeMap::from([("source.ip".to_owned(), "10.0.8.0/24".to_owned())]),
        until: None,
        mode,
        reason: "the scanner".into(),
    };
    let id = detection.add_exception(&excepted(Mode::Exclude), "ann").await.unwrap();
    send(&log, &(0..5).map(|n| failure("10.0.8.7", "eve", n)).collect::<String>()).await;
    caught_up(&detection).await;
    assert_eq!(alerts(&detection).await.iter().filter(|alert| alert.rule == rule).count(), 1);
    detection.remove_exception(&id, "ann").await.unwrap();
    let general = General { zone: "Europe/Paris".into(), ..General::default() };
    detection.set_general(&general, "ann").await.unwrap();
    // What makes no sense changes nothing.
    let wrong = General { zone: "Nowhere/At All".into(), ..General::default() };
    assert!(detection.set_general(&wrong, "ann").await.is_err());
    assert!(detection.set_override("no such rule", Some(&threshold), "ann").await.is_err());
    let empty = Excepted { fields: BTreeMap::new(), ..excepted(Mode::Exclude) };
    assert!(detection.add_exception(&empty, "ann").await.is_err());
    assert!(detection.remove_exception(&id, "ann").await.is_err());
    detection.stop().await;
    log.close().await.unwrap();
    drop((detection, log));
    let verify =
        async || verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(verify().await.ok);
    let log = fixture.log().await;
    let loaded = start(&log).await;
    assert_eq!((meta(&loaded).threshold, loaded.current().set.general.zone.as_str()), (Some(3), "Europe/Paris"));
    loaded.stop().await;
    // Somebody adds an exception in the database, with a right MAC even.
    let change = crate::guard::StateChange {
        collection: COLLECTION.into(),
        key: settings::exception_key("hidden"),
        value: Some(to_value(&excepted(Mode::Exclude)).unwrap()),
        expect: sceau_store::Expect::Any,
        expires: None,
    };
    let writes = crate::guard::signed(&log.keys().mac_keys(), vec![change]);
    log.reader().store().write(writes).await.unwrap();
    log.close().await.unwrap();
    drop((loaded, log));
    let report = verify().await;
    assert!(!report.ok && report.to_string().contains("exception/hidden"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_finds_what_was_found_byte_for_byte() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let detection = start(&log).await;
    let mut lines = String::new();
    for n in 0..40 {
        lines.push_str(&failure(&format!("10.0.7.{}", n % 3), &format!("user{}", n % 2), n * 7 % 50));
        lines.push_str(&failure("203.0.113.5", "root", n * 300));
    }
    send(&log, &lines).await;
    caught_up(&detection).await;
    let mut live = sealed(&log).await;
    assert!(live.len() > 3);
    // Which alert a finding went into is no part of it.
    for finding in &mut live {
        assert!(finding.as_object_mut().unwrap().remove("alert").is_some());
    }
    let current = detection.current();
    let ask = async |rule: Option<String>, from: Option<i64>| {
        let rules = Rules { files: Arc::new(read_rules(None).unwrap()), set: (*current.set).clone() };
        let asked = Asked { from, rule, ..Asked::default() };
        let replay = detection.replays.start(log.reader(), rules, asked).unwrap();
        loop {
            let view = to_value(&replay.view()).unwrap();
            if view["state"] != "running" {
                assert_eq!(view["state"], "done", "{view}");
                return view["findings"].as_array().unwrap().clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let again: Vec<Value> = ask(None, None)
        .await
        .into_iter()
        .map(|finding| finding::event(&serde_json::from_value(finding).unwrap()))
        .collect();
    assert_eq!(again, live);
    let rule = brute_force(&detection);
    let only: Vec<Value> = live.iter().filter(|finding| finding["rule"]["id"] == rule.as_str()).cloned().collect();
    let one = ask(Some(rule.clone()), None).await;
    assert_eq!(
        one.iter().map(|finding| &finding["id"]).collect::<Vec<_>>(),
        only.iter().map(|finding| &finding["id"]).collect::<Vec<_>>()
    );
    assert_eq!(ask(Some(rule), Some((DAY + 10 * 86_400) * 1_000_000)).await.len(), 0);
    detection.stop().await;
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_of_a_directory_count_when_they_change() {
    let fixture = detecting().await;
    let log = fixture.log().await;
    let dir = tempfile::tempdir().unwrap();
    let config = DetectionConfig { enabled: true, rules: Some(dir.path().to_owned()) };
    let detection = Detection::start(&log, &config).await.unwrap();
    let sealed_before = log.head().borrow().size.0;
    let text = "title: Door opened\nid: 7a0c0c5a-6f0d-4b0e-8d3c-3b1f6f3a9c11\nlogsource:\n  product: sceau\ndetection:\n  selection:\n    event.action: open_door\n  condition: selection\nlevel: high\n";
    std::fs::write(dir.path().join("door.yml"), text).unwrap();
    std::fs::write(dir.path().join("broken.yml"), "title: [").unwrap();
    detection.reload("ann").await.unwrap();
    let current = detection.current();
    assert!(current.rules.rules().iter().any(|meta| meta.title == "Door opened"));
    assert!(
        current.rules.refusals().iter().any(|refusal| refusal.path == "broken.yml"),
        "{:?}",
        current.rules.refusals()
    );
    assert_eq!(log.head().borrow().size.0, sealed_before + 1, "the new rules are sealed");
    detection.reload("ann").await.unwrap();
    assert_eq!(log.head().borrow().size.0, sealed_before + 1, "the same rules are sealed once");
    let time = Micros(DAY * 1_000_000);
    send(&log, &format!("{{\"timestamp\":\"{time}\",\"user\":\"ann\",\"action\":\"open_door\"}}\n")).await;
    caught_up(&detection).await;
    let found = alerts_of(&detection, "door").await;
    assert_eq!((found.len(), found[0].level), (1, Level::High));
    detection.stop().await;
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_wait_for_a_store_that_is_away() {
    let fixture = detecting().await;
    let (log, store) = fixture.failing().await;
    let detection = start(&log).await;
    let rule = brute_force(&detection);
    send(&log, &(0..4).map(|n| failure("10.0.9.9", "ann", n)).collect::<String>()).await;
    caught_up(&detection).await;
    // The fifth is committed; the commit of its finding is not.
    store.fail_after(1, crate::testing::Failure::CommitAway);
    send(&log, &failure("10.0.9.9", "ann", 4)).await;
    while !alerts(&detection).await.iter().any(|alert| alert.rule == rule) {
        assert!(detection.is_running());
        tokio::task::yield_now().await;
    }
    caught_up(&detection).await;
    let fired = sealed(&log).await.into_iter().filter(|finding| finding["rule"]["id"] == rule.as_str()).count();
    assert_eq!(fired, 1);
    detection.stop().await;
    log.close().await.unwrap();
}
