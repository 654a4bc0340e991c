use bytes::Bytes;

use super::*;
use crate::{
    IngestRequest,
    keydir::{LOG_KEY, LOG_KEY_NEXT, LOG_KEY_OLD, MAC_KEY, MAC_KEY_NEXT},
    testing::{Failing, Failure, Fixture},
    verify::{Cancel, VerifyOptions, VerifyReport, verify_dir},
};

const BODY: Bytes = Bytes::from_static(b"{\"a\":1}");

async fn fill(log: &Log, entries: usize) {
    let request = IngestRequest { format: crate::Format::Text, wait: true, ..IngestRequest::default() };
    log.ingest(Bytes::from("line\n".repeat(entries)), &request).await.unwrap();
    log.publisher().publish().await.unwrap();
}

/// Verifies with what the auditor got on the first day.
async fn report(fixture: &Fixture) -> VerifyReport {
    let options = VerifyOptions {
        pins: vec![fixture.report.first_epoch_key.clone()],
        verifier_key: Some(fixture.report.verifier_key.clone()),
        ..VerifyOptions::default()
    };
    verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap()
}

async fn is_whole(fixture: &Fixture) {
    let report = report(fixture).await;
    assert!(report.ok, "{report}");
    assert_eq!((report.verdict.sealed.younger, report.verdict.macs.younger), (0, 0), "{report}");
    assert!(report.verdict.sealed.unproven.is_none() && report.verdict.macs.unproven.is_none(), "{report}");
}

fn key_file(fixture: &Fixture, name: &str) -> std::path::PathBuf {
    fixture.config.key_dir.join(name)
}

/// A log of 300 entries whose rotation fails in its commit; the bytes of the old key's file.
async fn broken_off(fixture: &Fixture, which: RotatedKey, failure: Failure) -> Vec<u8> {
    let (log, store) = fixture.failing().await;
    fill(&log, 300).await;
    let old = std::fs::read(key_file(fixture, if which == RotatedKey::Log { LOG_KEY } else { MAC_KEY })).unwrap();
    store.fail(failure);
    assert!(matches!(log.rotate(which, "test").await, Err(ServerError::Poisoned(..))));
    log.close().await.ok();
    old
}

#[tokio::test]
async fn both_keys_are_rotated_and_everything_still_verifies() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    fill(&log, 300).await;
    let old = std::fs::read(key_file(&fixture, LOG_KEY)).unwrap();
    let early = log.publisher().published().unwrap();
    let rotated = log.rotate(RotatedKey::Log, "test").await.unwrap();
    assert_eq!(rotated.index, 300);
    assert_ne!(rotated.verifier_key, fixture.report.verifier_key);
    assert_ne!(std::fs::read(key_file(&fixture, LOG_KEY)).unwrap(), old);
    let rotated = log.rotate(RotatedKey::Mac, "test").await.unwrap();
    assert_eq!((rotated.index, rotated.first_bundle), (301, Some(2)));
    let again = log.rotate(RotatedKey::Mac, "test").await.unwrap();
    assert_eq!(again.first_bundle, Some(2), "it takes the place of the one that was never used");
    fill(&log, 699).await;
    let again = log.rotate(RotatedKey::Mac, "test").await.unwrap();
    assert_eq!(again.first_bundle, Some(4));
    // A rotation whose entry is the last of its bundle.
    fill(&log, 1279 - 1003).await;
    assert_eq!(log.rotate(RotatedKey::Mac, "test").await.unwrap().first_bundle, Some(5));
    fill(&log, 10).await;
    log.close().await.unwrap();
    drop(log);
    is_whole(&fixture).await;
    fixture.log().await.close().await.unwrap();
    let options = VerifyOptions { since_checkpoints: vec![early.note.to_string()], ..VerifyOptions::default() };
    let report = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok && report.verdict.anchored.up_to == Some(299), "{report}");
}

