//! Windows: what matches of the past mean together.
//!
//! The matches of a rule are grouped by the values of some fields. Each group remembers its records for as long as a
//! record may still come that is in one window with them. A record comes into its group in time order; the condition is
//! then asked for its own window and for those of later records that reach it. See `docs/detection.md`.

mod apply;
mod burst;
mod ending;
mod evict;
mod group;
mod item;
mod limits;
mod names;
mod place;
mod plan;
mod read;
mod snapshot;
mod sources;
mod span;
mod table;
mod thin;
mod verdict;

use std::borrow::Cow;
use std::collections::BTreeMap;

use sceau_event::{Keyword, Record};

use self::apply::Scratch;
use self::group::{Group, Key};
use self::item::{Item, seen};
pub use self::limits::{Limits, RuleStats, Stats};
use self::names::{Id, NONE, Names};
use self::place::hold;
pub use self::plan::unsupported;
use self::plan::{ENTITIES, GroupBy, Plan, Plans};
use self::read::MAX_TIME;
pub use self::snapshot::{Restored, SnapshotError};
use self::sources::Sources;
use self::table::Table;
use crate::rules::Correlation;
use crate::types::{Finding, Phase, RuleMeta};

/// The values of a record's fields, under the names that a rule has for them.
pub trait Fields {
    /// The first value of the field that the rule calls `name`.
    fn field<'r>(&self, rule: usize, record: &'r Record<'_>, name: &str) -> Option<Cow<'r, str>>;

    /// Does a correlation not count the record, though the rules below it matched?
    fn excepted(&self, correlation: usize, record: &Record<'_>) -> bool;
}

/// All windows of all rules.
#[derive(Debug)]
pub struct Windows {
    plans: Plans,
    /// By plan.
    tables: Vec<Table>,
    names: Names,
    sources: Sources,
    lateness: i64,
    limits: Limits,
    /// What groups and bursts take.
    bytes: usize,
    /// How many bursts are open.
    bursts: usize,
    /// Some rule has more groups than it may have.
    crowded: bool,
    late: u64,
    pending: Vec<Hit>,
    scratch: Scratch,
}

/// An open burst, as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OpenBurst {
    /// The place of its rule in the rules.
    #[serde(skip)]
    pub rule: usize,
    /// How many occurrences so far.
    pub count: u64,
    /// The latest event time so far.
    pub last: sceau_event::Micros,
}

/// A match on its way into the windows of a plan.
#[derive(Clone, Copy, Debug)]
struct Hit {
    plan: usize,
    /// The place of the matched rule among what the plan refers to.
    slot: usize,
    /// Without value and mask.
    item: Item,
    /// The detection rule by which the record of the moment matched; `None` for an earlier record, which isn't at hand.
    leaf: Option<usize>,
    /// The group in which a correlation matched.
    via: Option<(usize, u32)>,
    late: bool,
}

/// A record on its way into its group.
#[derive(Debug)]
struct Entering {
    /// The values of the group, held.
    key: Key,
    /// With value (held) and mask.
    item: Item,
    hit: Hit,
}

impl Windows {
    /// Empty windows. `lateness` in microseconds.
    #[must_use]
    pub fn new(rules: &[RuleMeta], correlations: &[Correlation], limits: Limits, lateness: i64) -> Self {
        Self::of(Plans::new(rules, correlations, limits.records), limits, lateness)
    }

