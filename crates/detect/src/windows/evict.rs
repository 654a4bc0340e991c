//! What goes when a limit is reached.

use super::table::{BURSTING, LEVELS};
use super::{Finding, RuleMeta, Table, Windows};

/// When the memory is full, so much of it is freed at once: one part in this many.
const FREED: usize = 64;

impl Windows {
    /// Evicts what is beyond the limits: first the groups that are furthest from firing, of these the ones that were
    /// touched longest ago. An open burst that has to go is summed up.
    pub(super) fn enforce(&mut self, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        for at in 0..if std::mem::take(&mut self.crowded) { self.tables.len() } else { 0 } {
            while self.tables[at].len() > self.limits.groups
                && let Some(group) = self.tables[at].first_to_go()
            {
                self.evict(at, group, rules, out);
            }
        }
        while self.bursts > self.limits.bursts
            && let Some(at) = (0..self.tables.len()).rev().max_by_key(|&at| self.tables[at].bursts)
            && let Some(group) = self.tables[at].oldest(BURSTING)
        {
            self.end_early(at, group, rules, out);
        }
        if self.bytes() <= self.limits.bytes {
            return;
        }
        let target = self.limits.bytes - self.limits.bytes / FREED;
        for level in 0..LEVELS as u8 {
            // Of the rule that has most groups: that is where the memory is.
            while self.bytes() > target
                && let Some(at) = self.fullest(level)
                && let Some(group) = self.tables[at].oldest(level)
            {
                self.evict(at, group, rules, out);
            }
        }
    }

    fn fullest(&self, level: u8) -> Option<usize> {
        let there = (0..self.tables.len()).rev().filter(|&at| self.tables[at].oldest(level).is_some());
        there.max_by_key(|&at| self.tables[at].len())
    }

    fn evict(&mut self, at: usize, group: u32, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        self.end_early(at, group, rules, out);
        self.tables[at].counted.evicted += 1;
        self.forget(at, group);
    }

    /// Ends all bursts of a group.
    pub(super) fn end_early(&mut self, at: usize, group: u32, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        while let Some(number) = self.tables[at].get(group).and_then(|group| Some(group.bursts().first()?.number)) {
            self.tables[at].counted.ended_early += 1;
            self.end(at, group, number, rules, out);
        }
    }

    /// Ends all bursts of a plan that will be no more, in an order that doesn't depend on the numbers of groups.
    pub(super) fn end_all(&mut self, at: usize, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let from = out.len();
        let bursting: Vec<u32> =
            self.tables.get(at).map(|table: &Table| table.of_level(BURSTING).collect()).unwrap_or_default();
        bursting.into_iter().for_each(|group| self.end_early(at, group, rules, out));
        out[from..].sort_by(|a, b| (a.last, &a.id).cmp(&(b.last, &b.id)));
    }
}
