//! Retention: whole segments go from the old end, their leaves stay.
//!
//! Order: every entry read again and compared with the tree → one transaction that keeps the leaves and takes the segment
//! out of the catalogue → the snapshot → the file, once its last reader has gone. A crash before the transaction leaves
//! everything as it was; after it, a file that nothing names, which the next start removes.

use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    Inner, compact,
    db::{self, number},
    segment::Segment,
};
use crate::{
    error::StoreError,
    leaves::{LeafRow, behind, of_bundle},
};

/// The index behind the last deleted entry. Gaps before it are left for tiles and audit to find.
pub(super) fn end(connection: &Connection) -> Result<u64, StoreError> {
    let last: Option<u64> = connection
        .prepare_cached("SELECT bundle FROM leaf_tile ORDER BY bundle DESC LIMIT 1")?
        .query_row([], |row| db::odd_integer(row, 0))
        .optional()?;
    Ok(last.map_or(0, behind))
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
    of_bundle(rows(connection, bundle, 1)?.into_iter().next(), bundle, usize::from(width))
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
