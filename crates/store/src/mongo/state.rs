//! `State`: small documents of one collection.
//!
//! `{_id: {c: collection, k: key}, value: text of JSON, version, expires, expires_at, mac}`; `expires_at` is for people.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::{
    Mongo,
    connect::whole,
    head::{binary, number, unsigned},
    names,
    step::Step,
    transaction::Turn,
};
use crate::{
    error::{CommitError, StoreError},
    traits::{CommitLimits, Document as StateDocument, State, StateWrite},
};

/// The collection that documents are shown in whose `_id` is not what it should be; behind every other name.
const ODD: &str = "\u{10ffff}";
/// How many of those are shown.
const MOST_ODD: i64 = 1_000;

/// How many documents are forgotten in one transaction.
const ROUND: usize = 1_000;
/// How many transactions one call makes at most; the next call goes on.
const ROUNDS: usize = 2_000;

/// The wall clock, microseconds since the epoch; only for expiry, never for anything that is sealed.
pub fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// A part of the key is a list.
fn list(name: &str) -> Document {
    doc! { name: { "$type": "array" } }
}

/// The key of a document.
pub fn state_id(collection: &str, key: &str) -> Document {
    doc! { "c": collection, "k": key }
}

/// What a write leaves there; `None`: nothing.
pub fn document(write: &StateWrite, version: u64) -> Option<Document> {
    let mut document =
        doc! { "_id": state_id(&write.collection, &write.key), "value": write.text()?, "version": number(version) };
    if let Some(expires) = write.expires {
        document.insert("expires", expires);
        document.insert("expires_at", DateTime::from_millis(expires.div_euclid(1_000)));
    }
    if let Some(mac) = &write.mac {
        document.insert("mac", binary(mac));
    }
    Some(document)
}

