//! The statements about keys that the log's entries hold, those included that retention repeated before it deleted them.

use std::collections::{BTreeMap, BTreeSet};

use sceau_ledger::{Fault, FaultKind, KeyHistory, LeafHash, leaf_hash};

use crate::{audit_entry::AuditEntry, history};

/// A statement that was repeated before its entry was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Carried {
    /// The deleted entry.
    index: u64,
    /// The leaf and the statement of the text that is said to be that entry's.
    leaf: LeafHash,
    note: Option<String>,
    /// The entry that repeats it.
    by: u64,
}

/// The statements that the entries so far hold.
#[derive(Clone, Default)]
pub(super) struct Stated {
    held: Vec<(u64, String)>,
    carried: Vec<Carried>,
    /// The entries that must hold a statement, by the word of the state.
    wanted: BTreeSet<u64>,
    /// What is left of those that were deleted.
    leaves: BTreeMap<u64, LeafHash>,
}

/// An entry about keys and the note that it sets.
fn about_keys(entry: &[u8]) -> Option<(AuditEntry, String)> {
    let entry = AuditEntry::read(entry).filter(|entry| entry.about().collection == history::COLLECTION)?;
    let note = entry.about().value.as_ref()?.get("note")?.as_str()?.to_owned();
    Some((entry, note))
}

impl Stated {
    /// None yet, of those that the state knows.
    pub fn new(history: &KeyHistory) -> Self {
        let wanted = history.changes().iter().map(|change| change.body().index).collect();
        Self { wanted, ..Self::default() }
    }

    /// The same, of those that the state knows by now as well.
    pub fn wanting(mut self, history: &KeyHistory) -> Self {
        self.wanted.extend(history.changes().iter().map(|change| change.body().index));
        self
    }

    /// Takes in an entry of `sceau.audit`; those that change no key are passed over.
    pub fn add(&mut self, index: u64, entry: &[u8]) {
        match about_keys(entry) {
            Some((AuditEntry::Keys(_), note)) => self.held.push((index, note)),
            Some((AuditEntry::State(change) | AuditEntry::Other(change), _)) => {
                let (Some(of), Some(text)) = (change.carried, change.entry) else { return };
                let note = about_keys(text.as_bytes()).filter(|(entry, _)| matches!(entry, AuditEntry::Keys(_)));
                let (leaf, note) = (leaf_hash(text.as_bytes()), note.map(|(_, note)| note));
                self.carried.push(Carried { index: of, leaf, note, by: index });
            }
            _ => {}
        }
    }

    /// Takes in the leaves of deleted entries.
    pub fn pruned(&mut self, first: u64, leaves: &[LeafHash]) {
        for index in self.wanted.range(first..first.saturating_add(leaves.len() as u64)) {
            let leaf = usize::try_from(index - first).ok().and_then(|at| leaves.get(at));
            self.leaves.extend(leaf.map(|leaf| (*index, *leaf)));
        }
    }

    /// Whether the entry holds this statement, or held it before it was deleted.
    fn holds(&self, index: u64, note: &str) -> bool {
        let left = self.leaves.get(&index);
        self.held.iter().any(|(at, held)| *at == index && held == note)
            || self.carried.iter().any(|carried| {
                carried.index == index && carried.note.as_deref() == Some(note) && left == Some(&carried.leaf)
            })
    }

    /// Names what the state holds and the log doesn't, and the other way round.
    pub fn compare(&self, history: &KeyHistory) -> Vec<Fault> {
        let mut faults = Vec::new();
        let known =
            |index, note: &str| history.changes().iter().any(|said| said.body().index == index && said.text() == note);
        for change in history.changes() {
            let index = change.body().index;
            if !self.holds(index, change.text()) {
                let detail = "the state has a statement about keys that this entry does not hold";
                faults.push(Fault::at(FaultKind::Keys, index, detail));
            }
        }
        let unknown =
            "this entry changes the log's keys, but the state does not hold its statement, or it does not hold";
        for (index, note) in &self.held {
            if !known(*index, note) {
                faults.push(Fault::at(FaultKind::Keys, *index, unknown));
            }
        }
        for carried in &self.carried {
            let note = carried.note.as_deref().unwrap_or_default();
            if !known(carried.index, note) || !self.holds(carried.index, note) {
                let detail = format!(
                    "this entry repeats a statement about keys of entry {}, which is not what that entry held, or which \
                     the state does not hold",
                    carried.index
                );
                faults.push(Fault::at(FaultKind::Keys, carried.by, detail));
            }
        }
        faults
    }
}

#[cfg(test)]
#[path = "stated_tests.rs"]
mod tests;
