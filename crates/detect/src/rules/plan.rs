//! Which rules of a file of mappings are worth evaluating for a record, and their evaluation.
//!
//! Most rules need one of some texts to be anywhere in the record. One search for all those texts, once for each record and
//! file of mappings, leaves few rules to evaluate, whatever log sources the record belongs to.

use super::detection::Logic;
use super::names::Place;
use super::view::{Table, View};
use aho_corasick::{AhoCorasick, MatchKind};
use rsigma_eval::matcher::GroupMode;
use rsigma_eval::{CompiledDetection, CompiledDetectionItem, CompiledMatcher, Event};
use rsigma_parser::ConditionExpr;
use sceau_event::{Field, Record};
use std::collections::BTreeMap;

/// A rule of one log source.
pub(super) struct Rule {
    /// Its place among all rules.
    pub number: usize,
    /// Its place among the rules of its file of mappings, if it needs a text that [`Search`] looks for.
    needs: Option<usize>,
    named: Vec<CompiledDetection>,
    /// Any of them is enough.
    conditions: Vec<Node>,
}

/// A condition, its selections being numbers.
enum Node {
    Is(usize),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

impl Rule {
    /// `table` must have all fields of the logic. The texts that the rule needs are added to `search`.
    pub fn new(number: usize, logic: Logic, table: &Table, search: &mut Texts) -> Self {
        let (names, named): (Vec<String>, Vec<CompiledDetection>) = logic.named.into_iter().unzip();
        let conditions: Vec<Node> = logic.conditions.iter().map(|condition| node(condition, &names)).collect();
        let needed = either(conditions.iter().map(|condition| condition.needs(&named, table)));
        Self { number, needs: needed.map(|texts| search.add(texts)), named, conditions }
    }

    pub fn holds(&self, view: &View<'_, '_>, found: &Found) -> bool {
        self.needs.is_none_or(|at| found.has(at))
            && self.conditions.iter().any(|condition| condition.holds(&self.named, view))
    }
}

/// A condition of which [`Logic`] has checked all names, and written out each `of`.
fn node(condition: &ConditionExpr, names: &[String]) -> Node {
    let all = |parts: &[ConditionExpr]| parts.iter().map(|part| node(part, names)).collect();
    match condition {
        ConditionExpr::And(parts) => Node::All(all(parts)),
        ConditionExpr::Or(parts) => Node::Any(all(parts)),
        ConditionExpr::Not(part) => Node::Not(Box::new(node(part, names))),
        ConditionExpr::Identifier(name) => {
            names.iter().position(|other| other == name).map_or_else(|| Node::Any(Vec::new()), Node::Is)
        }
        ConditionExpr::Selector { .. } => Node::Any(Vec::new()),
    }
}

impl Node {
    fn holds(&self, named: &[CompiledDetection], view: &View<'_, '_>) -> bool {
        match self {
            Self::Is(at) => named.get(*at).is_some_and(|found| detection(found, view)),
            Self::All(parts) => parts.iter().all(|part| part.holds(named, view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(named, view)),
            Self::Not(part) => !part.holds(named, view),
        }
    }

    fn needs(&self, named: &[CompiledDetection], table: &Table) -> Option<Vec<String>> {
        match self {
            Self::Is(at) => needs(named.get(*at)?, table),
            Self::All(parts) => best(parts.iter().map(|part| part.needs(named, table))),
            Self::Any(parts) => either(parts.iter().map(|part| part.needs(named, table))),
            Self::Not(_) => None,
        }
    }
}

fn detection(detection: &CompiledDetection, view: &View<'_, '_>) -> bool {
    match detection {
        CompiledDetection::AllOf(items) => items.iter().all(|item| self::item(item, view)),
        CompiledDetection::AnyOf(parts) => parts.iter().any(|part| self::detection(part, view)),
        CompiledDetection::And(parts) => parts.iter().all(|part| self::detection(part, view)),
        CompiledDetection::Keywords(matcher) => matcher.matches_keyword(view),
        // Refused when the rule was read.
        CompiledDetection::ArrayMatch { .. } | CompiledDetection::Conditional { .. } => false,
    }
}

fn item(item: &CompiledDetectionItem, view: &View<'_, '_>) -> bool {
    let Some(field) = &item.field else { return item.matcher.matches_keyword(view) };
    let value = view.get_field(field);
    match (item.exists, value) {
        (Some(expected), value) => value.is_some() == expected,
        (None, Some(value)) => item.matcher.matches(&value, view),
        (None, None) => matches!(item.matcher, CompiledMatcher::Null),
    }
}

/// The texts of which at least one has to be in a text of the record, in lower case and ASCII; `None`: there are none.
fn needs(detection: &CompiledDetection, table: &Table) -> Option<Vec<String>> {
    match detection {
        CompiledDetection::AllOf(items) => best(items.iter().map(|item| match &item.field {
            _ if item.exists.is_some() => None,
            Some(field) if !table.get(field)?.iter().all(is_text) => None,
            _ => texts(&item.matcher),
        })),
        CompiledDetection::AnyOf(parts) => either(parts.iter().map(|part| needs(part, table))),
        CompiledDetection::And(parts) => best(parts.iter().map(|part| needs(part, table))),
        CompiledDetection::Keywords(matcher) => texts(matcher),
        CompiledDetection::ArrayMatch { .. } | CompiledDetection::Conditional { .. } => None,
    }
}

/// Whether what is in a place is among what [`Search`] goes through.
fn is_text(place: &Place) -> bool {
    matches!(place, Place::Other(..) | Place::Url(_) | Place::Column(Field::Keyword(_)))
}

fn texts(matcher: &CompiledMatcher) -> Option<Vec<String>> {
    let all = |texts: &[String]| {
        let fit = texts.iter().all(|text| !text.is_empty() && text.is_ascii());
        fit.then(|| texts.iter().map(|text| text.to_ascii_lowercase()).collect())
    };
    match matcher {
        CompiledMatcher::Exact { value, .. }
        | CompiledMatcher::Contains { value, .. }
        | CompiledMatcher::StartsWith { value, .. }
        | CompiledMatcher::EndsWith { value, .. } => all(std::slice::from_ref(value)),
        CompiledMatcher::AhoCorasickSet { needles, .. } => all(needles),
        CompiledMatcher::AnyOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: GroupMode::Any } => {
            either(parts.iter().map(texts))
        }
        CompiledMatcher::AllOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: GroupMode::All } => {
            best(parts.iter().map(texts))
        }
        _ => None,
    }
}

