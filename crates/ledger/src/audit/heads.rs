//! Signed heads against the tree: when they fit, when they don't, and what that says about earlier doubts.

use super::suspect::Suspect;
use super::tree::{Edge, Hash};
use super::verdict::{Fault, FaultKind};
use super::{Auditor, WIDTH};
use crate::Head;
use std::fmt;

/// Who says that a tree of some size has some root.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Checkpoint,
    Seal {
        epoch: u64,
        /// Which chain, counted from 0.
        chain: usize,
        unbroken: bool,
    },
    Outside(usize),
    /// The key directory's note of what was committed.
    Noted,
}

impl Source {
    fn kind(self) -> FaultKind {
        match self {
            Source::Checkpoint => FaultKind::Checkpoint,
            Source::Seal { .. } => FaultKind::Seal,
            Source::Outside(_) => FaultKind::OutsideHead,
            Source::Noted => FaultKind::Rollback,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Checkpoint => f.write_str("the stored checkpoint"),
            Source::Seal { epoch, .. } => write!(f, "the seal of epoch {epoch}"),
            Source::Outside(number) => write!(f, "outside checkpoint {number}"),
            Source::Noted => f.write_str("the head that the key directory noted as committed"),
        }
    }
}

/// A signed head that waits for its size to be reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    root: Hash,
    source: Source,
}

/// The tree as the stored tile hashes have it, kept from where they and the entries part until a signed head says which
/// of the two is right.
pub(super) struct Fork {
    pub(super) edge: Edge,
}

/// What stands behind a head, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// The log key, or whoever writes the key directory.
    LogKey,
    /// A chain of seals of which nobody vouches for the first key.
    Chain,
    /// A pinned chain, or a head kept elsewhere.
    Guard,
}

/// A signed head inside the unfinished bundle that does not fit, the first since one that did.
pub(super) struct Misfit {
    pub(super) size: u64,
    names: String,
    /// The kind of fault that it is by itself.
    kind: FaultKind,
    weight: Weight,
    /// The kind of fault if entries and later heads don't explain it.
    root: FaultKind,
}

/// A doubt about entries that the next signed head resolves: the entries are right, or they were changed.
pub(super) struct Pending {
    pub(super) first: u64,
    /// The first entry that can have been changed: those before are under a signed head that fits.
    pub(super) from: u64,
    pub(super) last: u64,
    /// What else is wrong, if the entries are right. [`FaultKind::Tile`] means that the trees part here.
    pub(super) otherwise: FaultKind,
    pub(super) detail: &'static str,
}

/// What a signed head fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The entries.
    Entries,
    /// The stored tile hashes where they differ from the entries.
    Tiles,
    /// Neither.
    Nothing,
}

const CHANGED: &str = "the entry is not the one that was hashed";
const UNDECIDED: &str = "no signed head covers it, so the entry or what is stored beside it was changed";

impl Auditor {
    /// Keeps a signed head until its size is reached.
    pub(super) fn claim(&mut self, head: Head, source: Source) {
        let (size, limit) = (head.size.0, self.input.head.size.0);
        if size > limit {
            let detail = format!("{source} covers {size} entries, the store has only {limit}");
            self.faults.push(Fault::range(FaultKind::Rollback, limit, size - 1, detail));
        } else if size < self.next {
            let detail = format!("{source} of size {size} comes after {} entries have passed", self.next);
            self.faults.push(Fault::whole(source.kind(), detail));
        } else {
            self.claims.entry(size).or_default().push(Claim { root: head.root.0, source });
            self.next_claim = self.next_claim.min(size);
        }
    }

    /// The root over all entries so far, as the entries have it.
    pub(super) fn root(&self) -> Option<Hash> {
        if self.blind { None } else { self.edge.root(&self.leaves) }
    }

    /// Judges the signed heads of size `size`, which must be that of the tree now; smaller ones lie in a hole.
    pub(super) fn check_claims(&mut self, size: u64) {
        while let Some(first) = self.claims.first_entry().filter(|first| *first.key() <= size) {
            let (at, claims) = first.remove_entry();
            if at == size {
                self.judge(size, &claims);
            }
        }
        self.next_claim = self.claims.first_key_value().map_or(u64::MAX, |(size, _)| *size);
    }

