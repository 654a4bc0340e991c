use sceau_store::Ledger as _;

use super::*;
use crate::{
    IngestRequest,
    testing::{Failure, Fixture},
    verify::{Cancel, VerifyOptions, verify_dir},
};

const BODY: bytes::Bytes = bytes::Bytes::from_static(b"{\"a\":1}");

/// Whatever step a stop left undone: after the next start one key is left, and the chain holds under the pinned key.
async fn resolves(failure: Option<Failure>) {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    // Before there is anything to publish: the publisher works on its own and must not be first.
    store.fail(failure.unwrap_or(Failure::None));
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    if let Some(failure) = failure {
        log.publisher().publish().await.ok();
        assert!(log.publisher().close_epoch().await.is_err(), "{failure:?}");
        let away = matches!(failure, Failure::SealAway | Failure::SealAwayPersisted);
        let code = log.ingest(BODY, &IngestRequest::default()).await.map_err(|error| error.code()).err();
        assert_eq!(code, (!away).then_some("store_failed"));
        store.go_away(away);
    }
    log.close().await.ok();
    drop((log, store));
    let log = fixture.log().await;
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(log.keys().epoch_slots().unwrap().len(), 1);
    drop(log);
    let pins = vec![fixture.report.first_epoch_key.clone()];
    let options = VerifyOptions { pins, ..VerifyOptions::default() };
    let report = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{failure:?}: {report}");
    assert_eq!(report.verdict.sealed.younger, 0, "{report}");
}

/// The chain of a log that no server holds.
async fn chain(fixture: &Fixture) -> (Epochs, crate::Reader) {
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let keys = Arc::new(KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap());
    let writer = reader.fact("writer").await.unwrap().parse().unwrap();
    let history = crate::history::read(&**reader.store()).await.unwrap();
    (Epochs::resume(keys, &**reader.store(), writer, &history).await.unwrap(), reader)
}

#[tokio::test]
async fn stopped_after_the_next_key_was_written() {
    let fixture = Fixture::new().await;
    let (epochs, reader) = chain(&fixture).await;
    epochs.prepare().await.unwrap();
    let slots = epochs.keys.epoch_slots().unwrap();
    assert_eq!(slots.iter().map(|slot| slot.epoch).collect::<Vec<_>>(), [0, 1]);
    drop((epochs, reader));
    let (epochs, _reader) = chain(&fixture).await;
    assert_eq!(epochs.slot.epoch, 0);
    assert_eq!(epochs.keys.epoch_slots().unwrap(), std::slice::from_ref(&epochs.slot));
}

#[tokio::test]
async fn stopped_after_the_seal_was_stored() {
    let fixture = Fixture::new().await;
    let (epochs, reader) = chain(&fixture).await;
    let next = epochs.prepare().await.unwrap();
    let seal = epochs.seal(&next, Head::empty(), Micros(1)).unwrap();
    reader.store().put_seal(SealText { epoch: 0, text: seal.text().to_owned() }).await.unwrap();
    drop((epochs, reader));
    let (epochs, _reader) = chain(&fixture).await;
    assert_eq!(epochs.slot, next);
    assert_eq!(epochs.keys.epoch_slots().unwrap(), [next]);
    assert_eq!(epochs.previous, seal.hash());
}

#[tokio::test]
async fn stopped_after_the_old_key_was_destroyed() {
    let fixture = Fixture::new().await;
    let (mut epochs, reader) = chain(&fixture).await;
    epochs.close(&**reader.store(), Head::empty(), Micros(5)).await.unwrap();
    let slot = epochs.slot.clone();
    assert_eq!(epochs.last_time(), Some(Micros(5)));
    drop((epochs, reader));
    let (epochs, _reader) = chain(&fixture).await;
    assert_eq!(epochs.slot, slot);
    assert_eq!(slot.epoch, 1);
}

#[tokio::test]
async fn every_crash_point_is_resolved_at_start() {
    for failure in [None, Some(Failure::Seal), Some(Failure::SealPersisted), Some(Failure::Checkpoint)] {
        resolves(failure).await;
    }
}

#[tokio::test]
async fn seals_never_go_back_in_time() {
    let fixture = Fixture::new().await;
    let (mut epochs, reader) = chain(&fixture).await;
    let store = &**reader.store();
    epochs.close(store, Head::empty(), Micros(50)).await.unwrap();
    epochs.close(store, Head::empty(), Micros(20)).await.unwrap();
    let seal = last_seal(store).await.unwrap().unwrap();
    assert_eq!((seal.body().epoch, seal.body().time_micros), (1, 50));
}

#[test]
fn epochs_end_when_they_are_due() {
    let start = Instant::now();
    let mut timer = Timer::new(start);
    assert!(!timer.is_due(false, WITH_ENTRIES, start + WITHOUT_ENTRIES - Duration::from_secs(1)));
    assert!(timer.is_due(false, WITH_ENTRIES, start + WITHOUT_ENTRIES));
    let first = start + Duration::from_secs(1_000);
    assert!(!timer.is_due(true, WITH_ENTRIES, first));
    assert!(!timer.is_due(true, WITH_ENTRIES, first + WITH_ENTRIES - Duration::from_millis(1)));
    assert!(timer.is_due(true, WITH_ENTRIES, first + WITH_ENTRIES));
}

#[tokio::test]
async fn nothing_is_sealed_for_another_writer() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let keys = Arc::new(KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap());
    let slots = keys.epoch_slots().unwrap();
    let seals = reader.store().seals(0, 1_000).await.unwrap();
    let history = crate::history::read(&**reader.store()).await.unwrap();
    let refused = Epochs::resume(keys.clone(), &**reader.store(), WriterId([9; 16]), &history).await.err().unwrap();
    assert!(refused.to_string().contains("the fact writer is 0909"), "{refused}");
    assert_eq!((keys.epoch_slots().unwrap(), reader.store().seals(0, 1_000).await.unwrap()), (slots, seals));
}

#[tokio::test]
async fn a_seal_of_which_nobody_knows_is_given_again_until_it_is_there() {
    for failure in [Failure::SealAway, Failure::SealAwayPersisted] {
        let fixture = Fixture::new().await;
        let (log, store) = fixture.failing().await;
        store.fail(failure);
        log.ingest(BODY, &IngestRequest::default()).await.unwrap();
        let refused = log.publisher().close_epoch().await.unwrap_err();
        assert!(refused.is_away() && log.health().reason().is_none(), "{failure:?}: {refused}");
        // What comes now is no part of that seal any more.
        log.ingest(BODY, &IngestRequest::default()).await.unwrap();
        log.publisher().close_epoch().await.unwrap();
        let seals = store.seals(0, 10).await.unwrap();
        let sizes: Vec<u64> =
            seals.iter().map(|seal| Seal::parse(seal.text.as_bytes()).unwrap().body().head.size.0).collect();
        assert_eq!(sizes, [0, 1, 2], "{failure:?}");
        log.close().await.unwrap();
        assert_eq!(log.keys().epoch_slots().unwrap().len(), 1);
        drop((log, store));
        let pins = vec![fixture.report.first_epoch_key.clone()];
        let options = VerifyOptions { pins, ..VerifyOptions::default() };
        let report = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap();
        assert!(report.ok && report.verdict.sealed.younger == 0, "{failure:?}: {report}");
    }
}

#[tokio::test]
async fn a_stop_before_it_is_known_is_resolved_at_start() {
    for failure in [Failure::SealAway, Failure::SealAwayPersisted] {
        resolves(Some(failure)).await;
    }
}
