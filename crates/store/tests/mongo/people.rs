//! What people see who only have MongoDB, and what the database itself keeps from getting in.

use futures::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use sceau_ledger::{Index, leaf_hash};
use sceau_store::{Ledger as _, State as _, mongo::Mongo};
use serde_json::json;

use crate::{
    Base, base,
    contract::{
        Home as _,
        events::batches,
        writer::{SECOND, START, Writer, batch, framer, text},
    },
};

async fn logs(base: &Base) -> Collection<Document> {
    base.database().await.collection("logs")
}

async fn all(cursor: mongodb::Cursor<Document>) -> Vec<Document> {
    cursor.try_collect().await.unwrap()
}

/// Events that a careless store would stumble over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_events_are_stored_like_any_other() {
    let base = base!();
    let store = base.open().await;
    let mut writer = Writer::new();
    let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    let many: Vec<String> = (0..900).map(|n| format!("\"k{n}\":\"word{n} other{n}\"")).collect();
    let words: Vec<String> = (0..9_000).map(|n| format!("w{n:x}")).collect();
    let events = [
        r#"{"$where":"sleep(9)","a.b":{"$gt":""},"_id":7,"entry":"x","hash":"y","shadow":{"w":[1]}}"#.to_owned(),
        r#"{"":{"":""},"user":"\u0000","msg":"a\u0000b","ip":"\u0000","fields":[{"k":"$","v":null}]}"#.to_owned(),
        r#"{"n":1e400,"m":-1e-400,"big":123456789012345678901234567890,"port":99999999999999999999,"pid":-0}"#
            .to_owned(),
        deep,
        format!("{{{}}}", many.join(",")),
        json!({ "msg": words.join(" ") }).to_string(),
        json!({ "msg": "x".repeat(60_000) }).to_string(),
        json!({ "msg": "\u{fffd}\u{10ffff}İſK".repeat(500), "user": "$ne", "status": {"$ne": 1} }).to_string(),
        r#"{"timestamp":"0000-01-01T00:00:00Z","status":"failed"}"#.to_owned(),
        r#"{"timestamp":"9999-12-31T23:59:59.999999Z","status":"failed"}"#.to_owned(),
        r#"{"timestamp":"not a time"}"#.to_owned(),
        r#"{"timestamp":-99999999999999999999}"#.to_owned(),
    ];
    let made = batch(|builder| {
        for event in &events {
            builder
                .push_json(&framer("hostile", START), event.as_bytes())
                .unwrap_or_else(|e| panic!("{e}: {event:.80}"));
        }
    });
    writer.commit(&store, vec![made]).await.unwrap();
    assert_eq!(store.entries(Index(0), 100).await.unwrap().entries, writer.entries);
    let chunk = store.audit(Index(0)).await.unwrap();
    assert_eq!((chunk.len(), &chunk.faults[..]), (events.len(), &[][..]));
    let logs = logs(&base).await;
    for (index, entry) in writer.entries.iter().enumerate() {
        let found = logs.find_one(doc! { "_id": index as i64 }).await.unwrap().unwrap();
        assert_eq!(found.get_str("entry").unwrap().as_bytes(), entry);
        let hash: String = leaf_hash(entry).0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found.get_str("hash").unwrap(), hash);
    }
}

/// So many failed log-ins from an address, so many seconds apart.
async fn failures(store: &Mongo, writer: &mut Writer, ip: &str, from: i64, count: i64) {
    let events: Vec<_> = (0..count)
        .map(|n| json!({"timestamp": text(from + n * SECOND), "ip": ip, "user": "root", "status": "failed"}))
        .collect();
    writer.json(store, "app", &events).await;
}

async fn some_failures(store: &Mongo, writer: &mut Writer) {
    failures(store, writer, "10.0.0.1", START, 7).await;
    // Six, but in two windows.
    failures(store, writer, "10.0.0.2", START + 597 * SECOND, 6).await;
    failures(store, writer, "10.0.0.3", START, 6).await;
    failures(store, writer, "10.0.0.4", START, 5).await;
    let fine: Vec<_> =
        (0..20).map(|n| json!({"timestamp": text(START + n), "ip": "10.0.0.5", "status": "ok"})).collect();
    writer.json(store, "app", &fine).await;
}

