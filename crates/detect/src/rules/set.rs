//! The rules that run.

use super::builtin;
use super::clock::Clock;
use super::correlation::{Condition, Correlation, Operator};
use super::detection::Logic;
use super::draft::{Body, Draft, feed, hex};
use super::except::Except;
use super::load::Loader;
use super::mapping::{Family, Source, Test};
use super::names::{self, Place, Slots};
use super::plan::{Rule, Search, Texts};
use super::view::{Seen, Table, View};
use crate::error::DetectError;
use crate::types::{Refusal, RuleFile, RuleMeta, Settings};
use sceau_event::Record;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The most values of one list of the settings.
const MAX_LIST: usize = 10_000;
/// The most out of order that is put in order: a day, in microseconds.
const MAX_LATENESS: i64 = 86_400_000_000;

/// Rules, mappings and settings, ready to match records. It never changes: other settings make another one.
pub struct RuleSet {
    rules: Vec<RuleMeta>,
    refusals: Vec<Refusal>,
    correlations: Vec<Correlation>,
    groups: Vec<Group>,
    search: Search,
    /// By rule: the log sources it is evaluated for, as (group, channel).
    channels: Vec<Vec<(usize, usize)>>,
    slots: Slots,
    exceptions: Vec<Except>,
    clock: Clock,
    hash: String,
}

/// The log sources of one file of mappings that have rules.
struct Group {
    when: Option<Test>,
    channels: Vec<Channel>,
}

/// A log source and its rules.
struct Channel {
    source: Source,
    rules: Vec<Rule>,
    table: Table,
    /// Has it so many rules that need a text that the search costs less than trying them?
    searched: bool,
}

/// See [`Channel::searched`].
const FEW: usize = 4;

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matched {
    /// Its place in [`RuleSet::rules`].
    pub rule: usize,
}

impl RuleSet {
    /// The rules and the mappings that come with Sceau.
    #[must_use]
    pub fn builtin_files() -> (Vec<RuleFile>, Vec<RuleFile>) {
        builtin::files()
    }

    /// Reads rules and mappings. What can't be honoured exactly is among [`Self::refusals`], and all else runs.
    ///
    /// # Errors
    /// The settings make no sense, whatever the rules.
    pub fn load(files: &[RuleFile], mappings: &[RuleFile], settings: &Settings) -> Result<Self, DetectError> {
        Self::load_only(files, mappings, settings, None)
    }

