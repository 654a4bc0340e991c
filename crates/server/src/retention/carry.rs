//! State is explained by entries of `sceau.audit`; those that still are the newest word about a document are repeated
//! before they go, with the index of the first time. A statement about keys names the very entry that holds it, so that
//! entry's text is repeated whole: it must have the leaf that stays.

use sceau_event::SourceId;
use sceau_ledger::{Head, Index, leaf_hash};
use sceau_store::{
    Expect, StoreError,
    query::{Order, Page, Query, parse},
};
use serde_json::json;

use super::examine::{Change, Changes, change};
use crate::{error::ServerError, guard::StateChange, log::Log, prover};

/// Entries found at once.
const PAGE: usize = 1_000;

/// Repeats what still explains the present state.
///
/// # Errors
/// The state is not what the newest entry about it says, so that deleting that entry would hide who changed it.
pub(super) async fn carry(log: &Log, head: &Head, end: u64, mut changes: Changes) -> Result<(), ServerError> {
    if changes.is_empty() {
        return Ok(());
    }
    drop_superseded(log, head, end, &mut changes).await?;
    for ((collection, key), Change { index, value, entry }) in changes {
        let found = log.reader().store().get(&collection, &key, log.now().0).await?;
        match (value, found) {
            (None, None) => {}
            (Some(value), Some(document)) if document.value == value => {
                let mut event = json!({
                    "timestamp": log.now().to_string(),
                    "action": "state_change",
                    "collection": collection,
                    "key": key,
                    "value": value,
                    "user": "system",
                    "carried": index,
                });
                if let Some(entry) = entry {
                    event["entry"] = entry.into();
                }
                // Whoever changes it meanwhile makes this one fail, and it is looked at again in the next round.
                let expect = Expect::Version(document.version);
                let write = StateChange { collection, key, value: Some(value), expect, expires: None };
                log.note_with(SourceId::audit(), &event, vec![write]).await?;
            }
            _ => {
                let detail = format!(
                    "the state {collection}/{key} is not what this entry set, and no later one tells why; the entry is \
                     kept as evidence, run `sceau verify`"
                );
                return Err(StoreError::Entry { index, detail }.into());
            }
        }
    }
    Ok(())
}

/// Forgets changes of documents that a later entry changed again. A search only finds the entry: it must be under the
/// published head, as columns and filters may say anything.
async fn drop_superseded(log: &Log, head: &Head, end: u64, changes: &mut Changes) -> Result<(), ServerError> {
    let reader = log.reader();
    let filter = parse("source:sceau.audit event.action:state_change", log.now())
        .map_err(|error| ServerError::Internal(error.message))?;
    let query = Query { from: None, to: None, filter, internal: true };
    let mut page = Page { order: Order::Newest, limit: PAGE, after: None };
    loop {
        let found = reader.store().search(&query, &page, reader.query_time()).await?;
        for hit in found.hits.iter().filter(|hit| hit.index.0 >= end && hit.index.0 < head.size.0) {
            let Some((name, _)) = change(hit.index.0, &hit.entry).filter(|(name, _)| changes.contains_key(name)) else {
                continue;
            };
            let leaf = leaf_hash(&hit.entry);
            let proof = prover::inclusion(&**reader.store(), Index(hit.index.0), head.size).await?;
            if sceau_ledger::check_inclusion(hit.index, leaf, head, &proof).is_ok() {
                changes.remove(&name);
            }
        }
        page.after = match found.next {
            Some(next) if !changes.is_empty() => Some(next),
            _ => return Ok(()),
        };
    }
}