#[tokio::test]
async fn a_verification_that_goes_on_follows_a_rotation() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let mut from = None;
    for which in [RotatedKey::Log, RotatedKey::Mac, RotatedKey::Log] {
        fill(&log, 300).await;
        log.rotate(which, "test").await.unwrap();
        log.publisher().close_epoch().await.unwrap();
        fill(&log, 300).await;
        let (cancel, progress) = (Cancel::new(), |_: u64, _: u64| ());
        let way = crate::verify::Way { from, ..crate::verify::Way::whole(&progress, &cancel) };
        let (report, resume) = crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap();
        assert!(report.ok && report.verdict.macs.younger == 0, "{report}");
        from = resume;
    }
    assert_eq!(from.unwrap().size(), log.head().borrow().size.0);
}

#[tokio::test]
async fn documents_of_a_key_that_came_during_a_verification_are_no_fault() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    fill(&log, 10).await;
    let (has_come, go) = store.halt();
    let verified = {
        let log = log.clone();
        tokio::spawn(async move {
            let (cancel, progress) = (Cancel::new(), |_: u64, _: u64| ());
            let way = crate::verify::Way::whole(&progress, &cancel);
            crate::verify::verify_log(&log, VerifyOptions::default(), way).await.unwrap().0
        })
    };
    has_come.await.unwrap();
    log.rotate(RotatedKey::Mac, "test").await.unwrap();
    let keyed = IngestRequest { idempotency: Some("once".into()), ..IngestRequest::default() };
    log.ingest(BODY, &keyed).await.unwrap();
    go.send(()).unwrap();
    let report = verified.await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn a_refused_rotation_leaves_nothing() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    for which in [RotatedKey::Log, RotatedKey::Mac] {
        store.fail(Failure::Full);
        assert!(matches!(log.rotate(which, "test").await, Err(ServerError::Full)));
        assert!(!key_file(&fixture, LOG_KEY_NEXT).exists() && !key_file(&fixture, MAC_KEY_NEXT).exists());
    }
    fill(&log, 1).await;
    log.close().await.unwrap();
    drop((log, store));
    is_whole(&fixture).await;
}

/// What a stop left is resolved by the next start; the log goes on.
async fn resolves(fixture: &Fixture, which: RotatedKey, done: bool, old: &[u8]) {
    // Looked at as it lies there, before any start.
    let before = report(fixture).await;
    assert!(before.ok, "{before}");
    let log = fixture.log().await;
    for name in [LOG_KEY_NEXT, LOG_KEY_OLD, MAC_KEY_NEXT] {
        assert!(!key_file(fixture, name).exists(), "{name}");
    }
    let history = history::read(&**log.reader().store()).await.unwrap();
    assert_eq!(history.changes().len(), usize::from(done));
    match which {
        RotatedKey::Log => {
            assert_eq!(log.keys().log_key().verifier(), *history.log().newest());
            assert_eq!(std::fs::read(key_file(fixture, LOG_KEY)).unwrap() == old, !done);
        }
        RotatedKey::Mac => assert_eq!(log.keys().mac_keys().iter().count(), 1 + usize::from(done)),
    }
    fill(&log, 600).await;
    log.close().await.unwrap();
    drop(log);
    is_whole(fixture).await;
}

#[tokio::test]
async fn stopped_before_the_entry_was_committed() {
    for which in [RotatedKey::Log, RotatedKey::Mac] {
        let fixture = Fixture::new().await;
        let old = broken_off(&fixture, which, Failure::Commit).await;
        let next = if which == RotatedKey::Log { LOG_KEY_NEXT } else { MAC_KEY_NEXT };
        assert!(key_file(&fixture, next).exists());
        resolves(&fixture, which, false, &old).await;
    }
}

#[tokio::test]
async fn stopped_after_the_entry_was_committed() {
    for which in [RotatedKey::Log, RotatedKey::Mac] {
        let fixture = Fixture::new().await;
        let old = broken_off(&fixture, which, Failure::CommitPersisted).await;
        resolves(&fixture, which, true, &old).await;
    }
}

