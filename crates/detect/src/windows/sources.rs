//! The clock of each source: the newest time it has told, and what is due by it, or because it has fallen silent.

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
    /// When the newest of its records was received.
    pub heard: i64,
    pub due: BTreeSet<Due>,
    /// How long it may be silent before any of [`Self::due`] is over: of these, or of some that are gone, the least.
    patience: i64,
    /// Where it is in [`Sources::quiet`].
    looked_at: i64,
}

/// All sources; those above the limit are one, named with the empty text. They are never forgotten: their number is limited, and a source that comes back must not be judged as if
/// it were new.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub list: Vec<Source>,
    by_name: HashMap<Box<str>, u32>,
    last: u32,
    bytes: usize,
    /// When the newest of all records was received.
    pub now: i64,
    /// When it is to be seen whether a source with something due has fallen silent, by the times of receipt.
    quiet: BTreeSet<(i64, u32)>,
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
        self.now = self.now.max(received);
        let at = match self.find(name) {
            Some(at) => at,
            None if self.list.len() < most.max(1) => {
                return Seen { source: self.add(name, told, received), late: false, edge: told };
            }
            None => self.find("").unwrap_or_else(|| self.add("", told, received)),
        };
        let source = &mut self.list[at as usize];
        source.heard = source.heard.max(received);
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
    pub fn add(&mut self, name: &str, clock: i64, heard: i64) -> u32 {
        let at = self.list.len() as u32;
        let due = BTreeSet::new();
        self.list.push(Source { name: name.into(), clock, heard, due, patience: i64::MAX, looked_at: 0 });
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

    /// Notes when something is to be looked at. If the source is silent for longer than `patience`, it is over, too.
    pub fn note(&mut self, source: u32, due: Due, patience: i64) {
        let Some(found) = self.list.get_mut(source as usize) else { return };
        found.due.insert(due);
        if patience < found.patience {
            self.quiet.remove(&(found.looked_at, source));
            (found.patience, found.looked_at) = (patience, found.heard.saturating_add(patience));
            self.quiet.insert((found.looked_at, source));
        }
    }

    /// Forgets all notes.
    pub fn forget_notes(&mut self) {
        self.quiet.clear();
        for source in &mut self.list {
            source.due.clear();
            source.patience = i64::MAX;
        }
    }

    /// Takes off what is over because its source has been silent for longer than `patience` says of the plan.
    pub fn take_silent(&mut self, patience: impl Fn(u32) -> i64) -> Vec<(u32, Due)> {
        let mut over = Vec::new();
        while let Some(&(moment, at)) = self.quiet.first()
            && moment < self.now
        {
            self.quiet.pop_first();
            let Some(source) = self.list.get_mut(at as usize) else { continue };
            // It may have been heard of since it was noted, which each record would be too dear for to note.
            let silence = self.now.saturating_sub(source.heard);
            if silence > source.patience {
                source.due.retain(|due| {
                    let stays = patience(due.1) >= silence;
                    if !stays {
                        over.push((at, *due));
                    }
                    stays
                });
                source.patience = source.due.iter().map(|due| patience(due.1)).min().unwrap_or(i64::MAX);
            }
            if source.patience < i64::MAX {
                source.looked_at = source.heard.saturating_add(source.patience);
                self.quiet.insert((source.looked_at, at));
            }
        }
        over
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
