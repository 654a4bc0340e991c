//! Independent re-verification of a whole log.
//!
//! It shares no hashing and no ordering code with the writer: `tree` and `side` hash with `sha2` by methods of their
//! own. The texts of checkpoints and seals are read by the same parsers, which are strict.
//!
//! # How a change is named
//! The 4-byte prefix stored beside each entry names a changed entry exactly. Where the prefix was changed too, the
//! bundle's MAC and its stored tile hash give the 256 entries, narrowed by the heads signed inside the bundle. Where
//! all of these were changed, the signed heads between which the change lies are named. After a change, the stored tile
//! hash stands in for the bundle's entries, so that everything after it is still checked.

mod bundle;
mod chain;
mod heads;
mod pruned;
mod reach;
mod side;
mod suspect;
mod tree;
mod verdict;

use crate::{EpochPublic, Head, Index, KeyHistory, MacKeys, RootHash, open_checkpoint_of};
use chain::Chain;
pub use chain::{MAX_EPOCH_MICROS, SEAL_SLACK_MICROS};
use heads::{Claim, Fork, Misfit, Pending, Source};
use pruned::Pruned;
use side::{MacCheck, TileCheck, span};
use std::collections::{BTreeMap, BTreeSet};
use suspect::{StoredTag, Suspect, TagCheck};
use tree::{Edge, Hash, WIDTH};
use verdict::Faults;
pub use verdict::{Fault, FaultKind, MAX_FAULTS, Reach, Verdict};

/// The largest hole in the indexes, in bundles, across which the tree is kept.
const MAX_HOLE: u64 = 1 << 16;

/// What an audit starts from.
#[derive(Debug, Clone)]
pub struct AuditInput {
    /// The log's origin.
    pub origin: String,
    /// The head that the store claims.
    pub head: Head,
    /// The log's public keys as the store has them: those that sign checkpoints, and those that begin chains of seals.
    pub history: KeyHistory,
    /// The MAC keys, if at hand.
    pub mac_keys: Option<MacKeys>,
    /// Public key of the epoch key in the key directory, if at hand: shows that the last seals were not dropped.
    pub current_epoch: Option<EpochPublic>,
    /// The first public keys of chains as an auditor pinned them.
    pub pins: Vec<EpochPublic>,
    /// Checkpoints (signed notes) kept elsewhere.
    pub outside: Vec<Vec<u8>>,
}

/// Where an audit ended without a fault. It lives in the memory of whoever audited: nothing of it is ever read from the
/// store, so what it says rests on entries that were hashed. Memory: some kilobytes.
#[derive(Clone)]
pub struct Checked {
    next: u64,
    leaves: Vec<Option<Hash>>,
    /// How many of them have the right MAC of their own.
    held: usize,
    edge: Edge,
    chain: Chain,
    verified: u64,
    last_checkpoint: Option<Head>,
    checkpoints: u64,
    seals: u64,
    sealed: Vec<u64>,
    pruned: Pruned,
}

impl Checked {
    /// How many entries were checked.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.next
    }

    /// How many epochs were: the next seal to feed is that of the epoch with this number.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.chain.epoch()
    }
}

/// An audit in progress. Feed everything the store holds, then call [`Auditor::finish`].
///
/// Entries come by [`Auditor::entry`], or by [`Auditor::tagged_entry`] from a store that keeps the MAC of each.
///
/// Order: seals in stored order, each before the first entry it covers (all of them first is simplest); checkpoints by
/// size, each before the entry whose index is its size; entries by index. MACs and tile hashes may come at any time, but
/// one that comes before the last entry it covers lets damage be named more exactly. Memory: some 100 bytes for each
/// seal, checkpoint, MAC and tile hash that waits for its entries, or for which the entries waited.
pub struct Auditor {
    input: AuditInput,
    chain: Chain,
    faults: Faults,
    macs: MacCheck,
    tags: TagCheck,
    tiles: TileCheck,
    /// Index of the next entry.
    next: u64,
    /// Entries read and hashed.
    entries: u64,
    pruned: Pruned,
    /// Leaves of the unfinished bundle.
    leaves: Vec<Option<Hash>>,
    /// Entries of the unfinished bundle that their stored prefix or MAC does not fit.
    suspects: Vec<Suspect>,
    edge: Edge,
    fork: Option<Fork>,
    /// Signed heads whose size is not reached yet.
    claims: BTreeMap<u64, Vec<Claim>>,
    /// The smallest size in `claims`.
    next_claim: u64,
    pending: Vec<Pending>,
    misfit: Option<Misfit>,
    /// Up to which size signed heads of each kind were contradicted.
    contradicted: BTreeMap<FaultKind, u64>,
    /// Whether roots can't fit any more because of something reported already.
    lost: bool,
    /// Whether the tree can't be known from here on.
    blind: bool,
    /// Whether the rest of the entries is reported as unreadable.
    cut: bool,
    /// Bundles with a fault of their entries.
    faulty: BTreeSet<u64>,
    /// Size of the largest signed head that fitted.
    verified: u64,
    last_checkpoint: Option<Head>,
    checkpoints: u64,
    seals: u64,
    /// How far each chain reaches unbroken.
    sealed: Vec<u64>,
    anchored: Option<Head>,
}