    /// The same, but if a rule is named, it alone is switched on, whatever the settings say.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_only(
        files: &[RuleFile],
        mappings: &[RuleFile],
        settings: &Settings,
        only: Option<&str>,
    ) -> Result<Self, DetectError> {
        check(settings)?;
        let clock = Clock::new(&settings.zone)?;
        let mut loader = Loader::load(files, mappings, settings)?;
        let exceptions = Except::all(&settings.exceptions, &mut loader.slots);
        let hashes = hashes(&loader, settings);
        let rules: Vec<_> = (0..loader.drafts.len()).map(|at| meta(&loader, at, &hashes[at], settings, only)).collect();
        let mut correlations: Vec<_> = std::mem::take(&mut loader.correlations).into_values().collect();
        for correlation in &mut correlations {
            correlation.fires = rules[correlation.rule].fires;
        }
        let hash = whole_hash(&rules, settings);
        let needed = needed(&rules, &correlations);
        let extra = extra_fields(&correlations, rules.len());
        let Loader { families, mut slots, drafts, refusals, .. } = loader;
        let (groups, search, channels) = build(families, drafts, &needed, &extra, &mut slots);
        Ok(Self { rules, refusals, correlations, groups, search, channels, slots, exceptions, clock, hash })
    }

    /// Whether a rule of this id is loaded.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.rules.iter().any(|meta| meta.id == id)
    }

    /// All rules, correlations too, in the order of their files' paths.
    #[must_use]
    pub fn rules(&self) -> &[RuleMeta] {
        &self.rules
    }

    /// What is not a rule that runs, and why.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The correlations, in the order of their rules, those too that are switched off.
    #[must_use]
    pub fn correlations(&self) -> &[Correlation] {
        &self.correlations
    }

    /// SHA-256, hex, of all that findings depend on besides the records.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Puts the detection rules that match a record into `out`, by their places, each once. Rules that fire nothing
    /// themselves are among them, since correlations need them; rules of which the record is an exception are not.
    pub fn matches(&self, record: &Record<'_>, out: &mut Vec<Matched>) {
        out.clear();
        let present = self.slots.present(record);
        let seen = Seen { record, present: &present, clock: &self.clock };
        let mut found = None;
        for group in &self.groups {
            if group.when.as_ref().is_some_and(|when| !when.holds(seen)) {
                continue;
            }
            for channel in &group.channels {
                if channel.source.when.as_ref().is_some_and(|when| !when.holds(seen)) {
                    continue;
                }
                if channel.searched && found.is_none() {
                    found = Some(self.search.run(record));
                }
                let view = View { seen, table: &channel.table };
                let rules = channel.rules.iter().filter(|rule| rule.holds(&view, found.as_ref()));
                out.extend(rules.map(|rule| Matched { rule: rule.number }));
            }
        }
        if out.len() > 1 {
            out.sort_unstable();
            out.dedup();
        }
        if !self.exceptions.is_empty() {
            out.retain(|matched| !self.excepted(matched.rule, record));
        }
    }

    /// Whether the settings except the record from a rule. [`Self::matches`] has asked this for detection rules; for a
    /// correlation, who evaluates it has to ask before counting the record.
    #[must_use]
    pub fn excepted(&self, rule: usize, record: &Record<'_>) -> bool {
        let Some(meta) = self.rules.get(rule) else { return false };
        self.exceptions
            .iter()
            .filter(|exception| exception.rule.as_ref().is_none_or(|id| *id == meta.id))
            .any(|exception| exception.covers(record, &self.clock, |name| self.field_all(rule, record, name)))
    }

    /// Whether [`Self::excepted`] could be true of a rule for any record.
    #[must_use]
    pub fn has_exceptions(&self, rule: usize) -> bool {
        let Some(meta) = self.rules.get(rule) else { return false };
        self.exceptions.iter().any(|exception| exception.rule.as_ref().is_none_or(|id| *id == meta.id))
    }

    /// The first value of a field of a record, as a rule's mapping sees it; for a correlation, as the record itself
    /// calls it.
    #[must_use]
    pub fn field<'r>(&self, rule: usize, record: &'r Record<'_>, name: &str) -> Option<Cow<'r, str>> {
        let mut first = None;
        self.places(rule, record, name).iter().find(|place| {
            place.any(record, &self.clock, |value| {
                first = Some(value);
                true
            })
        });
        first
    }

    /// All values of a field of a record; see [`Self::field`].
    #[must_use]
    pub fn field_all<'r>(&self, rule: usize, record: &'r Record<'_>, name: &str) -> Vec<Cow<'r, str>> {
        names::values(&self.places(rule, record, name), record, &self.clock)
    }

    /// Where a field of a rule is. A rule of several log sources reads the record as the first one that it belongs to.
    fn places(&self, rule: usize, record: &Record<'_>, name: &str) -> Cow<'_, [Place]> {
        let channels = self.channels.get(rule).map(Vec::as_slice).unwrap_or_default();
        let channel = match channels {
            [] => None,
            [only] => Some(only),
            several => {
                let present = self.slots.present(record);
                let seen = Seen { record, present: &present, clock: &self.clock };
                several.iter().find(|(group, channel)| {
                    let Some(group) = self.groups.get(*group) else { return false };
                    let Some(channel) = group.channels.get(*channel) else { return false };
                    [&group.when, &channel.source.when].into_iter().flatten().all(|when| when.holds(seen))
                })
            }
        };
        let channel = channel.and_then(|(group, channel)| self.groups.get(*group)?.channels.get(*channel));
        match channel.map(|channel| (channel, channel.table.get(name))) {
            Some((_, Some(places))) => Cow::Borrowed(places),
            // Asked for by an exception only: nothing is looked up by number, so a number of nobody will do.
            Some((channel, None)) => Cow::Owned(channel.source.places(name, &mut Slots::default())),
            None => Cow::Owned(Place::unmapped(name, &mut Slots::default())),
        }
    }
}

