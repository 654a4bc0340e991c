//! Where windows lie on the time of the events.

use super::item::Item;
use crate::rules::Window;

/// The window of a record: it ends at that record and holds those before it as far as this reaches. Some window that
/// contains a record fulfils a condition exactly if the window of that record or of a later one that reaches it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    window: Window,
    /// Two records exactly so far apart are in one window.
    timespan: i64,
}

impl Span {
    pub fn new(window: Window, timespan: i64) -> Self {
        Self { window, timespan: timespan.max(1) }
    }

    pub fn sliding(timespan: i64) -> Self {
        Self::new(Window::Sliding, timespan)
    }

    pub fn timespan(&self) -> i64 {
        self.timespan
    }

    /// Does a window hold all between any two of its records? Not a session: one that goes may break it in two.
    pub fn dense(&self) -> bool {
        !matches!(self.window, Window::Session { .. })
    }

    pub fn tumbling(&self) -> bool {
        self.window == Window::Tumbling
    }

    /// The bucket that a moment is in, if there are buckets.
    pub fn bucket(&self, time: i64) -> i64 {
        if self.tumbling() { time.div_euclid(self.timespan) } else { 0 }
    }

    /// The place of the first item in the window of the one at `at`.
    pub fn start(&self, items: &[Item], at: usize) -> usize {
        let time = items[at].time;
        match self.window {
            Window::Sliding => {
                let from = time.saturating_sub(self.timespan);
                first_within(&items[..at], |item| item.time >= from)
            }
            Window::Tumbling => {
                let bucket = self.bucket(time);
                first_within(&items[..at], |item| self.bucket(item.time) >= bucket)
            }
            Window::Session { gap } => {
                let from = time.saturating_sub(self.timespan);
                let mut start = at;
                while start > 0
                    && items[start - 1].time >= from
                    && items[start].time.saturating_sub(items[start - 1].time) <= gap
                {
                    start -= 1;
                }
                start
            }
        }
    }

    /// Can a record at `later` have one at `earlier` in its window?
    pub fn reaches(&self, earlier: i64, later: i64) -> bool {
        later.saturating_sub(earlier) <= self.timespan && self.bucket(earlier) == self.bucket(later)
    }

    /// Does a record at `time`, whose window begins at `from`, belong to a burst whose first and last records with a
    /// window that fulfils the condition are at `first` and `last`?
    pub fn adjoins(&self, first: i64, last: i64, from: i64, time: i64) -> bool {
        let within = |pause: i64| time >= first.saturating_sub(pause) && time <= last.saturating_add(pause);
        match self.window {
            Window::Sliding => within(self.timespan),
            Window::Tumbling => self.bucket(first) == self.bucket(time),
            // The same session, though its last records fulfilled nothing.
            Window::Session { gap } => within(gap) || (from <= last && time >= first),
        }
    }
}

/// The place of the first of the items at the end for which it holds. In steps that double from the end: most windows hold
/// few of a group's items, and those further back are seldom in the cache.
fn first_within(items: &[Item], within: impl Fn(&Item) -> bool) -> usize {
    let (mut end, mut step) = (items.len(), 1);
    while step <= end && within(&items[end - step]) {
        end -= step;
        step *= 2;
    }
    let from = end.saturating_sub(step);
    from + items[from..end].partition_point(|item| !within(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_within_is_found_from_the_end() {
        let none = super::super::names::NONE;
        let item =
            |time| Item { time, index: 0, value: 0, count: 1, source: 0, seen: 0, mask: 0, user: none, address: none };
        for count in 0..40 {
            let items: Vec<Item> = (0..count).map(item).collect();
            for from in 0..=count {
                assert_eq!(first_within(&items, |item| item.time >= from), from as usize, "of {count}");
            }
        }
    }
}
