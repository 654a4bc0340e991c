//! How much windows may hold, what that costs, and what is told about it.

use std::collections::BTreeMap;

use serde::Serialize;

/// How much windows may hold. What goes beyond is evicted and counted in [`Stats`], never silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all windows take together, by their own reckoning.
    pub bytes: usize,
    /// Groups that one rule may have.
    pub groups: usize,
    /// Records that one group keeps. A rule that must see more than that before it fires is refused.
    pub records: usize,
    /// Bursts open at one time, of all rules.
    pub bursts: usize,
    /// Sources that have a clock of their own; all further ones share one.
    pub sources: usize,
}

impl Default for Limits {
    /// 256 MiB, 2,000,000 groups a rule, 10,000 records a group, 100,000 open bursts, 65,536 sources.
    fn default() -> Self {
        Self { bytes: 256 << 20, groups: 2_000_000, records: 10_000, bursts: 100_000, sources: 65_536 }
    }
}

/// What windows hold and what they had to let go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Groups that are remembered.
    pub groups: usize,
    /// Bytes taken, by the windows' own reckoning; at most [`Limits::bytes`] after each record.
    pub bytes: usize,
    /// Bursts that are open.
    pub bursts: usize,
    /// Sources that have been seen.
    pub sources: usize,
    /// Records that matched a rule and came later than the lateness allows.
    pub late: u64,
    /// By the rule's id.
    pub rules: BTreeMap<String, RuleStats>,
}

/// What the windows of one rule hold and what they had to let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleStats {
    /// Groups that are remembered.
    pub groups: usize,
    /// Bursts that are open.
    pub bursts: usize,
    /// Groups and single records that went because a limit was reached: the rule may have missed something.
    pub evicted: u64,
    /// Records that went because others of the group stand for them: findings may count too few, but none is missed.
    pub thinned: u64,
    /// Matches without a value for one of the group-by fields, or for the field that is reckoned with.
    pub ungrouped: u64,
    /// Bursts that were summed up before their end because a limit was reached.
    pub ended_early: u64,
}

/// What a table takes for finding one of its elements: four bytes of number and one of hash at 7/16 to 7/8 load.
pub(crate) const PLACE_COST: usize = 10;

/// What the heap takes for a piece besides its bytes.
pub(crate) const HEAP_COST: usize = 16;
