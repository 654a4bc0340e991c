use bytes::Bytes;
use sceau_ledger::Index;
use sceau_store::CommitLimits;

use super::*;
use crate::{
    Format, IngestRequest, Log, RotatedKey, init,
    retention::round,
    testing::{Failing, Failure, Fixture},
    verify::{Cancel, VerifyOptions, verify_dir},
};

/// Nothing is told.
const QUIET: Progress<'static> = &|_, _| ();

async fn add(log: &Log, from: usize, entries: usize, key: Option<&str>) {
    let body: String =
        (from..from + entries).map(|n| format!("{{\"user\":\"u{n}\",\"message\":\"word{n}\"}}\n")).collect();
    let idempotency = key.map(str::to_owned);
    let request = IngestRequest { format: Format::Ndjson, wait: true, idempotency, ..IngestRequest::default() };
    log.ingest(Bytes::from(body), &request).await.unwrap();
}

async fn until_segments(log: &Log, segments: usize) {
    for _ in 0..6_000 {
        if log.reader().store().stretches().await.unwrap().len() >= segments {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("no {segments} segments came");
}

/// A closed log of several segments, with rotated keys, a token, an idempotency key, checkpoints and seals.
async fn fixture() -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.config.segment_entries = 256;
    let log = fixture.log().await;
    log.new_admin_token("operator").await.unwrap();
    add(&log, 0, 700, Some("once")).await;
    log.publisher().publish().await.unwrap();
    log.publisher().close_epoch().await.unwrap();
    log.rotate(RotatedKey::Mac, "test").await.unwrap();
    log.rotate(RotatedKey::Log, "test").await.unwrap();
    add(&log, 700, 900, None).await;
    until_segments(&log, 4).await;
    log.close().await.unwrap();
    drop(log);
    fixture
}

/// The settings of another directory beside the log's.
fn beside(fixture: &Fixture, name: &str) -> Config {
    Config { place: fixture.data().with_file_name(name).into(), ..fixture.config.clone() }
}

type Stores = (Arc<dyn Store>, Arc<Failing>, Arc<dyn Store>, KeyDir, Arc<Deriver>, Origin);

/// Source and target as `migrate` opens them, the target made to fail on demand.
async fn opened(fixture: &Fixture, to: &Config, limits: CommitLimits) -> Stores {
    let deriver = load_deriver(&fixture.config).unwrap();
    let keys = KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
    let source = fixture.config.place.open(deriver.clone()).await.unwrap();
    if !to.place.exists().await.unwrap() {
        to.place.create().await.unwrap();
    }
    let target = to.place.open_with(deriver.clone(), to.store_options()).await.unwrap();
    let failing = Arc::new(Failing::within(target, limits));
    let origin = Origin::read(&fixture.config, &*source, &keys).await.unwrap();
    (source, failing.clone(), failing, keys, deriver, origin)
}

/// Makes sure that two directories hold the same log, and that the second one verifies and can be written to.
async fn same(fixture: &Fixture, to: &Config) {
    let deriver = load_deriver(to).unwrap();
    let (one, two) = (fixture.config.place.open(deriver.clone()).await.unwrap(), to.place.open(deriver).await.unwrap());
    let head = one.head().await.unwrap();
    assert_eq!(head, two.head().await.unwrap());
    let all = usize::try_from(head.size.0).unwrap();
    assert_eq!(one.entries(Index(0), all).await.unwrap().entries, two.entries(Index(0), all).await.unwrap().entries);
    for level in 1..3 {
        assert_eq!(one.audit_tiles(level, 0, 99).await.unwrap(), two.audit_tiles(level, 0, 99).await.unwrap());
    }
    assert_eq!(one.audit_macs(0, 99).await.unwrap(), two.audit_macs(0, 99).await.unwrap());
    assert_eq!(one.seals(0, 99).await.unwrap(), two.seals(0, 99).await.unwrap());
    assert_eq!(one.checkpoints(TreeSize(0), 99).await.unwrap(), two.checkpoints(TreeSize(0), 99).await.unwrap());
    let documents = async |store: &Arc<dyn Store>| {
        let all = store.audit_state(("", ""), 99).await.unwrap();
        all.into_iter().map(|(c, d)| (c, d.key, d.text, d.expires, d.mac)).collect::<Vec<_>>()
    };
    let documents = (documents(&one).await, documents(&two).await);
    assert_eq!(documents.0, documents.1);
    assert!(documents.0.len() >= 3, "{documents:?}");
    one.close().await.unwrap();
    two.close().await.unwrap();
    drop((one, two));
    let options = VerifyOptions { pins: vec![fixture.report.first_epoch_key.clone()], ..VerifyOptions::default() };
    let report = verify_dir(to, options.clone(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok && report.verdict.macs.unproven.is_none(), "{report}");
    let log = Log::open(to).await.unwrap();
    // The answer to a repeated request came along.
    add(&log, 0, 700, Some("once")).await;
    assert_eq!(log.head().borrow().size, head.size);
    add(&log, 0, 10, None).await;
    log.close().await.unwrap();
    drop(log);
    let report = verify_dir(to, options, &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_copied_whole_and_goes_on_in_its_new_place() {
    let fixture = fixture().await;
    let to = beside(&fixture, "copy");
    let copied = migrate(&fixture.config, &to, QUIET).await.unwrap();
    assert_eq!((copied.resumed_at, copied.proven, copied.was_complete), (0, Some(copied.entries), false), "{copied:?}");
    assert!(copied.entries > 1_600 && copied.seals >= 2 && copied.checkpoints >= 2, "{copied:?}");
    let again = migrate(&fixture.config, &to, QUIET).await.unwrap();
    assert!(again.was_complete, "{again:?}");
    same(&fixture, &to).await;
    // The copy is the log now: the source is behind what the key directory notes.
    let behind = Log::open(&fixture.config).await.err().unwrap();
    assert!(matches!(behind, ServerError::Rollback { .. }), "{behind}");
    let refused = migrate(&fixture.config, &to, QUIET).await.unwrap_err();
    assert!(matches!(refused, ServerError::Rollback { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_migration_goes_on_where_it_stopped() {
    let fixture = fixture().await;
    let to = beside(&fixture, "copy");
    // Commits end in the middle of bundles.
    let limits = CommitLimits { entries: 100, bytes: usize::MAX };
    let mut resumed = 0;
    for (cut, failure) in [(250, Failure::Commit), (900, Failure::CommitPersisted), (u64::MAX, Failure::None)] {
        let (source, failing, target, keys, deriver, origin) = opened(&fixture, &to, limits).await;
        let stop = |done: u64, _: u64| {
            if done >= cut {
                failing.fail(failure);
            }
        };
        let copied = copy(&source, &target, &origin, "the copy", &keys, &deriver, &stop).await;
        assert_eq!(copied.is_err(), cut < u64::MAX, "{copied:?}");
        if let Ok(copied) = copied {
            resumed = copied.resumed_at;
        }
        target.close().await.unwrap();
        source.close().await.unwrap();
        drop((source, failing, target));
        if cut < u64::MAX {
            // Nobody can serve half of it.
            let refused = init(&to).await.unwrap_err().to_string();
            assert!(refused.contains("sceau migrate"), "{refused}");
            assert!(Log::open(&to).await.is_err());
        }
    }
    assert_eq!(resumed, 1_000);
    same(&fixture, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_takes_less_than_before_gets_less() {
    let fixture = fixture().await;
    let to = beside(&fixture, "copy");
    let (source, failing, target, keys, deriver, origin) =
        opened(&fixture, &to, CommitLimits { entries: 300, bytes: usize::MAX }).await;
    failing.fail_after(2, Failure::CommitTooLarge);
    let place = to.place.to_string();
    let copied = copy(&source, &target, &origin, &place, &keys, &deriver, QUIET).await.unwrap();
    assert_eq!((copied.entries, copied.resumed_at), (origin.head.size.0, 0));
    for store in [source, target] {
        store.close().await.unwrap();
    }
    drop(failing);
    same(&fixture, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_behind_the_entries_is_gone_on_with_too() {
    let fixture = fixture().await;
    let to = beside(&fixture, "copy");
    for failure in [Failure::Seal, Failure::SealPersisted, Failure::Checkpoint, Failure::None] {
        let (source, failing, target, keys, deriver, origin) = opened(&fixture, &to, CommitLimits::NONE).await;
        failing.fail(failure);
        let copied = copy(&source, &target, &origin, "the copy", &keys, &deriver, QUIET).await;
        assert_eq!(copied.is_err(), failure != Failure::None, "{copied:?}");
        target.close().await.unwrap();
        source.close().await.unwrap();
        drop((source, failing, target));
        assert_eq!(init(&to).await.is_err(), failure != Failure::None);
    }
    same(&fixture, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_something_else_is_refused() {
    let fixture = fixture().await;
    let other = Fixture::new().await;
    let taken = Config { key_dir: fixture.config.key_dir.clone(), ..other.config.clone() };
    let refused = migrate(&fixture.config, &taken, QUIET).await.unwrap_err().to_string();
    assert!(refused.contains("holds a log already"), "{refused}");
    // One that was begun for another log, and one with other entries under the same name.
    let to = beside(&fixture, "begun");
    to.place.create().await.unwrap();
    let store = to.place.open(load_deriver(&to).unwrap()).await.unwrap();
    store.fix_fact("origin", "example.org/other").await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let refused = migrate(&fixture.config, &to, QUIET).await.unwrap_err().to_string();
    assert!(refused.contains("something else") && refused.contains("example.org/other"), "{refused}");
    // Another log's beginning, as if it were this one's.
    let log = other.log().await;
    add(&log, 5, 300, None).await;
    log.close().await.unwrap();
    drop(log);
    let (source, _, target, keys, deriver, origin) =
        opened(&fixture, &beside(&fixture, "third"), CommitLimits::NONE).await;
    let foreign = other.config.place.open(deriver.clone()).await.unwrap();
    let head = foreign.head().await.unwrap();
    entries::copy(&foreign, &target, &head, &keys.mac_keys(), &deriver, QUIET).await.unwrap_err();
    let strangers = KeyDir::open(&other.config.key_dir, Some(other.data())).unwrap().mac_keys();
    entries::copy(&foreign, &target, &head, &strangers, &deriver, QUIET).await.unwrap();
    let refused = copy(&source, &target, &origin, "the copy", &keys, &deriver, QUIET).await.unwrap_err().to_string();
    assert!(refused.contains("no origin"), "{refused}");
    for (name, value) in &origin.facts {
        target.fix_fact(name, value).await.unwrap();
    }
    let refused = copy(&source, &target, &origin, "the copy", &keys, &deriver, QUIET).await.unwrap_err().to_string();
    assert!(refused.contains("its head is"), "{refused}");
}

#[tokio::test]
async fn a_place_is_not_copied_onto_itself_nor_beside_the_keys() {
    let fixture = Fixture::new().await;
    let refused = migrate(&fixture.config, &fixture.config, QUIET).await.unwrap_err().to_string();
    assert!(refused.contains("already"), "{refused}");
    let inside = Config { place: fixture.config.key_dir.join("data").into(), ..fixture.config.clone() };
    assert!(matches!(migrate(&fixture.config, &inside, QUIET).await, Err(ServerError::KeyDir { .. })));
    let _served = fixture.log().await;
    let held = migrate(&fixture.config, &beside(&fixture, "copy"), QUIET).await.unwrap_err().to_string();
    assert!(held.contains("another process holds"), "{held}");
    assert!(!fixture.data().with_file_name("copy").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_left_is_copied_too() {
    let fixture = fixture().await;
    let log = fixture.log().await;
    log.publisher().publish().await.unwrap();
    log.publisher().close_epoch().await.unwrap();
    while round(&log, &crate::Retention { days: None, bytes: Some(0) }).await.unwrap() > 0 {}
    let kept = log.reader().store().kept_from().await.unwrap().0;
    log.close().await.unwrap();
    drop(log);
    assert!(kept >= 1_024);
    let to = beside(&fixture, "copy");
    // Cut once, after the leaves.
    let (source, failing, target, keys, deriver, origin) = opened(&fixture, &to, CommitLimits::NONE).await;
    let stop = |_: u64, _: u64| failing.fail(Failure::Commit);
    copy(&source, &target, &origin, "the copy", &keys, &deriver, &stop).await.unwrap_err();
    target.close().await.unwrap();
    source.close().await.unwrap();
    drop((source, failing, target));
    let copied = migrate(&fixture.config, &to, QUIET).await.unwrap();
    assert_eq!(copied.resumed_at, kept);
    let store = to.place.open(load_deriver(&to).unwrap()).await.unwrap();
    assert_eq!(store.kept_from().await.unwrap().0, kept);
    let was = fixture.config.place.open(load_deriver(&to).unwrap()).await.unwrap();
    for bundle in 0..kept / 256 {
        assert_eq!(store.tile(0, bundle, 256).await.unwrap(), was.tile(0, bundle, 256).await.unwrap());
    }
    store.close().await.unwrap();
    was.close().await.unwrap();
    drop((store, was));
    let report = verify_dir(&to, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok && report.verdict.pruned == kept, "{report}");
    let log = Log::open(&to).await.unwrap();
    add(&log, 0, 600, None).await;
    log.close().await.unwrap();
    drop(log);
    let report = verify_dir(&to, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
    assert!(report.ok, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_in_the_source_is_named_and_not_copied() {
    let fixture = fixture().await;
    for (table, change, named) in [
        ("mac", "UPDATE mac SET tag = zeroblob(32) WHERE bundle = 1", "256 to 511"),
        ("tile", "UPDATE tile SET hash = zeroblob(32) WHERE level = 1 AND position = 2", "index 512"),
    ] {
        let altered = fixture.copy();
        let database = rusqlite::Connection::open(altered.data().join("sceau.db")).unwrap();
        assert_eq!(database.execute(change, []).unwrap(), 1, "{table}");
        drop(database);
        let to = beside(&altered, "copy");
        let refused = migrate(&altered.config, &to, QUIET).await.unwrap_err().to_string();
        assert!(refused.contains(named) || refused.contains("stored hashes lead to"), "{table}: {refused}");
        assert!(init(&to).await.is_err(), "{table}");
    }
}