fn check(settings: &Settings) -> Result<(), DetectError> {
    if !(0..=MAX_LATENESS).contains(&settings.lateness) {
        return Err(DetectError::Lateness(settings.lateness));
    }
    if let Some((name, list)) = settings.lists.iter().find(|(_, list)| list.len() > MAX_LIST) {
        return Err(DetectError::LongList { name: name.clone(), count: list.len(), most: MAX_LIST });
    }
    if let Some((id, _)) = settings.exceptions.iter().find(|(_, exception)| exception.fields.is_empty()) {
        return Err(DetectError::EmptyException(id.clone()));
    }
    match settings.overrides.iter().find(|(_, over)| over.threshold == Some(0)) {
        Some((id, _)) => Err(DetectError::ZeroThreshold(id.clone())),
        None => Ok(()),
    }
}

/// Each rule's hash. A correlation's has those of the rules it refers to in it, which come first.
fn hashes(loader: &Loader, settings: &Settings) -> Vec<String> {
    let mut hashes: Vec<Option<String>> = vec![None; loader.drafts.len()];
    while hashes.iter().any(Option::is_none) {
        for at in 0..hashes.len() {
            let refers =
                loader.correlations.get(&at).map(|correlation| correlation.refers.as_slice()).unwrap_or_default();
            let parts: Option<Vec<_>> = refers.iter().map(|to| hashes[*to].clone()).collect();
            if let (None, Some(parts)) = (&hashes[at], parts) {
                let mut hash = loader.drafts[at].hash.clone();
                parts.iter().for_each(|part| feed(&mut hash, part));
                if let Some(threshold) = settings.overrides.get(&loader.drafts[at].id).and_then(|over| over.threshold) {
                    hash.update(threshold.to_be_bytes());
                }
                hashes[at] = Some(hex(&hash.finalize()));
            }
        }
    }
    hashes.into_iter().flatten().collect()
}

fn meta(loader: &Loader, at: usize, hash: &str, settings: &Settings, only: Option<&str>) -> RuleMeta {
    let draft = &loader.drafts[at];
    let correlation = loader.correlations.get(&at);
    let over = settings.overrides.get(&draft.id);
    let enabled = match only {
        Some(only) => draft.id == only,
        None => over.and_then(|over| over.enabled).unwrap_or(true),
    };
    let is_part = loader.parts.contains(&at) && !draft.fires_anyway();
    let number = |condition: &Condition| match condition {
        Condition::Threshold { predicates, .. } => {
            predicates.iter().find(|(op, _)| matches!(op, Operator::Gte | Operator::Gt)).map(|(_, number)| *number)
        }
        Condition::Expression(_) => None,
    };
    RuleMeta {
        id: draft.id.clone(),
        title: draft.text("title"),
        description: draft.text("description"),
        level: over.and_then(|over| over.level).unwrap_or_else(|| draft.level()),
        tags: draft.texts("tags").into_iter().collect(),
        path: draft.path.clone(),
        line: draft.line,
        hash: hash.to_owned(),
        kind: correlation.map_or("detection", |correlation| correlation.kind.name()).to_owned(),
        fires: enabled && !is_part,
        enabled,
        threshold: correlation.and_then(|correlation| number(&correlation.condition)),
        timespan: correlation.map(|correlation| correlation.timespan),
        group_by: correlation.map(|correlation| correlation.group_by.clone()).unwrap_or_default(),
        false_positives: draft.texts("falsepositives"),
    }
}

fn whole_hash(rules: &[RuleMeta], settings: &Settings) -> String {
    let mut hash = Sha256::new();
    hash.update(b"sceau-rules-1\n");
    for rule in rules {
        feed(&mut hash, &rule.id);
        feed(&mut hash, &rule.hash);
        hash.update([u8::from(rule.fires), rule.level as u8]);
    }
    // Maps are sorted, so that the same settings are the same text. A settings type always is JSON.
    feed(&mut hash, &serde_json::to_string(settings).unwrap_or_default());
    hex(&hash.finalize())
}

