//! A log held in memory, and where the shared test data lies.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../cli/tests/common/shared.rs"]
mod shared;

use sceau_ledger::{LeafHash, LedgerError, TileHash, Tiles, Tree, leaf_hash};
#[allow(unused_imports)]
pub use shared::shared;
use std::collections::HashMap;

/// Every tile hash of a log, by level and position.
#[derive(Default)]
pub struct Memory {
    pub tree: Tree,
    pub leaves: Vec<LeafHash>,
    pub hashes: HashMap<(u8, u64), [u8; 32]>,
    pub completed: Vec<TileHash>,
}

impl Memory {
    pub fn push(&mut self, entry: &[u8]) {
        let leaf = leaf_hash(entry);
        self.hashes.insert((0, self.leaves.len() as u64), leaf.0);
        self.leaves.push(leaf);
        for tile in self.tree.append(&[leaf]) {
            self.hashes.insert((tile.level, tile.position), tile.hash);
            self.completed.push(tile);
        }
    }

    pub fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut memory = Memory::default();
        entries.into_iter().for_each(|entry| memory.push(&entry));
        memory
    }
}

impl Tiles for Memory {
    fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
        let missing = || LedgerError::Tile { level, n, reason: "not there".into() };
        let hash = |at: u64| self.hashes.get(&(level, at)).copied().ok_or_else(missing);
        (n * 256..n * 256 + u64::from(width)).map(hash).collect()
    }
}

/// Entry `n` of the test logs.
pub fn entry(n: u64) -> Vec<u8> {
    format!("entry number {n}").into_bytes()
}
