//! A record comes into its group.

use std::collections::BTreeMap;
use std::ops::Range;

use super::burst::Burst;
use super::ending::burst_end;
use super::group::Group;
use super::item::{Item, MATCHED, MEMBER, THIN_AT};
use super::plan::Plan;
use super::table::{BURSTING, LEVELS};
use super::thin::thin;
use super::verdict::{self, NEAR, judge, tell};
use super::{Entering, Hit, Windows, ending};
use crate::types::{Finding, Phase, RuleMeta};

/// Working memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The records that come into their groups.
    pub entering: Vec<Entering>,
    found: Vec<Found>,
    /// The items that [`Found::members`] mean.
    members: Vec<Item>,
    verdict: verdict::Scratch,
}

/// A window for which the condition holds.
#[derive(Clone, Debug)]
struct Found {
    /// Its items.
    window: Range<usize>,
    /// The last of them, to which it belongs.
    at: Item,
    /// Did it not hold before?
    fresh: bool,
    /// Those that have not been counted yet.
    members: Range<usize>,
}

impl Windows {
    /// Puts a record into its group and asks the condition for all windows that it is in.
    pub(super) fn apply(&mut self, at: usize, new: &Entering, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let names = &mut self.names;
        let table = &mut self.tables[at];
        let number = table.find(new.key.ids()).unwrap_or_else(|| {
            new.key.ids().iter().for_each(|id| {
                names.share(*id);
            });
            let group = Group::new(new.key.clone());
            self.bytes += group.bytes();
            table.insert(group, 0)
        });
        let before = self.tables[at].get(number).map_or(0, Group::bytes);
        self.prune(at, number, false);
        let near = self.enter(at, number, new);
        let mut found = std::mem::take(&mut self.scratch.found);
        for holds in &found {
            self.burst(at, number, holds, &new.hit, rules, out);
            self.hand_on(at, number, holds, new);
        }
        found.clear();
        self.scratch.found = found;
        self.thin(at, number);
        if let Some(group) = self.tables[at].get(number) {
            self.bytes = self.bytes + group.bytes() - before;
            let level = if group.bursts().is_empty() { near.min(NEAR) } else { BURSTING };
            self.tables[at].touch(number, level);
        }
        self.crowded |= self.tables[at].len() > self.limits.groups;
        self.sweep(at, new.item.index);
    }

    /// Lets go of items that no record that is in time can be in a window with: the first ones, or all of them.
    fn prune(&mut self, at: usize, number: u32, all: bool) {
        let plan = &self.plans.list[at];
        let keep = plan.span.timespan().saturating_add(self.lateness);
        let sources = &self.sources;
        let expired = |item: &Item| sources.past(item.source, item.edge(), keep);
        let Some(group) = self.tables[at].get_mut(number) else { return };
        if !all && group.items.first().is_none_or(|(source, edge)| !sources.past(source, edge, keep)) {
            return;
        }
        let (valued, names) = (plan.judge.valued(), &mut self.names);
        let items = group.items.slice();
        let first = items.iter().take_while(|item| expired(item)).count();
        items[..first].iter().for_each(|item| item.release(valued, names));
        group.items.cut(first);
        if all && group.items.slice().iter().any(expired) {
            let (gone, kept): (Vec<Item>, Vec<Item>) = group.items.slice().iter().partition(|item| expired(item));
            gone.iter().for_each(|item| item.release(valued, names));
            let thin_at = group.items.thin_at();
            group.items.replace(kept, thin_at);
        }
    }

    /// Puts the item at its place and asks the condition; what holds is left in the scratch. Returns how near it is.
    fn enter(&mut self, at: usize, number: u32, new: &Entering) -> u8 {
        let plan = &self.plans.list[at];
        let scratch = &mut self.scratch;
        scratch.members.clear();
        let Some(group) = self.tables[at].get_mut(number) else { return 0 };
        if !plan.remembers {
            scratch.members.push(new.item);
            scratch.found.push(Found { window: 0..0, at: new.item, fresh: true, members: 0..1 });
            return NEAR;
        }
        let items = group.items.slice();
        let place = match items.last() {
            Some(last) if last.key() >= new.item.key() => items.partition_point(|item| item.key() < new.item.key()),
            _ => items.len(),
        };
        match group.items.slice_mut().get_mut(place) {
            Some(item) if item.key() == new.item.key() => item.mask |= new.item.mask,
            _ => {
                self.names.share(new.item.user);
                self.names.share(new.item.address);
                if plan.judge.valued() {
                    self.names.share(new.item.value as u32);
                }
                group.items.insert(place, new.item);
            }
        }
        evaluate(plan, group.items.slice_mut(), place, scratch)
    }

