//! Retention: whole segments go from the old end, their leaves stay.
//!
//! Order: every entry read again and compared with the tree → one transaction that keeps the leaves and takes the segment
//! out of the catalogue → the snapshot → the file, once its last reader has gone. A crash before the transaction leaves
//! everything as it was; after it, a file that nothing names, which the next start removes.

use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use sceau_ledger::LeafHash;

use super::{
    Inner,
    compact::{self, BUNDLE},
    db::{self, number},
    ledger::usize_of,
    segment::Segment,
};
use crate::{error::StoreError, traits::AuditChunk};

/// Bytes of a full bundle's leaves.
const WIDTH: usize = 32 * BUNDLE;

/// The leaves of one bundle of deleted entries, as stored.
pub(super) struct LeafRow {
    pub bundle: u64,
    pub hashes: Vec<u8>,
}

impl LeafRow {
    /// The leaves, if there are as many as there should be.
    pub fn leaves(&self) -> Option<impl Iterator<Item = LeafHash> + '_> {
        let leaf = |hash: &[u8]| LeafHash(hash.try_into().unwrap_or([0; 32]));
        (self.hashes.len() == WIDTH).then(|| self.hashes.chunks_exact(32).map(leaf))
    }
}

/// The index behind the last deleted entry. Gaps before it are left for tiles and audit to find.
pub(super) fn end(connection: &Connection) -> Result<u64, StoreError> {
    let last: Option<u64> = connection
        .prepare_cached("SELECT bundle FROM leaf_tile ORDER BY bundle DESC LIMIT 1")?
        .query_row([], |row| db::odd_integer(row, 0))
        .optional()?;
    Ok(last.map_or(0, |bundle| bundle.saturating_add(1).saturating_mul(BUNDLE as u64)))
}

/// Up to `limit` bundles of leaves from `bundle` on, by number.
pub(super) fn rows(connection: &Connection, bundle: u64, limit: usize) -> Result<Vec<LeafRow>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT bundle, hashes FROM leaf_tile WHERE bundle >= ?1 ORDER BY bundle LIMIT ?2")?;
    let rows = statement.query_map(params![number(bundle), number(limit as u64)], |row| {
        Ok(LeafRow { bundle: db::odd_integer(row, 0)?, hashes: db::odd_bytes(row, 1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first `width` leaves of a bundle of deleted entries.
pub(super) fn leaves(connection: &Connection, bundle: u64, width: u16) -> Result<Vec<[u8; 32]>, StoreError> {
    let row = rows(connection, bundle, 1)?.into_iter().next().filter(|row| row.bundle == bundle);
    let leaves = row.as_ref().and_then(LeafRow::leaves);
    let leaves = leaves.ok_or_else(|| StoreError::Damaged(format!("the leaves of tile 0/{bundle} are missing")))?;
    Ok(leaves.take(usize::from(width)).map(|leaf| leaf.0).collect())
}

/// The leaves of deleted entries from `first`, or from the next bundle that has some, up to `end` and as long as they
/// follow each other.
pub(super) fn chunk(first: u64, end: u64, rows: &[LeafRow]) -> AuditChunk {
    let mut chunk = AuditChunk { first, ..Default::default() };
    for row in rows {
        let start = row.bundle.saturating_mul(BUNDLE as u64);
        let next = if chunk.pruned.is_empty() { start } else { chunk.first.saturating_add(chunk.pruned.len() as u64) };
        // What is not as long as it should be is as good as missing.
        let Some(leaves) = row.leaves().filter(|_| start < end && start == next) else { break };
        if chunk.pruned.is_empty() {
            chunk.first = first.max(start);
        }
        chunk.pruned.extend(leaves.skip(usize_of(first.saturating_sub(start))));
    }
    chunk
}

/// Deletes the oldest segments that end at or before `before`; gives the first entry that is kept then.
pub(super) fn prune(inner: &Inner, before: u64) -> Result<u64, StoreError> {
    loop {
        let _one = inner.segments.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = inner.snapshot();
        let Some(segment) = snapshot.segments.first().filter(|segment| segment.end() <= before) else {
            return Ok(snapshot.first);
        };
        remove(inner, segment)?;
    }
}

fn remove(inner: &Inner, segment: &Arc<Segment>) -> Result<(), StoreError> {
    let mut kept: Vec<(u64, Vec<u8>)> = Vec::new();
    compact::check(inner, segment, |bundle, leaves| {
        kept.push((bundle, leaves.iter().flat_map(|leaf| leaf.0).collect()));
    })?;
    let end = segment.end();
    inner.db.write(|transaction| replace(transaction, segment, &kept), |()| ())?;
    inner.replace(|snapshot| {
        snapshot.segments.retain(|present| !Arc::ptr_eq(present, segment));
        snapshot.first = end;
        Ok(())
    })?;
    segment.retire();
    tracing::info!(first = segment.row.first, last = end - 1, bytes = segment.bytes(), "segment deleted by retention");
    Ok(())
}

/// Puts the leaves in the place of the segment.
fn replace(transaction: &Transaction<'_>, segment: &Segment, kept: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached("INSERT INTO leaf_tile (bundle, hashes) VALUES (?1, ?2)")?;
    for (bundle, hashes) in kept {
        insert.execute(params![number(*bundle), hashes])?;
    }
    let row = &segment.row;
    let named = transaction
        .execute("DELETE FROM segment WHERE first = ?1 AND file = ?2", params![number(row.first), row.file])?;
    let oldest = db::segments(transaction)?.first().is_none_or(|next| next.first == segment.end());
    if named != 1 || !oldest {
        return Err(StoreError::Damaged(format!("the catalogue was changed under us: {} is not its first", row.file)));
    }
    Ok(())
}
