//! What is to be deleted, read once more: it must be what was sealed, or evidence would go with it.

use std::{collections::BTreeMap, sync::Arc};

use sceau_event::{Deriver, SourceId};
use sceau_ledger::{Head, Index, LeafHash, leaf_hash};
use sceau_store::{Store, StoreError};
use serde::Deserialize;
use serde_json::Value;

use crate::{error::ServerError, prover};

/// Entries read at once.
const STEP: u64 = 4_096;

/// The newest change of each document: by whom it was told, and the value.
pub(super) type Changes = BTreeMap<(String, String), (u64, Option<Value>)>;

/// What a stretch holds that matters.
#[derive(Default)]
pub(super) struct Found {
    /// The latest receive time.
    pub newest: i64,
    pub changes: Changes,
}

#[derive(Deserialize)]
struct Envelope {
    data: Change,
}

#[derive(Deserialize)]
struct Change {
    action: String,
    collection: String,
    key: String,
    value: Option<Value>,
}

/// The document that an entry of `sceau.audit` changes, and its new value.
pub(super) fn change(entry: &[u8]) -> Option<((String, String), Option<Value>)> {
    let Envelope { data } = serde_json::from_slice(entry).ok()?;
    (data.action == "state_change").then_some(((data.collection, data.key), data.value))
}

/// Reads the entries `first` to `end`, whole bundles, and proves each bundle to be under `head`.
///
/// # Errors
/// An entry can't be read or is not what was sealed.
pub(super) async fn examine(
    store: &dyn Store,
    deriver: &Arc<Deriver>,
    head: &Head,
    first: u64,
    end: u64,
) -> Result<Found, ServerError> {
    let mut found = Found { newest: i64::MIN, ..Found::default() };
    let mut next = first;
    while next < end {
        let wanted = STEP.min(end - next);
        let rows = store.entries(Index(next), usize::try_from(wanted).unwrap_or(0)).await?;
        if rows.entries.len() as u64 != wanted {
            return Err(StoreError::Entry { index: next, detail: "or one behind it is missing".into() }.into());
        }
        let (deriver, from) = (deriver.clone(), next);
        let work = move || step(&deriver, from, &rows.entries, found);
        let leaves;
        (leaves, found) =
            tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))??;
        for (bundle, leaves) in (next / 256..).zip(leaves.chunks(256)) {
            prover::check_bundle(store, head, bundle, leaves).await?;
        }
        next += wanted;
    }
    Ok(found)
}

fn step(
    deriver: &Deriver,
    first: u64,
    entries: &[Vec<u8>],
    mut found: Found,
) -> Result<(Vec<LeafHash>, Found), StoreError> {
    let audit = SourceId::audit();
    let mut leaves = Vec::with_capacity(entries.len());
    for (index, entry) in (first..).zip(entries) {
        leaves.push(leaf_hash(entry));
        let record = deriver.derive(entry).map_err(|error| StoreError::Entry { index, detail: error.to_string() })?;
        found.newest = found.newest.max(record.received.0);
        if record.source == audit.as_str()
            && let Some((name, value)) = change(entry)
        {
            found.changes.insert(name, (index, value));
        }
    }
    Ok((leaves, found))
}
