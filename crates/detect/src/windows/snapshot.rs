//! Windows as bytes, so that a restart goes on where they were.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Windows;
use super::burst::Burst;
use super::ending::{burst_end, patience};
use super::group::{Group, Key};
use super::item::{Item, MATCHED, MEMBER, SLOTS};
use super::limits::RuleStats;
use super::names::{Id, NONE, Names};
use super::plan::{ENTITIES, GroupBy, Judge, Plan, Plans};
use super::read::{Reader, Writer};
use super::sources::Sources;
use super::table::{BURSTING, Table};
use crate::rules::Correlation;
use crate::types::{Finding, Level, Phase, RuleMeta};

/// What a snapshot begins with; another version has another.
const MAGIC: &[u8; 8] = b"sceauW2\n";

/// Why a snapshot can't be used. The windows are then as before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is none, or of another version.
    #[error("no snapshot of windows of this version")]
    Version,
    /// It is damaged.
    #[error("a damaged snapshot of windows: {0}")]
    Malformed(&'static str),
}

/// What came of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many rules have their windows again.
    pub kept: usize,
    /// How many had windows in the snapshot and aren't there as they were then: those there are begin anew.
    pub changed: usize,
    /// The open bursts of these, summed up with what had been counted.
    pub lost: Vec<Finding>,
}

type Result<T> = std::result::Result<T, SnapshotError>;

/// How a plan's items keep values: not at all, as ids, as numbers.
fn value_kind(judge: &Judge) -> u64 {
    match judge {
        Judge::Count(_) | Judge::Together(_) | Judge::InOrder(_) => 0,
        Judge::Distinct { .. } => 1,
        Judge::Number { .. } => 2,
    }
}

impl Windows {
    /// Everything that decides what is found from here on, and what is to be told of open bursts whose rules may be no more by
    /// the time it is restored.
    #[must_use]
    pub fn snapshot(&self, rules: &[RuleMeta]) -> Vec<u8> {
        let mut to = Writer::default();
        to.bytes.extend_from_slice(MAGIC);
        to.number(self.late);
        to.signed(self.sources.now);
        to.number(self.sources.list.len() as u64);
        for source in &self.sources.list {
            to.text(&source.name);
            to.signed(source.clock);
            to.signed(source.heard);
        }
        to.number(self.tables.len() as u64);
        for (plan, table) in self.plans.list.iter().zip(&self.tables) {
            to.bytes.extend_from_slice(&plan.hash);
            to.number(value_kind(&plan.judge));
            let RuleStats { evicted, thinned, ungrouped, ended_early, .. } = table.counted;
            [evicted, thinned, ungrouped, ended_early].into_iter().for_each(|number| to.number(number));
            write_told(&mut to, plan, rules.get(plan.rule).filter(|_| table.bursts > 0));
            to.number(table.len() as u64);
            // In the order in which they are evicted, so that this goes on, too.
            for group in table.all().filter_map(|at| table.get(at)) {
                write_group(&mut to, group, plan.judge.valued(), &self.names);
            }
        }
        to.bytes
    }

