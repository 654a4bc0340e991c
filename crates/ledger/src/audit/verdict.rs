//! What an audit says: faults, and how far each guard reaches.

use crate::{Head, RootHash};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Faults of one kind that are listed; the rest is counted.
pub const MAX_FAULTS: usize = 1000;

/// What sort of fault it is. Serialised in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FaultKind {
    /// An entry's bytes are not those that were hashed.
    EntryChanged,
    /// An entry is not there.
    EntryMissing,
    /// An entry is there but can't be read.
    EntryUnreadable,
    /// An entry beyond the head's size.
    EntryExtra,
    /// An index comes twice or goes backwards.
    Order,
    /// The stored leaf prefix is wrong while the entry is right.
    Prefix,
    /// A stored MAC is wrong or missing.
    Mac,
    /// A stored tile hash is wrong or missing.
    Tile,
    /// The entries don't lead to a root that was stored or signed.
    Root,
    /// A stored checkpoint is malformed, not signed by the log, out of order, or contradicts another.
    Checkpoint,
    /// A seal is malformed, of another log or writer, or not signed by its epoch's key.
    Seal,
    /// The seals don't follow one another.
    SealChain,
    /// A time lies outside its seals, or an epoch was held open too long.
    Time,
    /// A record is not what its entry derives to.
    Record,
    /// State is not what the newest audit entries say.
    State,
    /// The store is older than something that was signed from it.
    Rollback,
    /// A segment file is damaged, missing or misplaced.
    Segment,
    /// The pinned key is not the chain's first key.
    Pin,
    /// A checkpoint kept elsewhere is not one of this log, or contradicts it.
    OutsideHead,
    /// A follower's stored position is impossible.
    Position,
    /// A rotation of a key, or what took the place of lost keys, is not what the log and its keys say.
    Keys,
}

/// One fault, with the entries it is known to lie in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Kind.
    pub kind: FaultKind,
    /// Index of the first entry concerned; `None` if no entry is.
    pub first: Option<u64>,
    /// Index of the last entry concerned, inclusive.
    pub last: Option<u64>,
    /// For people, in English.
    pub detail: String,
}

impl Fault {
    /// A fault of one entry.
    #[must_use]
    pub fn at(kind: FaultKind, index: u64, detail: impl Into<String>) -> Self {
        Self::range(kind, index, index, detail)
    }

    /// A fault somewhere in the entries `first` to `last`, inclusive.
    #[must_use]
    pub fn range(kind: FaultKind, first: u64, last: u64, detail: impl Into<String>) -> Self {
        Fault { kind, first: Some(first), last: Some(last), detail: detail.into() }
    }

    /// A fault that concerns no entry in particular.
    #[must_use]
    pub fn whole(kind: FaultKind, detail: impl Into<String>) -> Self {
        Fault { kind, first: None, last: None, detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = format!("{:?}", self.kind);
        for (at, letter) in code.char_indices() {
            if letter.is_uppercase() && at > 0 {
                f.write_str("_")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        match (self.first, self.last) {
            (Some(first), Some(last)) if first != last => write!(f, ", entries {first} to {last}: ")?,
            (Some(first), _) => write!(f, ", entry {first}: ")?,
            _ => f.write_str(": ")?,
        }
        f.write_str(&self.detail)
    }
}

/// Faults as they are found: runs of one kind are joined, long lists cut.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    last_of: BTreeMap<FaultKind, usize>,
    count_of: BTreeMap<FaultKind, usize>,
    more: u64,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        let count = self.count_of.entry(fault.kind).or_default();
        *count += 1;
        if *count > MAX_FAULTS {
            self.more += 1;
            return;
        }
        self.last_of.insert(fault.kind, self.list.len());
        self.list.push(fault);
    }

    /// Adds entries `first..=last`, joined to the newest fault of this kind if they follow it directly.
    pub(super) fn run(&mut self, kind: FaultKind, first: u64, last: u64, detail: impl FnOnce() -> String) {
        let newest = self.last_of.get(&kind).and_then(|at| self.list.get_mut(*at));
        match newest {
            Some(fault) if fault.last.is_some_and(|before| before.checked_add(1) == Some(first)) => {
                fault.last = Some(last);
            }
            _ => self.push(Fault::range(kind, first, last, detail())),
        }
    }

    /// The same for one entry, joined only to what is told in the same words.
    pub(super) fn also(&mut self, kind: FaultKind, index: u64, detail: &str) {
        let newest = self.last_of.get(&kind).and_then(|at| self.list.get(*at));
        if newest.is_some_and(|fault| fault.detail == detail) {
            self.run(kind, index, index, || detail.to_owned());
        } else {
            self.push(Fault::at(kind, index, detail));
        }
    }

    /// The list in order of entries, without doubles, and the number left out.
    pub(super) fn finish(mut self) -> (Vec<Fault>, u64) {
        self.list.sort_by_key(|fault| (fault.first.unwrap_or(u64::MAX), fault.kind, fault.last));
        self.list.dedup_by(|next, kept| {
            next.first.is_some() && (next.kind, next.first, next.last) == (kept.kind, kept.first, kept.last)
        });
        (self.list, self.more)
    }
}

/// How far a guard reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The newest entry covered; `None` if none is.
    pub up_to: Option<u64>,
    /// Under which key or by which checkpoint.
    pub key: Option<String>,
    /// Entries younger than that.
    pub younger: u64,
    /// Why this part proves less than it could, or nothing.
    pub unproven: Option<String>,
}

