//! Retention: the oldest stretches go, their leaves stay.
//!
//! Order, for each bundle of 256: every entry read again and compared with the tree → one transaction that keeps the
//! leaves and deletes the documents. A whole stretch would be more than a transaction should hold. Of one that was
//! interrupted the rest goes with the next call. The server's own role may not delete from `logs`: who wants retention gives it the further role.

use std::sync::Arc;

use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc, spec::BinarySubtype};
use sceau_ledger::{LeafHash, Tree, leaf_hash};

use super::{
    Inner,
    head::{HeadNote, number, unsigned},
    insert::Inserts,
    names,
    step::Step,
    transaction::Turn,
};
use crate::{
    error::{CommitError, StoreError},
    leaves::{BUNDLE, LeafRow, behind, of_bundle},
    traits::Stretch,
};

/// What a document weighs where the database does not tell.
const USUAL_BYTES: u64 = 1_024;

/// The index behind the last deleted entry. Gaps before it are left for tiles and audit to find.
pub async fn end(inner: &Inner) -> Result<u64, StoreError> {
    let told = told_end(inner).await?;
    // Read afterwards: it only ever grows.
    if told > 0 {
        let size = inner.timed_store(HeadNote::read(&inner.database)).await?.head.size.0;
        if told > size {
            let detail = format!("{} has leaves up to {told}, but the log ends at {size}", names::LEAVES);
            return Err(StoreError::Damaged(detail));
        }
    }
    Ok(told)
}

/// The same as the collection has it, whatever somebody may have put there.
pub async fn told_end(inner: &Inner) -> Result<u64, StoreError> {
    let last = inner.by_id(names::LEAVES, doc! { "_id": { "$gte": 0_i64 } }, 1, -1).await?;
    Ok(last.first().map_or(0, |last| behind(unsigned(last, names::ID))))
}

/// Up to `limit` bundles of leaves from `bundle` on, by number.
pub async fn rows(inner: &Inner, bundle: u64, limit: usize) -> Result<Vec<LeafRow>, StoreError> {
    let found = inner.by_id(names::LEAVES, doc! { "_id": { "$gte": number(bundle) } }, limit, 1).await?;
    let row = |document: &Document| LeafRow {
        bundle: unsigned(document, names::ID),
        hashes: document.get_binary_generic("hashes").cloned().unwrap_or_default(),
    };
    Ok(found.iter().map(row).collect())
}

/// The first `width` leaves of a bundle of deleted entries.
pub async fn leaves(inner: &Inner, bundle: u64, width: usize) -> Result<Vec<[u8; 32]>, StoreError> {
    of_bundle(rows(inner, bundle, 1).await?.into_iter().next(), bundle, width)
}

/// Whole stretches from the first kept entry on.
pub async fn stretches(inner: &Inner) -> Result<Vec<Stretch>, StoreError> {
    let mut first = end(inner).await?;
    let size = inner.timed_store(HeadNote::read(&inner.database)).await?.head.size.0;
    let weight = inner.document_bytes().await.unwrap_or(USUAL_BYTES);
    let mut found = Vec::new();
    while stretch_end(inner, first) <= size {
        let count = stretch_end(inner, first) - first;
        found.push(Stretch { first, count, bytes: weight.saturating_mul(count) });
        first += count;
    }
    Ok(found)
}

/// Where the stretch of an entry ends: they always lie alike, wherever a deletion was interrupted.
fn stretch_end(inner: &Inner, first: u64) -> u64 {
    let count = inner.options.stretch.max(BUNDLE);
    (first / count).saturating_add(1).saturating_mul(count)
}

/// Deletes the oldest stretches that end at or before `before`; gives the first entry that is kept then.
pub async fn prune(inner: &Arc<Inner>, before: u64) -> Result<u64, StoreError> {
    loop {
        let first = end(inner).await?;
        let size = inner.timed_store(HeadNote::read(&inner.database)).await?.head.size.0;
        let last = stretch_end(inner, first);
        if last > before.min(size) {
            return Ok(first);
        }
        for bundle in first / BUNDLE..last / BUNDLE {
            remove(inner, bundle).await?;
        }
        tracing::info!(first, last = last - 1, "documents deleted by retention");
    }
}

async fn remove(inner: &Arc<Inner>, bundle: u64) -> Result<(), StoreError> {
    let kept = checked_leaves(inner, bundle).await?;
    let range = doc! { "_id": { "$gte": number(bundle * BUNDLE), "$lt": number((bundle + 1) * BUNDLE) } };
    let steps = vec![Step::Insert(Inserts::of(names::LEAVES, [kept])?), Step::Delete(names::LOGS, range)];
    match inner.transact(Turn { steps, ..Turn::default() }).await {
        Err(CommitError::Failed(StoreError::Forbidden { detail, .. })) => Err(StoreError::Forbidden {
            what: "deleting entries; retention needs the role `sceau_retention`, see docs/mongodb.md".into(),
            detail,
        }),
        other => other.map(drop).map_err(CommitError::into_store),
    }
}

/// The leaves of a bundle, computed from its entries and compared with the tree.
async fn checked_leaves(inner: &Inner, bundle: u64) -> Result<RawDocumentBuf, StoreError> {
    let first = bundle * BUNDLE;
    let entries = inner.entries(first, BUNDLE as usize).await?;
    let leaves: Vec<LeafHash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let computed = Tree::new().append(&leaves);
    let stored = inner.tiles(1, bundle, 1).await?;
    let same = stored.first().is_some_and(|tile| {
        tile.position == bundle && computed.first().is_some_and(|hash| hash.level == 1 && hash.hash == tile.hash)
    });
    if !same {
        let detail = "differs from the sealed log when it is read back".into();
        return Err(StoreError::Entry { index: first, detail });
    }
    Ok(row(bundle, &leaves))
}

/// The document that the leaves of a bundle are kept in.
pub fn row(bundle: u64, leaves: &[LeafHash]) -> RawDocumentBuf {
    let bytes = leaves.iter().flat_map(|leaf| leaf.0).collect();
    let hashes = mongodb::bson::Binary { subtype: BinarySubtype::Generic, bytes };
    rawdoc! { "_id": i64::try_from(bundle).unwrap_or(i64::MAX), "hashes": hashes }
}
