//! Entries that something stored beside them speaks against: the prefix of their leaf, or their own MAC.

use super::side::equal;
use super::tree::Hash;
use super::verdict::{Fault, FaultKind};
use super::{AuditInput, Auditor, WIDTH};
use crate::key_change::Lost;
use crate::mac::LABEL;
use crate::{Index, KeyHistory, MacKey, MacKeys};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a store keeps as an entry's own MAC.
pub(super) enum StoredTag {
    /// It keeps none of single entries.
    NotKept,
    /// It keeps them: this one, or none where one should be.
    Kept(Option<Hash>),
}

/// What an entry's own MAC says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing: the store keeps none, or the key is not at hand.
    None,
    /// That it is the entry that was written at this index.
    Right,
    /// There is one, but not this entry's.
    Wrong,
    /// There is none where one should be.
    Missing,
}

impl Word {
    fn against(self) -> bool {
        matches!(self, Word::Wrong | Word::Missing)
    }
}

/// An entry of the unfinished bundle that something stored beside it does not fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspect {
    pub(super) index: u64,
    prefix_wrong: bool,
    word: Word,
}

const PREFIX_WRONG: &str = "the leaf prefix stored beside the entry is wrong; the entry is right";
const TAG_WRONG: &str = "the MAC stored beside the entry is wrong; the entry is right";
const TAG_MISSING: &str = "no MAC is stored beside the entry; the entry is right";
const NOT_ITS_MAC: &str = "no right MAC for this index is stored beside it: it is not the entry that was hashed, or its \
                           MAC was changed besides";

impl Suspect {
    /// `None` if nothing speaks against the entry.
    pub(super) fn of(index: u64, prefix_wrong: bool, word: Word) -> Option<Self> {
        (prefix_wrong || word.against()).then_some(Suspect { index, prefix_wrong, word })
    }

    /// What is wrong if the entry is right.
    pub(super) fn otherwise(self) -> impl Iterator<Item = (FaultKind, &'static str)> {
        let prefix = self.prefix_wrong.then_some((FaultKind::Prefix, PREFIX_WRONG));
        let tag = match self.word {
            Word::Wrong => Some((FaultKind::Mac, TAG_WRONG)),
            Word::Missing => Some((FaultKind::Mac, TAG_MISSING)),
            Word::None | Word::Right => None,
        };
        prefix.into_iter().chain(tag)
    }

    /// Whether its own MAC says that it is right all the same.
    pub(super) fn is_vouched_for(self) -> bool {
        self.word == Word::Right
    }
}

/// Stored MACs of single entries against computed ones.
pub(super) struct TagCheck {
    keys: Option<MacKeys>,
    /// The bundle that `keyed` is for.
    bundle: Option<u64>,
    /// HMAC under that bundle's key, with the label taken in: what all its entries have in common.
    keyed: Option<Hmac<Sha256>>,
    /// How many entries of the unfinished bundle have the right one.
    held: usize,
    first_wrong: u64,
    /// Entries of which the key was lost although that of their bundle is known: first, and one behind the last.
    lost: Vec<(u64, u64)>,
}

impl TagCheck {
    /// A check that goes on in a bundle of which `held` entries have the right one.
    pub(super) fn new(input: &AuditInput, held: usize) -> Self {
        let (keys, lost) = (input.mac_keys.clone(), lost(&input.history));
        TagCheck { keys, bundle: None, keyed: None, held, first_wrong: u64::MAX, lost }
    }

    /// How many entries of the unfinished bundle have the right one.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The first entry that has not the right one.
    pub(super) fn first_wrong(&self) -> u64 {
        self.first_wrong
    }

    /// Ends a bundle; `true` if each of its `count` entries has the right one.
    pub(super) fn close_bundle(&mut self, count: usize) -> bool {
        std::mem::take(&mut self.held) == count
    }

    /// What the stored one says of an entry.
    pub(super) fn judge(&mut self, index: u64, leaf: &Hash, stored: &StoredTag) -> Word {
        let StoredTag::Kept(stored) = stored else { return Word::None };
        if self.lost.iter().any(|(first, end)| (*first..*end).contains(&index)) {
            return Word::None;
        }
        let Some(keyed) = self.keyed(index / WIDTH as u64) else { return Word::None };
        let word = match stored {
            None => Word::Missing,
            Some(stored) if equal(stored, &tag(keyed.clone(), index, leaf)) => Word::Right,
            Some(_) => Word::Wrong,
        };
        self.held += usize::from(word == Word::Right);
        if word.against() {
            self.first_wrong = self.first_wrong.min(index);
        }
        word
    }

    fn keyed(&mut self, bundle: u64) -> Option<&Hmac<Sha256>> {
        if self.bundle != Some(bundle) {
            self.bundle = Some(bundle);
            self.keyed = self.keys.as_ref().and_then(|keys| keys.at(bundle)).map(start);
        }
        self.keyed.as_ref()
    }
}

/// A key that took the place of a lost one counts from the bundle that was unfinished then, whose MAC is made anew. The
/// MACs of the entries that were in it stay as they were written.
fn lost(history: &KeyHistory) -> Vec<(u64, u64)> {
    let bodies = history.changes().iter().map(|change| change.body());
    let bodies = bodies.filter(|body| body.lost.contains(&Lost::Mac));
    bodies.filter_map(|body| Some((body.mac?.bundle.saturating_mul(WIDTH as u64), body.index))).collect()
}

fn start(key: &MacKey) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(&key.0);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(LABEL);
    mac
}

/// HMAC-SHA-256 over label, first index, index and leaf: of a range with only this entry in it (`docs/format.md`).
/// Not the writer's `EntryMac`: the auditor shares no code of that kind with the writer, so that a mistake there shows here.
fn tag(mut mac: Hmac<Sha256>, index: u64, leaf: &Hash) -> Hash {
    let mut input = [0u8; 48];
    input[..8].copy_from_slice(&index.to_be_bytes());
    input[8..16].copy_from_slice(&index.to_be_bytes());
    input[16..].copy_from_slice(leaf);
    mac.update(&input);
    mac.finalize().into_bytes().into()
}

impl Auditor {
    /// [`Auditor::entry`] of a store that keeps the MAC of each entry beside it (`entry_mac`): `tag` is what is stored
    /// there.
    pub fn tagged_entry(
        &mut self,
        index: Index,
        entry: Option<&[u8]>,
        stored_prefix: Option<[u8; 4]>,
        received_micros: Option<i64>,
        tag: Option<[u8; 32]>,
    ) {
        self.take_in(index.0, entry, stored_prefix, received_micros, &StoredTag::Kept(tag));
    }

    /// Names what is wrong beside a right entry.
    pub(super) fn name_beside(&mut self, suspect: Suspect) {
        for (kind, detail) in suspect.otherwise() {
            match kind {
                FaultKind::Mac => self.faults.also(kind, suspect.index, detail),
                _ => self.faults.push(Fault::at(kind, suspect.index, detail)),
            }
        }
    }

    /// Names a suspect of a bundle that was changed.
    pub(super) fn name_suspect(&mut self, suspect: Suspect) {
        if suspect.is_vouched_for() {
            self.name_beside(suspect);
        } else if suspect.prefix_wrong {
            self.name_changed(suspect.index, suspect.index);
        } else {
            self.faults.also(FaultKind::EntryChanged, suspect.index, NOT_ITS_MAC);
            self.faulty.insert(suspect.index / WIDTH as u64);
        }
    }
}