    fn of(plans: Plans, limits: Limits, lateness: i64) -> Self {
        Self {
            tables: plans.list.iter().map(|_| Table::new()).collect(),
            plans,
            names: Names::new(),
            sources: Sources::default(),
            lateness: lateness.max(0),
            limits,
            bytes: 0,
            bursts: 0,
            crowded: false,
            late: 0,
            pending: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Correlations that can't be evaluated, with the reason. They never fire.
    #[must_use]
    pub fn refused(&self) -> &[(usize, String)] {
        &self.plans.refused
    }

    /// Takes the next record, which matched these rules, and adds what is found. Indexes must rise.
    pub fn push(
        &mut self,
        index: u64,
        record: &Record<'_>,
        matched: &[usize],
        rules: &[RuleMeta],
        fields: &impl Fields,
        out: &mut Vec<Finding>,
    ) {
        // Times so far out that sums of them would not fit are no times; they count as the furthest that are.
        let within = |time: i64| time.clamp(-MAX_TIME, MAX_TIME);
        let (time, received) = (within(record.time.0), within(record.received.0));
        let seen_now = self.sources.see(&record.source, time, received, self.lateness, self.limits.sources);
        self.end_due(seen_now.source, rules, out);
        let hits = matched.iter().filter_map(|&rule| Some((rule, self.plans.by_rule.get(rule)?)));
        let mut item = Item {
            time,
            index,
            value: 0,
            count: u32::try_from(record.count()).unwrap_or(u32::MAX),
            source: seen_now.source,
            seen: seen(seen_now.edge),
            mask: 0,
            user: NONE,
            address: NONE,
        };
        let late = seen_now.late;
        self.pending.extend(hits.flat_map(|(rule, plans)| {
            let hit = move |&(plan, slot)| Hit { plan, slot, item, leaf: Some(rule), via: None, late };
            plans.iter().map(hit)
        }));
        if self.pending.is_empty() {
            return;
        }
        self.late += u64::from(late);
        item.user = record.keyword(Keyword::UserName).map_or(NONE, |user| hold(&mut self.names, user));
        item.address = record.keyword(Keyword::SourceIp).map_or(NONE, |address| hold(&mut self.names, address));
        self.pending.iter_mut().for_each(|hit| (hit.item.user, hit.item.address) = (item.user, item.address));
        // Plans that others build on come first, so that what they give to these is there when it is their turn.
        while let Some(plan) = self.pending.iter().map(|hit| hit.plan).min() {
            self.step(plan, record, rules, fields, out);
        }
        self.names.drop(item.user);
        self.names.drop(item.address);
        self.enforce(rules, out);
    }

    /// The values of a group, with their names.
    fn told_group(plan: &Plan, group: &Group, names: &Names) -> Vec<(String, String)> {
        let of = |name: &str, id: &Id| (name.to_owned(), names.text(*id).to_owned());
        let ids = group.key.ids().iter();
        match &plan.group {
            GroupBy::Entities => {
                let there = ENTITIES.iter().zip(ids).filter(|(_, id)| **id != NONE);
                there.map(|(entity, id)| of(entity.name(), id)).collect()
            }
            GroupBy::Fields(fields) => fields.iter().zip(ids).map(|((name, _), id)| of(name, id)).collect(),
        }
    }

    /// What is held, and what had to go.
    #[must_use]
    pub fn stats(&self, rules: &[RuleMeta]) -> Stats {
        let of = |(plan, table): (&Plan, &Table)| {
            let counted = RuleStats { groups: table.len(), bursts: table.bursts, ..table.counted };
            Some((rules.get(plan.rule)?.id.clone(), counted))
        };
        Stats {
            groups: self.tables.iter().map(Table::len).sum(),
            bytes: self.bytes(),
            bursts: self.bursts,
            sources: self.sources.list.len(),
            late: self.late,
            rules: self.plans.list.iter().zip(&self.tables).filter_map(of).collect(),
        }
    }

    /// The open bursts by their finding's id.
    #[must_use]
    pub fn open_bursts(&self) -> BTreeMap<String, OpenBurst> {
        let groups = self.plans.list.iter().zip(&self.tables).flat_map(|(plan, table)| {
            let bursting = table.of_level(table::BURSTING).filter_map(|at| table.get(at));
            bursting.flat_map(Group::bursts).map(|burst| {
                let open = OpenBurst { rule: plan.rule, count: burst.count, last: sceau_event::Micros(burst.times.1) };
                (burst::hex(&burst.id), open)
            })
        });
        groups.collect()
    }

    fn bytes(&self) -> usize {
        self.bytes + self.names.bytes() + self.sources.bytes()
    }

    /// Removes a group. Its bursts must be closed.
    fn forget(&mut self, at: usize, group: u32) {
        if let Some(group) = self.tables[at].remove(group) {
            self.bytes -= group.bytes();
            group.release(self.plans.list[at].judge.valued(), &mut self.names);
        }
    }
}
