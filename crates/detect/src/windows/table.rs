//! The groups of one rule: found by their values, and in the order in which they are to be evicted.

use hashbrown::HashTable;

use super::burst::Burst;
use super::group::Group;
use super::limits::RuleStats;
use super::names::Id;
use super::verdict::NEAR;

/// Groups with an open burst; those below are as near to firing as their level says.
pub(crate) const BURSTING: u8 = NEAR + 1;
/// How many levels there are.
pub(crate) const LEVELS: usize = BURSTING as usize + 1;

const NOBODY: u32 = u32::MAX;
/// Groups lie in pieces of so many, so that growing never copies them all.
const PIECE: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Ends {
    oldest: u32,
    newest: u32,
}

/// The groups of one rule. Their numbers mean nothing outside: never put them out, never sort by them.
#[derive(Debug)]
pub(crate) struct Table {
    index: HashTable<u32>,
    pieces: Vec<Vec<Option<Group>>>,
    free: Vec<u32>,
    levels: [Ends; LEVELS],
    /// Without the numbers that the table knows itself.
    pub counted: RuleStats,
    /// How many bursts are open.
    pub bursts: usize,
}

impl Table {
    pub fn new() -> Self {
        Self {
            index: HashTable::new(),
            pieces: Vec::new(),
            free: Vec::new(),
            levels: [Ends { oldest: NOBODY, newest: NOBODY }; LEVELS],
            counted: RuleStats::default(),
            bursts: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn get(&self, at: u32) -> Option<&Group> {
        self.pieces.get(at as usize / PIECE)?.get(at as usize % PIECE)?.as_ref()
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut Group> {
        self.pieces.get_mut(at as usize / PIECE)?.get_mut(at as usize % PIECE)?.as_mut()
    }

    /// The open burst of that number.
    pub fn burst_mut(&mut self, at: u32, number: u64) -> Option<&mut Burst> {
        self.get_mut(at)?.bursts_mut().iter_mut().find(|burst| burst.number == number)
    }

    pub fn find(&self, key: &[Id]) -> Option<u32> {
        self.index.find(hash(key), |&at| self.get(at).is_some_and(|group| group.key.ids() == key)).copied()
    }

    /// Puts in a group that isn't there, as the newest of a level.
    pub fn insert(&mut self, group: Group, level: u8) -> u32 {
        let hashed = hash(group.key.ids());
        let at = self.free.pop().unwrap_or_else(|| {
            if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                self.pieces.push(Vec::with_capacity(PIECE));
            }
            let last = self.pieces.len() - 1;
            self.pieces[last].push(None);
            (last * PIECE + self.pieces[last].len() - 1) as u32
        });
        self.pieces[at as usize / PIECE][at as usize % PIECE] = Some(group);
        let pieces = &self.pieces;
        self.index.insert_unique(hashed, at, |&at| {
            pieces[at as usize / PIECE][at as usize % PIECE].as_ref().map_or(0, |group| hash(group.key.ids()))
        });
        self.link(at, level);
        at
    }

    pub fn remove(&mut self, at: u32) -> Option<Group> {
        let hashed = hash(self.get(at)?.key.ids());
        self.unlink(at);
        if let Ok(found) = self.index.find_entry(hashed, |&other| other == at) {
            found.remove();
        }
        self.free.push(at);
        self.pieces[at as usize / PIECE][at as usize % PIECE].take()
    }

    /// Makes a group the newest of a level.
    pub fn touch(&mut self, at: u32, level: u8) {
        self.unlink(at);
        self.link(at, level);
    }

    /// The group of a level that was touched longest ago.
    pub fn oldest(&self, level: u8) -> Option<u32> {
        self.levels.get(level as usize).map(|ends| ends.oldest).filter(|&at| at != NOBODY)
    }

    /// The group to evict first: of the lowest level the one touched longest ago.
    pub fn first_to_go(&self) -> Option<u32> {
        (0..LEVELS as u8).find_map(|level| self.oldest(level))
    }

    /// The groups of a level, oldest first.
    pub fn of_level(&self, level: u8) -> impl Iterator<Item = u32> {
        std::iter::successors(self.oldest(level), |&at| {
            self.get(at).map(|group| group.after).filter(|&after| after != NOBODY)
        })
    }

    /// All groups, level by level, oldest first.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        (0..LEVELS as u8).flat_map(|level| self.of_level(level))
    }

    fn link(&mut self, at: u32, level: u8) {
        let level = level.min(BURSTING);
        let newest = std::mem::replace(&mut self.levels[level as usize].newest, at);
        if newest == NOBODY {
            self.levels[level as usize].oldest = at;
        } else if let Some(group) = self.get_mut(newest) {
            group.after = at;
        }
        if let Some(group) = self.get_mut(at) {
            (group.before, group.after, group.level) = (newest, NOBODY, level);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(group) = self.get(at) else { return };
        let (before, after, level) = (group.before, group.after, group.level as usize);
        match self.get_mut(before) {
            Some(group) => group.after = after,
            None => self.levels[level].oldest = after,
        }
        match self.get_mut(after) {
            Some(group) => group.before = before,
            None => self.levels[level].newest = before,
        }
    }
}

/// Ids are given out in order, so nobody can choose them to collide; they only have to be spread.
fn hash(key: &[Id]) -> u64 {
    let mixed = key
        .iter()
        .fold(key.len() as u64, |hash, &id| (hash.rotate_left(23) ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::super::group::Key;
    use super::*;

    #[test]
    fn the_lowest_level_goes_first_and_of_it_the_oldest() {
        let mut table = Table::new();
        let at: Vec<u32> = (0..5000).map(|id| table.insert(Group::new(Key::One(id)), (id % 3) as u8)).collect();
        assert_eq!(table.len(), 5000);
        assert_eq!(table.first_to_go(), Some(at[0]));
        table.touch(at[0], 0);
        assert_eq!(table.first_to_go(), Some(at[3]));
        table.touch(at[3], 7);
        assert_eq!(table.first_to_go(), Some(at[6]));
        for id in (0..5000).filter(|id| id % 3 == 0) {
            assert_eq!(table.find(&[id]), Some(at[id as usize]));
            table.remove(at[id as usize]);
        }
        assert_eq!(table.first_to_go(), Some(at[1]));
        assert_eq!(table.find(&[0]), None);
        assert_eq!(table.all().count(), table.len());
        let reused = table.insert(Group::new(Key::new(&[7, 8])), 9);
        assert!(at.contains(&reused));
        assert_eq!(table.find(&[7, 8]), Some(reused));
        assert_eq!(table.all().last(), Some(reused));
    }
}
