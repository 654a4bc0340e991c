//! Lets the ledger's mathematics, which reads tiles synchronously, run over a store that doesn't.

use std::{cell::RefCell, collections::HashMap};

use sceau_ledger::{Head, Index, LeafHash, LedgerError, Tiles, Tree, TreeSize};
use sceau_store::{Store, StoreError};

use crate::error::ServerError;

/// No proof or restoration needs more tiles: two for each of eight levels, and as many again for a second tree.
const MAX_TILES: usize = 64;

type Place = (u8, u64, u16);

/// The tiles fetched so far, and the first one that was missed.
#[derive(Default)]
struct Fetched {
    tiles: HashMap<Place, Vec<[u8; 32]>>,
    missed: RefCell<Option<Place>>,
}

impl Tiles for Fetched {
    fn tile(&self, level: u8, n: u64, width: u16) -> Result<Vec<[u8; 32]>, LedgerError> {
        if let Some(hashes) = self.tiles.get(&(level, n, width)) {
            return Ok(hashes.clone());
        }
        self.missed.borrow_mut().get_or_insert((level, n, width));
        Err(LedgerError::Tile { level, n, reason: "not fetched yet".to_owned() })
    }
}

/// The leaf of an entry, of one that retention deleted too.
///
/// # Errors
/// The tile can't be read.
pub async fn leaf(store: &dyn Store, index: Index) -> Result<LeafHash, ServerError> {
    let place = u16::try_from(index.0 % 256).unwrap_or(0);
    let hashes = store.tile(0, index.0 / 256, place + 1).await?;
    let leaf =
        hashes.get(usize::from(place)).ok_or_else(|| StoreError::Absent(format!("the leaf of entry {index}")))?;
    Ok(LeafHash(*leaf))
}

/// Makes sure that a full bundle with these leaves is in the tree of `head`.
///
/// # Errors
/// It is not, or a tile can't be read.
pub async fn check_bundle(store: &dyn Store, head: &Head, bundle: u64, leaves: &[LeafHash]) -> Result<(), ServerError> {
    let index = bundle.saturating_mul(256);
    let first = leaves.first().copied().filter(|_| leaves.len() == 256);
    let mut fetched = Fetched::default();
    // The path of the first leaf goes through the hash of all: with these for its siblings it fits only if all do.
    fetched.tiles.insert((0, bundle, 256), leaves.iter().map(|leaf| leaf.0).collect());
    let path = fetching(store, fetched, |tiles| sceau_ledger::inclusion_proof(Index(index), head.size, &tiles)).await?;
    let proven = first.map(|first| sceau_ledger::check_inclusion(Index(index), first, head, &path));
    match proven {
        Some(Ok(())) => Ok(()),
        _ => {
            let detail = "or one of the 255 behind it is not what was sealed; run `sceau verify`".to_owned();
            Err(StoreError::Entry { index, detail }.into())
        }
    }
}

/// Runs `compute` with whatever tiles it asks for.
async fn with_tiles<T>(
    store: &dyn Store,
    compute: impl Fn(&dyn Tiles) -> Result<T, LedgerError>,
) -> Result<T, ServerError> {
    fetching(store, Fetched::default(), compute).await
}

/// Runs `compute` again and again, each time with one more of the tiles that it asks for.
async fn fetching<T>(
    store: &dyn Store,
    mut fetched: Fetched,
    compute: impl Fn(&dyn Tiles) -> Result<T, LedgerError>,
) -> Result<T, ServerError> {
    loop {
        let result = compute(&fetched);
        match fetched.missed.take() {
            None => return Ok(result?),
            Some(_) if fetched.tiles.len() >= MAX_TILES => {
                return Err(ServerError::Internal("a proof asks for too many tiles".to_owned()));
            }
            Some((level, n, width)) => {
                let hashes = store.tile(level, n, width).await?;
                fetched.tiles.insert((level, n, width), hashes);
            }
        }
    }
}

/// The right edge of the tree of `size` entries.
///
/// # Errors
/// A tile can't be read.
pub async fn restore(store: &dyn Store, size: TreeSize) -> Result<Tree, ServerError> {
    with_tiles(store, |tiles| Tree::restore(size, &tiles)).await
}

/// The proof that entry `index` is in the tree of `size` entries.
///
/// # Errors
/// A tile can't be read; the entry is not in that tree.
pub async fn inclusion(store: &dyn Store, index: Index, size: TreeSize) -> Result<Vec<[u8; 32]>, ServerError> {
    with_tiles(store, |tiles| sceau_ledger::inclusion_proof(index, size, &tiles)).await
}

/// The proof that the tree of size `old` is the beginning of that of size `new`.
///
/// # Errors
/// A tile can't be read; `old` is larger than `new`.
pub async fn consistency(store: &dyn Store, old: TreeSize, new: TreeSize) -> Result<Vec<[u8; 32]>, ServerError> {
    with_tiles(store, |tiles| sceau_ledger::consistency_proof(old, new, &tiles)).await
}

/// Whether the log began with what `old` says.
///
/// # Errors
/// A tile can't be read.
pub async fn starts_with(store: &dyn Store, old: &Head) -> Result<bool, ServerError> {
    Ok(restore(store, old.size).await?.head() == *old)
}
