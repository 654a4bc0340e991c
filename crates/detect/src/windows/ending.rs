//! Bursts end when the clock of their source has passed them, or when the log has gone on for long enough without it.

use std::collections::BTreeMap;

use super::burst::Burst;
use super::plan::Plan;
use super::sources::Due;
use super::{Finding, Phase, RuleMeta, Windows};

/// A burst that is over: its latest time, its finding's id, and where it is by plan, group and number.
type Over = (i64, [u8; 16], usize, u32, u64);

impl Windows {
    /// Sums up bursts whose end the source's clock has passed, and those of sources that have fallen silent.
    pub(super) fn end_due(&mut self, source: u32, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let mut over = Vec::new();
        while let Some(due) = self.sources.pop(source) {
            over.extend(self.over(source, due, false));
        }
        let (plans, lateness) = (&self.plans.list, self.lateness);
        for (source, due) in self.sources.take_silent(|plan| patience(&plans[plan as usize], lateness)) {
            over.extend(self.over(source, due, true));
        }
        // In an order that depends neither on the numbers of groups nor on when it was noted to look, which a restart changes: it
        // is that of their findings, and of what is evicted first later on.
        over.sort_unstable();
        for (.., at, group, number) in over {
            self.end(at, group, number, rules, out);
            let keep = patience(&self.plans.list[at], self.lateness);
            if self.tables[at].get(group).is_some_and(|group| self.past(group, keep)) {
                self.forget(at, group);
            }
        }
    }

    /// What is over of what is due, or nothing if it is to be looked at later.
    fn over(&mut self, source: u32, due: Due, silent: bool) -> Option<Over> {
        let (_, plan, group, number) = due;
        let at = plan as usize;
        let plan = &self.plans.list[at];
        let burst = self.tables[at].get(group)?.bursts().iter().find(|burst| burst.number == number)?;
        let due = burst_end(plan, burst, self.lateness);
        let owner = burst.source;
        let keep = patience(plan, self.lateness);
        if due >= self.sources.clock(owner) && !(silent && owner == source) {
            if let Some(burst) = self.tables[at].burst_mut(group, number) {
                burst.noted.retain(|&other| other != source);
                if !burst.noted.contains(&owner) {
                    burst.noted.push(owner);
                    self.sources.note(owner, (due, at as u32, group, number), keep);
                }
            }
            return None;
        }
        Some((burst.times.1, burst.id, at, group, number))
    }

    /// Closes a burst and tells its totals.
    pub(super) fn end(&mut self, at: usize, group: u32, number: u64, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let plan = &self.plans.list[at];
        let table = &mut self.tables[at];
        let Some(found) = table.get_mut(group) else { return };
        let Some(burst) = found.close(number) else { return };
        self.bytes -= burst.bytes();
        self.bursts -= 1;
        table.bursts -= 1;
        if let Some(found) = table.get(group) {
            let values = BTreeMap::new();
            let told = Self::told_group(plan, found, &self.names);
            out.push(burst.finding(Phase::Ended, &rules[plan.rule], told, values, &self.names));
            if found.bursts().is_empty() {
                // Its records are past: whatever is still gathering is more likely to fire.
                table.touch(group, 0);
            }
        }
        burst.release(&mut self.names);
    }
}

/// The moment on the source's clock after which a burst is over.
pub(super) fn burst_end(plan: &Plan, burst: &Burst, lateness: i64) -> i64 {
    burst.edge.saturating_add(patience(plan, lateness))
}

/// How long after a burst's last record, and how long after a source fell silent, a burst is over.
pub(super) fn patience(plan: &Plan, lateness: i64) -> i64 {
    plan.span.timespan().saturating_add(lateness)
}
