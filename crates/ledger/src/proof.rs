//! Inclusion and consistency proofs, read from tiles; the mathematics is that of `tlog_tiles`.

use crate::tree::{MAX_TREE_SIZE, perfect_root, read_tile};
use crate::{Head, Index, LeafHash, LedgerError, TILE_WIDTH, Tiles, TreeSize};
use std::cell::RefCell;
use std::collections::HashMap;
use tlog_tiles::{Hash, HashReader};

/// No proof in a tree of at most 2^62 leaves is longer; the checks copy a proof once per level, so its length is
/// limited before they start.
const MAX_PROOF: usize = 64;

/// Tiles that one proof has read, by level and number.
type TilesRead = HashMap<(u8, u64), Vec<[u8; 32]>>;

/// Lets `tlog_tiles` read single tree nodes out of our tiles.
struct Reader<'a, T> {
    tiles: &'a T,
    size: u64,
    read: RefCell<TilesRead>,
    error: RefCell<Option<LedgerError>>,
}

impl<'a, T: Tiles> Reader<'a, T> {
    fn new(tiles: &'a T, size: u64) -> Self {
        Reader { tiles, size, read: RefCell::default(), error: RefCell::default() }
    }

    /// The hash of node `n` at `height` above the leaves.
    fn node(&self, height: u8, n: u64) -> Result<Hash, LedgerError> {
        let level = height / 8;
        let within = height % 8;
        let first = n << within;
        let tile = first / u64::from(TILE_WIDTH);
        let offset = (first % u64::from(TILE_WIDTH)) as usize;
        let mut read = self.read.borrow_mut();
        let hashes = match read.entry((level, tile)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                let stored = self.size >> (8 * u32::from(level));
                let width = (stored - (tile * u64::from(TILE_WIDTH)).min(stored)).min(u64::from(TILE_WIDTH));
                unknown.insert(read_tile(self.tiles, level, tile, width as u16)?)
            }
        };
        let span = hashes.get(offset..offset + (1 << within));
        let reason = || String::from("too narrow for the tree's size");
        span.map(|hashes| Hash(perfect_root(hashes))).ok_or_else(|| LedgerError::Tile {
            level,
            n: tile,
            reason: reason(),
        })
    }

    /// The error that a tile gave, or that the proof can't be had.
    fn error(self) -> LedgerError {
        self.error.into_inner().unwrap_or(LedgerError::ProofMismatch)
    }
}

impl<T: Tiles> HashReader for Reader<'_, T> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let nodes = indexes.iter().map(|index| {
            let (height, n) = tlog_tiles::split_stored_hash_index(*index);
            self.node(height, n)
        });
        nodes.collect::<Result<_, _>>().map_err(|error| {
            *self.error.borrow_mut() = Some(error);
            tlog_tiles::Error::InvalidTile
        })
    }
}

fn check_size(size: TreeSize) -> Result<u64, LedgerError> {
    if size.0 > MAX_TREE_SIZE { Err(LedgerError::TooLarge(size.0)) } else { Ok(size.0) }
}

fn check_old(old: TreeSize, new: TreeSize) -> Result<u64, LedgerError> {
    let size = check_size(new)?;
    if old.0 > size {
        return Err(LedgerError::OutOfRange { what: "size", value: old.0, size });
    }
    Ok(size)
}

fn unwrapped(hashes: Vec<Hash>) -> Vec<[u8; 32]> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

fn wrapped(proof: &[[u8; 32]]) -> Result<Vec<Hash>, LedgerError> {
    if proof.len() > MAX_PROOF {
        return Err(LedgerError::ProofMismatch);
    }
    Ok(proof.iter().copied().map(Hash).collect())
}

/// The Merkle audit path of an entry, from the leaf's sibling up (RFC 6962 section 2.1.1).
///
/// # Errors
/// [`LedgerError::OutOfRange`] if the entry is not in a tree of that size; what `tiles` returns.
pub fn inclusion_proof(index: Index, size: TreeSize, tiles: &impl Tiles) -> Result<Vec<[u8; 32]>, LedgerError> {
    let size = check_size(size)?;
    if index.0 >= size {
        return Err(LedgerError::OutOfRange { what: "index", value: index.0, size });
    }
    let reader = Reader::new(tiles, size);
    match tlog_tiles::prove_record(size, index.0, &reader) {
        Ok(proof) => Ok(unwrapped(proof)),
        Err(_) => Err(reader.error()),
    }
}

/// Checks that `leaf` is entry `index` of the tree with this head (RFC 6962 section 2.1.1).
///
/// # Errors
/// [`LedgerError::OutOfRange`], or [`LedgerError::ProofMismatch`] if the proof does not show it.
pub fn check_inclusion(index: Index, leaf: LeafHash, head: &Head, proof: &[[u8; 32]]) -> Result<(), LedgerError> {
    let size = check_size(head.size)?;
    if index.0 >= size {
        return Err(LedgerError::OutOfRange { what: "index", value: index.0, size });
    }
    tlog_tiles::check_record(&wrapped(proof)?, size, Hash(head.root.0), index.0, Hash(leaf.0))
        .map_err(|_| LedgerError::ProofMismatch)
}

/// The proof that the tree of size `old` is a prefix of that of size `new` (RFC 6962 section 2.1.2). It is empty if
/// `old` is 0 or equal to `new`.
///
/// # Errors
/// [`LedgerError::OutOfRange`] if `old` is larger than `new`; what `tiles` returns.
pub fn consistency_proof(old: TreeSize, new: TreeSize, tiles: &impl Tiles) -> Result<Vec<[u8; 32]>, LedgerError> {
    let size = check_old(old, new)?;
    if old.0 == 0 {
        return Ok(Vec::new());
    }
    let reader = Reader::new(tiles, size);
    match tlog_tiles::prove_tree(size, old.0, &reader) {
        Ok(proof) => Ok(unwrapped(proof)),
        Err(_) => Err(reader.error()),
    }
}

/// Checks that the log with head `new` holds everything the log with head `old` held, in the same places (RFC 6962
/// section 2.1.2).
///
/// # Errors
/// [`LedgerError::OutOfRange`] if `old` is larger, [`LedgerError::ProofMismatch`] if the proof does not show it.
pub fn check_consistency(old: &Head, new: &Head, proof: &[[u8; 32]]) -> Result<(), LedgerError> {
    let size = check_old(old.size, new.size)?;
    if old.size.0 == 0 {
        let empty = proof.is_empty() && *old == Head::empty() && (size > 0 || new == old);
        return if empty { Ok(()) } else { Err(LedgerError::ProofMismatch) };
    }
    tlog_tiles::check_tree(&wrapped(proof)?, size, Hash(new.root.0), old.size.0, Hash(old.root.0))
        .map_err(|_| LedgerError::ProofMismatch)
}