impl Reach {
    /// The reach of a guard that covers the first `covered` of `size` entries.
    pub(super) fn of(covered: u64, size: u64, key: Option<String>, unproven: Option<String>) -> Self {
        let covered = covered.min(size);
        Reach { up_to: covered.checked_sub(1), key, younger: size - covered, unproven }
    }
}

/// The result of an audit: what holds, how far, and what does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The log's origin.
    pub origin: String,
    /// The head that the store claims.
    pub head: Head,
    /// The root computed from the entries; `None` if some could not be read.
    pub root: Option<RootHash>,
    /// Entries read and hashed.
    pub entries: u64,
    /// Entries of which only the leaf hash is left, since retention deleted them; their hashes were checked.
    pub pruned: u64,
    /// Stored checkpoints whose signature and root hold.
    pub checkpoints: u64,
    /// Seals whose signature and root hold.
    pub seals: u64,
    /// Whether the entries, in order, lead to every stored and signed root.
    pub consistent: bool,
    /// Reach of the MACs.
    pub macs: Reach,
    /// Reach of the seal chain.
    pub sealed: Reach,
    /// Reach of the checkpoints kept elsewhere.
    pub anchored: Reach,
    /// What is wrong, in order of entries.
    pub faults: Vec<Fault>,
    /// Faults beyond [`MAX_FAULTS`] of their kind, not listed.
    pub more_faults: u64,
    /// What is worth knowing but no fault.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Whether no fault was found, **as far as the guards reach that were given**.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.faults.is_empty() && self.more_faults == 0
    }

    fn sentence(&self, f: &mut fmt::Formatter<'_>, reach: &Reach, holds: &str, by: &str, not: &str) -> fmt::Result {
        match reach.up_to {
            Some(up_to) => {
                write!(f, "{holds} to entry {up_to}")?;
                if let Some(key) = &reach.key {
                    write!(f, " {by} {key}")?;
                }
                match reach.younger {
                    0 => f.write_str(", the newest")?,
                    younger => write!(f, "; {younger} younger not covered")?,
                }
            }
            None => f.write_str(not)?,
        }
        match &reach.unproven {
            Some(why) => writeln!(f, ". Unproven: {why}."),
            None => f.write_str(".\n"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.head.size;
        if self.consistent {
            writeln!(f, "consistent: all {size} entries of {} lead to its head.", self.origin)?;
        } else {
            writeln!(f, "NOT consistent: the {size} entries of {} don't all lead to its heads.", self.origin)?;
        }
        match self.pruned {
            0 => {}
            1 => writeln!(f, "entry 0 was deleted by retention (its hash is still checked).")?,
            count => {
                let last = count - 1;
                writeln!(f, "entries 0 to {last} were deleted by retention (their hashes are still checked).")?;
            }
        }
        self.sentence(f, &self.macs, "MACs hold", "under", "no entry has a MAC that was checked and holds")?;
        self.sentence(f, &self.sealed, "sealed", "under", "nothing is sealed")?;
        self.sentence(f, &self.anchored, "anchored", "by", "nothing is anchored")?;
        for note in &self.notes {
            writeln!(f, "note: {note}.")?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT {fault}")?;
        }
        if self.more_faults > 0 {
            writeln!(f, "FAULT and {} more", self.more_faults)?;
        }
        Ok(())
    }
}
