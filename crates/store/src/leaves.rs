//! What retention leaves of deleted entries: their leaves, in bundles of 256, the same in every backend.

use sceau_ledger::LeafHash;

use crate::{error::StoreError, traits::AuditChunk};

/// Entries of a bundle.
pub(crate) const BUNDLE: u64 = 256;
/// Bytes of a full bundle's leaves.
const WIDTH: usize = 32 * BUNDLE as usize;

/// The leaves of one bundle of deleted entries, as stored.
pub(crate) struct LeafRow {
    pub bundle: u64,
    pub hashes: Vec<u8>,
}

impl LeafRow {
    /// The leaves, if there are as many as there should be.
    fn leaves(&self) -> Option<impl Iterator<Item = LeafHash> + '_> {
        let leaf = |hash: &[u8]| LeafHash(hash.try_into().unwrap_or([0; 32]));
        (self.hashes.len() == WIDTH).then(|| self.hashes.chunks_exact(32).map(leaf))
    }
}

/// The index behind the last of a bundle.
pub(crate) fn behind(bundle: u64) -> u64 {
    bundle.saturating_add(1).saturating_mul(BUNDLE)
}

/// The first `width` leaves of a bundle, out of the row that is stored from there on.
pub(crate) fn of_bundle(row: Option<LeafRow>, bundle: u64, width: usize) -> Result<Vec<[u8; 32]>, StoreError> {
    let row = row.filter(|row| row.bundle == bundle);
    let leaves = row.as_ref().and_then(LeafRow::leaves);
    let leaves = leaves.ok_or_else(|| StoreError::Damaged(format!("the leaves of tile 0/{bundle} are missing")))?;
    Ok(leaves.take(width).map(|leaf| leaf.0).collect())
}

/// The leaves of deleted entries from `first`, or from the next bundle that has some, up to `end` and as long as they
/// follow each other.
pub(crate) fn chunk(first: u64, end: u64, rows: &[LeafRow]) -> AuditChunk {
    let mut chunk = AuditChunk { first, ..Default::default() };
    for row in rows {
        let start = row.bundle.saturating_mul(BUNDLE);
        let next = if chunk.pruned.is_empty() { start } else { chunk.first.saturating_add(chunk.pruned.len() as u64) };
        // What is not as long as it should be is as good as missing.
        let Some(leaves) = row.leaves().filter(|_| start < end && start == next) else { break };
        if chunk.pruned.is_empty() {
            chunk.first = first.max(start);
        }
        let skip = usize::try_from(first.saturating_sub(start)).unwrap_or(usize::MAX);
        chunk.pruned.extend(leaves.skip(skip));
    }
    chunk
}