/// The aggregation of the original specification, as it is written there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_aggregation_runs_as_written() {
    let base = base!();
    let store = base.open().await;
    some_failures(&store, &mut Writer::new()).await;
    let pipeline = [
        doc! { "$match": { "status": "failed" } },
        doc! { "$project": { "ip": 1, "timestamp": { "$dateFromString": { "dateString": "$timestamp" } } } },
        doc! { "$group": {
            "_id": { "ip": "$ip", "window": { "$dateTrunc": { "date": "$timestamp", "unit": "minute", "binSize": 10 } } },
            "count": { "$sum": 1 },
        } },
        doc! { "$match": { "count": { "$gt": 5 } } },
        doc! { "$sort": { "count": -1 } },
    ];
    let found = all(logs(&base).await.aggregate(pipeline).await.unwrap()).await;
    let found: Vec<_> = found
        .iter()
        .map(|row| {
            let id = row.get_document("_id").unwrap();
            (
                id.get_str("ip").unwrap(),
                id.get_datetime("window").unwrap().timestamp_millis(),
                row.get_i32("count").unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("10.0.0.1", START / 1_000, 7), ("10.0.0.3", START / 1_000, 6)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_show_what_the_product_finds() {
    let base = base!();
    let store = base.open().await;
    let mut writer = Writer::new();
    some_failures(&store, &mut writer).await;
    let repeated = json!({"timestamp": text(START), "ip": "10.0.0.6", "status": "failed", "event": {"count": 9}});
    let early = json!({"timestamp": "2026-11-22T04:59:59.999999Z", "user": "night", "ip": "10.0.0.7"});
    let late = json!({"timestamp": "1969-12-31T00:00:00Z", "user": "old"});
    let not = json!({"timestamp": "2026-11-22T05:00:00Z", "user": "morning"});
    writer.json(&store, "app", &[repeated, early, late, not]).await;
    let database = base.database().await;
    let found = all(database.collection("failed_logins_10min").find(doc! {}).await.unwrap()).await;
    let mut shown: Vec<&str> = found.iter().map(|row| row.get_str("ip").unwrap()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["10.0.0.1", "10.0.0.3", "10.0.0.4", "10.0.0.6"]);
    for row in &found {
        assert_eq!(row.get_datetime("from").unwrap().timestamp_millis(), START / 1_000, "{row}");
    }
    let night = all(database.collection("unusual_hours").find(doc! {}).await.unwrap()).await;
    let users: Vec<&str> = night.iter().map(|row| row.get_str("user").unwrap()).collect();
    assert_eq!(users, ["night", "old"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_documents_don_t_get_in() {
    let base = base!();
    let store = base.open().await;
    failures(&store, &mut Writer::new(), "10.0.0.1", START, 1).await;
    let logs = logs(&base).await;
    let good = logs.find_one(doc! { "_id": 0_i64 }).await.unwrap().unwrap();
    let with = |change: Document| {
        let mut document = good.clone();
        document.insert("_id", 1_i64);
        document.extend(change);
        document
    };
    for wrong in [
        doc! { "_id": 1_i64, "note": "mine" },
        with(doc! { "_id": "1" }),
        with(doc! { "_id": -1_i64 }),
        with(doc! { "hash": "short" }),
        with(doc! { "time": "2026" }),
        with(doc! { "entry": 5 }),
        with(doc! { "ip": 5 }),
        with(doc! { "fields": [{ "k": "x" }] }),
        with(doc! { "fields": "x" }),
    ] {
        assert!(logs.insert_one(&wrong).await.is_err(), "{wrong}");
    }
    logs.insert_one(with(doc! {})).await.unwrap();
    let database = base.database().await;
    for (collection, wrong) in [
        ("sceau_state", doc! { "_id": 5, "value": "1", "version": 1_i64 }),
        ("sceau_head", doc! { "_id": "other" }),
        ("sceau_seals", doc! { "_id": "x", "text": "" }),
    ] {
        assert!(database.collection::<Document>(collection).insert_one(wrong).await.is_err(), "{collection}");
    }
}

/// What is there already is left as it is, and what is missing is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preparing_again_changes_nothing_that_is_there() {
    let base = base!();
    let store = base.open().await;
    let mut writer = Writer::new();
    failures(&store, &mut writer, "10.0.0.1", START, 3).await;
    Mongo::prepare(&base.options).await.unwrap();
    let logs = logs(&base).await;
    let mut names = logs.list_index_names().await.unwrap();
    names.sort_unstable();
    assert!(names.iter().any(|name| name == "by_time") && names.len() == 10, "{names:?}");
    assert_eq!(store.entries(Index(0), 10).await.unwrap().entries, writer.entries);
    assert!(Mongo::create(&base.options).await.is_err());
}

/// More than one transaction forgets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_expired_documents_are_forgotten() {
    let base = base!();
    let store = base.open().await;
    let states = base.database().await.collection::<Document>("sceau_state");
    let document = |n: i64, expires: i64| {
        let id = doc! { "c": "c", "k": format!("{n:04}") };
        doc! { "_id": id, "value": "1", "version": 1_i64, "expires": expires }
    };
    states.insert_many((0..2_500).map(|n| document(n, n))).await.unwrap();
    assert_eq!(store.purge(2_399).await.unwrap(), 2_400);
    assert_eq!(store.purge(2_399).await.unwrap(), 0);
    assert_eq!(states.count_documents(doc! {}).await.unwrap(), 100);
}

/// A deletion that was interrupted within a stretch: the rest of it goes with the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_deletion_is_finished() {
    let base = base!();
    let store = base.open().await;
    let mut writer = Writer::new();
    writer.commit(&store, batches(1_100, 3)).await.unwrap();
    // The second bundle can't be deleted.
    let logs = logs(&base).await;
    let document = logs.find_one(doc! { "_id": 300_i64 }).await.unwrap().unwrap();
    logs.delete_one(doc! { "_id": 300_i64 }).await.unwrap();
    assert!(store.prune(Index(512)).await.is_err());
    assert_eq!(store.kept_from().await.unwrap(), Index(256));
    let stretches: Vec<_> =
        store.stretches().await.unwrap().iter().map(|stretch| (stretch.first, stretch.count)).collect();
    assert_eq!(stretches, [(256, 256), (512, 512)]);
    logs.insert_one(document).await.unwrap();
    assert_eq!(store.prune(Index(512)).await.unwrap(), Index(512));
    assert_eq!(store.prune(Index(1_100)).await.unwrap(), Index(1_024));
    assert_eq!(store.entries(Index(1_024), 100).await.unwrap().entries, writer.entries[1_024..]);
}
