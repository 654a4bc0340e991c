//! What is kept beside the entries: head, hashes, MACs of bundles, checkpoints, seals, state.

use mongodb::{
    Collection, Database,
    bson::{Binary, Bson, Document, doc, spec::BinarySubtype},
};

use super::victim::Victim;
use crate::common::named::{at, range, whole};

fn collection(database: &Database, name: &str) -> Collection<Document> {
    database.collection(name)
}

fn bytes(byte: u8) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![byte; 32] })
}

#[test]
fn an_edited_head_is_named() {
    let Some(victim) = Victim::get() else { return };
    let size = victim.facts.size;
    let set = async |db: &Database, change: Document| {
        collection(db, "sceau_head").update_one(doc! {}, doc! { "$set": change }).await.unwrap();
    };
    victim.named("its root", &[whole("root")], async |db| set(db, doc! { "root": bytes(7) }).await);
    let lower = i64::try_from(size - 10).unwrap();
    let lowered = [
        range("root", victim.facts.unsealed, size - 11),
        range("mac", (size - 11) / 256 * 256, size - 11),
        range("entry_extra", size - 10, size - 1),
        range("rollback", size - 10, size - 1),
    ];
    victim.named("its size lowered", &lowered, async |db| set(db, doc! { "size": lower }).await);
    let higher = i64::try_from(size + 10).unwrap();
    let raised = [range("entry_missing", size, size + 9)];
    victim.named("its size raised", &raised, async |db| set(db, doc! { "size": higher }).await);
    // Neither is gone on from.
    let admin = victim.database.admin();
    victim.database.run(set(&admin, doc! { "size": lower }));
    victim.log.run(&["serve", "--listen", "127.0.0.1:0"]).with(1);
    victim.back();
}

#[test]
fn hashes_and_macs_that_were_edited_are_named() {
    let Some(victim) = Victim::get() else { return };
    let bundle = doc! { "_id": 2_i64 };
    let named = [victim.bundle("mac", 512)];
    victim.named("a bundle's MAC", &named, async |db| {
        let macs = collection(db, "sceau_macs");
        macs.update_one(bundle.clone(), doc! { "$set": { "tag": bytes(7) } }).await.unwrap();
    });
    victim.named("a bundle's MAC removed", &named, async |db| {
        collection(db, "sceau_macs").delete_one(bundle.clone()).await.unwrap();
    });
    victim.named("the MACs of all bundles dropped", &[range("mac", 0, victim.facts.size - 1)], async |db| {
        collection(db, "sceau_macs").drop().await.unwrap();
    });
    victim.named("all hashes removed", &[range("tile", 0, victim.facts.size / 256 * 256 - 1)], async |db| {
        collection(db, "sceau_tiles").delete_many(doc! {}).await.unwrap();
    });
}

#[test]
fn checkpoints_and_seals_that_were_edited_are_named() {
    let Some(victim) = Victim::get() else { return };
    victim.named("a checkpoint", &[whole("checkpoint")], async |db| {
        let change = doc! { "$set": { "note": "no note" } };
        collection(db, "sceau_checkpoints").update_one(doc! {}, change).await.unwrap();
    });
    for (what, filter) in [
        ("the first seal dropped", doc! { "_id": 0_i64 }),
        ("one in the middle", doc! { "_id": 1_i64 }),
        ("the last ones", doc! { "_id": { "$gte": 2_i64 } }),
        ("all of them", doc! {}),
    ] {
        victim.named(what, &[whole("seal_chain")], async |db| {
            let deleted = collection(db, "sceau_seals").delete_many(filter).await.unwrap();
            assert!(deleted.deleted_count > 0);
        });
    }
    victim.named("a seal", &[whole("seal"), whole("seal_chain")], async |db| {
        let change = doc! { "$set": { "text": "no seal" } };
        collection(db, "sceau_seals").update_one(doc! { "_id": 1_i64 }, change).await.unwrap();
    });
}

#[test]
fn state_that_was_edited_is_named() {
    let Some(victim) = Victim::get() else { return };
    let state = |db: &Database| collection(db, "sceau_state");
    let administrator = async |db: &Database| {
        let mut found = state(db).find(doc! { "_id.c": "tokens" }).await.unwrap();
        loop {
            assert!(found.advance().await.unwrap(), "no administrator's token");
            let document = found.deserialize_current().unwrap();
            if document.get_str("value").unwrap().contains("admin") {
                return document;
            }
        }
    };
    let admin = victim.database.admin();
    let token = victim.database.run(administrator(&admin));
    let key = token.get_document("_id").unwrap().get_str("k").unwrap().to_owned();
    let told = |entry: &str| entry.contains("state_change") && entry.contains(&key);
    let index = (0..victim.facts.size).find(|n| told(victim.document(*n).get_str("entry").unwrap())).unwrap();
    victim.named("a token renamed", &[at("state", index), whole("state")], async |db| {
        let value = token.get_str("value").unwrap().replace("admin", "mallory");
        state(db).update_one(doc! { "_id": token.get("_id") }, doc! { "$set": { "value": value } }).await.unwrap();
    });
    victim.named("a token removed", &[at("state", index)], async |db| {
        state(db).delete_one(doc! { "_id": token.get("_id") }).await.unwrap();
    });
    victim.named("a token added", &[whole("state"), whole("state")], async |db| {
        let mut evil = token.clone();
        evil.insert("_id", doc! { "c": "tokens", "k": "evil0000" });
        state(db).insert_one(evil).bypass_document_validation(true).await.unwrap();
    });
    victim.named("a token without its MAC", &[whole("state")], async |db| {
        let change = doc! { "$unset": { "mac": "" } };
        let filter = doc! { "_id": token.get("_id") };
        state(db).update_one(filter, change).bypass_document_validation(true).await.unwrap();
    });
    victim.named("an import position", &[whole("position")], async |db| {
        let mut found = state(db).find(doc! { "_id.c": "imports" }).await.unwrap();
        assert!(found.advance().await.unwrap());
        let import = found.deserialize_current().unwrap();
        let value = import.get_str("value").unwrap().replace("\"offset\":", "\"offset\":1");
        state(db).update_one(doc! { "_id": import.get("_id") }, doc! { "$set": { "value": value } }).await.unwrap();
    });
}
