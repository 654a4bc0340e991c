//! The writer's right edge of the tree.
//!
//! Only the roots of the perfect subtrees that make up the tree are kept, largest first: one for each set bit of the
//! size. Appending a leaf costs one node hash on average and no read.

use crate::{Head, LeafHash, LedgerError, RootHash, TILE_WIDTH, TreeSize, hash::node_hash};
use serde::{Deserialize, Serialize};

/// The largest tree that is computed with. The stored-hash numbering of tlog_tiles overflows soon after.
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// Where proofs and [`Tree::restore`] read hashes from.
pub trait Tiles {
    /// Gives the first `width` (1 to 256) hashes of tile `n` at `level`: leaf hashes at level 0, above it the hashes of
    /// completed subtrees of 256^level leaves (C2SP tlog-tiles, "Merkle Tree").
    ///
    /// # Errors
    /// [`LedgerError::Tile`] when they can't be read.
    fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError>;
}

impl<T: Tiles + ?Sized> Tiles for &T {
    fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
        (**self).tile(level, n, width)
    }
}

/// Reads a tile and makes sure that it is as wide as asked.
pub(crate) fn read_tile(tiles: &impl Tiles, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
    let hashes = tiles.tile(level, n, width)?;
    if hashes.len() == usize::from(width) {
        return Ok(hashes);
    }
    let reason = format!("{} hashes instead of {width}", hashes.len());
    Err(LedgerError::Tile { level, n, reason })
}

/// The hash of a completed subtree of 256^level leaves: one hash of a C2SP tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TileHash {
    /// Tile level, 1 or more; level 0, the leaves, is not reported.
    pub level: u8,
    /// Number of the hash within its level: tile `position / 256`, offset `position % 256`.
    pub position: u64,
    /// RFC 6962 hash of the leaves `position * 256^level .. (position + 1) * 256^level`.
    pub hash: [u8; 32],
}

/// The growing tree. Clone it, append to the clone, and keep the clone only once the commit is durable.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    peaks: Vec<[u8; 32]>,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds the right edge of a tree of `size` entries from stored hashes: at most one partial tile a level is read.
    ///
    /// The caller compares [`Tree::head`] with the head it has stored: restoring alone proves nothing.
    ///
    /// # Errors
    /// What `tiles` returns, [`LedgerError::Tile`] for a tile of the wrong width, [`LedgerError::TooLarge`].
    pub fn restore<T: Tiles>(size: TreeSize, tiles: &T) -> Result<Tree, LedgerError> {
        let size = size.0;
        if size > MAX_TREE_SIZE {
            return Err(LedgerError::TooLarge(size));
        }
        let mut peaks = Vec::new();
        for level in (0..8u8).rev() {
            let hashes = size >> (8 * u32::from(level));
            let width = (hashes % u64::from(TILE_WIDTH)) as u16;
            if width == 0 {
                continue;
            }
            let tile = read_tile(tiles, level, hashes / u64::from(TILE_WIDTH), width)?;
            let mut rest = tile.as_slice();
            for bit in (0..8).rev().filter(|bit| width >> bit & 1 == 1) {
                let (subtree, after) = rest.split_at(1 << bit);
                peaks.push(perfect_root(subtree));
                rest = after;
            }
        }
        Ok(Tree { size, peaks })
    }

    /// The head at the present size.
    #[must_use]
    pub fn head(&self) -> Head {
        let mut peaks = self.peaks.iter().rev().copied();
        let Some(last) = peaks.next() else {
            return Head::empty();
        };
        let root = peaks.fold(last, |right, left| node_hash(&left, &right));
        Head { size: TreeSize(self.size), root: RootHash(root) }
    }

    /// Appends leaves and returns the hash of every subtree of 256^level leaves (level ≥ 1) that they complete, in the
    /// order of completion.
    pub fn append(&mut self, leaves: &[LeafHash]) -> Vec<TileHash> {
        let mut completed = Vec::with_capacity(leaves.len() / usize::from(TILE_WIDTH) + 1);
        for leaf in leaves {
            let mut hash = leaf.0;
            // Every trailing one bit of the leaf's index is a subtree that this leaf completes.
            for height in 1..=self.size.trailing_ones() {
                let Some(left) = self.peaks.pop() else { break };
                hash = node_hash(&left, &hash);
                if height % 8 == 0 {
                    let level = (height / 8) as u8;
                    completed.push(TileHash { level, position: self.size >> height, hash });
                }
            }
            self.peaks.push(hash);
            self.size += 1;
        }
        completed
    }
}

/// Root over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [] => tlog_tiles::EMPTY_HASH.0,
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}
