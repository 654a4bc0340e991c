//! The statements about keys that the log's entries hold, those included that retention repeated before it deleted them.

use std::collections::{BTreeMap, BTreeSet};

use sceau_event::SourceId;
use sceau_ledger::{Fault, FaultKind, KeyHistory, LeafHash, leaf_hash};
use serde::Deserialize;

use crate::history;

#[derive(Deserialize)]
struct Envelope {
    source: String,
    data: Change,
}

#[derive(Deserialize)]
struct Change {
    action: String,
    collection: String,
    value: Value,
    /// The entry that this one repeats, and its exact text.
    carried: Option<u64>,
    entry: Option<String>,
}

#[derive(Deserialize)]
struct Value {
    note: String,
}

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

/// The statement in an entry of `sceau.audit` that changes keys.
fn statement(entry: &[u8]) -> Option<Change> {
    let Envelope { source, data } = serde_json::from_slice(entry).ok()?;
    (source == SourceId::audit().as_str() && data.collection == history::COLLECTION).then_some(data)
}

fn changes_keys(change: &Change) -> bool {
    matches!(change.action.as_str(), "key_rotation" | "key_loss")
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
        let Some(change) = statement(entry) else { return };
        if changes_keys(&change) {
            self.held.push((index, change.value.note));
        } else if let (Some(of), Some(text)) = (change.carried, change.entry) {
            let note = statement(text.as_bytes()).filter(changes_keys).map(|change| change.value.note);
            self.carried.push(Carried { index: of, leaf: leaf_hash(text.as_bytes()), note, by: index });
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
