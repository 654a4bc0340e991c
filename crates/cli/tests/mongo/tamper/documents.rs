//! The documents of entries: edited, copied, taken out, put in, renumbered.

use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use sceau_ledger::leaf_hash;

use super::victim::{Victim, id, logs};
use crate::common::named::{at, listed, range, whole};

async fn set(database: &Database, index: u64, change: Document) {
    let changed = logs(database).update_one(id(index), doc! { "$set": change }).await.unwrap();
    assert_eq!(changed.modified_count, 1, "nothing was changed at {index}");
}

async fn delete(database: &Database, index: u64) {
    assert_eq!(logs(database).delete_one(id(index)).await.unwrap().deleted_count, 1);
}

async fn put(database: &Database, index: u64, mut document: Document) {
    document.insert("_id", i64::try_from(index).unwrap());
    // A clever thief satisfies the validator as well; it is no guard.
    logs(database).insert_one(document).bypass_document_validation(true).await.unwrap();
}

/// The hash that a thief computes for an entry, as documents hold it.
fn hash(entry: &str) -> String {
    leaf_hash(entry.as_bytes()).0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry with a success in the place of a failure, its field and its hash to match.
fn passed(document: &Document) -> Document {
    let entry = document.get_str("entry").unwrap().replacen("failed", "passed", 1);
    doc! { "status": "passed", "hash": hash(&entry), "entry": entry }
}

/// In a full bundle that is sealed, and in what is not sealed yet.
fn places(victim: &Victim) -> [u64; 2] {
    [victim.saying("rarely"), victim.facts.unsealed + 300]
}

#[test]
fn a_document_that_was_edited_is_named() {
    let Some(victim) = Victim::get() else { return };
    for index in places(&victim) {
        let document = victim.document(index);
        let (record, changed) = (at("record", index), at("entry_changed", index));
        for (field, value) in [
            ("ip", Bson::from("10.9.9.9")),
            ("user", Bson::from("nobody")),
            ("status", Bson::from("success")),
            ("timestamp", Bson::from("2026-11-01T09:00:00.000000Z")),
            ("time_micros", Bson::from(1_i64)),
            ("time", Bson::from(mongodb::bson::DateTime::from_millis(1))),
            ("received", Bson::from(mongodb::bson::DateTime::from_millis(1))),
            ("message", Bson::from("nothing to see")),
            ("shadow.w", Bson::from(vec!["nothing"])),
        ] {
            let what = format!("the field {field}");
            victim.named(&what, std::slice::from_ref(&record), async |db| set(db, index, doc! { field: value }).await);
        }
        victim.named("a field removed", std::slice::from_ref(&record), async |db| {
            logs(db).update_one(id(index), doc! { "$unset": { "user": "" } }).await.unwrap();
        });
        // A blank more says the same: the record is right, the bytes are not.
        let blank = document.get_str("entry").unwrap().replacen("\"status\":", "\"status\": ", 1);
        victim.named("the entry alone", std::slice::from_ref(&changed), async |db| {
            set(db, index, doc! { "entry": blank }).await;
        });
        let other = document.get_str("entry").unwrap().replacen("failed", "passed", 1);
        victim.named("what the entry says", &[changed.clone(), record.clone()], async |db| {
            set(db, index, doc! { "entry": other }).await;
        });
        // What searches use of the document says still what the entry said.
        let both = [changed.clone(), record.clone()];
        victim.named("entry, field and hash", &both, async |db| {
            set(db, index, passed(&document)).await;
        });
        victim.named("these, and another one's MAC", &both, async |db| {
            let mut change = passed(&document);
            change.insert("hmac", victim.document(index + 1).get_str("hmac").unwrap());
            set(db, index, change).await;
        });
        victim.named("these, and no MAC", &both, async |db| {
            set(db, index, passed(&document)).await;
            let change = doc! { "$unset": { "hmac": "" } };
            logs(db).update_one(id(index), change).bypass_document_validation(true).await.unwrap();
        });
    }
}

#[test]
fn what_is_stored_beside_an_entry_is_named() {
    let Some(victim) = Victim::get() else { return };
    for index in places(&victim) {
        victim.named("another one's MAC", &[at("mac", index)], async |db| {
            set(db, index, doc! { "hmac": victim.document(index + 1).get_str("hmac").unwrap() }).await;
        });
        victim.named("the hash", &[at("prefix", index)], async |db| {
            set(db, index, doc! { "hash": hash("something else") }).await;
        });
        for (what, value) in [("a number", Bson::from(7)), ("half of it", Bson::from("00ff")), ("nothing", Bson::Null)]
        {
            victim.named(&format!("{what} as its MAC"), &[at("mac", index), at("record", index)], async |db| {
                let change = doc! { "$set": { "hmac": value } };
                logs(db).update_one(id(index), change).bypass_document_validation(true).await.unwrap();
            });
        }
    }
    victim.named("no MACs at all", &[range("mac", 0, victim.facts.size - 1)], async |db| {
        let change = doc! { "$unset": { "hmac": "" } };
        logs(db).update_many(doc! {}, change).bypass_document_validation(true).await.unwrap();
    });
}

#[test]
fn documents_taken_out_put_in_and_renumbered_are_named() {
    let Some(victim) = Victim::get() else { return };
    let size = victim.facts.size;
    for index in places(&victim) {
        let missing = at("entry_missing", index);
        victim.named("one deleted", std::slice::from_ref(&missing), async |db| delete(db, index).await);
        victim.named("one moved beyond the end", &[missing.clone(), at("entry_extra", size)], async |db| {
            delete(db, index).await;
            put(db, size, victim.document(index)).await;
        });
        let exchanged = [range("entry_changed", index, index + 1)];
        victim.named("two exchanged, with all that is in them", &exchanged, async |db| {
            delete(db, index).await;
            delete(db, index + 1).await;
            put(db, index, victim.document(index + 1)).await;
            put(db, index + 1, victim.document(index)).await;
        });
        let another = [at("entry_changed", index)];
        victim.named("a copy of another in its place", &another, async |db| {
            delete(db, index).await;
            put(db, index, victim.document(index - 7)).await;
        });
    }
    let last = [range("entry_missing", size - 5, size - 1)];
    victim.named("the last five deleted", &last, async |db| {
        logs(db).delete_many(doc! { "_id": { "$gte": i64::try_from(size - 5).unwrap() } }).await.unwrap();
    });
    victim.named("one put in beyond the end", &[at("entry_extra", size)], async |db| {
        put(db, size, victim.document(size - 1)).await;
    });
    victim.named("one put in far beyond the end", &[at("entry_extra", size + 1_000_000)], async |db| {
        put(db, size + 1_000_000, victim.document(5)).await;
    });
    let from = size - 40;
    let shifted = [range("entry_changed", from, size - 1), at("entry_extra", size)];
    victim.named("one put in, and all behind it renumbered", &shifted, async |db| {
        logs(db).delete_many(doc! { "_id": { "$gte": i64::try_from(from).unwrap() } }).await.unwrap();
        put(db, from, victim.document(from - 1)).await;
        for index in from..size {
            put(db, index + 1, victim.document(index)).await;
        }
    });
}

#[test]
fn indexes_that_are_none_are_named() {
    let Some(victim) = Victim::get() else { return };
    for odd in
        [Bson::from("700"), Bson::from(700.5), Bson::from(-1_i64), Bson::ObjectId(mongodb::bson::oid::ObjectId::new())]
    {
        let admin = victim.database.admin();
        victim.database.run(async {
            let mut document = victim.document(5);
            document.insert("_id", odd.clone());
            logs(&admin).insert_one(document).bypass_document_validation(true).await.unwrap();
        });
        let said = victim.log.run(&["verify", "--json"]).with(4);
        assert!(!listed(&said).is_empty(), "{odd}: {said:#?}");
        victim.back();
    }
}

#[test]
fn a_collection_that_was_dropped_is_named() {
    let Some(victim) = Victim::get() else { return };
    let missing = [range("entry_missing", 0, victim.facts.size - 1)];
    let gone = [missing[0].clone(), whole("state"), whole("state"), whole("state")];
    victim.named("all entries deleted", &gone, async |db| {
        logs(db).delete_many(doc! {}).await.unwrap();
    });
    let admin = victim.database.admin();
    victim.database.run(async { logs(&admin).drop().await }).unwrap();
    victim.names("the collection dropped", &gone);
}
