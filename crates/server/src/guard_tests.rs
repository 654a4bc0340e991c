use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    ImportMove, ImportPosition, IngestRequest, Log, Reader, RotatedKey, Tokens,
    keydir::{FORMAT, HEADS, MAC_KEY},
    replace_keys,
    testing::Fixture,
    verify::{Cancel, VerifyOptions, VerifyReport, verify_dir},
};

fn step(from: u64, to: u64) -> IngestRequest {
    let to = ImportPosition { offset: to, lines: to, tail: String::new() };
    let import = Some(ImportMove { id: "file".into(), from, to });
    IngestRequest { import, ..IngestRequest::default() }
}

fn keyed() -> IngestRequest {
    IngestRequest { idempotency: Some("once".into()), actor: "a".into(), ..IngestRequest::default() }
}

const BODY: Bytes = Bytes::from_static(b"{}");

/// A closed log with one document of each kind.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    log.ingest(BODY, &step(0, 5)).await.unwrap();
    log.ingest(BODY, &keyed()).await.unwrap();
    log.new_admin_token("test").await.unwrap();
    log.close().await.unwrap();
    fixture
}

/// Writes to the database as somebody without the keys.
async fn tamper(fixture: &Fixture, collection: &str, change: impl Fn(&mut Value, &mut Option<Vec<u8>>)) {
    let reader = Reader::open(&fixture.config).await.unwrap();
    let documents = reader.store().audit_state(("", ""), 100).await.unwrap();
    let mut writes = Vec::new();
    for (_, Document { key, mut value, expires, mut mac, .. }) in
        documents.into_iter().filter(|(name, _)| name == collection)
    {
        change(&mut value, &mut mac);
        let collection = collection.to_owned();
        writes.push(StateWrite { collection, key, value: Some(value), expect: Expect::Any, expires, mac });
    }
    assert!(!writes.is_empty());
    reader.store().write(writes).await.unwrap();
    reader.close().await.unwrap();
}

async fn report(fixture: &Fixture) -> VerifyReport {
    verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap()
}

async fn valid_tokens(log: &Log) -> (usize, u64) {
    let tokens = Tokens::load(&**log.reader().store(), log.keys()).await.unwrap();
    (tokens.len(), tokens.forged())
}

#[tokio::test]
async fn what_the_log_wrote_holds() {
    let fixture = filled().await;
    assert!(report(&fixture).await.ok);
    let log = fixture.log().await;
    assert_eq!(log.reader().import_position("file").await.unwrap().unwrap().offset, 5);
    assert!(log.ingest(BODY, &keyed()).await.unwrap().replayed);
    log.ingest(BODY, &step(5, 9)).await.unwrap();
    assert_eq!(valid_tokens(&log).await, (1, 0));
    // A rebuild touches no document.
    log.reader().store().rebuild(log.reader().deriver().clone(), &|_, _| ()).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    assert_eq!(all_hold(&fixture).await, 3);
    assert!(report(&fixture).await.ok);
}