/// Any of the parts may hold, so the texts of all are needed.
fn either(parts: impl Iterator<Item = Option<Vec<String>>>) -> Option<Vec<String>> {
    parts.collect::<Option<Vec<_>>>().map(|parts| parts.concat())
}

/// All parts must hold, so the texts of one are enough: of the one that is met most rarely, which long texts are.
fn best(parts: impl Iterator<Item = Option<Vec<String>>>) -> Option<Vec<String>> {
    let shortest = |texts: &Vec<String>| texts.iter().map(String::len).min().unwrap_or(usize::MAX);
    parts.flatten().max_by_key(|texts| (shortest(texts), usize::MAX - texts.len()))
}

/// Texts that rules need, being collected.
#[derive(Default)]
pub(super) struct Texts {
    rules: BTreeMap<String, Vec<u32>>,
    count: usize,
}

impl Texts {
    /// Gives the rule's number.
    fn add(&mut self, texts: Vec<String>) -> usize {
        let number = self.count;
        self.count += 1;
        for text in texts {
            let rules = self.rules.entry(text).or_default();
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if rules.last() != Some(&number) {
                rules.push(number);
            }
        }
        number
    }
}

/// The search for all texts that the rules of a file of mappings need.
pub(super) struct Search {
    /// `None`: too large; then every rule is evaluated.
    automaton: Option<AhoCorasick>,
    /// By text: the rules that need it.
    rules: Vec<Vec<u32>>,
    count: usize,
}

/// Which rules have a text that they need.
pub(super) struct Found(Vec<u64>);

impl Found {
    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

impl Search {
    pub fn new(texts: Texts) -> Self {
        let (patterns, rules): (Vec<String>, Vec<Vec<u32>>) = texts.rules.into_iter().unzip();
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::Standard).ascii_case_insensitive(true);
        Self { automaton: builder.build(&patterns).ok(), rules, count: texts.count }
    }

    pub fn run(&self, record: &Record<'_>) -> Found {
        let Some(automaton) = &self.automaton else { return Found(vec![u64::MAX; self.count.div_ceil(64)]) };
        let mut found = Found(vec![0; self.count.div_ceil(64)]);
        if self.count == 0 {
            return found;
        }
        let mut mark = |text: &str| {
            for at in automaton.find_overlapping_iter(text) {
                for rule in self.rules.get(at.pattern().as_usize()).into_iter().flatten() {
                    if let Some(word) = found.0.get_mut(*rule as usize / 64) {
                        *word |= 1 << (rule % 64);
                    }
                }
            }
        };
        let values = record.keywords.iter().flatten().chain(record.fields.iter().map(|(_, value)| value));
        for value in values {
            match value.is_ascii() {
                true => mark(value),
                // Some letters beyond ASCII have their lower case in it.
                false => mark(&value.to_lowercase()),
            }
        }
        found
    }
}
