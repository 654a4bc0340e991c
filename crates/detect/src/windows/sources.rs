//! The clock of each source: the newest time it has told, and what is due by it.

use std::collections::{BTreeSet, HashMap};

use super::limits::{HEAP_COST, PLACE_COST};

/// Whose end is to be looked at: (moment on the source's clock, plan, group's number, burst's number). It may be out of
/// date: the burst may have gone on or be gone.
pub(crate) type Due = (i64, u32, u32, u64);

#[derive(Debug)]
pub(crate) struct Source {
    pub name: Box<str>,
    /// The newest time that it has told, never past the moment of receipt.
    pub clock: i64,
    pub due: BTreeSet<Due>,
}

/// All sources; those above the limit are one, named with the empty text. They are never forgotten: their number is limited, and a source that comes back must not be judged as if
/// it were new.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub list: Vec<Source>,
    by_name: HashMap<Box<str>, u32>,
    last: u32,
    bytes: usize,
}

/// What a record does to its source's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub source: u32,
    pub late: bool,
    /// See [`super::item::Item::edge`].
    pub edge: i64,
}

impl Sources {
    /// A record has come.
    pub fn see(&mut self, name: &str, time: i64, received: i64, lateness: i64, most: usize) -> Seen {
        let told = time.min(received);
        let Some(at) = self.find(name) else {
            if self.list.len() < most.max(1) {
                return Seen { source: self.add(name, told), late: false, edge: told };
            }
            let shared = self.find("").unwrap_or_else(|| self.add("", told));
            return self.step(shared, told, lateness);
        };
        self.step(at, told, lateness)
    }

    fn step(&mut self, at: u32, told: i64, lateness: i64) -> Seen {
        let source = &mut self.list[at as usize];
        let in_time = source.clock.saturating_sub(lateness);
        source.clock = source.clock.max(told);
        Seen { source: at, late: told < in_time, edge: told.max(in_time) }
    }

    fn find(&mut self, name: &str) -> Option<u32> {
        // Most records come from the same source as the one before.
        if self.list.get(self.last as usize).is_some_and(|source| *source.name == *name) {
            return Some(self.last);
        }
        let found = self.by_name.get(name).copied();
        self.last = found.unwrap_or(self.last);
        found
    }

    /// A source that isn't there yet.
    pub fn add(&mut self, name: &str, clock: i64) -> u32 {
        let at = self.list.len() as u32;
        self.list.push(Source { name: name.into(), clock, due: BTreeSet::new() });
        self.by_name.insert(name.into(), at);
        self.bytes += size_of::<Source>() + 2 * (name.len() + HEAP_COST) + size_of::<(Box<str>, u32)>() + PLACE_COST;
        at
    }

    pub fn clock(&self, source: u32) -> i64 {
        self.list.get(source as usize).map_or(i64::MAX, |source| source.clock)
    }

    /// Has the source's clock passed an edge by more than this?
    pub fn past(&self, source: u32, edge: i64, keep: i64) -> bool {
        self.clock(source).saturating_sub(keep) > edge
    }

    /// Notes when something is to be looked at.
    pub fn note(&mut self, source: u32, due: Due) {
        if let Some(source) = self.list.get_mut(source as usize) {
            source.due.insert(due);
        }
    }

    /// Takes off what a source's clock has passed.
    pub fn pop(&mut self, source: u32) -> Option<Due> {
        let source = self.list.get_mut(source as usize)?;
        let first = source.due.first()?;
        if first.0 < source.clock { source.due.pop_first() } else { None }
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
