//! What is to be deleted, read once more: it must be what was sealed, or evidence would go with it.

use std::{collections::BTreeMap, sync::Arc};

use sceau_event::{Deriver, SourceId};
use sceau_ledger::{Head, Index, LeafHash, leaf_hash};
use sceau_store::{Store, StoreError};
use serde_json::Value;

use crate::{audit_entry::AuditEntry, error::ServerError, prover};

/// Entries read at once.
const STEP: u64 = 4_096;

/// Collection and key of a document.
pub(super) type Name = (String, String);
/// The newest change of each document.
pub(super) type Changes = BTreeMap<Name, Change>;

/// A change of a document, as an entry of `sceau.audit` tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// The entry that told it first.
    pub index: u64,
    pub value: Option<Value>,
    /// The exact text of that entry, if it is a statement about keys.
    pub entry: Option<String>,
}

/// What a stretch holds that matters.
#[derive(Default)]
pub(super) struct Found {
    /// The latest receive time.
    pub newest: i64,
    pub changes: Changes,
}

/// The document that an entry of `sceau.audit` changes, and how: by a change of the state or a statement about keys.
pub(super) fn change(index: u64, entry: &[u8]) -> Option<(Name, Change)> {
    let (told, text) = match AuditEntry::read(entry)? {
        // Of one that was repeated before, the first text.
        AuditEntry::State(mut told) => {
            let text = told.entry.take();
            (told, text)
        }
        AuditEntry::Keys(told) => (told, String::from_utf8(entry.to_vec()).ok()),
        AuditEntry::Other(_) => return None,
    };
    let change = Change { index: told.carried.unwrap_or(index), value: told.value, entry: text };
    Some(((told.collection, told.key), change))
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
            && let Some((name, change)) = change(index, entry)
        {
            found.changes.insert(name, change);
        }
    }
    Ok((leaves, found))
}
