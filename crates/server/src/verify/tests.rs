use bytes::Bytes;
use sceau_ledger::{Head, LogKey, sign_checkpoint};

use super::*;
use crate::{
    Format, IngestRequest, KeyDir, Log,
    testing::{Failing, Failure, Fixture},
};

async fn filled(fixture: &Fixture, entries: usize) {
    let log = fixture.log().await;
    let body: String = (0..entries).map(|n| format!("{{\"user\":\"u{n}\"}}\n")).collect();
    let request = IngestRequest { format: Format::Ndjson, wait: true, ..IngestRequest::default() };
    log.ingest(Bytes::from(body), &request).await.unwrap();
    log.close().await.unwrap();
}

async fn report(fixture: &Fixture, options: VerifyOptions) -> VerifyReport {
    verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap()
}

fn kinds(report: &VerifyReport) -> Vec<FaultKind> {
    report.verdict.faults.iter().map(|fault| fault.kind).collect()
}

#[tokio::test]
async fn how_far_each_guard_reaches_is_said() {
    let fixture = Fixture::new().await;
    filled(&fixture, 600).await;
    let bare = report(&fixture, VerifyOptions::default()).await;
    assert!(bare.ok && bare.verdict.consistent, "{bare}");
    assert_eq!(bare.verdict.macs.up_to, Some(599));
    assert!(bare.verdict.sealed.unproven.is_some() && bare.verdict.anchored.unproven.is_some());
    let note = {
        let reader = crate::Reader::open(&fixture.config).await.unwrap();
        reader.store().latest_checkpoint().await.unwrap().unwrap()
    };
    let options = VerifyOptions {
        pins: vec![fixture.report.first_epoch_key.clone()],
        since_checkpoints: vec![note],
        verifier_key: Some(fixture.report.verifier_key.clone()),
    };
    let whole = report(&fixture, options).await;
    assert!(whole.ok, "{whole}");
    assert_eq!((whole.verdict.sealed.up_to, whole.verdict.anchored.up_to), (Some(599), Some(599)));
    assert!(whole.verdict.sealed.unproven.is_none() && whole.verdict.anchored.unproven.is_none(), "{whole}");
}

#[tokio::test]
async fn keys_that_are_not_there_are_missed_aloud() {
    let fixture = Fixture::new().await;
    filled(&fixture, 10).await;
    let elsewhere = fixture.config.key_dir.with_extension("kept");
    std::fs::rename(&fixture.config.key_dir, elsewhere).unwrap();
    let report = report(&fixture, VerifyOptions::default()).await;
    assert!(report.ok, "{report}");
    assert!(report.verdict.macs.unproven.is_some(), "{report}");
    assert_eq!(report.verdict.notes.len(), 3, "{report}");
}

#[tokio::test]
async fn an_older_copy_is_refused_and_named() {
    let fixture = Fixture::new().await;
    filled(&fixture, 10).await;
    let copy = fixture.data().with_extension("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([fixture.data(), &copy]).status().unwrap();
    assert!(copied.success());
    filled(&fixture, 10).await;
    std::fs::remove_dir_all(fixture.data()).unwrap();
    std::fs::rename(&copy, fixture.data()).unwrap();
    let refused = crate::Log::open(&fixture.config).await.err().unwrap();
    assert!(matches!(refused, ServerError::Rollback { .. }), "{refused}");
    let report = report(&fixture, VerifyOptions::default()).await;
    let found = kinds(&report);
    assert!(found.contains(&FaultKind::Rollback) && found.contains(&FaultKind::SealChain), "{report}");
}

#[tokio::test]
async fn wrong_pins_and_outside_heads_are_named() {
    let fixture = Fixture::new().await;
    filled(&fixture, 10).await;
    let other = LogKey::from_seed("example.org/log", &[9; 32]).unwrap();
    let options = VerifyOptions {
        pins: vec![sceau_ledger::EpochKey::from_seed(0, &[9; 32]).public().to_string()],
        since_checkpoints: vec![sign_checkpoint(&other, &Head::empty())],
        verifier_key: None,
    };
    let found = kinds(&report(&fixture, options).await);
    assert!(found.contains(&FaultKind::Pin) && found.contains(&FaultKind::OutsideHead), "{found:?}");
    let options = VerifyOptions { verifier_key: Some(other.verifier().to_string()), ..VerifyOptions::default() };
    let found = kinds(&report(&fixture, options).await);
    assert!(found.contains(&FaultKind::State) && found.contains(&FaultKind::Checkpoint), "{found:?}");
    let elsewhere = LogKey::from_seed("elsewhere.example/log", &[9; 32]).unwrap();
    for (pins, since_checkpoints) in [
        (vec!["nonsense".to_owned()], vec![]),
        (vec![], vec!["garbage".to_owned()]),
        (vec![], vec![sign_checkpoint(&elsewhere, &Head::empty())]),
    ] {
        let options = VerifyOptions { pins, since_checkpoints, verifier_key: None };
        let refused = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap_err();
        assert_eq!(refused.code(), "bad_parameter");
    }
}

#[tokio::test]
async fn it_can_be_stopped() {
    let fixture = Fixture::new().await;
    filled(&fixture, 10).await;
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), cancel).await;
    assert!(matches!(stopped, Err(ServerError::Cancelled)));
}

