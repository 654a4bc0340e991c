//! What the store keeps beside the entries, MACs and tile hashes, compared with what the entries give. Either side may
//! come first.

use super::tree::{Hash, WIDTH};
use super::verdict::{Fault, FaultKind, Faults};
use crate::mac::LABEL;
use crate::{MacKey, MacKeys};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// First and last entry of the subtree `position` of `level`, kept below the tree's size.
pub(super) fn span(level: u8, position: u64, size: u64) -> (u64, u64) {
    let leaves = 1u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX);
    let first = position.saturating_mul(leaves);
    let last = first.saturating_add(leaves - 1).min(size.saturating_sub(1));
    (first, last.max(first))
}

/// Stored tile hashes against computed ones.
#[derive(Default)]
pub(super) struct TileCheck {
    stored: BTreeMap<(u8, u64), Hash>,
    computed: BTreeMap<(u8, u64), Hash>,
}

impl TileCheck {
    /// Takes in a stored hash. Gives the computed one if that is known and differs.
    pub(super) fn store(&mut self, level: u8, position: u64, hash: Hash) -> bool {
        match self.computed.remove(&(level, position)) {
            Some(computed) => computed != hash,
            None => {
                self.stored.insert((level, position), hash);
                false
            }
        }
    }

    /// The stored hash of a subtree whose entries have now all passed.
    pub(super) fn take(&mut self, level: u8, position: u64, computed: Option<Hash>) -> Option<Hash> {
        let stored = self.stored.remove(&(level, position));
        if let (None, Some(computed)) = (stored, computed) {
            self.computed.insert((level, position), computed);
        }
        stored
    }

    /// Names what has no counterpart.
    pub(super) fn finish(&self, size: u64, faults: &mut Faults) {
        for (level, position) in self.computed.keys() {
            let (first, last) = span(*level, *position, size);
            let detail = || format!("the stored tile hash of level {level} is missing");
            faults.run(FaultKind::Tile, first, last, detail);
        }
        // Where entries are missing, that is reported: what is stored about them is no second fault.
        let outside = |(level, position): &&(u8, u64)| span(*level, *position, u64::MAX).1 >= size;
        let count = self.stored.keys().filter(outside).count();
        if let Some((level, position)) = self.stored.keys().find(outside) {
            let detail = format!("{count} stored tile hashes belong to no subtree, the first is {level}/{position}");
            faults.push(Fault::whole(FaultKind::Tile, detail));
        }
    }
}

/// Stored bundle MACs against computed ones.
pub(super) struct MacCheck {
    keys: Option<MacKeys>,
    stored: BTreeMap<u64, (u16, Hash)>,
    computed: BTreeMap<u64, (u16, Hash)>,
    wrong: BTreeSet<u64>,
    last_holds: bool,
}

impl MacCheck {
    pub(super) fn new(keys: Option<MacKeys>) -> Self {
        MacCheck { keys, stored: BTreeMap::new(), computed: BTreeMap::new(), wrong: BTreeSet::new(), last_holds: false }
    }

    pub(super) fn has_key(&self) -> bool {
        self.keys.is_some()
    }

    /// The first entry of which the MAC can be checked: the keys of those before it are not at hand.
    pub(super) fn first_entry(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys.first_bundle().saturating_mul(WIDTH as u64))
    }

    fn key(&self, bundle: u64) -> Option<&MacKey> {
        self.keys.as_ref()?.at(bundle)
    }

    /// Takes in a stored tag. `false` if it is known to be wrong.
    pub(super) fn store(&mut self, bundle: u64, count: u16, tag: Hash) -> bool {
        if self.key(bundle).is_none() {
            return true;
        }
        match self.computed.remove(&bundle) {
            Some(computed) if same(&computed, &(count, tag)) => true,
            Some(_) => {
                self.wrong.insert(bundle);
                false
            }
            None => {
                self.stored.insert(bundle, (count, tag));
                true
            }
        }
    }

    /// Judges the stored tag of a bundle whose entries have all passed: `None` if there is no key or no tag yet.
    pub(super) fn judge(&mut self, bundle: u64, leaves: &[Option<Hash>]) -> Option<bool> {
        let holds = self.compare(bundle, leaves);
        self.last_holds = holds == Some(true);
        holds
    }

    /// Whether MACs vouch for the bundle that was judged last.
    pub(super) fn last_holds(&self) -> bool {
        self.last_holds
    }

    /// Says that the MACs of single entries vouch for the bundle that was judged last.
    pub(super) fn vouch(&mut self) {
        self.last_holds = true;
    }

    fn compare(&mut self, bundle: u64, leaves: &[Option<Hash>]) -> Option<bool> {
        let key = self.key(bundle)?.clone();
        let known: Option<Vec<Hash>> = leaves.iter().copied().collect();
        let count = leaves.len() as u16;
        let stored = self.stored.remove(&bundle);
        let Some(known) = known else {
            self.wrong.insert(bundle);
            return None;
        };
        let computed = (count, tag(&key, bundle, &known));
        let Some(stored) = stored else {
            self.computed.insert(bundle, computed);
            return None;
        };
        let right = same(&stored, &computed);
        if !right {
            self.wrong.insert(bundle);
        }
        Some(right)
    }

    /// Names what has no counterpart and gives the number of entries, from the first on, whose MACs hold.
    pub(super) fn finish(&mut self, size: u64, faults: &mut Faults) -> u64 {
        for bundle in self.computed.keys() {
            let (first, last) = span(1, *bundle, size);
            faults.run(FaultKind::Mac, first, last, || "no MAC is stored".to_owned());
            self.wrong.insert(*bundle);
        }
        let (inside, outside): (Vec<u64>, Vec<u64>) =
            self.stored.keys().partition(|bundle| bundle.saturating_mul(WIDTH as u64) < size);
        self.wrong.extend(inside);
        if let Some(first) = outside.first() {
            let count = outside.len();
            let detail = format!("{count} stored MACs belong to no entries, the first to bundle {first}");
            faults.push(Fault::whole(FaultKind::Mac, detail));
        }
        let first_wrong = self.wrong.first().map(|bundle| bundle.saturating_mul(WIDTH as u64));
        first_wrong.unwrap_or(u64::MAX).min(size)
    }
}

fn same(one: &(u16, Hash), other: &(u16, Hash)) -> bool {
    one.0 == other.0 && equal(&one.1, &other.1)
}

/// Compares without telling by its time how much of a guessed tag is right.
pub(super) fn equal(one: &Hash, other: &Hash) -> bool {
    one.ct_eq(other).into()
}

/// HMAC-SHA-256 over label, first index, and each index with its leaf (`docs/format.md`).
fn tag(key: &MacKey, bundle: u64, leaves: &[Hash]) -> Hash {
    let first = bundle.saturating_mul(WIDTH as u64);
    let mut input = Vec::with_capacity(LABEL.len() + 8 + 40 * leaves.len());
    input.extend_from_slice(LABEL);
    input.extend_from_slice(&first.to_be_bytes());
    for (index, leaf) in (first..).zip(leaves) {
        input.extend_from_slice(&index.to_be_bytes());
        input.extend_from_slice(leaf);
    }
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(&key.0);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(&input);
    mac.finalize().into_bytes().into()
}
