//! Small documents.

use sceau_store::{CommitError, Document, Expect, State, StateWrite};
use serde_json::{Value, json};

use super::{Home, reopen};

/// Far in the future for any clock that runs these tests.
const LATER: i64 = i64::MAX / 2;

pub fn put(key: &str, value: Value, expect: Expect) -> StateWrite {
    StateWrite { collection: "c".into(), key: key.into(), value: Some(value), expect, expires: None, mac: None }
}

async fn get(store: &impl State, key: &str) -> Option<Document> {
    store.get("c", key, 0).await.unwrap()
}

fn conflicts(result: Result<(), CommitError>) -> bool {
    matches!(result, Err(CommitError::StateConflict { collection, .. }) if collection == "c")
}

pub async fn compare_and_set<H: Home>(home: &H) {
    let store = home.open().await;
    assert_eq!(get(&store, "a").await, None);
    assert!(conflicts(store.write(vec![put("a", json!(1), Expect::Version(1))]).await));
    store.write(vec![put("a", json!({"x": [1, null, "é"]}), Expect::Absent)]).await.unwrap();
    let first = get(&store, "a").await.unwrap();
    let (value, text) = (json!({"x": [1, null, "é"]}), r#"{"x":[1,null,"é"]}"#.into());
    assert_eq!(first, Document { key: "a".into(), value, text, version: 1, expires: None, mac: None });
    assert!(conflicts(store.write(vec![put("a", json!(2), Expect::Absent)]).await));
    assert!(conflicts(store.write(vec![put("a", json!(2), Expect::Version(2))]).await));
    store.write(vec![put("a", json!(2), Expect::Version(1))]).await.unwrap();
    store.write(vec![put("a", json!(3), Expect::Any)]).await.unwrap();
    let store = reopen(home, store).await;
    assert_eq!(get(&store, "a").await.map(|d| (d.value, d.version)), Some((json!(3), 3)));
    assert_eq!(store.get("other", "a", 0).await.unwrap(), None);

    let remove = |expect| StateWrite { value: None, ..put("a", json!(0), expect) };
    assert!(conflicts(store.write(vec![remove(Expect::Version(1))]).await));
    store.write(vec![remove(Expect::Version(3))]).await.unwrap();
    assert_eq!(get(&store, "a").await, None);
    assert!(conflicts(store.write(vec![remove(Expect::Version(3))]).await));
    store.write(vec![remove(Expect::Any)]).await.unwrap();
}

pub async fn expiry<H: Home>(home: &H) {
    let store = home.open().await;
    let until = |key, expires| StateWrite { expires: Some(expires), ..put(key, json!(key), Expect::Absent) };
    store.write(vec![until("past", 10), until("future", LATER), put("ever", json!(0), Expect::Any)]).await.unwrap();
    assert!(store.get("c", "past", 9).await.unwrap().is_some());
    assert_eq!(store.get("c", "past", 10).await.unwrap(), None);
    assert!(store.get("c", "future", 10).await.unwrap().is_some());
    // What has expired is as good as absent.
    store.write(vec![put("past", json!(2), Expect::Absent)]).await.unwrap();
    assert_eq!(store.get("c", "past", LATER).await.unwrap().map(|d| (d.value, d.version)), Some((json!(2), 1)));
    assert_eq!(store.purge(LATER - 1).await.unwrap(), 0);
    let live = store.list("c", "", 1_000).await.unwrap().len() as u64;
    let count = async |now| store.count_documents("c", now).await.unwrap();
    assert_eq!((count(LATER - 1).await, count(LATER).await), (live, live - 1));
    assert_eq!(store.count_documents("nothing", LATER).await.unwrap(), 0);
    assert_eq!(store.purge(LATER).await.unwrap(), 1);
    assert_eq!(store.get("c", "future", 0).await.unwrap(), None);
    assert!(store.get("c", "ever", i64::MAX).await.unwrap().is_some());
}

pub async fn pages<H: Home>(home: &H) {
    let store = home.open().await;
    let names: Vec<String> = (0..25).map(|number| format!("k{number:02}")).collect();
    store.write(names.iter().rev().map(|name| put(name, json!(name), Expect::Absent)).collect()).await.unwrap();
    let mut other = put("k00x", json!(0), Expect::Absent);
    other.collection = "d".into();
    store.write(vec![other]).await.unwrap();
    let mut found: Vec<String> = vec![];
    loop {
        let after = found.last().cloned().unwrap_or_default();
        let page = store.list("c", &after, 10).await.unwrap();
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|document| document.key));
    }
    assert_eq!(found, names);
    assert_eq!(store.list("none", "", 10).await.unwrap(), []);
}

pub async fn all_or_nothing<H: Home>(home: &H) {
    let store = home.open().await;
    let both = vec![put("a", json!(1), Expect::Absent), put("b", json!(1), Expect::Version(4))];
    match store.write(both).await {
        Err(CommitError::StateConflict { collection, key }) => assert_eq!((&*collection, &*key), ("c", "b")),
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&store, "a").await, None);
    store.write(vec![]).await.unwrap();
}

pub async fn macs_are_kept<H: Home>(home: &H) {
    let store = home.open().await;
    let with = |key, mac: Option<&[u8]>| StateWrite {
        mac: mac.map(<[u8]>::to_vec),
        expires: Some(LATER),
        ..put(key, json!({"b": 1.50, "a": "\u{1F980}"}), Expect::Any)
    };
    let text = with("x", None).text().unwrap();
    let other = StateWrite { collection: "b".into(), ..with("z", Some(b"of another collection")) };
    store.write(vec![with("x", Some(&[0, 255])), with("y", None), other]).await.unwrap();
    let store = reopen(home, store).await;
    let found = get(&store, "x").await.unwrap();
    assert_eq!((found.mac, found.text, found.expires), (Some(vec![0, 255]), text, Some(LATER)));
    // A write without one takes the old one away.
    store.write(vec![with("x", None)]).await.unwrap();
    assert_eq!(get(&store, "x").await.unwrap().mac, None);
    let mut all: Vec<(String, Document)> = Vec::new();
    loop {
        let after = all.last().map_or(("", ""), |(collection, document)| (collection, &document.key));
        let page = store.audit_state(after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let names: Vec<_> = all.iter().map(|(collection, document)| (collection.as_str(), document.key.as_str())).collect();
    assert_eq!(names, [("b", "z"), ("c", "x"), ("c", "y")]);
    assert_eq!(all[0].1.mac.as_deref(), Some(b"of another collection".as_slice()));
}
