//! Entries that retention deleted: only their leaves are left, and an entry of the log must say so.

use super::Auditor;
use super::verdict::{Fault, FaultKind, Faults};
use crate::{Index, LeafHash};

/// What is known of deleted entries.
#[derive(Clone, Default)]
pub(super) struct Pruned {
    /// First and last index of each run without gaps.
    runs: Vec<(u64, u64)>,
    /// Entries below this were deleted as the log itself says.
    explained: u64,
}

impl Pruned {
    fn add(&mut self, index: u64) {
        match self.runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            _ => self.runs.push((index, index)),
        }
    }

    /// Deleted entries that the log says were deleted, from the first on.
    pub(super) fn count(&self) -> u64 {
        let first = self.runs.first().filter(|(first, _)| *first == 0);
        first.map_or(0, |(_, last)| last.saturating_add(1).min(self.explained))
    }

    /// Names what is gone without a word in the log.
    pub(super) fn check(&self, faults: &mut Faults) {
        for (first, last) in &self.runs {
            let first = (*first).max(self.explained);
            if first <= *last {
                let detail = "only its hash is stored, and no retention entry of sceau.audit says that it was deleted";
                faults.push(Fault::range(FaultKind::EntryMissing, first, *last, detail));
            }
        }
    }
}

impl Auditor {
    /// Takes in the stored leaf of the next entry, which is not there any more. It is checked like an entry's own: it
    /// must lead to every stored and signed root. What no [`Auditor::explain_pruned`] covers is missing.
    pub fn pruned(&mut self, index: Index, leaf: LeafHash) {
        if self.reach(index.0) {
            self.pruned.add(index.0);
            self.push(Some(leaf.0));
        }
    }

    /// Says that an entry of the log, which was taken in, tells that retention deleted every entry below `before`. May
    /// come at any time before the end.
    pub fn explain_pruned(&mut self, before: u64) {
        self.pruned.explained = self.pruned.explained.max(before);
    }
}
