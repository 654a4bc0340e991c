//! Which group a record belongs to, and what of it is reckoned with.

use sceau_event::{Keyword, Record};
use sha2::{Digest, Sha256};

use super::group::Key;
use super::item::{Item, MAX_SLOTS};
use super::names::{Id, NONE, Names};
use super::plan::{ENTITIES, FieldNames, GroupBy, Judge, Plans};
use super::table::Table;
use super::{Entering, Fields, Hit, Windows, burst, verdict};
use crate::types::{Finding, RuleMeta};

/// Longer values are kept as their beginning and their hash, so that nobody can fill the memory with a few records.
const MAX_VALUE: usize = 256;

impl Windows {
    /// Puts all hits of one plan into their groups.
    pub(super) fn step(
        &mut self,
        at: usize,
        record: &Record<'_>,
        rules: &[RuleMeta],
        fields: &impl Fields,
        out: &mut Vec<Finding>,
    ) {
        // By group and record: a record that matched several of the rules is one record.
        let mut entering = std::mem::take(&mut self.scratch.entering);
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
            let slot = 1 << hit.slot.min(MAX_SLOTS - 1);
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
        for new in &entering {
            self.apply(at, new, rules, out);
            self.left(at, new);
        }
        entering.clear();
        self.scratch.entering = entering;
    }

    /// Gives back what was held for a record while it came into its group.
    fn left(&mut self, plan: usize, new: &Entering) {
        new.key.ids().iter().for_each(|id| self.names.drop(*id));
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
    fn place(&mut self, hit: &Hit, record: &Record<'_>, fields: &impl Fields) -> Option<(Key, i64)> {
        let plan = &self.plans.list[hit.plan];
        let (plans, tables, names) = (&self.plans, &self.tables, &mut self.names);
        let id = |names: &mut Names, field: &FieldNames| value(plans, tables, names, hit, record, fields, field);
        let key = match &plan.group {
            GroupBy::Entities => Key::new(&ENTITIES.map(|entity| match record.keyword(entity) {
                Some(value) => hold_of(names, value, hit, record),
                None => NONE,
            })),
            GroupBy::Fields(wanted) => match &wanted[..] {
                [field] => Key::One(id(names, field)?),
                several => Key::new(&all(several, names, id)?),
            },
        };
        let reckoned = match (&plan.judge, &plan.reckons[..]) {
            (Judge::Distinct { .. }, [field]) => id(names, field).map(i64::from),
            (Judge::Distinct { .. }, several) => all(several, names, id).and_then(|ids| {
                let texts: Vec<&str> = ids.iter().map(|id| names.text(*id)).collect();
                // As JSON, so that ("a b", "c") and ("a", "b c") differ.
                let whole = serde_json::to_string(&texts).ok();
                ids.into_iter().for_each(|id| names.drop(id));
                whole.map(|whole| i64::from(hold(names, &whole)))
            }),
            (Judge::Number { .. }, [field]) => id(names, field).and_then(|id| {
                let number = verdict::millionths(names.text(id).trim());
                names.drop(id);
                number
            }),
            _ => Some(0),
        };
        if reckoned.is_none() {
            key.ids().iter().for_each(|id| names.drop(*id));
        }
        Some((key, reckoned?))
    }
}

/// The values of several fields, held. `None`, and none is held: one lacks.
fn all(
    fields: &[FieldNames],
    names: &mut Names,
    id: impl Fn(&mut Names, &FieldNames) -> Option<Id>,
) -> Option<Vec<Id>> {
    let mut held = Vec::with_capacity(fields.len());
    for field in fields {
        match id(names, field) {
            Some(id) => held.push(id),
            None => {
                held.into_iter().for_each(|id| names.drop(id));
                return None;
            }
        }
    }
    Some(held)
}

/// Holds a value of the record of the moment. Most are its user or its address, which are held already: these needn't be
/// looked for by their text.
fn hold_of(names: &mut Names, value: &str, hit: &Hit, record: &Record<'_>) -> Id {
    for (keyword, id) in [(Keyword::SourceIp, hit.item.address), (Keyword::UserName, hit.item.user)] {
        if record.keyword(keyword) == Some(value) {
            return names.share(id);
        }
    }
    hold(names, value)
}

/// Holds a value, a long one cut.
pub(super) fn hold(names: &mut Names, value: &str) -> Id {
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
    field: &FieldNames,
) -> Option<Id> {
    let name = plans.list[hit.plan].field_name(field, hit.slot)?;
    if let Some((child, group)) = hit.via {
        let plan = &plans.list[child];
        if let (GroupBy::Fields(wanted), Some(group)) = (&plan.group, tables[child].get(group))
            && let Some(at) = wanted.iter().position(|(field, _)| field == name)
        {
            return group.key.ids().get(at).map(|id| names.share(*id));
        }
    }
    if let Some(rule) = hit.leaf {
        return fields.field(rule, record, name).map(|value| hold_of(names, &value, hit, record));
    }
    // An earlier record, which isn't at hand: these two are remembered of it.
    let known = match name {
        "user.name" => hit.item.user,
        "source.ip" => hit.item.address,
        _ => NONE,
    };
    (known != NONE).then(|| names.share(known))
}