/// The rules that are worth evaluating: those that fire, and what they refer to, and so on.
fn needed(rules: &[RuleMeta], correlations: &[Correlation]) -> Vec<bool> {
    let mut needed: Vec<bool> = rules.iter().map(|rule| rule.fires).collect();
    let mut open: Vec<usize> = (0..rules.len()).filter(|at| needed[*at]).collect();
    let refers: BTreeMap<usize, &[usize]> = correlations.iter().map(|c| (c.rule, c.refers.as_slice())).collect();
    while let Some(at) = open.pop() {
        for to in refers.get(&at).copied().unwrap_or_default() {
            if !std::mem::replace(&mut needed[*to], true) {
                open.push(*to);
            }
        }
    }
    needed
}

/// The fields that correlations read of each rule, chains included.
fn extra_fields(correlations: &[Correlation], rules: usize) -> Vec<BTreeSet<String>> {
    let mut extra = vec![BTreeSet::new(); rules];
    let by_rule: BTreeMap<usize, &Correlation> = correlations.iter().map(|c| (c.rule, c)).collect();
    let own = |correlation: &Correlation| {
        let fields = match &correlation.condition {
            Condition::Threshold { fields, .. } => fields.clone(),
            Condition::Expression(_) => Vec::new(),
        };
        correlation.group_by.iter().cloned().chain(fields).collect::<BTreeSet<String>>()
    };
    for correlation in correlations {
        let mut open = vec![(correlation, own(correlation))];
        while let Some((correlation, fields)) = open.pop() {
            for (at, to) in correlation.refers.iter().enumerate() {
                let names = fields.iter().filter_map(|name| correlation.field_name(at, name).map(str::to_owned));
                let names: BTreeSet<String> = names.collect();
                match by_rule.get(to) {
                    Some(next) => open.push((next, names)),
                    None => extra[*to].extend(names),
                }
            }
        }
    }
    extra
}

type Built = (Vec<Group>, Search, Vec<Vec<(usize, usize)>>);

/// Puts each needed rule into the engines of its log sources.
fn build(
    families: Vec<Family>,
    drafts: Vec<Draft>,
    needed: &[bool],
    extra: &[BTreeSet<String>],
    slots: &mut Slots,
) -> Built {
    let mut rules: BTreeMap<(usize, usize), Vec<(usize, Logic)>> = BTreeMap::new();
    let mut fields: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
    let mut channels = vec![Vec::new(); drafts.len()];
    for (number, draft) in drafts.into_iter().enumerate().filter(|(number, _)| needed[*number]) {
        let Body::Detection { logic, sources, .. } = draft.body else { continue };
        let names: BTreeSet<String> = logic.fields().into_iter().chain(extra[number].iter().cloned()).collect();
        for source in sources {
            fields.entry(source).or_default().extend(names.iter().cloned());
            rules.entry(source).or_default().push((number, logic.clone()));
        }
    }
    let mut groups = Vec::new();
    let mut texts = Texts::default();
    for (at, family) in families.into_iter().enumerate() {
        let mut in_file = Vec::new();
        for (place, source) in family.sources.into_iter().enumerate() {
            let Some(rules) = rules.remove(&(at, place)) else { continue };
            let names = fields.remove(&(at, place)).unwrap_or_default();
            let table: Table = names
                .into_iter()
                .map(|name| {
                    let places = source.places(&super::detection::written(&name), slots);
                    (name, places)
                })
                .collect();
            let here = (groups.len(), in_file.len());
            rules.iter().for_each(|(number, _)| channels[*number].push(here));
            let rules: Vec<Rule> =
                rules.into_iter().map(|(number, logic)| Rule::new(number, logic, &table, &mut texts)).collect();
            let searched = rules.iter().filter(|rule| rule.needs_text()).count() > FEW;
            in_file.push(Channel { source, rules, table, searched });
        }
        if !in_file.is_empty() {
            groups.push(Group { when: family.when, channels: in_file });
        }
    }
    (groups, Search::new(texts), channels)
}
