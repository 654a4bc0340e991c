//! Walking the log's entries, where retention may be faster.

use sceau_ledger::Index;
use sceau_store::{EntryRows, Store, StoreError};

/// Up to `most` entries from `first` on and before `end`; behind those that retention has deleted, so the first may be
/// another. None only where none is left before `end`.
///
/// # Errors
/// The store can't be read, or an entry is missing that was not deleted.
pub(crate) async fn kept(store: &dyn Store, first: u64, end: u64, most: usize) -> Result<EntryRows, StoreError> {
    let mut first = first;
    while first < end {
        let limit = usize::try_from(end - first).unwrap_or(usize::MAX).min(most);
        match store.entries(Index(first), limit).await {
            Err(StoreError::Expired { .. }) => first = store.kept_from().await?.0.max(first + 1),
            Ok(rows) if rows.entries.is_empty() => {
                return Err(StoreError::Entry { index: first, detail: "is missing".to_owned() });
            }
            rows => return rows,
        }
    }
    Ok(EntryRows { first: Index(first), entries: Vec::new() })
}

/// The index behind the last of these.
pub(crate) fn behind(rows: &EntryRows) -> u64 {
    rows.first.0.saturating_add(rows.entries.len() as u64)
}
