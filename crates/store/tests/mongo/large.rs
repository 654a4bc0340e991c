//! Transactions that are too much for the server, and servers that do not say so.

use mongodb::bson::doc;
use sceau_store::{
    CommitError, Ledger as _,
    mongo::{Mongo, MongoUri},
    traits::CommitLimits,
};

use crate::{
    Base,
    contract::{
        Home as _,
        writer::{Writer, lines},
    },
};

/// A database whose server can be made to fail.
fn testing() -> Option<Base> {
    let mut base = Base::new()?;
    base.server.restart(&["--enable-test-commands"]);
    base.options.uri = MongoUri::new(base.server.uri("", "sceau")).unwrap();
    Some(base)
}

/// Makes the next of these commands fail.
async fn fail(base: &Base, command: &str, code: i32, times: i32) {
    let data = doc! { "failCommands": [command], "errorCode": code };
    let set = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    base.server.database_as("", "admin").await.run_command(set).await.unwrap();
}

/// An empty log, opened anew: what the last store found out is forgotten.
async fn again(base: &Base) -> (Mongo, Writer) {
    base.database().await.drop().await.unwrap();
    (base.open().await, Writer::new())
}

/// A commit of so many entries; whether it happened.
async fn add(writer: &mut Writer, store: &Mongo, count: usize) -> bool {
    match writer.commit(store, vec![lines(&vec![b"line".as_slice(); count])]).await {
        Ok(()) => true,
        Err(CommitError::Unavailable(_) | CommitError::TooLarge(_)) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_not_sent_again() {
    let Some(base) = testing() else { return };
    for code in [388, 257] {
        let (store, mut writer) = again(&base).await;
        let before = store.commit_limits();
        fail(&base, "insert", code, 1).await;
        assert!(!add(&mut writer, &store, 300).await);
        let CommitLimits { entries, bytes } = store.commit_limits();
        assert!(entries < 300 && bytes < before.bytes, "{code}: {entries} {bytes}");
        assert!(add(&mut writer, &store, entries).await);
        assert_eq!(store.commit_limits().entries, entries);
    }
}

/// A server with a full cache may say that the transaction met another one, or that it is not there any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_again_behind_the_head_document_is_too_large() {
    let Some(base) = testing() else { return };
    // How many answers fail while one commit is tried: its end is said twice.
    for (command, code, each) in [("insert", 112, 1), ("insert", 251, 1), ("commitTransaction", 251, 2)] {
        let (store, mut writer) = again(&base).await;
        let before = store.commit_limits();
        for _ in 0..2 {
            // Once is chance: another primary was elected.
            fail(&base, command, code, each).await;
            let kept = add(&mut writer, &store, 300).await;
            assert_eq!(kept, command == "insert", "it is tried again at once where it can be");
            assert_eq!(store.commit_limits(), before, "{command} {code}");
            assert!(add(&mut writer, &store, 300).await);
        }
        fail(&base, command, code, 2 * each).await;
        assert!(!add(&mut writer, &store, 300).await);
        let kept = command == "insert" || add(&mut writer, &store, 300).await;
        assert_eq!(kept, command == "insert");
        assert!(store.commit_limits().entries < 300, "{command} {code}");
        assert!(add(&mut writer, &store, 100).await);
    }
}

/// What meets another transaction does so at the head document, and is no smaller the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_head_document_is_not_too_large() {
    let Some(base) = testing() else { return };
    let (store, mut writer) = again(&base).await;
    let before = store.commit_limits();
    fail(&base, "update", 112, 3).await;
    assert!(add(&mut writer, &store, 300).await);
    fail(&base, "update", 112, 100).await;
    assert!(!add(&mut writer, &store, 300).await);
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    base.server.database_as("", "admin").await.run_command(off).await.unwrap();
    assert!(add(&mut writer, &store, 300).await);
    assert_eq!(store.commit_limits(), before);
}