/// A document and its collection. A value that somebody made no JSON is read as the text it is, so that it is compared
/// and found wrong; so is whatever else is not what it should be.
pub fn read(document: &Document) -> (String, StateDocument) {
    let id = document.get_document(names::ID).ok();
    let part = |name: &str| id.and_then(|id| id.get_str(name).ok()).map(str::to_owned);
    let (collection, key) = match (part("c"), part("k")) {
        (Some(collection), Some(key)) => (collection, key),
        _ => (ODD.to_owned(), document.get(names::ID).map(Bson::to_string).unwrap_or_default()),
    };
    let text = match document.get("value") {
        Some(Bson::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let value = serde_json::from_str(&text).unwrap_or_else(|_| serde_json::Value::String(text.clone()));
    let expires = document.get("expires").map(|_| whole(document, "expires").unwrap_or(i64::MIN));
    let mac = document.get("mac").map(|mac| match mac {
        Bson::Binary(binary) => binary.bytes.clone(),
        _ => Vec::new(),
    });
    let version = unsigned(document, "version");
    (collection, StateDocument { key, value, text, version, expires, mac })
}

impl Mongo {
    async fn states(&self, filter: Document, limit: usize) -> Result<Vec<(String, StateDocument)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let collection = self.inner.database.collection::<Document>(names::STATE);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.inner.timed(async {
            let cursor = collection.find(filter).sort(doc! { "_id.c": 1, "_id.k": 1 }).limit(limit).await?;
            cursor.try_collect::<Vec<Document>>().await
        });
        Ok(found.await?.iter().map(read).collect())
    }

    /// Documents whose `_id` is not what it should be. No index knows them; of the state there are about a million documents
    /// at most, as many as idempotency keys are remembered (`docs/limits.md`), so they are looked through.
    async fn odd_states(&self, after: &str, limit: usize) -> Result<Vec<(String, StateDocument)>, StoreError> {
        let no_text = |name: &str| [doc! { name: { "$not": { "$type": "string" } } }, list(name)];
        let filter = doc! { "$or": ([no_text("_id.c"), no_text("_id.k")].concat()) };
        let collection = self.inner.database.collection::<Document>(names::STATE);
        let found = self
            .inner
            .timed(async { collection.find(filter).limit(MOST_ODD).await?.try_collect::<Vec<Document>>().await })
            .await?;
        let mut found: Vec<_> = found.iter().map(read).filter(|(_, document)| document.key.as_str() > after).collect();
        found.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        found.truncate(limit);
        Ok(found)
    }

    /// The keys of some documents that have expired.
    async fn expired(&self, now: i64) -> Result<Vec<Bson>, StoreError> {
        let collection = self.inner.database.collection::<Document>(names::STATE);
        let filter = doc! { "expires": { "$lte": now } };
        let found = self.inner.timed(async {
            let limit = i64::try_from(ROUND).unwrap_or(i64::MAX);
            let cursor = collection.find(filter).projection(doc! { "_id": 1 }).limit(limit).await?;
            cursor.try_collect::<Vec<Document>>().await
        });
        Ok(found.await?.into_iter().filter_map(|mut document| document.remove(names::ID)).collect())
    }
}

#[async_trait]
impl State for Mongo {
    async fn get(&self, collection: &str, key: &str, now: i64) -> Result<Option<StateDocument>, StoreError> {
        let found = self.states(doc! { "_id": state_id(collection, key) }, 1).await?;
        let lives = |document: &StateDocument| document.expires.is_none_or(|expires| expires > now);
        Ok(found.into_iter().map(|(_, document)| document).find(lives))
    }

    async fn list(&self, collection: &str, after: &str, limit: usize) -> Result<Vec<StateDocument>, StoreError> {
        let found = self.states(doc! { "_id.c": collection, "_id.k": { "$gt": after } }, limit).await?;
        Ok(found.into_iter().map(|(_, document)| document).collect())
    }

    async fn audit_state(
        &self,
        (collection, key): (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, StateDocument)>, StoreError> {
        // A list is taken for each of its members; shown here, it would end the walk through all that are right.
        let lists = [list("_id.c"), list("_id.k")];
        let behind = doc! { "_id.c": { "$gt": collection }, "_id.k": { "$type": "string" }, "$nor": lists.to_vec() };
        let within = doc! { "_id.c": collection, "_id.k": { "$gt": key }, "$nor": lists.to_vec() };
        let mut found =
            if collection < ODD { self.states(doc! { "$or": [within, behind] }, limit).await? } else { Vec::new() };
        if found.len() < limit {
            let after = if collection == ODD { key } else { "" };
            found.extend(self.odd_states(after, limit - found.len()).await?);
        }
        Ok(found)
    }

    async fn count_documents(&self, collection: &str, now: i64) -> Result<u64, StoreError> {
        let filter = doc! { "_id.c": collection, "expires": { "$not": { "$lte": now } } };
        let states = self.inner.database.collection::<Document>(names::STATE);
        self.inner.timed(async { states.count_documents(filter).await }).await
    }

    async fn write(&self, writes: Vec<StateWrite>) -> Result<(), CommitError> {
        if writes.is_empty() {
            return Ok(());
        }
        let bytes = |write: &StateWrite| write.key.len() + write.text().map_or(0, |text| text.len());
        let load = Some(CommitLimits { entries: writes.len(), bytes: writes.iter().map(bytes).sum() });
        let steps = vec![Step::State(writes, now_micros())];
        self.inner.transact(Turn { steps, load, ..Turn::default() }).await.map(drop)
    }

    async fn purge(&self, now: i64) -> Result<u64, StoreError> {
        let mut gone = 0;
        // A transaction is kept short: a million documents would be one that the server refuses.
        for _ in 0..ROUNDS {
            let ids = self.expired(now).await?;
            let last = ids.len() < ROUND;
            if !ids.is_empty() {
                // What was written anew meanwhile stays.
                let filter = doc! { "_id": { "$in": ids }, "expires": { "$lte": now } };
                let turn = Turn { steps: vec![Step::Delete(names::STATE, filter)], ..Turn::default() };
                gone += self.inner.transact(turn).await.map_err(CommitError::into_store)?;
            }
            if last {
                break;
            }
        }
        Ok(gone)
    }
}
