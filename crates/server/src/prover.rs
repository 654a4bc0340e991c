//! Lets the ledger's mathematics, which reads tiles synchronously, run over a store that doesn't.

use std::{cell::RefCell, collections::HashMap};

use sceau_ledger::{Head, Index, LedgerError, Tiles, Tree, TreeSize};
use sceau_store::Store;

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

/// Runs `compute` again and again, each time with one more of the tiles that it asks for.
async fn with_tiles<T>(
    store: &dyn Store,
    compute: impl Fn(&dyn Tiles) -> Result<T, LedgerError>,
) -> Result<T, ServerError> {
    let mut fetched = Fetched::default();
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

/// Whether the log began with what `old` says.
///
/// # Errors
/// A tile can't be read.
pub async fn starts_with(store: &dyn Store, old: &Head) -> Result<bool, ServerError> {
    Ok(restore(store, old.size).await?.head() == *old)
}