    /// Takes the windows from a snapshot, those of rules that are now as they were then. The bytes may be anybody's.
    ///
    /// # Errors
    /// If it isn't a snapshot of this version, whole; the windows are then as before.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<Restored> {
        let mut from = Reader::new(bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Version)?);
        let mut new = Self::of(self.plans.clone(), self.limits.clone(), self.lateness);
        new.late = from.number()?;
        new.sources = read_sources(&mut from, self.limits.sources)?;
        let mut restored = Restored::default();
        for _ in 0..from.count()? {
            new.read_table(&mut from, &mut restored)?;
        }
        if !from.is_empty() {
            return Err(SnapshotError::Malformed("there is more than belongs to it"));
        }
        from.finish(&mut new.names);
        new.note_all();
        *self = new;
        restored.lost.sort_by(|a, b| (a.last, &a.id).cmp(&(b.last, &b.id)));
        Ok(restored)
    }

    fn read_table(&mut self, from: &mut Reader<'_>, restored: &mut Restored) -> Result<()> {
        let hash: [u8; 32] = from.array()?;
        let kind = from.number()?;
        let same = |plan: &Plan| plan.hash == hash && value_kind(&plan.judge) == kind;
        let at = self.plans.list.iter().position(same).filter(|&at| self.tables[at].len() == 0);
        let mut counted = [0; 4];
        for number in &mut counted {
            *number = from.number()?;
        }
        let [evicted, thinned, ungrouped, ended_early] = counted;
        let told = read_told(from)?;
        let groups = from.count()?;
        match at {
            Some(at) => {
                restored.kept += 1;
                self.tables[at].counted =
                    RuleStats { evicted, thinned, ungrouped, ended_early, ..RuleStats::default() };
            }
            None => restored.changed += usize::from(groups > 0),
        }
        for _ in 0..groups {
            let (group, level) = read_group(from, kind, &mut self.names, self.sources.list.len())?;
            let Some(at) = at else {
                restored.lost.extend(told_ends(&group, told.as_ref(), &self.names)?);
                group.release(kind == 1, &mut self.names);
                continue;
            };
            let table = &mut self.tables[at];
            if table.find(group.key.ids()).is_some() || (level == BURSTING) == group.bursts().is_empty() {
                return Err(SnapshotError::Malformed("a group is there twice or at a wrong level"));
            }
            self.bytes += group.bytes();
            self.bursts += group.bursts().len();
            table.bursts += group.bursts().len();
            table.insert(group, level);
        }
        Ok(())
    }

    /// Takes other rules. Windows of those that are as before go on; the bursts of others are summed up.
    pub fn replace_rules(
        &mut self,
        old: &[RuleMeta],
        rules: &[RuleMeta],
        correlations: &[Correlation],
        out: &mut Vec<Finding>,
    ) {
        let plans = Plans::new(rules, correlations, self.limits.records);
        let mut kept: Vec<Option<Table>> = plans.list.iter().map(|_| None).collect();
        for at in 0..self.tables.len() {
            let hash = self.plans.list[at].hash;
            let place = (0..plans.list.len()).find(|&new| plans.list[new].hash == hash && kept[new].is_none());
            if place.is_none() {
                self.end_all(at, old, out);
                let groups: Vec<u32> = self.tables[at].all().collect();
                groups.into_iter().for_each(|group| self.forget(at, group));
            }
            let table = std::mem::replace(&mut self.tables[at], Table::new());
            if let Some(place) = place {
                kept[place] = Some(table);
            }
        }
        self.tables = kept.into_iter().map(|table| table.unwrap_or_else(Table::new)).collect();
        self.plans = plans;
        self.note_all();
    }

    /// Notes the ends of all open bursts anew.
    fn note_all(&mut self) {
        self.sources.forget_notes();
        for (at, (plan, table)) in self.plans.list.iter().zip(&mut self.tables).enumerate() {
            let bursting: Vec<u32> = table.of_level(BURSTING).collect();
            for number in bursting {
                let Some(group) = table.get_mut(number) else { continue };
                for burst in group.bursts_mut() {
                    burst.noted = vec![burst.source];
                    let due = burst_end(plan, burst, self.lateness);
                    let patience = patience(plan, self.lateness);
                    self.sources.note(burst.source, (due, at as u32, number, burst.number), patience);
                }
            }
        }
    }
}

fn read_sources(from: &mut Reader<'_>, most: usize) -> Result<Sources> {
    let mut sources = Sources::default();
    sources.now = from.time()?;
    let count = from.count()?;
    // The one that stands for all further ones comes on top.
    if count > most.saturating_add(1) {
        return Err(SnapshotError::Malformed("it has more sources than there may be"));
    }
    for _ in 0..count {
        let name = from.text()?;
        let (clock, heard) = (from.time()?, from.time()?);
        sources.add(name, clock, heard);
    }
    Ok(sources)
}

/// The rule of a plan with open bursts, as their findings tell it: without that, what was counted could not be told once the
/// rule has changed.
fn write_told(to: &mut Writer, plan: &Plan, rule: Option<&RuleMeta>) {
    let Some(rule) = rule else { return to.number(0) };
    to.number(1 + rule.level as u64);
    [&rule.id, &rule.title, &rule.hash].into_iter().for_each(|text| to.text(text));
    to.number(rule.tags.len() as u64);
    rule.tags.iter().for_each(|tag| to.text(tag));
    let names: Vec<&str> = match &plan.group {
        GroupBy::Entities => ENTITIES.iter().map(|entity| entity.name()).collect(),
        GroupBy::Fields(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
    };
    to.number(names.len() as u64);
    names.into_iter().for_each(|name| to.text(name));
}

/// A rule and the names of its group's values.
fn read_told(from: &mut Reader<'_>) -> Result<Option<(RuleMeta, Vec<String>)>> {
    const LEVELS: [Level; 5] = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];
    let Some(level) = from.number()?.checked_sub(1) else { return Ok(None) };
    let level = usize::try_from(level).ok().and_then(|level| LEVELS.get(level));
    let level = *level.ok_or(SnapshotError::Malformed("a rule's level is none"))?;
    let [id, title, hash] = [from.text()?, from.text()?, from.text()?].map(str::to_owned);
    let mut texts = || (0..from.count()?).map(|_| Ok(from.text()?.to_owned())).collect::<Result<Vec<String>>>();
    let tags = texts()?.into_iter().collect();
    Ok(Some((RuleMeta { id, title, hash, level, tags, ..RuleMeta::default() }, texts()?)))
}

/// The ends of a group's bursts that nobody will count on.
fn told_ends(group: &Group, told: Option<&(RuleMeta, Vec<String>)>, names: &Names) -> Result<Vec<Finding>> {
    if group.bursts().is_empty() {
        return Ok(Vec::new());
    }
    let (rule, fields) = told.ok_or(SnapshotError::Malformed("a burst has no rule"))?;
    let values = fields.iter().zip(group.key.ids()).filter(|(_, id)| **id != NONE);
    let values: Vec<_> = values.map(|(field, id)| (field.clone(), names.text(*id).to_owned())).collect();
    let end = |burst: &Burst| burst.finding(Phase::Ended, rule, values.clone(), BTreeMap::new(), names);
    Ok(group.bursts().iter().map(end).collect())
}