    /// A window for which the condition holds belongs to a burst, or begins one.
    fn burst(&mut self, at: usize, number: u32, found: &Found, hit: &Hit, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let plan = &self.plans.list[at];
        let members = &self.scratch.members[found.members.clone()];
        let table = &mut self.tables[at];
        if !plan.fires {
            return;
        }
        let Some(group) = table.get_mut(number) else { return };
        let from = group.items.slice().get(found.window.start).map_or(found.at.time, |item| item.time);
        let joined = group
            .bursts_mut()
            .iter_mut()
            .find(|burst| plan.span.adjoins(burst.matched.0, burst.matched.1, from, found.at.time));
        if let Some(burst) = joined {
            burst.goes_on(&found.at);
            burst.add(members, &mut self.names);
            burst.late |= hit.late;
            if !burst.noted.contains(&burst.source) {
                burst.noted.push(burst.source);
                let due = burst_end(plan, burst, self.lateness);
                let patience = ending::patience(plan, self.lateness);
                self.sources.note(burst.source, (due, at as u32, number, burst.number), patience);
            }
            return;
        }
        if members.is_empty() {
            return;
        }
        let meta = &rules[plan.rule];
        let told = Self::told_group(plan, group, &self.names);
        let mut burst = Burst::begin(&meta.id, &told, &found.at, members, &mut self.names);
        burst.late = hit.late;
        burst.noted.push(burst.source);
        let window = &group.items.slice()[found.window.clone()];
        let values: BTreeMap<_, _> = tell(&plan.judge, window, &self.names).into_iter().collect();
        out.push(burst.finding(Phase::Fired, meta, told, values, &self.names));
        let due = burst_end(plan, &burst, self.lateness);
        self.sources.note(burst.source, (due, at as u32, number, burst.number), ending::patience(plan, self.lateness));
        group.open(burst);
        table.bursts += 1;
        self.bursts += 1;
    }

    /// A record for which the condition holds now is a match of the correlation for those that build on it.
    fn hand_on(&mut self, at: usize, number: u32, found: &Found, new: &Entering) {
        if !found.fresh {
            return;
        }
        for &(plan, slot) in &self.plans.list[at].parents {
            let leaf = new.hit.leaf.filter(|_| found.at.key() == new.item.key());
            let item = Item { mask: 0, value: 0, ..found.at };
            self.names.share(item.user);
            self.names.share(item.address);
            self.pending.push(Hit { plan, slot, item, leaf, via: Some((at, number)), late: new.hit.late });
        }
    }

    /// Keeps a group's items within bounds.
    fn thin(&mut self, at: usize, number: u32) {
        let due = |group: &Group| group.items.len() >= group.items.thin_at() || group.items.len() > self.limits.records;
        if !self.tables[at].get(number).is_some_and(due) {
            return;
        }
        self.prune(at, number, true);
        let plan = &self.plans.list[at];
        let table = &mut self.tables[at];
        let Some(group) = table.get_mut(number) else { return };
        let thinned = thin(plan, group.items.slice());
        let thin_at = THIN_AT.max(2 * thinned.kept.len());
        group.items.replace(thinned.kept, thin_at);
        let valued = plan.judge.valued();
        thinned.gone.iter().for_each(|item| item.release(valued, &mut self.names));
        let over = group.items.len().saturating_sub(self.limits.records);
        group.items.slice()[..over].iter().for_each(|item| item.release(valued, &mut self.names));
        group.items.cut(over);
        table.counted.thinned += thinned.lossy;
        table.counted.evicted += over as u64;
    }

    /// Can nothing that is in time come that this group has to do with?
    pub(super) fn past(&self, group: &Group, keep: i64) -> bool {
        let past = |(source, edge)| self.sources.past(source, edge, keep);
        let first_past = group.items.first().is_none_or(past);
        first_past
            && group.bursts().is_empty()
            && group.items.slice().iter().all(|item| past((item.source, item.edge())))
    }

    /// Looks at a group or two whether they are past. Over many records all are looked at.
    fn sweep(&mut self, at: usize, index: u64) {
        let keep = self.plans.list[at].span.timespan().saturating_add(self.lateness);
        let level = (index % LEVELS as u64) as u8;
        for _ in 0..2 {
            let Some(oldest) = self.tables[at].oldest(level) else { return };
            if !self.tables[at].get(oldest).is_some_and(|group| self.past(group, keep)) {
                return;
            }
            self.forget(at, oldest);
        }
    }
}

/// Asks the condition for the window of the item at a place and those of later items that reach it. All items of a
/// window for which it holds are marked as members: that stays so for all windows after each record.
fn evaluate(plan: &Plan, items: &mut [Item], place: usize, scratch: &mut Scratch) -> u8 {
    let mut near = 0;
    let mut walked = 0;
    let newest = place + 1 == items.len() && plan.judge.monotone();
    for at in place..items.len() {
        if !plan.span.reaches(items[place].time, items[at].time) {
            break;
        }
        let start = plan.span.start(items, at);
        if start > place {
            break;
        }
        let mut fresh = false;
        if !items[at].matched() {
            let verdict = judge(&plan.judge, &items[start..=at], &mut scratch.verdict);
            near = near.max(verdict.near);
            if !verdict.holds {
                continue;
            }
            fresh = true;
            items[at].mask |= MATCHED;
        }
        let from = scratch.members.len();
        for item in items[start.max(walked)..=at].iter_mut().rev() {
            if !item.member() {
                item.mask |= MEMBER;
                scratch.members.push(*item);
            } else if newest {
                // Its window was marked when it became a member, and what of this one is before it is in that window.
                break;
            }
        }
        scratch.members[from..].reverse();
        walked = at + 1;
        let members = from..scratch.members.len();
        if fresh || !members.is_empty() {
            scratch.found.push(Found { window: start..at + 1, at: items[at], fresh, members });
        }
    }
    if scratch.found.is_empty() { near } else { NEAR }
}
