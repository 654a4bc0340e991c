//! A burst: records of a group, one after the other, for whose windows a condition holds.

use std::collections::BTreeMap;

use sceau_event::Micros;
use sha2::{Digest, Sha256};

use super::item::Item;
use super::limits::HEAP_COST;
use super::names::{Id, NONE, Names};
use crate::types::{Finding, Phase, RuleMeta};

/// At most so many indexes are evidence.
const EVIDENCE: usize = 100;
/// At most so many users and addresses are told.
const TOLD: usize = 20;

/// An open burst: it has fired, and is counted on until it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Burst {
    /// The first evidence's index: no other burst of the group has it.
    pub number: u64,
    pub id: [u8; 16],
    /// The first and last record whose own window fulfils the condition.
    pub matched: (i64, i64),
    /// The edge of the last such record, on the clock of its source.
    pub edge: i64,
    pub source: u32,
    /// The sources by whose clock its end will be looked at.
    pub noted: Vec<u32>,
    /// The first and last record counted.
    pub times: (i64, i64),
    pub count: u64,
    /// By time, ties by index.
    pub evidence: Vec<(i64, u64)>,
    /// In the order in which they came.
    pub users: Vec<Id>,
    pub addresses: Vec<Id>,
    pub late: bool,
}

impl Burst {
    /// A burst that begins with the window of the record `at`, in which `members` (not empty) have not been counted yet.
    pub fn begin(rule: &str, group: &[(String, String)], at: &Item, members: &[Item], names: &mut Names) -> Self {
        let number = members.first().map_or(at.index, |item| item.index);
        let mut burst = Self {
            number,
            id: finding_id(rule, group, number),
            matched: (at.time, at.time),
            edge: at.edge(),
            source: at.source,
            noted: Vec::new(),
            times: (i64::MAX, i64::MIN),
            count: 0,
            evidence: Vec::new(),
            users: Vec::new(),
            addresses: Vec::new(),
            late: false,
        };
        burst.add(members, names);
        burst
    }

    /// The window of one more record fulfils the condition.
    pub fn goes_on(&mut self, at: &Item) {
        self.matched.0 = self.matched.0.min(at.time);
        if at.time >= self.matched.1 {
            self.matched.1 = at.time;
        }
        if at.edge() >= self.edge {
            (self.edge, self.source) = (at.edge(), at.source);
        }
    }

    /// Counts records that have not been counted yet.
    pub fn add(&mut self, members: &[Item], names: &mut Names) {
        for item in members {
            self.count = self.count.saturating_add(u64::from(item.count));
            self.times = (self.times.0.min(item.time), self.times.1.max(item.time));
            let place = self.evidence.partition_point(|key| *key < item.key());
            if place < EVIDENCE {
                self.evidence.insert(place, item.key());
                self.evidence.truncate(EVIDENCE);
            }
            for (told, id) in [(&mut self.users, item.user), (&mut self.addresses, item.address)] {
                if id != NONE && told.len() < TOLD && !told.contains(&id) {
                    told.push(names.share(id));
                }
            }
        }
    }

    /// What it takes, the texts aside.
    pub fn bytes(&self) -> usize {
        let list =
            |len: usize, each: usize| if len == 0 { 0 } else { HEAP_COST + len.next_power_of_two().max(4) * each };
        let told = list(self.users.len(), size_of::<Id>()) + list(self.addresses.len(), size_of::<Id>());
        size_of::<Self>() + HEAP_COST + DUE_COST + list(self.evidence.len(), size_of::<(i64, u64)>()) + told
    }

    /// Gives back the texts it holds.
    pub fn release(&self, names: &mut Names) {
        self.users.iter().chain(&self.addresses).for_each(|id| names.drop(*id));
    }

    /// The finding it begins or ends with.
    pub fn finding(
        &self,
        phase: Phase,
        meta: &RuleMeta,
        group: Vec<(String, String)>,
        mut values: BTreeMap<String, Vec<String>>,
        names: &Names,
    ) -> Finding {
        if phase == Phase::Ended {
            for (name, told) in [("user.name", &self.users), ("source.ip", &self.addresses)] {
                let mut texts: Vec<String> = told.iter().map(|id| names.text(*id).to_owned()).collect();
                texts.sort_unstable();
                if !texts.is_empty() {
                    values.insert(name.to_owned(), texts);
                }
            }
        }
        Finding {
            id: hex(&self.id),
            phase,
            rule: meta.id.clone(),
            title: meta.title.clone(),
            rule_hash: meta.hash.clone(),
            level: meta.level,
            tags: meta.tags.clone(),
            group,
            evidence: self.evidence.iter().map(|(_, index)| *index).collect(),
            count: self.count,
            first: Micros(self.times.0),
            last: Micros(self.times.1),
            values,
            late: self.late,
        }
    }
}

/// What the note of a burst's end takes in [`super::sources::Sources`].
const DUE_COST: usize = 64;

/// A finding's id: the first 16 bytes of SHA-256 over a label and rule, group and first evidence, texts led by their
/// length as eight bytes.
fn finding_id(rule: &str, group: &[(String, String)], first: u64) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(b"sceau-finding-1\n");
    for text in std::iter::once(rule).chain(group.iter().map(|(_, value)| value.as_str())) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(first.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
