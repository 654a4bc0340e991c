//! The right edge of the tree, and what grows with it.

use std::sync::Arc;

use sceau_ledger::{BundleMac, EntryMac, Index, LeafHash, MacKeys, TileHash, Tree};
use sceau_store::{Batch, StoreError, traits::BundleTag};

use crate::metrics::Metrics;

/// Groups of fewer entries are hashed where they are: handing them to another thread costs more.
const INLINE_LEAVES: usize = 2_048;

/// The right edge of the log: what the next entries build on.
#[derive(Clone)]
pub struct Edge {
    pub tree: Tree,
    pub bundle: BundleMac,
    pub keys: MacKeys,
}

/// What grows with the log beside its entries.
#[derive(Debug, Default)]
pub struct Grown {
    pub tiles: Vec<TileHash>,
    pub macs: Vec<BundleTag>,
    /// The HMAC of each entry, where the store keeps them.
    pub tags: Vec<[u8; 32]>,
}

/// Appends to the edge, on a thread for that if there is much to hash.
pub async fn extend(
    mut edge: Edge,
    batches: &[Arc<Batch>],
    tagged: bool,
    metrics: &Arc<Metrics>,
) -> Result<(Edge, Grown), StoreError> {
    let entries: usize = batches.iter().map(|batch| batch.len()).sum();
    let (batches, metrics) = (batches.to_vec(), metrics.clone());
    let work = move || {
        let append = || edge.append(batches.iter().map(|batch| batch.leaves()), tagged);
        let grown = metrics.sequencing(append);
        (edge, grown)
    };
    if entries <= INLINE_LEAVES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))
}

impl Edge {
    /// Appends leaves; `tagged`: each gets a MAC of its own too.
    pub fn append<'a>(&mut self, batches: impl Iterator<Item = &'a [LeafHash]>, tagged: bool) -> Grown {
        let mut grown = Grown::default();
        let mut bundle = self.tree.head().size.0 / 256;
        let single = |keys: &MacKeys, bundle| keys.at(bundle).filter(|_| tagged).map(EntryMac::new);
        let mut entry_mac = single(&self.keys, bundle);
        for leaves in batches {
            for &leaf in leaves {
                if let Some(entry_mac) = &entry_mac {
                    let index = bundle * 256 + u64::from(self.bundle.count());
                    grown.tags.push(entry_mac.tag(Index(index), leaf));
                }
                self.bundle.push(leaf);
                if self.bundle.count() == 256 {
                    grown.macs.push(BundleTag { bundle, count: 256, tag: self.bundle.tag() });
                    bundle += 1;
                    self.bundle = self.keys.start(bundle);
                    entry_mac = single(&self.keys, bundle);
                }
            }
            grown.tiles.extend(self.tree.append(leaves));
        }
        if self.bundle.count() > 0 {
            grown.macs.push(BundleTag { bundle, count: self.bundle.count(), tag: self.bundle.tag() });
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use sceau_ledger::{MacKey, entry_mac};

    use super::*;

    fn leaves(count: usize) -> Vec<LeafHash> {
        (0..count).map(|n| sceau_ledger::leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn bundles_are_tagged_whatever_the_batches() {
        let key = MacKey::from_bytes([3; 32]);
        let keys = MacKeys::new(0, key);
        let edge = Edge { tree: Tree::new(), bundle: keys.start(0), keys };
        let all = leaves(700);
        let whole = edge.clone().append([all.as_slice()].into_iter(), false).macs;
        assert_eq!(whole.iter().map(|tag| tag.count).collect::<Vec<_>>(), [256, 256, 188]);
        let mut stepwise = edge.clone();
        let mut tags = std::collections::BTreeMap::new();
        for step in all.chunks(97) {
            let macs = stepwise.append([step].into_iter(), false).macs;
            tags.extend(macs.into_iter().map(|tag| (tag.bundle, tag)));
        }
        assert_eq!(tags.into_values().collect::<Vec<_>>(), whole);
        let mut exact = edge;
        let macs = exact.append([leaves(256).as_slice()].into_iter(), false).macs;
        assert_eq!(macs.len(), 1);
    }

    #[test]
    fn each_entry_is_tagged_where_the_store_keeps_that() {
        let mut keys = MacKeys::new(0, MacKey::from_bytes([3; 32]));
        keys.add(2, MacKey::from_bytes([4; 32]));
        let mut edge = Edge { tree: Tree::new(), bundle: keys.start(0), keys: keys.clone() };
        let all = leaves(700);
        let tags: Vec<_> = all.chunks(97).flat_map(|step| edge.append([step].into_iter(), true).tags).collect();
        let wanted = (0..).zip(&all).map(|(index, &leaf)| entry_mac(keys.at(index / 256).unwrap(), Index(index), leaf));
        assert_eq!(tags, wanted.collect::<Vec<_>>());
    }
}
