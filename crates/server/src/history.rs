//! The log's public keys, as the store tells them: the first ones from the facts, the later ones from the statements that
//! introduced them, each checked by those before it.

use std::sync::Arc;

use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use sceau_ledger::{KeyChange, KeyHistory, SignedKeyChange};
use sceau_store::{Batch, BatchBuilder, Document, Expect, Store, StoreError};
use serde_json::json;

use crate::{error::ServerError, guard::StateChange};

/// The collection of the state that holds the statements.
pub const COLLECTION: &str = "keys";

/// All statements, by index.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn documents(store: &dyn Store) -> Result<Vec<Document>, StoreError> {
    let mut all: Vec<Document> = Vec::new();
    loop {
        let after = all.last().map(|document| document.key.clone()).unwrap_or_default();
        let page = store.list(COLLECTION, &after, 500).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// The statement in a document.
pub(crate) fn note(document: &Document) -> &str {
    document.value.get("note").and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// A document's name: the index of the entry that it belongs to.
pub(crate) fn key(index: u64) -> String {
    format!("{index:020}")
}

/// Reads all keys.
///
/// # Errors
/// The store can't be read, the log is not complete, or a statement does not hold.
pub(crate) async fn read(store: &dyn Store) -> Result<KeyHistory, ServerError> {
    let first = fact(store, "verifier_key").await?.parse()?;
    let first_epoch = fact(store, "first_epoch_key").await?.parse()?;
    let mut history = KeyHistory::new(first, first_epoch);
    for document in documents(store).await? {
        let damaged = |error| StoreError::Damaged(format!("the state {COLLECTION}/{}: {error}", document.key));
        history.add(note(&document).as_bytes()).map_err(damaged)?;
    }
    Ok(history)
}

/// A fact that was fixed when the log was made.
pub(crate) async fn fact(store: &dyn Store, name: &str) -> Result<String, ServerError> {
    let fact = store.fact(name).await?;
    fact.ok_or_else(|| {
        ServerError::Config(format!(
            "the log was never completed (it has no {name}): run again what began it, `sceau init` or `sceau migrate`"
        ))
    })
}

/// What an entry of `sceau.audit` calls it.
fn action(body: &KeyChange) -> &'static str {
    match body.lost.is_empty() {
        true if body.is_take_over() => "take_over",
        true => "key_rotation",
        false => "key_loss",
    }
}

/// The entry of `sceau.audit` that holds a statement, and the write to the state that belongs to it.
pub(crate) fn entry(
    deriver: &Arc<Deriver>,
    now: Micros,
    change: &SignedKeyChange,
    actor: &str,
) -> Result<(Batch, StateChange), ServerError> {
    let body = change.body();
    let key = key(body.index);
    let value = json!({"note": change.text()});
    let event = json!({
        "timestamp": now.to_string(),
        "action": action(body),
        "collection": COLLECTION,
        "key": key,
        "value": value,
        "user": actor,
    });
    let framer = Framer::new(now, &SourceId::audit(), &Meta::default());
    let mut builder = BatchBuilder::new(deriver.clone());
    let internal = |error: String| ServerError::Internal(error);
    builder.push_json(&framer, event.to_string().as_bytes()).map_err(|error| internal(error.to_string()))?;
    let batch = builder.finish().map_err(|error| internal(error.to_string()))?;
    let collection = COLLECTION.to_owned();
    Ok((batch, StateChange { collection, key, value: Some(value), expect: Expect::Absent, expires: None }))
}
