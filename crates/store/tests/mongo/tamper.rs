//! What an administrator of the database did to it shows in what the auditor is given.

use mongodb::{
    Collection,
    bson::{Document, doc},
    options::ReplaceOptions,
};
use sceau_ledger::{FaultKind, Index};
use sceau_store::{
    AuditChunk, Ledger as _, State as _, Store as _, StoreError,
    mongo::{Mongo, MongoOptions},
};

use crate::{
    Base, base,
    contract::{Home as _, deriver, events::batches, state::put, writer::Writer},
};

/// A log of 300 entries, and `logs` without a validator.
async fn tampered(base: &Base) -> (Mongo, Writer, Collection<Document>) {
    let store = base.open().await;
    let mut writer = Writer::new();
    writer.commit(&store, batches(300, 3)).await.unwrap();
    let database = base.database().await;
    for collection in ["logs", "sceau_state"] {
        let off = doc! { "collMod": collection, "validator": {}, "validationLevel": "off" };
        database.run_command(off).await.unwrap();
    }
    (store, writer, database.collection("logs"))
}

async fn chunk(base: &Base, first: u64) -> AuditChunk {
    let inspect = MongoOptions { inspect: true, ..base.options.clone() };
    let store = Mongo::open(deriver(), inspect).await.unwrap();
    store.audit(Index(first)).await.unwrap()
}

