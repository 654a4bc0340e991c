use axum::{body::Body, http::Request};
use bytes::Bytes;
use sceau_ledger::FaultKind;
use tower::ServiceExt as _;

use super::*;
use crate::{IngestRequest, sequencer::Cause, testing::Cluster};

async fn add(log: &Log, entries: usize) -> Result<u64, ServerError> {
    let request = IngestRequest { format: crate::Format::Text, ..IngestRequest::default() };
    Ok(log.ingest(Bytes::from("line\n".repeat(entries)), &request).await?.tree_size)
}

async fn sealed(log: &Log) {
    log.publisher().publish().await.unwrap();
    log.publisher().close_epoch().await.unwrap();
}

async fn status(app: &Arc<App>, request: Request<Body>) -> u16 {
    api::router(app.clone()).oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_has_the_log() {
    let cluster = Cluster::new().await;
    let (second, _) = cluster.join("second");
    let store = cluster.store();
    let log = cluster.log(&cluster.fixture.config, &store).await.unwrap();
    let refused = cluster.log(&second, &cluster.store()).await.err().unwrap().to_string();
    let first = cluster.fixture.config.key_dir.display().to_string();
    assert!(refused.contains(&first) && refused.contains("--standby"), "{refused}");
    log.close().await.unwrap();
    let log = cluster.log(&second, &cluster.store()).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_standby_takes_over_and_the_former_holder_writes_nothing_more() {
    let cluster = Cluster::new().await;
    let (config, pin) = cluster.join("second");
    let (here, there) = (cluster.store(), cluster.store());
    let first = cluster.log(&cluster.fixture.config, &here).await.unwrap();
    add(&first, 700).await.unwrap();
    sealed(&first).await;
    // Not sealed by the first any more.
    add(&first, 30).await.unwrap();
    let standby = cluster.standby(&config, &there);
    while standby.follow().await.unwrap() {}
    assert_eq!(standby.keys.noted_head().unwrap().size.0, 512);
    let app = standby.app().await.unwrap();
    assert!(!standby.try_once(&app).await.unwrap(), "the first still has it");
    here.go_away(true);
    cluster.desk.pass(Duration::from_secs(10));
    assert!(standby.try_once(&app).await.unwrap());
    here.go_away(false);
    let second = app.log().unwrap().clone();
    let size = add(&second, 40).await.unwrap();
    assert_eq!(size, 700 + 30 + 1 + 40, "with the entry that says so");
    // It has not tried to prolong its lease since: the store itself refuses.
    let refused = add(&first, 1).await.unwrap_err();
    assert_eq!(refused.code(), "store_failed", "{refused}");
    assert_eq!(first.health().cause(), Some(Cause::Lease));
    assert!(first.close().await.is_err());
    sealed(&second).await;
    second.close().await.unwrap();
    let pins = [cluster.fixture.report.first_epoch_key.as_str(), &pin];
    let report = cluster.verified(&config, &pins).await;
    assert!(report.ok && report.verdict.sealed.younger == 0, "{report}");
    assert!(report.verdict.sealed.unproven.is_none(), "{report}");
    assert!(report.to_string().contains("took the log over"), "{report}");
}

#[tokio::test]
async fn whoever_comes_back_goes_on_with_its_own_chain() {
    let cluster = Cluster::new().await;
    let (other, pin) = cluster.join("second");
    let first = cluster.fixture.config.clone();
    for round in 0..3u64 {
        for config in [&first, &other] {
            let log = cluster.log(config, &cluster.store()).await.unwrap();
            add(&log, 5).await.unwrap();
            log.close().await.unwrap();
            let chains = log.reader().integrity().await.unwrap().chains;
            assert_eq!(chains.iter().filter(|chain| !chain.goes_on).count(), if round == 0 { chains.len() } else { 2 });
        }
    }
    let pins = [cluster.fixture.report.first_epoch_key.as_str(), &pin];
    let both = cluster.verified(&first, &pins).await;
    assert!(both.ok && both.verdict.sealed.unproven.is_none() && both.verdict.sealed.younger == 0, "{both}");
    assert_eq!(both.verdict.head.size.0, 30 + 5);
    let one = cluster.verified(&other, &pins[..1]).await;
    // The other's last stretch.
    assert!(one.ok && one.verdict.sealed.younger == 6, "{one}");
    let why = one.verdict.sealed.unproven.as_deref().unwrap();
    assert!(why.contains("another writer took the log over") && why.contains(&pin), "{one}");
    let stranger = sceau_ledger::EpochKey::from_seed(0, &[9; 32]).public().to_string();
    let wrong = cluster.verified(&first, &[pins[0], &stranger]).await;
    assert!(wrong.verdict.faults.iter().any(|fault| fault.kind == FaultKind::Pin), "{wrong}");
}

#[tokio::test]
async fn a_take_over_before_the_first_seal_is_gone_on_with() {
    let cluster = Cluster::new().await;
    let (config, pin) = cluster.join("second");
    let (third, third_pin) = cluster.join("third");
    let log = cluster.log(&cluster.fixture.config, &cluster.store()).await.unwrap();
    add(&log, 5).await.unwrap();
    log.close().await.unwrap();
    // The second says that it goes on, and stops.
    let store = cluster.store();
    store.fail(crate::testing::Failure::Seal);
    assert!(cluster.log(&config, &store).await.is_err());
    let log = cluster.log(&third, &cluster.store()).await.unwrap();
    add(&log, 5).await.unwrap();
    log.close().await.unwrap();
    let log = cluster.log(&config, &cluster.store()).await.unwrap();
    add(&log, 5).await.unwrap();
    log.close().await.unwrap();
    let pins = [cluster.fixture.report.first_epoch_key.as_str(), &pin, &third_pin];
    let report = cluster.verified(&config, &pins).await;
    assert!(report.ok && report.verdict.sealed.unproven.is_none() && report.verdict.sealed.younger == 0, "{report}");
}

#[tokio::test]
async fn an_old_copy_of_the_keys_takes_nothing_over() {
    let cluster = Cluster::new().await;
    let (copy, _) = cluster.join("copy");
    let first = cluster.fixture.config.clone();
    let old = std::fs::read(first.key_dir.join("epoch.key")).unwrap();
    for _ in 0..2 {
        let log = cluster.log(&first, &cluster.store()).await.unwrap();
        add(&log, 5).await.unwrap();
        log.close().await.unwrap();
    }
    std::fs::write(copy.key_dir.join("epoch.key"), &old).unwrap();
    let refused = cluster.log(&copy, &cluster.store()).await.err().unwrap().to_string();
    assert!(refused.contains("old copy"), "{refused}");
    assert!(crate::join(&first.key_dir).unwrap_err().to_string().contains("epoch key of its own"));
    let (second, _) = cluster.join("second");
    let log = cluster.log(&second, &cluster.store()).await.unwrap();
    log.close().await.unwrap();
    assert!(cluster.log(&copy, &cluster.store()).await.is_err(), "nor after another had the log");
    let log = cluster.log(&first, &cluster.store()).await.unwrap();
    log.close().await.unwrap();
    assert!(cluster.verified(&first, &[]).await.ok);
}

#[tokio::test]
async fn a_standby_answers_questions_and_takes_nothing_in() {
    let cluster = Cluster::new().await;
    let (config, _) = cluster.join("second");
    let log = cluster.log(&cluster.fixture.config, &cluster.store()).await.unwrap();
    add(&log, 5).await.unwrap();
    let token = log.new_admin_token("test").await.unwrap();
    log.publisher().publish().await.unwrap();
    let standby = cluster.standby(&config, &cluster.store());
    let app = standby.app().await.unwrap();
    let get = |path: &str| {
        let bearer = format!("Bearer {}", token.secret.expose());
        Request::get(path).header("authorization", bearer).body(Body::empty()).unwrap()
    };
    for path in [
        "/api/v1/events",
        "/api/v1/events/3",
        "/api/v1/events/3/proof",
        "/api/v1/integrity",
        "/log/checkpoint",
        "/metrics",
    ] {
        assert_eq!(status(&app, get(path)).await, 200, "{path}");
    }
    assert_eq!(status(&app, get("/readyz")).await, 503);
    let bearer = format!("Bearer {}", token.secret.expose());
    let post = Request::post("/api/v1/events").header("authorization", bearer).body(Body::from("{\"a\":1}")).unwrap();
    let answer = api::router(app.clone()).oneshot(post).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("\"standby\""));
    log.close().await.unwrap();
    assert!(standby.try_once(&app).await.unwrap(), "at once, since the other one stopped in good order");
    assert_eq!(status(&app, get("/readyz")).await, 200);
    app.log().unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_was_set_back_is_not_taken_over() {
    let cluster = Cluster::new().await;
    let (config, _) = cluster.join("second");
    let log = cluster.log(&cluster.fixture.config, &cluster.store()).await.unwrap();
    add(&log, 600).await.unwrap();
    let store = cluster.store();
    let standby = cluster.standby(&config, &store);
    while standby.follow().await.unwrap() {}
    log.close().await.unwrap();
    store.claim(Some(prover::restore(&*store, TreeSize(300)).await.unwrap().head()));
    assert!(matches!(standby.follow().await, Err(ServerError::Rollback { .. })));
    let app = standby.app().await.unwrap();
    assert!(standby.try_once(&app).await.is_err() && app.log().is_err());
    store.claim(None);
    assert!(standby.try_once(&app).await.unwrap());
    app.log().unwrap().close().await.unwrap();
}

#[tokio::test]
async fn it_waits_until_the_log_is_free() {
    let cluster = Cluster::new().await;
    let (config, _) = cluster.join("second");
    let log = cluster.log(&cluster.fixture.config, &cluster.store()).await.unwrap();
    add(&log, 5).await.unwrap();
    let standby = cluster.standby(&config, &cluster.store());
    let app = standby.app().await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let waiting = tokio::spawn({
        let (standby, app) = (standby.clone(), app.clone());
        async move { standby.wait(&app, stopped).await }
    });
    let asked = cluster.desk.asked();
    while cluster.desk.asked() < asked + 2 {
        tokio::task::yield_now().await;
    }
    assert!(app.log().is_err() && log.health().reason().is_none());
    log.close().await.unwrap();
    waiting.await.unwrap();
    assert_eq!(add(app.log().unwrap(), 1).await.unwrap(), 7);
    app.log().unwrap().close().await.unwrap();
    drop(stop);
}

#[tokio::test]
async fn a_directory_has_no_standby() {
    let fixture = crate::testing::Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let keys = KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
    let refused = Standby::over(&fixture.config, store, Arc::new(Deriver::builtin()), keys).err().unwrap();
    assert!(refused.to_string().contains("--store mongodb://"), "{refused}");
    log.close().await.unwrap();
}
