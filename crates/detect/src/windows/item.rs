//! The records that a group remembers.

use super::names::{Id, Names};

/// A record as a group remembers it. A million groups of one record each must fit in memory: keep it small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub time: i64,
    pub index: u64,
    /// What the correlation reckons with: the [`Id`] of a value or a number in millionths; else 0.
    pub value: i64,
    /// How many occurrences it stands for.
    pub count: u32,
    pub source: u32,
    /// See [`Item::edge`]: in seconds since 1970, rounded up.
    pub seen: u32,
    /// Which of the referred rules it matched, and [`MATCHED`] and [`MEMBER`].
    pub mask: u32,
    pub user: Id,
    pub address: Id,
}

/// The condition holds for the window that ends at this record.
pub(crate) const MATCHED: u32 = 1 << 31;
/// The record is in a window for which the condition holds, and has been counted.
pub(crate) const MEMBER: u32 = 1 << 30;
/// The referred rules' bits.
pub(crate) const SLOTS: u32 = MEMBER - 1;
/// So many rules a correlation can tell apart.
pub(crate) const MAX_SLOTS: usize = 30;

impl Item {
    pub fn matched(&self) -> bool {
        self.mask & MATCHED != 0
    }

    pub fn member(&self) -> bool {
        self.mask & MEMBER != 0
    }

    pub fn slots(&self) -> u32 {
        self.mask & SLOTS
    }

    /// The moment on its source's clock that it stands for: its time, but not after it was received (a record dated
    /// 2099 must not stay until then), and not before what was still in time when it came.
    pub fn edge(&self) -> i64 {
        let seen = i64::from(self.seen) * 1_000_000;
        if (0..1_000_000).contains(&(seen.saturating_sub(self.time))) { self.time } else { seen }
    }

    /// What decides until when it is kept.
    fn told(&self) -> (u32, i64) {
        (self.source, self.edge())
    }

    pub fn key(&self) -> (i64, u64) {
        (self.time, self.index)
    }

    /// Gives back the texts it holds. `valued`: [`Self::value`] is an id.
    pub fn release(&self, valued: bool, names: &mut Names) {
        names.drop(self.user);
        names.drop(self.address);
        if valued {
            names.drop(self.value as Id);
        }
    }
}

/// An edge as [`Item::seen`] keeps it.
pub(crate) fn seen(edge: i64) -> u32 {
    u32::try_from(edge.div_euclid(1_000_000) + i64::from(edge.rem_euclid(1_000_000) != 0)).unwrap_or(if edge < 0 {
        0
    } else {
        u32::MAX
    })
}

/// Items by time, ties by index. Most groups have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Items {
    #[default]
    None,
    One(Item),
    Many(Box<Many>),
}

/// See [`Items::Many`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Many {
    /// Those before `from` are gone; they are removed when they are as many as the others.
    list: Vec<Item>,
    from: usize,
    /// Source and edge of the first: asked for at each record, while the item itself lies where nothing else is looked at.
    first: (u32, i64),
    /// When there are so many, see which can go.
    pub thin_at: usize,
}

impl Items {
    pub fn slice(&self) -> &[Item] {
        match self {
            Self::None => &[],
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(many) => &many.list[many.from..],
        }
    }

    pub fn slice_mut(&mut self) -> &mut [Item] {
        match self {
            Self::None => &mut [],
            Self::One(item) => std::slice::from_mut(item),
            Self::Many(many) => &mut many.list[many.from..],
        }
    }

    pub fn len(&self) -> usize {
        self.slice().len()
    }

    /// Source and edge of the first one.
    pub fn first(&self) -> Option<(u32, i64)> {
        match self {
            Self::None => None,
            Self::One(item) => Some(item.told()),
            Self::Many(many) => Some(many.first),
        }
    }

    /// Puts an item at a place among the others.
    pub fn insert(&mut self, at: usize, item: Item) {
        match self {
            Self::None => *self = Self::One(item),
            Self::One(other) => {
                let mut list = Vec::with_capacity(4);
                list.push(*other);
                list.insert(at, item);
                *self = Self::Many(Box::new(Many { first: list[0].told(), list, from: 0, thin_at: THIN_AT }));
            }
            Self::Many(many) => {
                many.list.insert(many.from + at, item);
                if at == 0 {
                    many.first = item.told();
                }
            }
        }
    }

    /// Takes the first `count` items away.
    pub fn cut(&mut self, count: usize) {
        let left = self.len().saturating_sub(count);
        match self {
            _ if count == 0 => {}
            Self::Many(many) if left > 1 => {
                many.from += count;
                many.first = many.list[many.from].told();
                if many.from * 2 >= many.list.len() {
                    many.list.drain(..many.from);
                    many.from = 0;
                    if many.list.capacity() > 4 * many.list.len() {
                        many.list.shrink_to(2 * many.list.len());
                    }
                }
            }
            Self::Many(many) if left == 1 => *self = many.list.last().map_or(Self::None, |item| Self::One(*item)),
            _ => *self = Self::None,
        }
    }

    /// All items anew, in order.
    pub fn replace(&mut self, list: Vec<Item>, thin_at: usize) {
        *self = match list.len() {
            0 => Self::None,
            1 => Self::One(list[0]),
            _ => Self::Many(Box::new(Many { first: list[0].told(), list, from: 0, thin_at })),
        };
    }

    /// How many there must be before some are let go.
    pub fn thin_at(&self) -> usize {
        if let Self::Many(many) = self { many.thin_at } else { THIN_AT }
    }

    /// What they take besides the group itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(many) => {
                let places = (many.list.len() - many.from).next_power_of_two().max(4);
                size_of::<Many>() + 2 * super::limits::HEAP_COST + places * size_of::<Item>()
            }
        }
    }
}

/// Fewer items than that are never thinned.
pub(crate) const THIN_AT: usize = 64;
