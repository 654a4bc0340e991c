//! From files to rules that refer to each other.

use super::correlation::Correlation;
use super::document;
use super::draft::{self, Body, Draft, Filter, Read, feed};
use super::link::{self, Referred};
use super::mapping::{Family, LogSource};
use super::names::Slots;
use super::refuse::{Fault, ReasonKind as R};
use crate::error::DetectError;
use crate::types::{Refusal, RuleFile, Settings};
use serde_norway::{Mapping, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The most documents of all rule files together.
pub(super) const MAX_RULES: usize = 20_000;
/// The largest file of rules or of a mapping, in bytes.
const MAX_FILE: usize = 1 << 20;

/// What is being put together.
#[derive(Default)]
pub(super) struct Loader {
    pub families: Vec<Family>,
    /// The text of each family's file.
    family_texts: Vec<String>,
    pub slots: Slots,
    pub drafts: Vec<Draft>,
    /// By place in [`Self::drafts`].
    pub correlations: BTreeMap<usize, Correlation>,
    /// Drafts that something refers to without `generate`.
    pub parts: BTreeSet<usize>,
    pub refusals: Vec<Refusal>,
    filters: Vec<Filter>,
    /// What refused documents were called.
    refused: BTreeSet<String>,
    /// What correlations that can't even be read refer to, and from which file.
    orphans: Vec<(String, String)>,
    /// The ids of rules that a refused correlation refers to.
    quiet: BTreeSet<String>,
}

impl Loader {
    pub fn load(files: &[RuleFile], mappings: &[RuleFile], settings: &Settings) -> Result<Self, DetectError> {
        let mut loader = Self::default();
        for file in sorted(mappings) {
            loader.mapping(file);
        }
        for file in sorted(files) {
            loader.file(file, settings)?;
        }
        loader.unique();
        loader.place_all();
        loader.filter_all();
        loader.link_all(settings);
        loader.compact();
        loader.refusals.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        Ok(loader)
    }

    fn mapping(&mut self, file: &RuleFile) {
        let read = match file.text.len() {
            0..=MAX_FILE => Family::read(&file.text, &mut self.slots),
            size => Err(too_large(size)),
        };
        match read {
            Ok(family) => {
                self.families.push(family);
                self.family_texts.push(file.text.clone());
            }
            Err(fault) => self.refusals.push(fault.refusal(&file.path, 1, &file.text, String::new())),
        }
    }

    fn file(&mut self, file: &RuleFile, settings: &Settings) -> Result<(), DetectError> {
        if file.text.len() > MAX_FILE {
            self.refusals.push(too_large(file.text.len()).refusal(&file.path, 1, "", String::new()));
            return Ok(());
        }
        let mut action = false;
        for document in document::split(&file.text) {
            let total = self.drafts.len() + self.filters.len() + self.refusals.len() + 1;
            if total > MAX_RULES {
                return Err(DetectError::TooManyRules(total, MAX_RULES));
            }
            let mut title = String::new();
            let read = document::read(&document).and_then(|mapping| {
                title = document::title(&mapping);
                draft::read(file, &document, &mapping, settings).inspect_err(|_| {
                    let called = ["id", "name"].into_iter().filter_map(|key| mapping.get(key)?.as_str());
                    self.refused.extend(called.map(str::to_owned));
                    self.orphans.extend(orphans(&mapping).map(|rule| (rule, file.path.clone())));
                })
            });
            let fault = match read {
                Ok(Read::Action) => {
                    action = true;
                    Fault::new(
                        R::CollectionAction,
                        "`action: global`, `repeat` and `reset` are not honoured: write each rule in full",
                    )
                    .near("action:")
                }
                Ok(_) if action => {
                    Fault::new(R::CollectionAction, "it follows an `action:` in its file that is not honoured")
                }
                Ok(Read::Rule(draft)) => {
                    self.drafts.push(*draft);
                    continue;
                }
                Ok(Read::Filter(filter)) => {
                    self.filters.push(*filter);
                    continue;
                }
                Err(fault) => fault,
            };
            self.refusals.push(fault.refusal(&file.path, document.line, &document.text, title));
        }
        Ok(())
    }

    /// Takes back a draft.
    fn refuse(&mut self, at: usize, fault: Fault) {
        let draft = &self.drafts[at];
        self.refused.extend([Some(&draft.id), draft.name.as_ref()].into_iter().flatten().cloned());
        self.refusals.push(fault.refusal(&draft.path, draft.line, &draft.text, draft.text("title")));
    }

    /// Takes back some drafts, in their order.
    fn refuse_all(&mut self, faults: BTreeMap<usize, Fault>) {
        let gone: BTreeSet<usize> = faults.keys().copied().collect();
        for (at, fault) in faults {
            self.refuse(at, fault);
        }
        let mut at = 0;
        self.drafts.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
    }

    fn unique(&mut self) {
        let mut first: BTreeMap<&str, &Draft> = BTreeMap::new();
        let mut faults = BTreeMap::new();
        for (at, draft) in self.drafts.iter().enumerate() {
            if let Some(other) = first.get(draft.id.as_str()) {
                let reason = format!("`{}` is already the id of a rule: {} line {}", draft.id, other.path, other.line);
                faults.insert(at, Fault::new(R::DuplicateId, reason).near(&draft.id));
            } else {
                first.insert(&draft.id, draft);
            }
        }
        self.refuse_all(faults);
    }

    /// Finds the log source of each detection.
    fn place_all(&mut self) {
        let mut known: BTreeMap<&LogSource, Vec<(usize, usize)>> = BTreeMap::new();
        for (family, sources) in self.families.iter().enumerate() {
            for (at, source) in sources.sources.iter().enumerate() {
                source.logsources.iter().for_each(|logsource| known.entry(logsource).or_default().push((family, at)));
            }
        }
        let mut faults = BTreeMap::new();
        for (at, draft) in self.drafts.iter_mut().enumerate() {
            let Body::Detection { logsource, sources, .. } = &mut draft.body else { continue };
            match known.get(logsource) {
                Some(found) => {
                    sources.clone_from(found);
                    let families: BTreeSet<usize> = found.iter().map(|(family, _)| *family).collect();
                    for family in families {
                        feed(&mut draft.hash, self.family_texts.get(family).map(String::as_str).unwrap_or_default());
                    }
                }
                None => {
                    let reason = format!(
                        "no mapping knows the log source `{logsource}`: add one to a file of mappings that tells which \
                         records it is, and what its fields are called"
                    );
                    faults.insert(at, Fault::new(R::NoMapping, reason).near("logsource:"));
                }
            }
        }
        self.refuse_all(faults);
    }

    fn filter_all(&mut self) {
        for (number, filter) in std::mem::take(&mut self.filters).into_iter().enumerate() {
            match self.filtered(&filter) {
                Ok(targets) => {
                    for at in targets {
                        let draft = &mut self.drafts[at];
                        if let Body::Detection { logic, .. } = &mut draft.body {
                            logic.restrict(&filter.logic, number);
                            feed(&mut draft.hash, &filter.hash);
                        }
                    }
                }
                Err(fault) => {
                    self.refusals.push(fault.refusal(&filter.path, filter.line, &filter.text, filter.title));
                }
            }
        }
    }

    /// The drafts that a filter narrows.
    fn filtered(&self, filter: &Filter) -> Result<Vec<usize>, Fault> {
        let fits = |draft: &Draft| {
            let Body::Detection { logsource, .. } = &draft.body else { return false };
            let part = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
            part(&filter.logsource.product, &logsource.product)
                && part(&filter.logsource.category, &logsource.category)
                && part(&filter.logsource.service, &logsource.service)
        };
        let Some(rules) = &filter.rules else {
            return Ok((0..self.drafts.len()).filter(|at| fits(&self.drafts[*at])).collect());
        };
        let mut targets = Vec::new();
        for rule in rules {
            let at = self.resolve(rule, &filter.path)?;
            if !fits(&self.drafts[at]) {
                let reason = format!("the log source of `{rule}` is not the filter's (`{}`)", filter.logsource);
                return Err(Fault::new(R::UnknownReference, reason).near(rule));
            }
            targets.push(at);
        }
        Ok(targets)
    }

    /// The draft that a reference from a file means: by id, else by name in the same file, else by name.
    fn resolve(&self, reference: &str, path: &str) -> Result<usize, Fault> {
        if let Some(at) = self.drafts.iter().position(|draft| draft.id == reference) {
            return Ok(at);
        }
        let named = |(_, draft): &(usize, &Draft)| draft.name.as_deref() == Some(reference);
        let mut found: Vec<(usize, &Draft)> = self.drafts.iter().enumerate().filter(named).collect();
        if found.iter().any(|(_, draft)| draft.path == path) {
            found.retain(|(_, draft)| draft.path == path);
        }
        let reason = match found[..] {
            [(at, _)] => return Ok(at),
            [] if self.refused.contains(reference) => format!("it refers to `{reference}`, which was refused"),
            [] => format!("it refers to `{reference}`, but no rule has that id or name"),
            _ => format!("it refers to `{reference}`, but {} rules have that name", found.len()),
        };
        Err(Fault::new(R::UnknownReference, reason).near(reference))
    }

    /// Connects correlations with what they refer to; those that can't be are refused, and those that refer to them.
    fn link_all(&mut self, settings: &Settings) {
        let orphans = std::mem::take(&mut self.orphans);
        let found = orphans.iter().filter_map(|(rule, path)| self.resolve(rule, path).ok());
        let ids: Vec<String> = found.map(|at| self.drafts[at].id.clone()).collect();
        self.quiet.extend(ids);
        loop {
            let mut made = BTreeMap::new();
            let mut faults = BTreeMap::new();
            for (at, draft) in self.drafts.iter().enumerate() {
                let Body::Correlation(rule) = &draft.body else {
                    if settings.overrides.get(&draft.id).is_some_and(|over| over.threshold.is_some()) {
                        let reason = "the settings give it a threshold, but it has none: only correlations have";
                        faults.insert(at, Fault::new(R::BadOverride, reason));
                    }
                    continue;
                };
                let threshold = settings.overrides.get(&draft.id).and_then(|over| over.threshold);
                let refers = self.referred(&rule.rules, &draft.path);
                match refers.and_then(|refers| link::correlation(rule, &draft.mapping, &refers, threshold)) {
                    Ok(correlation) => drop(made.insert(at, correlation)),
                    Err(fault) => drop(faults.insert(at, fault)),
                }
            }
            if faults.is_empty() {
                let circles = circular(&made);
                if circles.is_empty() {
                    self.correlations = made;
                    return;
                }
                let fault = || Fault::new(R::Circular, "it refers to itself, through others or not").near("rules:");
                faults.extend(circles.into_iter().map(|at| (at, fault())));
            }
            self.keep_quiet(&faults);
            self.refuse_all(faults);
        }
    }

    fn referred(&self, rules: &[String], path: &str) -> Result<Vec<Referred>, Fault> {
        if rules.is_empty() {
            return Err(Fault::new(R::BadCorrelation, "`rules` is empty").near("rules:"));
        }
        let one = |written: &String| {
            let place = self.resolve(written, path)?;
            let draft = &self.drafts[place];
            let names = [Some(&draft.id), draft.name.as_ref(), Some(written)].into_iter().flatten().cloned().collect();
            Ok(Referred { written: written.clone(), names, place })
        };
        rules.iter().map(one).collect()
    }

    /// Rules of a file that stand there for a correlation which is refused don't begin to fire for that.
    fn keep_quiet(&mut self, faults: &BTreeMap<usize, Fault>) {
        let mut quiet = Vec::new();
        for at in faults.keys() {
            let Body::Correlation(rule) = &self.drafts[*at].body else { continue };
            if !rule.generate {
                let path = &self.drafts[*at].path;
                quiet.extend(rule.rules.iter().filter_map(|reference| self.resolve(reference, path).ok()));
            }
        }
        let quiet: Vec<String> = quiet.into_iter().map(|at| self.drafts[at].id.clone()).collect();
        self.quiet.extend(quiet);
    }

    /// Finds the parts, and gives correlations their final places.
    fn compact(&mut self) {
        for (at, correlation) in &mut self.correlations {
            correlation.rule = *at;
            if let Body::Correlation(rule) = &self.drafts[*at].body
                && !rule.generate
            {
                self.parts.extend(&correlation.refers);
            }
        }
        let quiet = |draft: &Draft| self.quiet.contains(&draft.id);
        self.parts.extend(self.drafts.iter().enumerate().filter(|(_, draft)| quiet(draft)).map(|(at, _)| at));
    }
}

/// What a document's correlation refers to, whatever else is wrong with it.
fn orphans(mapping: &Mapping) -> impl Iterator<Item = String> + '_ {
    let rules = mapping.get("correlation").and_then(|correlation| correlation.get("rules"));
    let list = match rules {
        Some(Value::Sequence(list)) => list.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    list.iter().filter_map(Value::as_str).map(str::to_owned)
}

/// The files by path, so that their order on a disk means nothing.
fn sorted(files: &[RuleFile]) -> Vec<&RuleFile> {
    let mut files: Vec<&RuleFile> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn too_large(size: usize) -> Fault {
    Fault::new(R::TooLarge, format!("{size} bytes: a file may have {MAX_FILE}"))
}

/// The correlations that refer to themselves through others, or to such ones.
fn circular(correlations: &BTreeMap<usize, Correlation>) -> Vec<usize> {
    let mut open: BTreeSet<usize> = correlations.keys().copied().collect();
    loop {
        let grounded =
            |at: &&usize| correlations.get(*at).is_some_and(|c| c.refers.iter().all(|to| !open.contains(to)));
        let closed: Vec<usize> = open.iter().filter(grounded).copied().collect();
        if closed.is_empty() {
            return open.into_iter().collect();
        }
        open.retain(|at| !closed.contains(at));
    }
}
