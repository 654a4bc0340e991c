//! Which records of a large group can go without changing what is found.

use std::collections::BTreeMap;

use super::item::{Item, SLOTS};
use super::plan::{Judge, Plan};
use super::span::Span;

/// So many items may stay of which only the number, not the decision, needs each.
const REPEATED: usize = 512;

/// What is left of a group's items, and what has gone. `lossy`: of those gone, how many were not counted in a burst yet.
#[derive(Debug, Default)]
pub(crate) struct Thinned {
    pub kept: Vec<Item>,
    pub gone: Vec<Item>,
    pub lossy: u64,
}

/// Thins a group's items.
///
/// A record goes if every window that contains it fulfils the condition with those that stay, and it has been counted. An
/// attacker who hammers one account thus takes no more memory than twice the threshold for each half timespan. If that
/// doesn't help, records go that say the same as one before and one after them no further apart than a timespan: any
/// window that contains the one between contains one of these. They may be missing from the count of a later finding.
pub(crate) fn thin(plan: &Plan, items: &[Item]) -> Thinned {
    let mut thinned = Thinned { kept: items.to_vec(), ..Thinned::default() };
    if !plan.span.dense() {
        return thinned;
    }
    match &plan.judge {
        Judge::Count(least) => crowded(plan.span, *least, &mut thinned, |_| 0, |item| u64::from(item.count)),
        // Each value is counted once: how often it occurs is kept by `Crowd`.
        Judge::Distinct { least, .. } => crowded(plan.span, *least, &mut thinned, |item| item.value, |_| 0),
        Judge::Together(_) | Judge::InOrder(_) | Judge::Number { .. } => {}
    }
    if thinned.kept.len() >= REPEATED {
        match &plan.judge {
            Judge::Distinct { .. } => repeated(plan.span, &mut thinned, |item| item.value),
            Judge::Together(_) => repeated(plan.span, &mut thinned, |item| i64::from(item.slots())),
            Judge::InOrder(_) => runs(plan.span, &mut thinned),
            Judge::Count(_) | Judge::Number { .. } => {}
        }
    }
    thinned
}

/// How many occurrences or distinct values a stretch of items has.
#[derive(Default)]
struct Crowd {
    weight: u64,
    values: BTreeMap<i64, u32>,
}

impl Crowd {
    fn size(&self) -> u64 {
        // Items without weight are counted by value.
        if self.weight > 0 { self.weight } else { self.values.len() as u64 }
    }

    fn enter(&mut self, value: i64, weight: u64) {
        self.weight += weight;
        if weight == 0 {
            *self.values.entry(value).or_default() += 1;
        }
    }

    fn leave(&mut self, value: i64, weight: u64) {
        self.weight -= weight;
        if weight == 0
            && let Some(times) = self.values.get_mut(&value)
        {
            *times -= 1;
            if *times == 0 {
                self.values.remove(&value);
            }
        }
    }
}

/// Lets go of those that have enough others within half a timespan both before and after them: any window that contains
/// them contains one of the halves. In a bucket it is enough that there are enough before.
fn crowded(span: Span, least: u64, thinned: &mut Thinned, value: impl Fn(&Item) -> i64, weight: impl Fn(&Item) -> u64) {
    let items = std::mem::take(&mut thinned.kept);
    let half = span.timespan() / 2;
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    let (mut before, mut after) = (Crowd::default(), Crowd::default());
    let (mut left, mut right) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        while kept.get(left).is_some_and(|other| {
            if span.tumbling() { !span.reaches(other.time, item.time) } else { item.time - other.time > half }
        }) {
            before.leave(value(&kept[left]), weight(&kept[left]));
            left += 1;
        }
        while right < items.len() && (right <= at || items[right].time - item.time <= half) {
            after.enter(value(&items[right]), weight(&items[right]));
            right += 1;
        }
        after.leave(value(item), weight(item));
        let enough = before.size() >= least && (span.tumbling() || after.size() >= least);
        if enough && item.matched() && item.member() {
            thinned.gone.push(*item);
        } else {
            before.enter(value(item), weight(item));
            kept.push(*item);
        }
    }
    thinned.kept = kept;
}

/// Lets go of those that say the same as one before and one after them.
fn repeated(span: Span, thinned: &mut Thinned, value: impl Fn(&Item) -> i64) {
    let items = std::mem::take(&mut thinned.kept);
    let mut next_time: Vec<Option<i64>> = vec![None; items.len()];
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for (at, item) in items.iter().enumerate().rev() {
        next_time[at] = last.insert(value(item), item.time);
    }
    last.clear();
    for (at, item) in items.into_iter().enumerate() {
        let earlier = last.get(&value(&item)).copied();
        if goes(span, earlier, item.time, next_time[at]) {
            thinned.lossy += u64::from(!item.member());
            thinned.gone.push(item);
        } else {
            last.insert(value(&item), item.time);
            thinned.kept.push(item);
        }
    }
}

/// As [`repeated`], but only among neighbours that matched the same single rule: there the order to others is the same.
fn runs(span: Span, thinned: &mut Thinned) {
    let items = std::mem::take(&mut thinned.kept);
    for (at, item) in items.iter().enumerate() {
        let alike = |other: &Item| other.mask & SLOTS == item.slots() && item.slots().count_ones() == 1;
        let earlier = thinned.kept.last().filter(|other| alike(other)).map(|other| other.time);
        let later = items.get(at + 1).filter(|other| alike(other)).map(|other| other.time);
        // The next one is asked for in a bucket, too: without it this is the newest, by which a burst goes on.
        if later.is_some() && goes(span, earlier, item.time, later) {
            thinned.lossy += u64::from(!item.member());
            thinned.gone.push(*item);
        } else {
            thinned.kept.push(*item);
        }
    }
}

fn goes(span: Span, earlier: Option<i64>, time: i64, later: Option<i64>) -> bool {
    let Some(earlier) = earlier else { return false };
    if span.tumbling() {
        return span.reaches(earlier, time);
    }
    later.is_some_and(|later| later - earlier <= span.timespan())
}
