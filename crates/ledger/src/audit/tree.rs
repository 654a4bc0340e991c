//! The auditor's own Merkle tree.
//!
//! The writer keeps a stack of perfect subtrees; this keeps whole tiles and computes roots by the recursive definition
//! of RFC 6962 section 2.1. Only the SHA-256 crate is used, and not even the version the writer's hashing uses.

use sha2::{Digest as _, Sha256};

pub(super) type Hash = [u8; 32];
pub(super) const WIDTH: usize = 256;

/// SHA-256(0x00 ‖ entry).
pub(super) fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(entry).finalize().into()
}

/// The Merkle tree hash of RFC 6962 section 2.1 over hashes that are leaves already.
fn merkle(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        more => {
            // The largest power of two below the length.
            let split = more.len().next_power_of_two() / 2;
            let (left, right) = more.split_at(split);
            let mut block = [0x01; 65];
            block[1..33].copy_from_slice(&merkle(left));
            block[33..].copy_from_slice(&merkle(right));
            Sha256::digest(block).into()
        }
    }
}

/// The same over hashes of which some may not be known.
pub(super) fn merkle_known(hashes: &[Option<Hash>]) -> Option<Hash> {
    let mut known = Vec::with_capacity(hashes.len());
    for hash in hashes {
        known.push((*hash)?);
    }
    Some(merkle(&known))
}

/// A subtree of 256^level leaves that has just been completed.
pub(super) struct Completed {
    pub(super) level: u8,
    pub(super) position: u64,
    pub(super) hash: Option<Hash>,
}

/// The tiles at the right edge, from level 1 (hashes of full bundles) up, each with less than 256 hashes.
#[derive(Clone, Default)]
pub(super) struct Edge {
    tiles: Vec<Vec<Option<Hash>>>,
    bundles: u64,
}

impl Edge {
    /// Adds the hash of the next full bundle. Gives the subtrees of level 2 and up that it completes.
    pub(super) fn push(&mut self, bundle: Option<Hash>) -> Vec<Completed> {
        let mut completed = Vec::new();
        let mut hash = bundle;
        self.bundles += 1;
        let mut position = self.bundles;
        for level in 1u8.. {
            let at = usize::from(level) - 1;
            if at == self.tiles.len() {
                self.tiles.push(Vec::with_capacity(WIDTH));
            }
            let Some(tile) = self.tiles.get_mut(at) else { break };
            tile.push(hash);
            if tile.len() < WIDTH {
                break;
            }
            hash = merkle_known(tile);
            tile.clear();
            position /= WIDTH as u64;
            completed.push(Completed { level: level + 1, position: position - 1, hash });
        }
        completed
    }

    /// The root over all full bundles and the leaves of an unfinished one.
    pub(super) fn root(&self, leaves: &[Option<Hash>]) -> Option<Hash> {
        let mut below: Option<Hash> = None;
        let lowest = std::iter::once(leaves);
        for tile in lowest.chain(self.tiles.iter().map(Vec::as_slice)) {
            // What is below an edge tile is one more, smaller, right-most subtree of it.
            let mut hashes = tile.iter().copied().collect::<Option<Vec<Hash>>>()?;
            hashes.extend(below);
            if !hashes.is_empty() {
                below = Some(merkle(&hashes));
            }
        }
        Some(below.unwrap_or_else(|| merkle(&[])))
    }
}