impl Auditor {
    /// Starts an audit; outside checkpoints and the pin are judged at once.
    #[must_use]
    pub fn new(input: AuditInput) -> Self {
        let chain = Chain::new(&input.origin, input.history.chains());
        let macs = MacCheck::new(input.mac_keys.clone());
        let tags = TagCheck::new(&input, 0);
        let sealed = vec![0; input.history.chains().len()];
        let mut auditor = Auditor {
            chain,
            macs,
            tags,
            faults: Faults::default(),
            tiles: TileCheck::default(),
            next: 0,
            entries: 0,
            pruned: Pruned::default(),
            leaves: Vec::with_capacity(WIDTH),
            suspects: Vec::new(),
            edge: Edge::default(),
            fork: None,
            claims: BTreeMap::new(),
            next_claim: u64::MAX,
            pending: Vec::new(),
            misfit: None,
            contradicted: BTreeMap::new(),
            lost: false,
            blind: false,
            cut: false,
            faulty: BTreeSet::new(),
            verified: 0,
            last_checkpoint: None,
            checkpoints: 0,
            seals: 0,
            sealed,
            anchored: None,
            input,
        };
        auditor.begin();
        auditor
    }

    fn begin(&mut self) {
        let key = self.input.history.log().first();
        if key.origin() != self.input.origin {
            let detail = format!("the verifier key is of the log {:?}", key.origin());
            self.faults.push(Fault::whole(FaultKind::Checkpoint, detail));
        }
        let chains = self.input.history.chains();
        let unknown = |pin: &&EpochPublic| !chains.iter().any(|chain| chain.key == **pin);
        if let Some(pin) = self.input.pins.iter().find(unknown) {
            let detail = match chains.len() {
                1 => "the pinned key is not the first key of the stored seal chain".to_owned(),
                count => format!("the pinned key {pin} is not the first key of any of the {count} stored seal chains"),
            };
            self.faults.push(Fault::whole(FaultKind::Pin, detail));
        }
        for (note, number) in std::mem::take(&mut self.input.outside).iter().zip(1usize..) {
            match open_checkpoint_of(note, self.input.history.log()) {
                Ok(checkpoint) => self.claim(checkpoint.head, Source::Outside(number)),
                Err(error) => {
                    let detail = format!("outside checkpoint {number}: {error}");
                    self.faults.push(Fault::whole(FaultKind::OutsideHead, detail));
                }
            }
        }
    }

    /// Takes in a head that was noted as committed where the store's owner can't write; before the first entry. One
    /// that the entries don't lead to is a fault of kind [`FaultKind::Rollback`].
    pub fn noted_head(&mut self, head: Head) {
        self.claim(head, Source::Noted);
    }

    /// Goes on where an earlier audit of the same log ended: only what was added since is fed, seals from
    /// [`Checked::epochs`] on, checkpoints, MACs and tile hashes from [`Checked::size`] on. Heads of smaller sizes, outside
    /// ones too, are not judged again.
    #[must_use]
    pub fn resume(input: AuditInput, from: Checked) -> Self {
        let mut auditor = Auditor::new(input);
        let Checked { next, leaves, held, edge, chain, verified, last_checkpoint, checkpoints, seals, sealed, pruned } =
            from;
        auditor.claims = auditor.claims.split_off(&next);
        auditor.next_claim = auditor.claims.first_key_value().map_or(u64::MAX, |(size, _)| *size);
        let tags = TagCheck::new(&auditor.input, held);
        Auditor {
            next,
            leaves,
            tags,
            edge,
            chain,
            verified,
            last_checkpoint,
            checkpoints,
            seals,
            sealed,
            pruned,
            ..auditor
        }
    }

    /// Says that nothing can be read from the next entry on, and why: the audit ends with what it has.
    pub fn cut_off(&mut self, why: &str) {
        let fault = match self.input.head.size.0.checked_sub(1) {
            Some(last) if self.next <= last => Fault::range(FaultKind::EntryUnreadable, self.next, last, why),
            _ => Fault::whole(FaultKind::EntryUnreadable, why),
        };
        self.faults.push(fault);
        self.cut = true;
    }