fn kinds(chunk: &AuditChunk) -> Vec<(FaultKind, Option<u64>)> {
    chunk.faults.iter().map(|fault| (fault.kind, fault.first)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_were_edited_show() {
    let base = base!();
    let (_store, writer, logs) = tampered(&base).await;
    let set = async |index: i64, change: Document| {
        logs.update_one(doc! { "_id": index }, change).await.unwrap();
    };
    set(10, doc! { "$set": { "user": "mallory" } }).await;
    set(11, doc! { "$set": { "time": mongodb::bson::DateTime::from_millis(5) } }).await;
    set(12, doc! { "$unset": { "shadow": 1 } }).await;
    set(13, doc! { "$set": { "note": "mine" } }).await;
    set(14, doc! { "$set": { "time_micros": "then" } }).await;
    set(15, doc! { "$unset": { "entry": 1 } }).await;
    set(16, doc! { "$unset": { "hmac": 1 } }).await;
    set(17, doc! { "$set": { "entry": "{}" } }).await;
    set(18, doc! { "$set": { "timestamp": "2020-01-01T00:00:00.000000Z" } }).await;
    let chunk = chunk(&base, 0).await;
    assert_eq!((chunk.first, chunk.len()), (0, 300));
    let found = kinds(&chunk);
    for index in [10, 11, 12, 13, 14, 18] {
        assert!(found.contains(&(FaultKind::Record, Some(index))), "{index}: {found:?}");
    }
    assert!(found.contains(&(FaultKind::EntryUnreadable, Some(15))), "{found:?}");
    assert_eq!(chunk.entries[15], None);
    assert_eq!(chunk.tags[16], None);
    assert_eq!(chunk.entries[17].as_deref(), Some(b"{}".as_slice()));
    assert_ne!(chunk.entries[17].as_deref(), Some(writer.entries[17].as_slice()));
    assert!(chunk.records.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_went_or_came_show() {
    let base = base!();
    let (_store, _, logs) = tampered(&base).await;
    logs.delete_one(doc! { "_id": 20_i64 }).await.unwrap();
    let mut other = logs.find_one(doc! { "_id": 30_i64 }).await.unwrap().unwrap();
    for id in [(-5_i64).into(), mongodb::bson::Bson::Double(40.5), "x".into(), 300_i64.into(), 5_000_i64.into()] {
        other.insert("_id", id);
        logs.insert_one(&other).await.unwrap();
    }
    let first = chunk(&base, 0).await;
    let found = kinds(&first);
    assert_eq!((first.entries.len(), &first.entries[20]), (301, &None));
    let extra = found.iter().filter(|(kind, _)| *kind == FaultKind::EntryExtra).count();
    assert_eq!(extra, 3, "{:?}", first.faults);
    assert_eq!(chunk(&base, 301).await.first, 5_000);
    assert!(chunk(&base, 5_001).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_mends_what_is_derived_and_nothing_else() {
    let base = base!();
    let (store, writer, logs) = tampered(&base).await;
    logs.update_one(doc! { "_id": 10_i64 }, doc! { "$set": { "user": "mallory", "note": 1 } }).await.unwrap();
    logs.update_one(doc! { "_id": 11_i64 }, doc! { "$unset": { "shadow": 1 } }).await.unwrap();
    assert_eq!(store.rebuild(deriver(), &|_, _| ()).await.unwrap(), 300);
    assert_eq!(kinds(&chunk(&base, 0).await), []);
    assert_eq!(store.entries(Index(0), 300).await.unwrap().entries, writer.entries);
    logs.update_one(doc! { "_id": 11_i64 }, doc! { "$set": { "entry": "{}" } }).await.unwrap();
    assert!(store.rebuild(deriver(), &|_, _| ()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_documents_of_the_state_are_shown() {
    let base = base!();
    let (store, ..) = tampered(&base).await;
    store.write(vec![put("k", 1.into(), sceau_store::Expect::Any)]).await.unwrap();
    let states = base.database().await.collection::<Document>("sceau_state");
    for odd in [
        doc! { "_id": 5, "value": "1" },
        doc! { "_id": { "c": "c", "k": 7 }, "value": "1" },
        doc! { "_id": { "c": ["a"], "k": "a" }, "value": "1" },
        doc! { "_id": { "c": "c", "k": "z" }, "value": 3, "version": "x", "mac": "y", "expires": "never" },
    ] {
        let upsert = ReplaceOptions::builder().upsert(true).build();
        states.replace_one(doc! { "_id": odd.get("_id").unwrap() }, &odd).with_options(upsert).await.unwrap();
    }
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(("", ""), |(collection, document): &(String, sceau_store::Document)| {
            (collection.as_str(), document.key.as_str())
        });
        let page = store.audit_state(after, 1).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all.len(), 5, "{all:?}");
    assert_eq!((all[0].1.key.as_str(), all[1].1.key.as_str()), ("k", "z"));
    assert_eq!((all[1].1.expires, all[1].1.mac.as_deref()), (Some(i64::MIN), Some(b"".as_slice())));
}

/// Leaves that somebody invented behind the log are no end of what retention deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invented_leaves_are_told() {
    let base = base!();
    let (store, ..) = tampered(&base).await;
    let leaves = base.database().await.collection::<Document>("sceau_leaves");
    let hashes =
        mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![7; 32 * 256] };
    leaves.insert_one(doc! { "_id": 1_i64 << 62, "hashes": hashes }).await.unwrap();
    assert!(matches!(store.kept_from().await, Err(StoreError::Damaged(_))));
    assert!(matches!(store.rebuild(deriver(), &|_, _| ()).await, Err(StoreError::Damaged(_))));
    assert!(matches!(store.stretches().await, Err(StoreError::Damaged(_))));
    assert_eq!(store.entries(Index(0), 300).await.unwrap().entries.len(), 300);
    let first = chunk(&base, 0).await;
    assert_eq!((first.first, first.len()), (0, 300));
    assert!(kinds(&first).contains(&(FaultKind::Order, Some(0))), "{:?}", first.faults);
}

/// What another version made is stale until it is made anew, and is told as one fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_another_version_are_one_fault() {
    let base = base!();
    let (store, _, logs) = tampered(&base).await;
    let own = logs.find_one(doc! { "_id": 0_i64 }).await.unwrap().unwrap().get_str("deriver").unwrap().to_owned();
    let (deriver_s, rules) = own.rsplit_once('/').unwrap();
    assert_eq!(deriver_s, deriver().version());
    assert!(rules.contains("unicode"), "{rules}");
    let other = format!("{deriver_s}/1-unicode-1.0.0");
    logs.update_many(doc! {}, doc! { "$set": { "deriver": &other } }).await.unwrap();
    // They agree with what this version writes: nothing is wrong.
    let agreed = chunk(&base, 0).await;
    assert_eq!(kinds(&agreed), []);
    assert_eq!(agreed.records.unwrap().1, deriver().version());
    logs.update_many(doc! { "_id": { "$gte": 10_i64, "$lt": 200_i64 } }, doc! { "$unset": { "shadow": 1 } })
        .await
        .unwrap();
    let stale = chunk(&base, 0).await;
    assert_eq!(stale.faults.len(), 1, "{:?}", stale.faults);
    let fault = &stale.faults[0];
    assert_eq!((fault.kind, fault.first, fault.last), (FaultKind::Record, Some(10), Some(199)));
    for words in ["190 documents", "unicode-1.0.0", "shadow", "sceau rebuild"] {
        assert!(fault.detail.contains(words), "{}", fault.detail);
    }
    assert_eq!(store.rebuild(deriver(), &|_, _| ()).await.unwrap(), 300);
    assert_eq!(kinds(&chunk(&base, 0).await), []);
    let left = logs.count_documents(doc! { "deriver": { "$ne": own } }).await.unwrap();
    assert_eq!(left, 0);
}

/// A validator that somebody switched off is on again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preparing_switches_validators_on() {
    let base = base!();
    let (_store, _, logs) = tampered(&base).await;
    logs.insert_one(doc! { "_id": 1_000_i64, "note": "mine" }).await.unwrap();
    Mongo::prepare(&base.options).await.unwrap();
    assert!(logs.insert_one(doc! { "_id": 1_001_i64, "note": "mine" }).await.is_err());
}