#[tokio::test]
async fn stopped_while_the_log_key_changed_places() {
    for renamed in [false, true] {
        let fixture = Fixture::new().await;
        let old = broken_off(&fixture, RotatedKey::Log, Failure::CommitPersisted).await;
        std::fs::hard_link(key_file(&fixture, LOG_KEY), key_file(&fixture, LOG_KEY_OLD)).unwrap();
        if renamed {
            std::fs::rename(key_file(&fixture, LOG_KEY_NEXT), key_file(&fixture, LOG_KEY)).unwrap();
        }
        let kept = std::fs::File::open(key_file(&fixture, LOG_KEY_OLD)).unwrap();
        resolves(&fixture, RotatedKey::Log, true, &old).await;
        let left = std::io::read_to_string(kept).unwrap();
        assert!(left.bytes().all(|byte| byte == 0) && left.len() == old.len(), "the old key is overwritten");
    }
}

#[tokio::test]
async fn a_second_name_of_the_present_key_is_no_old_key() {
    let fixture = Fixture::new().await;
    let old = broken_off(&fixture, RotatedKey::Log, Failure::Commit).await;
    std::fs::hard_link(key_file(&fixture, LOG_KEY), key_file(&fixture, LOG_KEY_OLD)).unwrap();
    resolves(&fixture, RotatedKey::Log, false, &old).await;
}

#[tokio::test]
async fn stopped_after_the_mac_keys_were_written() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    fill(&log, 300).await;
    log.rotate(RotatedKey::Mac, "test").await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let text = std::fs::read_to_string(key_file(&fixture, MAC_KEY)).unwrap();
    let newest = text.lines().last().unwrap().split_once(' ').unwrap().0;
    let next = key_file(&fixture, MAC_KEY_NEXT);
    std::fs::write(&next, format!("{newest}\n")).unwrap();
    std::fs::set_permissions(&next, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    resolves(&fixture, RotatedKey::Mac, true, &[]).await;
}

#[tokio::test]
async fn stopped_while_a_key_was_being_destroyed() {
    for which in [RotatedKey::Log, RotatedKey::Mac] {
        let fixture = Fixture::new().await;
        let old = broken_off(&fixture, which, Failure::Commit).await;
        let next = key_file(&fixture, if which == RotatedKey::Log { LOG_KEY_NEXT } else { MAC_KEY_NEXT });
        let length = std::fs::read(&next).unwrap().len();
        // Overwritten, not removed yet.
        std::fs::write(&next, vec![0; length]).unwrap();
        resolves(&fixture, which, false, &old).await;
    }
}

#[tokio::test]
async fn older_copies_of_rotated_keys_are_refused_by_name() {
    for (which, name) in [(RotatedKey::Log, LOG_KEY), (RotatedKey::Mac, MAC_KEY)] {
        let fixture = Fixture::new().await;
        let old = std::fs::read(key_file(&fixture, name)).unwrap();
        let log = fixture.log().await;
        log.rotate(which, "test").await.unwrap();
        log.close().await.unwrap();
        drop(log);
        std::fs::write(key_file(&fixture, name), &old).unwrap();
        let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
        assert!(refused.contains("older copy"), "{refused}");
        let report = report(&fixture).await;
        assert!(!report.ok, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_checkpoint_is_of_the_wrong_key_and_no_bundle_under_two() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let busy = futures::future::join_all((0..4).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                log.ingest(BODY, &IngestRequest::default()).await.unwrap();
            }
        })
    }));
    let turning = {
        let log = log.clone();
        tokio::spawn(async move {
            for which in [RotatedKey::Mac, RotatedKey::Log, RotatedKey::Mac, RotatedKey::Log] {
                log.rotate(which, "test").await.unwrap();
                log.publisher().publish().await.unwrap();
                let (options, cancel) = (VerifyOptions::default(), Cancel::new());
                let way = crate::verify::Way::whole(&|_, _| (), &cancel);
                let (report, _) = crate::verify::verify_log(&log, options, way).await.unwrap();
                assert!(report.ok, "{report}");
            }
        })
    };
    busy.await.into_iter().for_each(|done| done.unwrap());
    turning.await.unwrap();
    log.close().await.unwrap();
    drop(log);
    is_whole(&fixture).await;
}