    /// Takes in the next stored seal's text, in stored order.
    pub fn seal(&mut self, text: &[u8]) {
        if let Some(signed) = self.chain.add(text, &mut self.faults) {
            self.claim(
                signed.head,
                Source::Seal { epoch: signed.epoch, chain: signed.chain, unbroken: signed.unbroken },
            );
        }
    }

    /// Takes in the next stored checkpoint, a signed note, in order of size.
    pub fn checkpoint(&mut self, note: &[u8]) {
        let head = match open_checkpoint_of(note, self.input.history.log()) {
            Ok(checkpoint) => checkpoint.head,
            Err(error) => {
                let after = self.last_checkpoint.map_or(0, |head| head.size.0);
                let detail = format!("the stored checkpoint after the one of size {after}: {error}");
                self.faults.push(Fault::whole(FaultKind::Checkpoint, detail));
                return;
            }
        };
        let last = self.last_checkpoint.replace(head);
        match last {
            Some(last) if head.size < last.size => {
                let detail = format!("a checkpoint of size {} comes after one of size {}", head.size, last.size);
                self.faults.push(Fault::whole(FaultKind::Checkpoint, detail));
            }
            Some(last) if head.size == last.size && head.root != last.root => {
                let detail = format!("two signed checkpoints of size {} differ", head.size);
                self.faults.push(Fault::whole(FaultKind::Checkpoint, detail));
                self.claim(head, Source::Checkpoint);
            }
            _ => self.claim(head, Source::Checkpoint),
        }
    }

    /// Takes in the stored tag of bundle `bundle`, which covers its first `count` entries.
    pub fn bundle_mac(&mut self, bundle: u64, count: u16, tag: [u8; 32]) {
        if !self.macs.store(bundle, count, tag) && !self.faulty.contains(&bundle) {
            let (first, last) = span(1, bundle, self.input.head.size.0);
            let detail = "the stored MAC is not that of these entries";
            self.faults.push(Fault::range(FaultKind::Mac, first, last, detail));
        }
    }

    /// Takes in a stored tile hash: that of the leaves `position × 256^level` onward. `level` is at least 1.
    pub fn tile_hash(&mut self, level: u8, position: u64, hash: [u8; 32]) {
        let differs = self.tiles.store(level, position, hash);
        if differs && !self.lost && !(level == 1 && self.faulty.contains(&position)) {
            let (first, last) = span(level, position, self.input.head.size.0);
            let detail = format!("the stored tile hash {level}/{position} is not that of these entries");
            self.faults.push(Fault::range(FaultKind::Tile, first, last, detail));
        }
    }

    /// Adds a fault that the store found by itself.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Takes in the next entry, by index.
    ///
    /// `entry` is `None` if it is missing or, when its `stored_prefix` is there, unreadable. `stored_prefix` are the
    /// first four bytes of the leaf as stored beside the entry, `received_micros` the receive time that the entry states,
    /// in microseconds since 1970.
    pub fn entry(
        &mut self,
        index: Index,
        entry: Option<&[u8]>,
        stored_prefix: Option<[u8; 4]>,
        received_micros: Option<i64>,
    ) {
        self.take_in(index.0, entry, stored_prefix, received_micros, &StoredTag::NotKept);
    }

    fn take_in(
        &mut self,
        index: u64,
        entry: Option<&[u8]>,
        stored_prefix: Option<[u8; 4]>,
        received_micros: Option<i64>,
        tag: &StoredTag,
    ) {
        if !self.reach(index) {
            return;
        }
        if let Some(received) = received_micros {
            self.chain.check_received(index, received, &mut self.faults);
        }
        let leaf = entry.map(tree::leaf);
        match (leaf, stored_prefix) {
            (Some(leaf), prefix) => {
                let word = self.tags.judge(index, &leaf, tag);
                let prefix_wrong = prefix.is_some_and(|prefix| !leaf.starts_with(&prefix));
                self.suspects.extend(Suspect::of(index, prefix_wrong, word));
            }
            (None, Some(_)) => self.lose(FaultKind::EntryUnreadable, index, "can't be read"),
            (None, None) => self.lose(FaultKind::EntryMissing, index, "is not stored"),
        }
        self.entries += u64::from(leaf.is_some());
        self.push(leaf);
    }

    /// Brings the audit to `index`; `false` if nothing can be taken in there.
    fn reach(&mut self, index: u64) -> bool {
        if index >= self.input.head.size.0 {
            self.faults.run(FaultKind::EntryExtra, index, index, || "stored beyond the head's size".to_owned());
            return false;
        }
        if index != self.next && !self.skip_to(index) {
            return false;
        }
        if self.next_claim <= index {
            self.check_claims(index);
        }
        true
    }

    fn lose(&mut self, kind: FaultKind, index: u64, why: &str) {
        self.faults.run(kind, index, index, || why.to_owned());
        self.faulty.insert(index / WIDTH as u64);
    }