    fn judge(&mut self, size: u64, claims: &[Claim]) {
        let root = self.root();
        let signed = |root: Option<Hash>| root.is_some() && claims.iter().any(|claim| Some(claim.root) == root);
        let other = self.fork.as_ref().and_then(|fork| fork.edge.root(&self.leaves)).filter(|_| !self.blind);
        let right = if signed(root) {
            self.resolve(Fit::Entries, size);
            root
        } else if signed(other) {
            self.resolve(Fit::Tiles, size);
            other
        } else {
            self.misfit(size, claims);
            return;
        };
        let (fitting, others): (Vec<&Claim>, _) = claims.iter().partition(|claim| Some(claim.root) == right);
        // What doesn't fit is judged first: how far the guards reached before says where the change begins.
        let by = fitting.iter().map(|claim| self.weight(claim.source)).max().unwrap_or(Weight::LogKey);
        if let Some(Misfit { size: at, names, kind, weight, .. }) = self.misfit.take() {
            let detail = format!("{names} of size {at} contradicts the later signed head of size {size}");
            self.contradict(at, kind, (weight, by), detail);
        }
        for claim in others {
            let detail = format!("{} of size {size} contradicts another signed head of that size", claim.source);
            self.contradict(size, claim.source.kind(), (self.weight(claim.source), by), detail);
        }
        fitting.into_iter().for_each(|claim| self.note_fit(size, claim));
        self.verified = size;
        self.lost = false;
    }

    /// A signed head that the entries don't lead to, although they lead to another one of that size or to a later one.
    /// If it weighs more than that one, the entries since the last head of its weight are in doubt.
    fn contradict(&mut self, size: u64, kind: FaultKind, (weight, by): (Weight, Weight), detail: String) {
        if weight <= by {
            self.faults.push(Fault::whole(kind, detail));
            return;
        }
        let doubted = self.contradicted.insert(kind, size).unwrap_or(0);
        let first = self.guarded(weight).max(doubted);
        match size.checked_sub(1) {
            Some(last) if first <= last => self.faults.run(kind, first, last, || detail),
            // Those up to there are named already.
            Some(_) => {}
            None => self.faults.push(Fault::whole(kind, detail)),
        }
    }

    fn weight(&self, source: Source) -> Weight {
        match source {
            Source::Checkpoint | Source::Noted => Weight::LogKey,
            Source::Seal { chain, .. } => self.weight_of(chain),
            Source::Outside(_) => Weight::Guard,
        }
    }

    fn weight_of(&self, chain: usize) -> Weight {
        let key = self.input.history.chains().get(chain).map(|chain| chain.key);
        if key.is_some_and(|key| self.input.pins.contains(&key)) { Weight::Guard } else { Weight::Chain }
    }

    /// The size of the largest head that fitted, of those of at least this weight.
    fn guarded(&self, weight: Weight) -> u64 {
        let chains = self.sealed.iter().enumerate().filter(|(chain, _)| self.weight_of(*chain) >= weight);
        let sealed = chains.map(|(_, sealed)| *sealed).max().unwrap_or(0);
        sealed.max(self.anchored.map_or(0, |head| head.size.0))
    }

    fn note_fit(&mut self, size: u64, claim: &Claim) {
        let head = Head { size: crate::TreeSize(size), root: crate::RootHash(claim.root) };
        match claim.source {
            Source::Checkpoint => self.checkpoints += 1,
            Source::Seal { chain, unbroken, .. } => {
                self.seals += 1;
                if let Some(sealed) = self.sealed.get_mut(chain).filter(|_| unbroken) {
                    *sealed = size;
                }
            }
            Source::Outside(_) => self.anchored = Some(head),
            Source::Noted => {}
        }
    }