/// A log over a store that can be made to lie, with something in it that is wrong already.
async fn lying(fixture: &Fixture) -> (Log, Arc<Failing>) {
    let (log, store) = fixture.failing().await;
    log.ingest(Bytes::from_static(b"{}\n{}"), &IngestRequest::default()).await.unwrap();
    log.publisher().publish().await.unwrap();
    (log, store)
}

async fn live(log: &Log) -> VerifyReport {
    let cancel = Cancel::new();
    verify_log(log, VerifyOptions::default(), Way::whole(&|_, _| (), &cancel)).await.unwrap().0
}

#[tokio::test]
async fn a_read_that_fails_does_not_drop_what_was_found() {
    for (failure, wanted) in [(Failure::Audit, FaultKind::EntryUnreadable), (Failure::Macs, FaultKind::Mac)] {
        let fixture = Fixture::new().await;
        let (log, store) = lying(&fixture).await;
        let clean = live(&log).await;
        assert!(clean.ok, "{clean}");
        store.lie("origin", "example.org/other");
        store.fail(failure);
        let report = live(&log).await;
        let found = kinds(&report);
        assert!(found.contains(&FaultKind::State) && found.contains(&wanted), "{report}");
        assert!(report.to_string().contains("the disk is on fire"), "{report}");
        assert!(!found.contains(&FaultKind::EntryMissing), "{report}");
    }
}

#[tokio::test]
async fn a_false_writer_and_false_numbers_are_named() {
    let fixture = Fixture::new().await;
    let (log, store) = lying(&fixture).await;
    store.lie("writer", &"0".repeat(32));
    let report = live(&log).await;
    assert_eq!(kinds(&report), [FaultKind::SealChain], "{report}");
    assert!(report.to_string().contains("the fact writer is 0000"), "{report}");
    store.lie("writer", "nobody");
    assert_eq!(kinds(&live(&log).await), [FaultKind::State]);
    let fixture = Fixture::new().await;
    let (log, store) = lying(&fixture).await;
    store.misnumber();
    let report = live(&log).await;
    let found = kinds(&report);
    assert!(found.contains(&FaultKind::Seal) && found.contains(&FaultKind::Checkpoint), "{report}");
    let text = report.to_string();
    assert!(text.contains("stored as that of epoch 7") && text.contains("stored as that of size 1"), "{text}");
}

#[tokio::test]
async fn the_noted_head_is_compared_with_the_entries() {
    let fixture = Fixture::new().await;
    filled(&fixture, 10).await;
    let mut other = sceau_ledger::Tree::new();
    other.append(&[sceau_ledger::leaf_hash(b"something else")]);
    let keys = KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
    // As if ten entries had been taken away and ten others put in their place.
    keys.note_head(&Head { root: other.head().root, size: sceau_ledger::TreeSize(7) }).unwrap();
    keys.note_head(&Head { root: other.head().root, size: sceau_ledger::TreeSize(7) }).unwrap();
    drop(keys);
    let report = report(&fixture, VerifyOptions::default()).await;
    assert!(kinds(&report).contains(&FaultKind::Rollback), "{report}");
    assert!(report.to_string().contains("the key directory noted"), "{report}");
}

async fn send(log: &Log, entries: usize) {
    let body: String = (0..entries).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let request = IngestRequest { format: Format::Ndjson, wait: true, ..IngestRequest::default() };
    log.ingest(Bytes::from(body), &request).await.unwrap();
    log.publisher().publish().await.unwrap();
}

#[tokio::test]
async fn a_later_verification_goes_on_where_the_last_one_ended() {
    let fixture = Fixture::new().await;
    let (log, store) = lying(&fixture).await;
    let cancel = Cancel::new();
    let quiet = |_: u64, _: u64| ();
    let mut from = None;
    // Ends within a bundle, at the end of one, and with nothing added.
    for added in [300, 210, 1, 0, 700] {
        if added > 0 {
            send(&log, added).await;
            log.publisher().close_epoch().await.unwrap();
        }
        let before = from.as_ref().map(Resume::size);
        let way = Way { from, pace: Pace::share(50), progress: &quiet, cancel: &cancel };
        let (report, resume) = verify_log(&log, VerifyOptions::default(), way).await.unwrap();
        assert!(report.ok && report.verdict.consistent, "{report}");
        let size = report.verdict.head.size.0;
        assert_eq!(
            (report.verdict.macs.up_to, report.verdict.sealed.up_to),
            (Some(size - 1), Some(size - 1)),
            "{report}"
        );
        assert_eq!(report.to_string().contains("verified earlier"), before.is_some(), "{report}");
        from = resume;
        assert_eq!(from.as_ref().map(Resume::size), Some(size));
    }
    // Somebody changes the store: what is new does not lead to what it says any more.
    send(&log, 5).await;
    store.misnumber();
    let way = Way { from, pace: Pace::FULL, progress: &quiet, cancel: &cancel };
    let (report, resume) = verify_log(&log, VerifyOptions::default(), way).await.unwrap();
    assert!(!report.ok && resume.is_none(), "{report}");
}