    fn push(&mut self, leaf: Option<Hash>) {
        self.leaves.push(leaf);
        self.next += 1;
        if self.leaves.len() == WIDTH {
            self.close_bundle();
        }
    }

    /// Goes on at `index` although `self.next` was expected; `false` if that entry can't be taken in.
    fn skip_to(&mut self, index: u64) -> bool {
        if index < self.next {
            let detail = || format!("comes again or too late, where entry {} was expected", self.next);
            self.faults.run(FaultKind::Order, index, index, detail);
            return false;
        }
        self.faults.run(FaultKind::EntryMissing, self.next, index - 1, || "not stored".to_owned());
        if (index - self.next) / WIDTH as u64 > MAX_HOLE {
            self.blind = true;
            self.next = index - index % WIDTH as u64;
            self.leaves.clear();
            self.suspects.clear();
        }
        while self.next < index {
            if self.next_claim <= self.next {
                self.check_claims(self.next);
            }
            self.faulty.insert(self.next / WIDTH as u64);
            self.push(None);
        }
        true
    }

    /// Ends the audit.
    #[must_use]
    pub fn finish(self) -> Verdict {
        self.finish_checked().0
    }

    /// Ends the audit, and tells where the next one can go on if no fault was found.
    #[must_use]
    pub fn finish_checked(mut self) -> (Verdict, Option<Checked>) {
        let size = self.input.head.size.0;
        self.check_claims(self.next);
        let checked = Checked {
            next: self.next,
            leaves: self.leaves.clone(),
            held: self.tags.held(),
            edge: self.edge.clone(),
            chain: self.chain.clone(),
            verified: self.verified,
            last_checkpoint: self.last_checkpoint,
            checkpoints: self.checkpoints,
            seals: self.seals,
            sealed: self.sealed.clone(),
            pruned: self.pruned.clone(),
        };
        if self.next < size {
            if !self.cut {
                self.faults.run(FaultKind::EntryMissing, self.next, size - 1, || "not stored".to_owned());
            }
            self.blind = true;
            // What is stored about the torn bundle covers entries that are gone: its leaves prove nothing by it.
            self.leaves.push(None);
        }
        self.pruned.check(&mut self.faults);
        let root = self.close_log();
        let covered = self.macs.finish(size, &mut self.faults).min(self.tags.first_wrong());
        self.tiles.finish(size, &mut self.faults);
        self.chain.check_end(self.input.current_epoch.as_ref(), &mut self.faults);
        self.check_pins();
        let verdict = self.verdict(root, covered);
        let checked = Some(checked).filter(|_| verdict.ok());
        (verdict, checked)
    }

    fn verdict(self, root: Option<Hash>, macs: u64) -> Verdict {
        let size = self.input.head.size.0;
        let root = root.map(RootHash);
        let unproven = |missing: bool, why: &str| missing.then(|| why.to_owned());
        let no_mac = match self.macs.first_entry() {
            _ if !self.macs.has_key() => Some("the MAC key was not given".to_owned()),
            0 => None,
            first => Some(format!(
                "the MACs of the entries 0 to {} can't be checked, because their key was lost",
                first.min(size).saturating_sub(1)
            )),
        };
        let macs = if self.macs.has_key() { macs } else { 0 };
        let (sealed, sealing_key, why) = self.chains_reach();
        let anchor = self.anchored.map(|head| format!("the checkpoint kept elsewhere of {head}"));
        let no_anchor =
            unproven(self.anchored.is_none(), "no checkpoint kept elsewhere fits this log or none was given");
        let (faults, more_faults) = self.faults.finish();
        let consistent = root == Some(self.input.head.root) && more_faults == 0;
        let anchored = self.anchored.map_or(0, |head| head.size.0);
        Verdict {
            root,
            consistent: consistent && !faults.iter().any(|fault| breaks_consistency(fault.kind)),
            macs: Reach::of(macs, size, (macs > 0).then(|| "the log's MAC key".to_owned()), no_mac),
            sealed: Reach::of(sealed, size, sealing_key, why),
            anchored: Reach::of(anchored, size, anchor, no_anchor),
            origin: self.input.origin,
            head: self.input.head,
            entries: self.entries,
            pruned: self.pruned.count(),
            checkpoints: self.checkpoints,
            seals: self.seals,
            faults,
            more_faults,
            notes: self.chain.notes,
        }
    }
}

/// Whether such a fault is one of the entries and their tree, not of a guard or of something derived.
fn breaks_consistency(kind: FaultKind) -> bool {
    use FaultKind as K;
    let derived = [K::Record, K::State, K::Position];
    let guards = [K::Keys, K::Mac, K::Seal, K::SealChain, K::Time, K::Pin, K::OutsideHead];
    !derived.contains(&kind) && !guards.contains(&kind)
}