#[tokio::test]
async fn a_moved_position_is_refused_and_named() {
    for without_mac in [false, true] {
        let fixture = filled().await;
        tamper(&fixture, imports::COLLECTION, |value, mac| {
            value["offset"] = json!(7);
            *mac = mac.take().filter(|_| !without_mac);
        })
        .await;
        let told = report(&fixture).await;
        assert!(told.verdict.faults.iter().any(|fault| fault.kind == FaultKind::Position), "{told}");
        let log = fixture.log().await;
        let refused = log.ingest(BODY, &step(7, 9)).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (409, "state_forged"));
        assert_eq!(log.reader().import_position("file").await.unwrap_err().code(), "state_forged");
        // Others go on.
        log.ingest(BODY, &IngestRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_somebody_else_stored_is_not_given() {
    let fixture = filled().await;
    tamper(&fixture, "idempotency", |value, _| value["answer"]["tree_size"] = json!(99)).await;
    assert!(report(&fixture).await.verdict.faults.iter().any(|fault| fault.kind == FaultKind::State));
    let log = fixture.log().await;
    assert_eq!(log.ingest(BODY, &keyed()).await.unwrap_err().code(), "state_forged");
}

#[tokio::test]
async fn a_token_that_somebody_else_stored_is_not_valid() {
    let fixture = filled().await;
    tamper(&fixture, "tokens", |value, _| value["role"] = json!("other")).await;
    assert!(!report(&fixture).await.ok);
    assert_eq!(valid_tokens(&fixture.log().await).await, (0, 1));
}

#[tokio::test]
async fn documents_without_macs_get_them_once() {
    let fixture = filled().await;
    for collection in [imports::COLLECTION, "tokens", "idempotency"] {
        tamper(&fixture, collection, |_, mac| *mac = None).await;
    }
    std::fs::remove_file(fixture.config.key_dir.join(FORMAT)).unwrap();
    let told = report(&fixture).await;
    assert!(told.ok && told.to_string().contains("3 documents of the state are unproven"), "{told}");
    let log = fixture.log().await;
    assert_eq!(valid_tokens(&log).await, (1, 0));
    log.ingest(BODY, &step(5, 9)).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let told = report(&fixture).await;
    assert!(told.ok && !told.to_string().contains("unproven: a version"), "{told}");
    // The second time nobody believes it: the note is in the key directory.
    tamper(&fixture, "tokens", |_, mac| *mac = None).await;
    assert!(!report(&fixture).await.ok);
    assert_eq!(valid_tokens(&fixture.log().await).await, (0, 1));
}

#[tokio::test]
async fn a_token_of_an_old_log_that_no_entry_explains_gets_no_mac() {
    let fixture = filled().await;
    tamper(&fixture, "tokens", |value, mac| (value["role"], *mac) = (json!("other"), None)).await;
    std::fs::remove_file(fixture.config.key_dir.join(FORMAT)).unwrap();
    let log = fixture.log().await;
    assert_eq!(valid_tokens(&log).await, (0, 1));
    log.close().await.unwrap();
    drop(log);
    assert!(!report(&fixture).await.ok);
}

/// Every document has a MAC of the keys that are there now; gives how many there are.
async fn all_hold(fixture: &Fixture) -> usize {
    let reader = Reader::open(&fixture.config).await.unwrap();
    let keys = KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap().mac_keys();
    let documents = reader.store().audit_state(("", ""), 100).await.unwrap();
    for (collection, document) in &documents {
        assert!(holds(&keys, collection, document), "{collection}/{}", document.key);
    }
    reader.close().await.unwrap();
    documents.len()
}

#[tokio::test]
async fn what_was_written_under_an_older_key_still_holds() {
    let fixture = filled().await;
    assert_eq!(all_hold(&fixture).await, 3);
    let log = fixture.log().await;
    for key in [RotatedKey::Mac, RotatedKey::Log, RotatedKey::Mac] {
        log.rotate(key, "test").await.unwrap();
    }
    assert!(log.ingest(BODY, &keyed()).await.unwrap().replayed);
    assert_eq!(valid_tokens(&log).await, (1, 0));
    log.new_admin_token("test").await.unwrap();
    log.ingest(BODY, &step(5, 9)).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    assert_eq!(all_hold(&fixture).await, 7);
    assert!(report(&fixture).await.ok);
}

#[tokio::test]
async fn a_lost_mac_key_costs_no_position_and_is_replaced_once() {
    let fixture = filled().await;
    std::fs::remove_file(fixture.config.key_dir.join(MAC_KEY)).unwrap();
    let replaced = replace_keys(&fixture.config, VerifyOptions::default(), false, "test", &|_, _| ()).await.unwrap();
    assert_eq!(replaced.lost, ["mac"]);
    assert_eq!(all_hold(&fixture).await, 4);
    assert!(fixture.config.key_dir.join(FORMAT).exists());
    let log = fixture.log().await;
    assert!(log.ingest(BODY, &keyed()).await.unwrap().replayed);
    log.ingest(BODY, &step(5, 9)).await.unwrap();
    assert_eq!(valid_tokens(&log).await, (1, 0));
    log.close().await.unwrap();
    drop(log);
    let told = report(&fixture).await;
    assert!(told.ok && !told.to_string().contains("documents of the state are unproven"), "{told}");
    tamper(&fixture, imports::COLLECTION, |value, _| value["offset"] = json!(1)).await;
    assert!(!report(&fixture).await.ok);
    assert_eq!(fixture.log().await.ingest(BODY, &step(1, 9)).await.unwrap_err().code(), "state_forged");
}

#[tokio::test]
async fn the_statement_of_a_loss_has_its_mac_before_the_log_is_opened() {
    let fixture = filled().await;
    let heads = fixture.config.key_dir.join(HEADS);
    std::fs::write(&heads, [0xA5; 1024]).unwrap();
    let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
    assert!(refused.contains("heads") && refused.contains("sceau keys replace"), "{refused}");
    let replaced = replace_keys(&fixture.config, VerifyOptions::default(), false, "test", &|_, _| ()).await.unwrap();
    assert_eq!(replaced.lost, ["heads"]);
    // The key directory noted all the time that every document has a MAC, so nothing was adopted.
    assert_eq!(all_hold(&fixture).await, 4);
    assert!(report(&fixture).await.ok);
}

#[tokio::test]
async fn a_key_directory_without_a_note_says_so() {
    let fixture = filled().await;
    assert!(!report(&fixture).await.to_string().contains("notes no head"));
    // As a power loss may leave it before the first notes reached the disk.
    std::fs::write(fixture.config.key_dir.join(HEADS), [0; 1024]).unwrap();
    let told = report(&fixture).await;
    assert!(told.ok && told.to_string().contains("notes no head"), "{told}");
    fixture.log().await.ingest(BODY, &IngestRequest::default()).await.unwrap();
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_never_replaced() {
    let fixture = filled().await;
    let keys = &fixture.config.key_dir;
    std::fs::remove_file(keys.join(MAC_KEY)).unwrap();
    for (name, bytes) in [(FORMAT, b"3\n".as_slice()), (HEADS, b"SCEAUHD2".as_slice())] {
        let before = std::fs::read(keys.join(name)).unwrap();
        let mut newer = before.clone();
        newer[..bytes.len()].copy_from_slice(bytes);
        std::fs::write(keys.join(name), &newer).unwrap();
        let replaced = replace_keys(&fixture.config, VerifyOptions::default(), true, "test", &|_, _| ()).await;
        let refused = replaced.unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("newer sceau"), "{refused}");
        assert_eq!(std::fs::read(keys.join(name)).unwrap(), newer);
        std::fs::write(keys.join(name), before).unwrap();
    }
    assert!(!keys.join(MAC_KEY).exists());
}

#[tokio::test]
async fn a_newer_key_directory_is_refused_by_name() {
    let fixture = filled().await;
    std::fs::write(fixture.config.key_dir.join(FORMAT), "3\n").unwrap();
    let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
    assert!(refused.contains("format 3") && refused.contains("newer sceau"), "{refused}");
}

#[tokio::test]
async fn without_the_key_the_state_is_said_to_be_unproven() {
    let fixture = filled().await;
    std::fs::rename(&fixture.config.key_dir, fixture.config.key_dir.with_extension("away")).unwrap();
    let told = report(&fixture).await;
    assert!(told.ok && told.to_string().contains("import positions and idempotency keys are unproven"), "{told}");
}

#[tokio::test]
async fn rows_whose_names_are_no_text_hide_nothing() {
    for (name, noted) in [("x''", true), ("x'00'", true), ("x'7a7a'", true), ("x''", false)] {
        let fixture = filled().await;
        tamper(&fixture, imports::COLLECTION, |value, _| value["offset"] = json!(7)).await;
        let row = format!("INSERT INTO state (collection, key, value, version) VALUES ({name}, {name}, '{{}}', 1)");
        let database = rusqlite::Connection::open(fixture.data().join("sceau.db")).unwrap();
        assert_eq!(database.execute(&row, []).unwrap(), 1);
        drop(database);
        if !noted {
            // A log of format 1 is not taken over past them, or its tokens would stay without MACs for good.
            std::fs::remove_file(fixture.config.key_dir.join(FORMAT)).unwrap();
            let refused = Log::open(&fixture.config).await.err().unwrap().to_string();
            assert!(refused.contains("no text") && !fixture.config.key_dir.join(FORMAT).exists(), "{refused}");
            continue;
        }
        let told = report(&fixture).await;
        assert!(told.verdict.faults.iter().any(|fault| fault.kind == FaultKind::Position), "{name}: {told}");
        assert!(told.verdict.faults.iter().any(|fault| fault.detail.contains("no text")), "{name}: {told}");
    }
}