/// Changes the state of a closed log without an entry; gives the MAC that was there.
async fn tamper(fixture: &Fixture, value: Option<serde_json::Value>, mac: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let key = history::key(0);
    let before = reader.store().get(history::COLLECTION, &key, 0).await.unwrap().and_then(|document| document.mac);
    let write = sceau_store::StateWrite {
        collection: history::COLLECTION.to_owned(),
        key,
        value,
        expect: sceau_store::Expect::Any,
        expires: None,
        mac,
    };
    reader.store().write(vec![write]).await.unwrap();
    reader.close().await.unwrap();
    before
}

#[tokio::test]
async fn a_tampered_statement_is_named() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let rotated = log.rotate(RotatedKey::Log, "test").await.unwrap();
    fill(&log, 3).await;
    log.close().await.unwrap();
    drop(log);
    let stranger = LogKey::from_seed("example.org/log", &[9; 32]).unwrap();
    let change = LogChange { old: fixture.report.verifier_key.parse().unwrap(), new: stranger.verifier() };
    let (origin, lost) = ("example.org/log".to_owned(), Vec::new());
    let change = KeyChange { origin, index: 0, lost, log: Some(change), mac: None, chain: None };
    let forged = change.sign(None, &[Signer::Log(&stranger)]).unwrap().text().to_owned();
    let values = [
        None,
        Some(serde_json::json!({"note": rotated.note.replace("index 0", "index 1")})),
        Some(serde_json::json!({"note": forged})),
        Some(serde_json::json!({})),
    ];
    let mut right = None;
    for value in values {
        let before = tamper(&fixture, value.clone(), None).await;
        right = right.or(before);
        let report = report(&fixture).await;
        let named = |kind| report.verdict.faults.iter().any(|fault| fault.kind == kind && fault.first == Some(0));
        use sceau_ledger::FaultKind as K;
        assert!(named(K::Keys) && named(K::State), "{value:?}: {report}");
        assert!(Log::open(&fixture.config).await.is_err());
    }
    assert!(right.is_some());
    tamper(&fixture, Some(serde_json::json!({"note": rotated.note})), right).await;
    is_whole(&fixture).await;
}

#[tokio::test]
async fn a_statement_that_no_entry_holds_is_named() {
    let fixture = Fixture::new().await;
    let (log, store): (Log, Arc<Failing>) = fixture.failing().await;
    fill(&log, 3).await;
    log.close().await.unwrap();
    // With the log key itself, as whoever has stolen it could.
    let (old, new) = (log.keys().log_key(), LogKey::from_seed("example.org/log", &[9; 32]).unwrap());
    drop((log, store));
    let change = LogChange { old: old.verifier(), new: new.verifier() };
    let (origin, lost) = ("example.org/log".to_owned(), Vec::new());
    let change = KeyChange { origin, index: 0, lost, log: Some(change), mac: None, chain: None };
    let signed = change.sign(None, &[Signer::Log(&old), Signer::Log(&new)]).unwrap();
    tamper(&fixture, Some(serde_json::json!({"note": signed.text()})), None).await;
    let report = report(&fixture).await;
    let kinds: Vec<_> = report.verdict.faults.iter().map(|fault| (fault.kind, fault.first)).collect();
    assert!(kinds.contains(&(sceau_ledger::FaultKind::Keys, Some(0))), "{report}");
    assert!(kinds.contains(&(sceau_ledger::FaultKind::State, None)), "{report}");
}
