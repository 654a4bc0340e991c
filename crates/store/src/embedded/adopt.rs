//! What a log brings along that moves into this directory, besides entries.

use rusqlite::{Transaction, params};
use sceau_ledger::Head;

use super::{
    Inner,
    compact::BUNDLE,
    db::{self, number},
    prune,
};
use crate::{
    error::{CommitError, StoreError},
    traits::{Moved, MovedLeaves},
};

/// Writes it in one transaction.
pub(super) fn adopt(inner: &Inner, moved: &Moved) -> Result<(), CommitError> {
    match moved {
        Moved::Seals(seals) => {
            let put = |transaction: &Transaction<'_>| seals.iter().try_for_each(|seal| db::put_seal(transaction, seal));
            Ok(inner.db.write(put, |()| ())?)
        }
        Moved::Checkpoints(checkpoints) => {
            let put = |transaction: &Transaction<'_>| {
                checkpoints.iter().try_for_each(|(size, note)| db::put_checkpoint(transaction, size.0, note))
            };
            Ok(inner.db.write(put, |()| ())?)
        }
        Moved::Leaves(moved) => leaves(inner, moved),
    }
}

fn leaves(inner: &Inner, moved: &MovedLeaves) -> Result<(), CommitError> {
    moved.check()?;
    let mut shown = Ok(());
    inner.db.write(
        |transaction| put_leaves(transaction, moved),
        |()| {
            shown = inner.replace(|snapshot| {
                snapshot.first = moved.head.size.0;
                Ok(())
            });
        },
    )?;
    Ok(shown?)
}

fn put_leaves(transaction: &Transaction<'_>, moved: &MovedLeaves) -> Result<(), CommitError> {
    let actual: Head = db::head(transaction)?;
    if actual != moved.expected {
        return Err(CommitError::HeadMoved { actual });
    }
    if prune::end(transaction)? != actual.size.0 {
        return Err(StoreError::Internal("leaves without entries belong in front of all entries".into()).into());
    }
    let first = actual.size.0 / BUNDLE as u64;
    for (bundle, leaves) in (first..).zip(moved.leaves.chunks(BUNDLE)) {
        let hashes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
        transaction
            .prepare_cached("INSERT INTO leaf_tile (bundle, hashes) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![number(bundle), hashes]))
            .map_err(StoreError::from)?;
    }
    db::insert_tiles(transaction, &moved.tiles)?;
    db::put_macs(transaction, &moved.macs)?;
    Ok(db::set_head(transaction, &moved.head)?)
}
