//! A group: the records that have the same values in a rule's group-by fields.

use super::burst::Burst;
use super::item::Items;
use super::limits::{HEAP_COST, PLACE_COST};
use super::names::{Id, Names};

/// The values of a group, in the order of the group-by fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    One(Id),
    Many(Box<[Id]>),
}

impl Key {
    pub fn new(ids: &[Id]) -> Self {
        if let [id] = ids { Self::One(*id) } else { Self::Many(ids.into()) }
    }

    pub fn ids(&self) -> &[Id] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// See [`Group::bursts`].
#[derive(Debug, Default)]
pub(crate) struct Bursts(pub Vec<Burst>);

/// A group. A million of them must fit in memory: keep it small.
#[derive(Debug)]
pub(crate) struct Group {
    pub key: Key,
    pub items: Items,
    /// The open bursts. More than one only while late records may still come for the earlier ones.
    bursts: Option<Box<Bursts>>,
    /// Where it is in the list of its level; see [`super::table::Table`].
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) level: u8,
}

impl Group {
    pub fn new(key: Key) -> Self {
        Self { key, items: Items::None, bursts: None, before: u32::MAX, after: u32::MAX, level: 0 }
    }

    pub fn bursts(&self) -> &[Burst] {
        self.bursts.as_ref().map_or(&[], |bursts| &bursts.0)
    }

    pub fn bursts_mut(&mut self) -> &mut [Burst] {
        self.bursts.as_mut().map_or(&mut [], |bursts| &mut bursts.0)
    }

    pub fn open(&mut self, burst: Burst) {
        self.bursts.get_or_insert_default().0.push(burst);
    }

    /// Takes out the burst of that number.
    pub fn close(&mut self, number: u64) -> Option<Burst> {
        let bursts = self.bursts.as_mut()?;
        let burst = bursts.0.iter().position(|burst| burst.number == number).map(|at| bursts.0.remove(at));
        if bursts.0.is_empty() {
            self.bursts = None;
        }
        burst
    }

    /// What it takes, the texts aside.
    pub fn bytes(&self) -> usize {
        let key = if let Key::Many(ids) = &self.key { HEAP_COST + size_of_val::<[Id]>(ids) } else { 0 };
        let bursts = self.bursts().iter().map(Burst::bytes).sum::<usize>();
        size_of::<Self>() + PLACE_COST + key + self.items.bytes() + bursts
    }

    /// Gives back all texts it holds.
    pub fn release(&self, valued: bool, names: &mut Names) {
        self.key.ids().iter().for_each(|id| names.drop(*id));
        self.items.slice().iter().for_each(|item| item.release(valued, names));
        self.bursts().iter().for_each(|burst| burst.release(names));
    }
}