    /// Signed heads that fit neither the entries nor the stored tile hashes.
    fn misfit(&mut self, size: u64, claims: &[Claim]) {
        if self.lost || self.blind || self.root().is_none() {
            return;
        }
        let names: Vec<String> = claims.iter().map(|claim| claim.source.to_string()).collect();
        let names = names.join(" and ");
        // A note alone says that another log was here, not which of the entries was changed.
        let noted = claims.iter().all(|claim| matches!(claim.source, Source::Noted));
        let kind = if noted { FaultKind::Rollback } else { FaultKind::Root };
        let root = kind;
        let signed = claims.iter().filter(|claim| !matches!(claim.source, Source::Noted));
        let heaviest = signed.map(|claim| (self.weight(claim.source), claim.source.kind())).max();
        let (weight, kind) = heaviest.unwrap_or((Weight::LogKey, FaultKind::Rollback));
        let misfit = Misfit { size, names, kind, weight, root };
        if !self.pending.is_empty() {
            self.resolve(Fit::Nothing, size);
            self.lost = true;
        } else if self.leaves.is_empty() {
            self.report_misfit(misfit);
        } else if self.misfit.is_none() {
            self.misfit = Some(misfit);
        }
    }

    /// Reports a signed head for which nothing else gives a reason.
    pub(super) fn report_misfit(&mut self, misfit: Misfit) {
        let Misfit { size, names, kind, weight, root } = misfit;
        if self.macs.last_holds() && weight > Weight::LogKey {
            // Whoever made these MACs has the keys, so checkpoints don't say where the change begins.
            let detail = format!("{names} of size {size} does not fit the entries, although their MACs do");
            self.contradict(size, kind, (weight, Weight::LogKey), detail);
            self.lost = true;
        } else {
            self.report_root(self.verified, size, &names, root);
        }
    }

    /// Reports that the entries `from..size` don't lead to the heads of that size.
    pub(super) fn report_root(&mut self, from: u64, size: u64, names: &str, kind: FaultKind) {
        let guarded = self.guarded(Weight::Chain);
        let mut detail =
            format!("{names} of size {size} does not fit the entries; the last signed head that does has size {from}");
        if guarded < from {
            detail.push_str(&format!(" (under the log key alone; the last seal or outside head that does: {guarded})"));
        }
        let fault = match size.checked_sub(1) {
            Some(last) if from <= last => Fault::range(kind, from, last, detail),
            _ => Fault::whole(kind, detail),
        };
        self.faults.push(fault);
        self.lost = true;
    }

    /// Settles earlier doubts by a signed head of size `size`.
    fn resolve(&mut self, fit: Fit, size: u64) {
        if let Some(fork) = self.fork.take().filter(|_| fit == Fit::Tiles) {
            self.edge = fork.edge;
        }
        for doubt in std::mem::take(&mut self.pending) {
            let right = match fit {
                Fit::Entries => true,
                Fit::Tiles => doubt.otherwise != FaultKind::Tile,
                Fit::Nothing => false,
            };
            if right {
                self.faults.push(Fault::range(doubt.otherwise, doubt.first, doubt.last, doubt.detail));
            } else {
                self.name_changed(doubt.from, doubt.last);
            }
        }
        if fit != Fit::Nothing {
            let (settled, open): (Vec<Suspect>, _) = self.suspects.iter().partition(|suspect| suspect.index < size);
            self.suspects = open;
            settled.into_iter().for_each(|suspect| self.name_beside(suspect));
        }
    }

    /// Names entries as changed; of a range, at least one is. A range says nothing more where an entry is named.
    pub(super) fn name_changed(&mut self, first: u64, last: u64) {
        if first != last && self.faulty.contains(&(first / WIDTH as u64)) {
            return;
        }
        let detail = if first == last {
            CHANGED.to_owned()
        } else {
            "at least one of these entries is not the one that was hashed".to_owned()
        };
        self.faults.push(Fault::range(FaultKind::EntryChanged, first, last, detail));
        self.faulty.insert(first / WIDTH as u64);
    }

    /// Doubts that no signed head resolved.
    pub(super) fn close_doubts(&mut self, fits_head: bool) {
        for doubt in std::mem::take(&mut self.pending) {
            let exact = doubt.first == doubt.last;
            let kind = if exact || !fits_head { FaultKind::EntryChanged } else { doubt.otherwise };
            self.faults.push(Fault::range(kind, doubt.first, doubt.last, UNDECIDED));
            self.faulty.insert(doubt.first / WIDTH as u64);
        }
    }
}