fn write_group(to: &mut Writer, group: &Group, valued: bool, names: &Names) {
    to.bytes.push(group.level);
    to.number(group.key.ids().len() as u64);
    group.key.ids().iter().for_each(|id| to.id(*id, names));
    to.number(group.items.thin_at() as u64);
    to.number(group.items.len() as u64);
    let mut before = (0, 0);
    for item in group.items.slice() {
        to.signed(item.time.wrapping_sub(before.0));
        to.signed(item.index.wrapping_sub(before.1) as i64);
        before = item.key();
        if valued {
            to.id(item.value as Id, names)
        } else {
            to.signed(item.value)
        }
        to.number(u64::from(item.count));
        to.number(u64::from(item.source));
        to.signed(i64::from(item.seen) - i64::from(super::item::seen(item.time)));
        to.number(u64::from(item.slots()) << 2 | u64::from(item.matched()) << 1 | u64::from(item.member()));
        to.id(item.user, names);
        to.id(item.address, names);
    }
    to.number(group.bursts().len() as u64);
    group.bursts().iter().for_each(|burst| write_burst(to, burst, names));
}

fn read_group(from: &mut Reader<'_>, kind: u64, names: &mut Names, sources: usize) -> Result<(Group, u8)> {
    let level = from.take(1)?[0];
    let mut key = Vec::new();
    for _ in 0..from.count()? {
        key.push(from.id(names)?);
    }
    let mut group = Group::new(Key::new(&key));
    let thin_at = usize::try_from(from.number()?).unwrap_or(usize::MAX);
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..from.count()? {
        let item = read_item(from, kind, names, items.last().map_or((0, 0), Item::key))?;
        if item.source as usize >= sources
            || item.count == 0
            || items.last().is_some_and(|last| last.key() >= item.key())
        {
            return Err(SnapshotError::Malformed("a record has no source, no count or no order"));
        }
        items.push(item);
    }
    group.items.replace(items, thin_at);
    for _ in 0..from.count()? {
        let burst = read_burst(from, names)?;
        if burst.source as usize >= sources {
            return Err(SnapshotError::Malformed("a burst has no source"));
        }
        group.open(burst);
    }
    if level > BURSTING {
        return Err(SnapshotError::Malformed("a level is too high"));
    }
    Ok((group, level))
}

fn read_item(from: &mut Reader<'_>, kind: u64, names: &mut Names, before: (i64, u64)) -> Result<Item> {
    let time = from.time_from(before.0)?;
    let index = before.1.wrapping_add(from.signed()? as u64);
    let value = if kind == 1 { i64::from(from.id(names)?) } else { from.signed()? };
    let count = from.u32()?;
    let source = from.u32()?;
    let seen = i64::from(super::item::seen(time)).checked_add(from.signed()?);
    let seen = seen.and_then(|seen| u32::try_from(seen).ok()).ok_or(SnapshotError::Malformed("a time is no time"))?;
    let mask = from.number()?;
    let slots = u32::try_from(mask >> 2).ok().filter(|slots| slots & !SLOTS == 0);
    let slots = slots.ok_or(SnapshotError::Malformed("a record matches a rule that isn't there"))?;
    let flags = if mask & 2 != 0 { MATCHED } else { 0 } | if mask & 1 != 0 { MEMBER } else { 0 };
    let (user, address) = (from.id(names)?, from.id(names)?);
    Ok(Item { time, index, value, count, source, seen, mask: slots | flags, user, address })
}

fn write_burst(to: &mut Writer, burst: &Burst, names: &Names) {
    to.number(burst.number);
    to.bytes.extend_from_slice(&burst.id);
    for time in [burst.matched.0, burst.matched.1, burst.edge, burst.times.0, burst.times.1] {
        to.signed(time);
    }
    to.number(u64::from(burst.source));
    to.number(burst.count);
    to.number(u64::from(burst.late));
    to.number(burst.evidence.len() as u64);
    for (time, index) in &burst.evidence {
        to.signed(*time);
        to.number(*index);
    }
    for told in [&burst.users, &burst.addresses] {
        to.number(told.len() as u64);
        told.iter().for_each(|id| to.id(*id, names));
    }
}

fn read_burst(from: &mut Reader<'_>, names: &mut Names) -> Result<Burst> {
    let (number, id) = (from.number()?, from.array()?);
    let (matched, edge) = ((from.time()?, from.time()?), from.time()?);
    let times = (from.time()?, from.time()?);
    let (source, count, late) = (from.u32()?, from.number()?, from.number()? != 0);
    let mut evidence = Vec::new();
    for _ in 0..from.count()? {
        evidence.push((from.time()?, from.number()?));
    }
    let mut told = [Vec::new(), Vec::new()];
    for list in &mut told {
        for _ in 0..from.count()? {
            list.push(from.id(names)?);
        }
    }
    let [users, addresses] = told;
    Ok(Burst { number, id, matched, edge, source, noted: Vec::new(), times, count, evidence, users, addresses, late })
}
