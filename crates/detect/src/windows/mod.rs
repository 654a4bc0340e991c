//! Windows: what matches of the past mean together.
//!
//! The matches of a rule are grouped by the values of some fields. Each group remembers its records for as long as a
//! record may still come that is in one window with them. A record comes into its group in time order; the condition is
//! then asked for its own window and for those of later records that reach it. See `docs/detection.md`.

mod apply;
mod burst;
mod evict;
mod group;
mod item;
mod limits;
mod names;
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
use sha2::{Digest, Sha256};

use self::apply::Scratch;
use self::group::Group;
use self::item::{Item, seen};
pub use self::limits::{Limits, RuleStats, Stats};
use self::names::{Id, NONE, Names};
pub use self::plan::unsupported;
use self::plan::{ENTITIES, GroupBy, Judge, Plan, Plans};
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

/// Longer values are kept as their beginning and their hash, so that nobody can fill the memory with a few records.
const MAX_VALUE: usize = 256;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBurst {
    /// The place of its rule in the rules.
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
    key: Vec<Id>,
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

    /// Puts all hits of one plan into their groups.
    fn step(
        &mut self,
        at: usize,
        record: &Record<'_>,
        rules: &[RuleMeta],
        fields: &impl Fields,
        out: &mut Vec<Finding>,
    ) {
        // By group and record: a record that matched several of the rules is one record.
        let mut entering: Vec<Entering> = Vec::new();
        let mut next = 0;
        while next < self.pending.len() {
            if self.pending[next].plan != at {
                next += 1;
                continue;
            }
            let hit = self.pending.remove(next);
            if hit.leaf.is_some() && self.plans.list[at].correlated && fields.excepted(self.plans.list[at].rule, record)
            {
                self.release(&hit);
                continue;
            }
            let slot = 1 << hit.slot.min(item::MAX_SLOTS - 1);
            match self.place(&hit, record, fields) {
                Some((key, value)) => {
                    let new = Entering { key, item: Item { mask: slot, value, ..hit.item }, hit };
                    match entering.iter_mut().find(|old| old.key == new.key && old.item.key() == new.item.key()) {
                        Some(old) => {
                            old.item.mask |= slot;
                            old.hit.leaf = old.hit.leaf.or(hit.leaf);
                            self.left(at, &new);
                        }
                        None => entering.push(new),
                    }
                }
                None => {
                    self.tables[at].counted.ungrouped += 1;
                    self.release(&hit);
                }
            }
        }
        for new in entering {
            self.apply(at, &new, rules, out);
            self.left(at, &new);
        }
    }

    /// Gives back what was held for a record while it came into its group.
    fn left(&mut self, plan: usize, new: &Entering) {
        new.key.iter().for_each(|id| self.names.drop(*id));
        if self.plans.list[plan].judge.valued() {
            self.names.drop(new.item.value as Id);
        }
        self.release(&new.hit);
    }

    fn release(&mut self, hit: &Hit) {
        // Those of the record of the moment are held once for all its hits.
        if hit.via.is_some() {
            self.names.drop(hit.item.user);
            self.names.drop(hit.item.address);
        }
    }

    /// A hit's group, and the value that its plan reckons with; both are held. `None`: it lacks a field.
    fn place(&mut self, hit: &Hit, record: &Record<'_>, fields: &impl Fields) -> Option<(Vec<Id>, i64)> {
        let plan = &self.plans.list[hit.plan];
        let names = &mut self.names;
        let mut key = Vec::with_capacity(3);
        let placed = match &plan.group {
            GroupBy::Entities => {
                let id = |entity: &Keyword| record.keyword(*entity).map_or(NONE, |value| hold(names, value));
                key.extend(ENTITIES.iter().map(id));
                true
            }
            GroupBy::Fields(wanted) => wanted.iter().all(|field| {
                let value = plan
                    .field_name(field, hit.slot)
                    .and_then(|name| value(&self.plans, &self.tables, names, hit, record, fields, name));
                key.extend(value);
                value.is_some()
            }),
        };
        let reckoned = placed.then(|| match &plan.judge {
            Judge::Distinct { fields: counted, .. } => {
                let mut texts = Vec::with_capacity(counted.len());
                for name in counted {
                    let id = value(&self.plans, &self.tables, names, hit, record, fields, name)?;
                    texts.push(names.text(id).to_owned());
                    names.drop(id);
                }
                // As JSON, so that ("a b", "c") and ("a", "b c") differ.
                let text = if let [text] = &texts[..] { text.clone() } else { serde_json::to_string(&texts).ok()? };
                Some(i64::from(hold(names, &text)))
            }
            Judge::Number { field, .. } => {
                let id = value(&self.plans, &self.tables, names, hit, record, fields, field)?;
                let number = verdict::millionths(names.text(id).trim());
                names.drop(id);
                number
            }
            Judge::Count(_) | Judge::Together(_) | Judge::InOrder(_) => Some(0),
        });
        match reckoned.flatten() {
            Some(value) => Some((key, value)),
            None => {
                key.iter().for_each(|id| names.drop(*id));
                None
            }
        }
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

    /// Sums up bursts whose end the source's clock has passed.
    fn end_due(&mut self, source: u32, rules: &[RuleMeta], out: &mut Vec<Finding>) {
        let from = out.len();
        while let Some((_, plan, group, number)) = self.sources.pop(source) {
            self.end_or_wait(source, plan as usize, group, number, rules, out);
        }
        // In an order that doesn't depend on the numbers of groups.
        out[from..].sort_by(|a, b| (a.last, &a.id).cmp(&(b.last, &b.id)));
    }

    fn end_or_wait(
        &mut self,
        source: u32,
        at: usize,
        group: u32,
        number: u64,
        rules: &[RuleMeta],
        out: &mut Vec<Finding>,
    ) {
        let plan = &self.plans.list[at];
        let Some(found) = self.tables[at].get(group) else { return };
        let Some(burst) = found.bursts().iter().find(|burst| burst.number == number) else { return };
        let due = burst_end(plan, burst, self.lateness);
        let owner = burst.source;
        let keep = plan.span.timespan().saturating_add(self.lateness);
        if due >= self.sources.clock(owner) {
            if let Some(burst) = self.tables[at].burst_mut(group, number) {
                burst.noted.retain(|&other| other != source);
                if !burst.noted.contains(&owner) {
                    burst.noted.push(owner);
                    self.sources.note(owner, (due, at as u32, group, number));
                }
            }
            return;
        }
        self.end(at, group, number, rules, out);
        let expired = |item: &Item| self.sources.clock(item.source).saturating_sub(keep) > item.edge();
        let past = |group: &Group| group.bursts().is_empty() && group.items.slice().iter().all(expired);
        let past = self.tables[at].get(group).is_some_and(past);
        if past {
            self.forget(at, group);
        }
    }

    /// Closes a burst and tells its totals.
    fn end(&mut self, at: usize, group: u32, number: u64, rules: &[RuleMeta], out: &mut Vec<Finding>) {
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

    /// Removes a group. Its bursts must be closed.
    fn forget(&mut self, at: usize, group: u32) {
        if let Some(group) = self.tables[at].remove(group) {
            self.bytes -= group.bytes();
            group.release(self.plans.list[at].judge.valued(), &mut self.names);
        }
    }
}

/// The moment on the source's clock after which a burst is over.
fn burst_end(plan: &Plan, burst: &burst::Burst, lateness: i64) -> i64 {
    burst.edge.saturating_add(plan.span.timespan()).saturating_add(lateness)
}

/// Holds a value, a long one cut.
fn hold(names: &mut Names, value: &str) -> Id {
    if value.len() <= MAX_VALUE {
        return names.hold(value);
    }
    let begin = &value[..value.floor_char_boundary(MAX_VALUE / 2)];
    names.hold(&format!("{begin}… sha256:{}", burst::hex(&Sha256::digest(value))))
}

/// The value of a field for a hit, held.
fn value(
    plans: &Plans,
    tables: &[Table],
    names: &mut Names,
    hit: &Hit,
    record: &Record<'_>,
    fields: &impl Fields,
    name: &str,
) -> Option<Id> {
    if let Some((child, group)) = hit.via {
        let plan = &plans.list[child];
        if let (GroupBy::Fields(wanted), Some(group)) = (&plan.group, tables[child].get(group))
            && let Some(at) = wanted.iter().position(|(field, _)| field == name)
        {
            return group.key.ids().get(at).map(|id| names.share(*id));
        }
    }
    if let Some(rule) = hit.leaf {
        return fields.field(rule, record, name).map(|value| hold(names, &value));
    }
    // An earlier record, which isn't at hand: these two are remembered of it.
    let known = match name {
        "user.name" => hit.item.user,
        "source.ip" => hit.item.address,
        _ => NONE,
    };
    (known != NONE).then(|| names.share(known))
}
