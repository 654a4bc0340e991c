use bytes::Bytes;
use sceau_ledger::FaultKind;
use sceau_store::Ledger as _;
use serde_json::Value;

use super::*;
use crate::{
    Format, IngestRequest, RotatedKey, prover,
    testing::{Failure, Fixture},
    verify::{Cancel, VerifyOptions, VerifyReport, verify_dir},
};

const BY_SIZE: Retention = Retention { days: None, bytes: Some(0) };

/// A log whose segments have 256 entries.
async fn fixture() -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.config.segment_entries = 256;
    fixture
}

async fn add(log: &Log, entries: usize) {
    let body: String = (0..entries).map(|n| format!("{{\"user\":\"u{n}\",\"message\":\"word{n}\"}}\n")).collect();
    let request = IngestRequest { format: Format::Ndjson, wait: true, ..IngestRequest::default() };
    log.ingest(Bytes::from(body), &request).await.unwrap();
}

/// Waits until the tail is shorter than a segment, and seals everything.
async fn settle(log: &Log, segments: usize) {
    for _ in 0..6_000 {
        if log.reader().store().stretches().await.unwrap().len() >= segments {
            log.publisher().publish().await.unwrap();
            log.publisher().close_epoch().await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {segments} segments came");
}

async fn verify(fixture: &Fixture) -> VerifyReport {
    verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap()
}

async fn rounds(log: &Log, policy: &Retention) -> u64 {
    let mut all = 0;
    loop {
        match round(log, policy).await.unwrap() {
            0 => return all,
            deleted => all += deleted,
        }
    }
}

/// The audit entries of an action that the log still holds, with their indexes.
async fn audit(log: &Log, action: &str) -> Vec<(u64, Value)> {
    let kept = log.reader().store().kept_from().await.unwrap().0;
    let rows = log.reader().entries(None, 100_000).await.unwrap();
    let entries = (kept..).zip(rows.entries.iter().map(|entry| serde_json::from_slice::<Value>(entry).unwrap()));
    entries
        .filter(|(_, entry)| entry["source"] == "sceau.audit" && entry["data"]["action"] == action)
        .map(|(index, entry)| (index, entry["data"].clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_told_first_and_proofs_still_hold() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    let token = log.new_admin_token("operator").await.unwrap();
    add(&log, 700).await;
    settle(&log, 2).await;
    let before = log.reader().proof(100).await.unwrap();
    let old = log.publisher().published().unwrap().head;
    assert_eq!(rounds(&log, &BY_SIZE).await, 512);
    let kept = log.reader().store().kept_from().await.unwrap().0;
    assert_eq!(kept, 512);

    let told = audit(&log, "retention").await;
    let (index, told) = told.last().unwrap();
    assert_eq!((&told["first"], &told["last"], &told["reason"]), (&0.into(), &511.into(), &"size".into()));
    assert!(*index >= told["tree_size"].as_u64().unwrap());
    let carried = audit(&log, "state_change").await;
    assert_eq!(carried.len(), 1, "{carried:?}");
    assert_eq!((&carried[0].1["key"], &carried[0].1["carried"]), (&token.id.clone().into(), &0.into()));
    assert_eq!(carried[0].1["value"], token.value);

    let expired = log.reader().event(100).await.unwrap_err();
    assert_eq!((expired.status(), expired.code()), (410, "entry_expired"));
    assert_eq!(log.reader().entries(Some(0), 1).await.unwrap_err().code(), "entry_expired");
    let after = log.reader().proof(100).await.unwrap();
    assert_eq!((after.entry, &after.leaf_hash), (None, &before.leaf_hash));
    assert!(prover::starts_with(&**log.reader().store(), &old).await.unwrap());
    log.close().await.unwrap();
    drop(log);

    let report = verify(&fixture).await;
    assert!(report.ok && report.verdict.consistent, "{report}");
    assert_eq!((report.verdict.pruned, report.verdict.macs.younger, report.verdict.sealed.younger), (512, 0, 0));
    assert!(report.to_string().contains("entries 0 to 511 were deleted by retention"), "{report}");
    // It goes on as before, and deletes again: the older word about the deletion may go then, too.
    let log = fixture.log().await;
    add(&log, 700).await;
    settle(&log, 2).await;
    assert!(rounds(&log, &BY_SIZE).await >= 512);
    assert_eq!(audit(&log, "state_change").await[0].1["key"], token.id.as_str());
    log.close().await.unwrap();
    drop(log);
    let report = verify(&fixture).await;
    assert!(report.ok && report.verdict.pruned >= 1_024, "{report}");
}

/// Writes to the database as somebody without the keys.
async fn forge(fixture: &Fixture, collection: &str, key: &str, value: Option<Value>) {
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let write = sceau_store::StateWrite {
        collection: collection.to_owned(),
        key: key.to_owned(),
        value,
        expect: sceau_store::Expect::Any,
        expires: None,
        mac: None,
    };
    reader.store().write(vec![write]).await.unwrap();
    reader.close().await.unwrap();
}

async fn verify_as_on_the_first_day(fixture: &Fixture) -> VerifyReport {
    let options = VerifyOptions {
        pins: vec![fixture.report.first_epoch_key.clone()],
        verifier_key: Some(fixture.report.verifier_key.clone()),
        ..VerifyOptions::default()
    };
    verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_tokens_outlive_the_entries_that_told_of_them() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    log.rotate(RotatedKey::Log, "operator").await.unwrap();
    let token = log.new_admin_token("operator").await.unwrap();
    log.rotate(RotatedKey::Mac, "operator").await.unwrap();
    let cancel = Cancel::new();
    let way = crate::verify::Way::whole(&|_, _| (), &cancel);
    let (report, mut resume) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
    assert!(report.ok, "{report}");
    // The second time, it is the repetitions that go.
    for (turn, before) in [(1, 512), (2, 1_024)] {
        add(&log, 700).await;
        settle(&log, 2).await;
        assert!(rounds(&log, &BY_SIZE).await >= 512);
        assert!(log.reader().store().kept_from().await.unwrap().0 >= before);
        let carried: Vec<Value> = audit(&log, "state_change").await.into_iter().map(|(_, data)| data).collect();
        let firsts: Vec<_> = carried.iter().map(|data| data["carried"].as_u64().unwrap()).collect();
        assert_eq!(firsts, [0, 2, 1], "{turn}: {carried:?}");
        let way = crate::verify::Way { from: resume, ..crate::verify::Way::whole(&|_, _| (), &cancel) };
        let (report, went_on) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
        assert!(report.ok, "{turn}: {report}");
        resume = went_on;
    }
    log.close().await.unwrap();
    drop(log);
    for report in [verify(&fixture).await, verify_as_on_the_first_day(&fixture).await] {
        assert!(report.ok && report.verdict.pruned >= 1_024, "{report}");
        assert_eq!(report.verdict.macs.younger, 0, "{report}");
    }

    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let keys = crate::history::documents(&**reader.store()).await.unwrap();
    reader.close().await.unwrap();
    let (name, other) = (keys[0].key.clone(), keys[1].value.clone());
    for (collection, key, value, kind) in [
        (crate::history::COLLECTION, name.as_str(), Some(other), FaultKind::Keys),
        (crate::history::COLLECTION, name.as_str(), None, FaultKind::State),
        (crate::auth::COLLECTION, token.id.as_str(), Some(serde_json::json!({"hash": "00"})), FaultKind::State),
        (crate::auth::COLLECTION, "mallory", Some(token.value.clone()), FaultKind::State),
    ] {
        let copy = fixture.copy();
        forge(&copy, collection, key, value).await;
        for report in [verify(&copy).await, verify_as_on_the_first_day(&copy).await] {
            assert!(report.verdict.faults.iter().any(|fault| fault.kind == kind), "{collection}/{key}: {report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_keys_is_still_declared_when_its_entry_is_gone() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 10).await;
    log.close().await.unwrap();
    drop(log);
    std::fs::remove_dir_all(&fixture.config.key_dir).unwrap();
    let replaced = crate::replace_keys(&fixture.config, VerifyOptions::default(), false, "operator", &|_, _| ());
    let replaced = replaced.await.unwrap();
    let log = fixture.log().await;
    add(&log, 700).await;
    settle(&log, 2).await;
    assert_eq!(rounds(&log, &BY_SIZE).await, 512);
    log.close().await.unwrap();
    drop(log);
    let pins = [&fixture.report.first_epoch_key, &replaced.epoch_key].map(Clone::clone);
    for pins in [Vec::new(), pins[..1].to_vec(), pins.to_vec()] {
        let options = VerifyOptions { pins, ..VerifyOptions::default() };
        let whole = options.pins.len() == 2;
        let report = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap();
        assert!(report.ok && report.to_string().contains("entry 10 says that keys were lost"), "{report}");
        assert_eq!(report.verdict.sealed.unproven.is_none(), whole, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_is_verified_after_deletions() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    rounds(&log, &BY_SIZE).await;
    let cancel = Cancel::new();
    let way = crate::verify::Way::whole(&|_, _| (), &cancel);
    let (report, _) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
    assert!(report.ok && report.verdict.pruned == 512, "{report}");
    // While one is at work, nothing is deleted under it.
    add(&log, 600).await;
    settle(&log, 2).await;
    let still = log.upkeep().read().await;
    assert_eq!(round(&log, &BY_SIZE).await.unwrap(), 0);
    drop(still);
    assert!(round(&log, &BY_SIZE).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_that_goes_on_knows_statements_that_were_deleted_since() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    let (cancel, progress) = (Cancel::new(), |_: u64, _: u64| ());
    let way = crate::verify::Way::whole(&progress, &cancel);
    let (report, from) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
    assert!(report.ok, "{report}");
    let rotated = log.rotate(RotatedKey::Log, "operator").await.unwrap();
    assert!(rotated.index >= from.as_ref().unwrap().size());
    add(&log, 600).await;
    settle(&log, 4).await;
    rounds(&log, &BY_SIZE).await;
    assert!(log.reader().store().kept_from().await.unwrap().0 > rotated.index, "its entry is still there");
    let way = crate::verify::Way { from, ..crate::verify::Way::whole(&progress, &cancel) };
    let (report, _) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_old_goes_by_age() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    assert_eq!(rounds(&log, &Retention { days: Some(1), bytes: None }).await, 0);
    assert_eq!(rounds(&log, &Retention { days: None, bytes: Some(u64::MAX) }).await, 0);
    assert_eq!(rounds(&log, &Retention::default()).await, 0);
    assert_eq!(audit(&log, "retention").await.len(), 0);
    // Without days to wait, every entry is old.
    assert_eq!(rounds(&log, &Retention { days: Some(0), bytes: None }).await, 512);
    assert_eq!(audit(&log, "retention").await[0].1["reason"], "age");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_token_is_evidence_that_stays() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    let token = log.new_admin_token("operator").await.unwrap();
    add(&log, 600).await;
    settle(&log, 2).await;
    let other = sceau_store::StateWrite {
        collection: crate::auth::COLLECTION.to_owned(),
        key: token.id.clone(),
        value: Some(serde_json::json!({"hash": "0".repeat(64)})),
        expect: sceau_store::Expect::Any,
        expires: None,
        mac: None,
    };
    log.reader().store().write(vec![other]).await.unwrap();
    let refused = round(&log, &BY_SIZE).await.unwrap_err();
    assert!(refused.to_string().contains("kept as evidence"), "{refused}");
    assert_eq!(log.reader().store().kept_from().await.unwrap(), Index(0));
    assert_eq!(audit(&log, "retention").await.len(), 0);
    // Once the log itself says that it was changed, the old entry explains nothing any more.
    log.record_state_change(crate::auth::COLLECTION, &token.id, None, "operator").await.unwrap();
    log.publisher().publish().await.unwrap();
    assert_eq!(rounds(&log, &BY_SIZE).await, 512);
    assert_eq!(audit(&log, "state_change").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_told_and_not_done_is_no_fault() {
    let fixture = fixture().await;
    let (log, store) = fixture.failing().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    store.fail(Failure::Prune);
    round(&log, &BY_SIZE).await.unwrap_err();
    assert_eq!(store.kept_from().await.unwrap(), Index(0));
    assert_eq!(audit(&log, "retention").await.len(), 1);
    log.close().await.unwrap();
    drop((log, store));
    assert!(verify(&fixture).await.ok);
    let log = fixture.log().await;
    assert_eq!(rounds(&log, &BY_SIZE).await, 512);
    log.close().await.unwrap();
    drop(log);
    assert!(verify(&fixture).await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_was_sealed_is_kept() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    // As if somebody had changed an entry and every hash that is stored of it.
    let database = rusqlite::Connection::open(fixture.data().join("sceau.db")).unwrap();
    assert_eq!(
        database.execute("UPDATE tile SET hash = zeroblob(32) WHERE level = 1 AND position = 1", []).unwrap(),
        1
    );
    let refused = round(&log, &BY_SIZE).await.unwrap_err();
    assert!(refused.to_string().contains("index 0") || refused.to_string().contains("index 256"), "{refused}");
    assert_eq!(log.reader().store().kept_from().await.unwrap(), Index(0));
    log.close().await.unwrap();
    drop(log);
    assert!(verify(&fixture).await.verdict.faults.iter().any(|fault| fault.kind == FaultKind::Tile));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_deletes_by_itself() {
    let mut fixture = fixture().await;
    let log = fixture.log().await;
    add(&log, 600).await;
    settle(&log, 2).await;
    log.close().await.unwrap();
    drop(log);
    fixture.config.retention = BY_SIZE;
    let log = fixture.log().await;
    let mut waited = 0;
    while log.reader().store().kept_from().await.unwrap() != Index(512) {
        waited += 1;
        assert!(waited < 6_000);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log.close().await.unwrap();
}
