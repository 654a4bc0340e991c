use axum::{body::Body, http::Request};
use bytes::Bytes;
use sceau_ledger::RootHash;
use tower::ServiceExt as _;

use super::*;
use crate::{
    Config, IngestRequest, Log,
    api::{App, router},
    testing::{Failing, Failure, Fixture},
    verify::{Cancel, VerifyOptions, verify_dir},
};

const BODY: Bytes = Bytes::from_static(b"{\"a\":1}");

/// A log with an entry that is signed.
async fn signed(fixture: &Fixture) -> (Log, Arc<Failing>) {
    let (log, store) = fixture.failing().await;
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    log.publisher().publish().await.unwrap();
    log.publisher().close_epoch().await.unwrap();
    (log, store)
}

/// Everything signed that the store holds.
async fn signatures(store: &dyn Store) -> (Vec<(TreeSize, String)>, Vec<SealText>) {
    (store.checkpoints(TreeSize(0), 100).await.unwrap(), store.seals(0, 1_000).await.unwrap())
}

async fn readyz(log: &Log) -> u16 {
    let accounts = crate::Accounts::of(log, &crate::AccountsConfig::default()).await.unwrap();
    let app = Arc::new(App::new(log.clone(), accounts, &Config::new("data", "keys")));
    let request = Request::get("/readyz").body(Body::empty()).unwrap();
    router(app).oneshot(request).await.unwrap().status().as_u16()
}

/// Heads that somebody could write into the database of a log of one entry.
fn forged(log: &Log) -> [Head; 3] {
    let root = RootHash([7; 32]);
    [Head { size: TreeSize(9), root }, Head { root, ..*log.head().borrow() }, Head::empty()]
}

#[tokio::test]
async fn a_head_that_somebody_else_wrote_is_never_signed() {
    for which in 0..3 {
        for by_seal in [false, true] {
            let fixture = Fixture::new().await;
            let (log, store) = signed(&fixture).await;
            let before = signatures(&*store).await;
            assert_eq!(readyz(&log).await, 200);
            store.claim(Some(forged(&log)[which]));
            let publisher = log.publisher();
            let refused = if by_seal { publisher.close_epoch().await } else { publisher.publish().await.map(|_| ()) }
                .unwrap_err();
            assert!(
                matches!(&refused, ServerError::Poisoned(Cause::Changed, reason) if reason.contains("somebody else")),
                "{refused}"
            );
            assert_eq!(readyz(&log).await, 503);
            assert_eq!(log.ingest(BODY, &IngestRequest::default()).await.unwrap_err().code(), "store_failed");
            assert!(log.close().await.is_err());
            assert_eq!(signatures(&*store).await, before, "{which} {by_seal}");
        }
    }
}

#[tokio::test]
async fn nor_is_it_at_shutdown() {
    let fixture = Fixture::new().await;
    let (log, store) = signed(&fixture).await;
    let before = signatures(&*store).await;
    store.claim(Some(forged(&log)[0]));
    assert!(log.close().await.is_err());
    assert_eq!(signatures(&*store).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_log_never_suspects_itself() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let busy = futures::future::join_all((0..4).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            for _ in 0..60 {
                log.ingest(BODY, &IngestRequest::default()).await.unwrap();
            }
        })
    }));
    let signing = {
        let log = log.clone();
        tokio::spawn(async move {
            let mut times = 0u32;
            while log.head().borrow().size.0 < 240 {
                log.publisher().publish().await.unwrap();
                if times.is_multiple_of(8) {
                    log.publisher().close_epoch().await.unwrap();
                }
                times += 1;
            }
        })
    };
    busy.await.into_iter().for_each(|done| done.unwrap());
    signing.await.unwrap();
    assert_eq!(log.health().reason(), None);
    log.close().await.unwrap();
    drop(log);
    let report = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn seals_are_read_from_the_epoch_that_is_wanted() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    for _ in 0..5 {
        log.publisher().close_epoch().await.unwrap();
    }
    let all = log.publisher().links(0).await.unwrap();
    let last = all.seals.last().unwrap().epoch;
    assert_eq!(all.seals.iter().map(|seal| seal.epoch).collect::<Vec<_>>(), (0..=last).collect::<Vec<_>>());
    let newest = log.publisher().links(last - 1).await.unwrap();
    assert_eq!(newest.seals, all.seals[all.seals.len() - 2..]);
    assert_eq!(newest.current, all.current);
    let none = log.publisher().links(last + 1).await.unwrap();
    assert!(none.seals.is_empty() && none.current == all.current);
}

#[tokio::test]
async fn a_panic_of_the_publisher_stops_the_log() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.fail(Failure::CheckpointPanic);
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    // Its next round is at most a second away.
    while log.health().reason().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(log.health().reason().unwrap().contains("publisher panicked"), "{:?}", log.health());
    assert_eq!(readyz(&log).await, 503);
    assert_eq!(log.ingest(BODY, &IngestRequest::default()).await.unwrap_err().code(), "store_failed");
    assert!(log.close().await.is_err());
}

#[tokio::test]
async fn checkpoints_that_could_not_be_forgotten_stop_nothing() {
    let fixture = Fixture::new().await;
    let (log, store) = signed(&fixture).await;
    let later = Micros(log.now().0 + 2 * 86_400_000_000);
    store.fail(Failure::Thin);
    assert!(log.publisher().thin(later).await.is_err(), "it was not even tried");
    assert_eq!(readyz(&log).await, 200);
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    log.publisher().publish().await.unwrap();
    log.publisher().thin(later).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_of_which_nobody_knows_is_given_again() {
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    store.fail(Failure::CheckpointAwayPersisted);
    log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    // The publisher's own round may have been first.
    log.publisher().publish().await.ok();
    let published = log.publisher().publish().await.unwrap().unwrap();
    assert_eq!((published.head.size.0, log.health().reason()), (1, None));
    assert_eq!(signatures(&*store).await.0, [(TreeSize(1), published.note.to_string())]);
    log.close().await.unwrap();
}
