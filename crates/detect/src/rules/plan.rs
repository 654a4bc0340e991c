//! Which rules are worth evaluating for a record, and their evaluation.
//!
//! Most rules need one of some texts to be anywhere in the record. One search for all those texts, once for each record
//! of a log source with many such rules, leaves few rules to evaluate.

use super::detection::Logic;
use super::names::{Fast, Place};
use super::selection::Selection;
use super::view::{Table, View};
use rsigma_eval::matcher::GroupMode;
use rsigma_eval::{CompiledDetection, CompiledMatcher};
use rsigma_parser::ConditionExpr;
use sceau_event::{Field, Record};
use std::collections::{BTreeMap, HashMap};

/// A rule of one log source.
pub(super) struct Rule {
    /// Its place among all rules.
    pub number: usize,
    /// Its place in [`Found`], if it needs a text that [`Search`] looks for.
    needs: Option<usize>,
    named: Vec<Selection>,
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
        let named = named.into_iter().map(|detection| Selection::new(detection, table)).collect();
        Self { number, needs: needed.map(|texts| search.add(texts)), named, conditions }
    }

    /// Does it need a text that [`Search`] looks for?
    pub fn needs_text(&self) -> bool {
        self.needs.is_some()
    }

    /// `found`: if there was a search.
    pub fn holds(&self, view: &View<'_, '_>, found: Option<&Found>) -> bool {
        let lacks = found.zip(self.needs).is_some_and(|(found, at)| !found.has(at));
        !lacks && self.conditions.iter().any(|condition| condition.holds(&self.named, view))
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
    fn holds(&self, named: &[Selection], view: &View<'_, '_>) -> bool {
        match self {
            Self::Is(at) => named.get(*at).is_some_and(|selection| selection.holds(view)),
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

/// The texts of which at least one has to be in a text of the record, in lower case, ASCII and of three bytes or more;
/// `None`: there are none.
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
        let fit = texts.iter().all(|text| text.len() >= 3 && text.is_ascii());
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

/// The search for all texts that rules need: by three bytes of each, the rarest ones, of which a
/// map of bits tells for most places of a record that no text is there.
pub(super) struct Search {
    bits: Vec<u64>,
    /// By three bytes: the texts that are looked for there, and where in them the three bytes are.
    places: HashMap<u32, Vec<(u32, u32)>, Fast>,
    texts: Vec<Text>,
    count: usize,
}

struct Text {
    text: String,
    /// The rules that need it.
    rules: Vec<u32>,
}

/// How many bits the map has, as a power of two: 8 KiB, a part of what a core has nearest.
const BITS: u32 = 16;

/// Three bytes as a number that is the same in upper and lower case. A few others are so, too: what is found is compared.
fn folded(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |three, byte| three << 8 | u32::from(byte | 0x20))
}

/// A bit for three bytes.
const fn bit(three: u32) -> usize {
    (three.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
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
        let mut search =
            Self { bits: vec![0; 1 << (BITS - 6)], places: HashMap::default(), texts: Vec::new(), count: texts.count };
        for (number, (text, rules)) in (0_u32..).zip(texts.rules) {
            let threes = text.as_bytes().windows(3).map(folded);
            let taken = |three: &u32| search.places.get(three).map_or(0, Vec::len);
            if let Some((three, at)) = threes.zip(0_u32..).min_by_key(|(three, at)| (taken(three), *at)) {
                search.bits[bit(three) / 64] |= 1 << (bit(three) % 64);
                search.places.entry(three).or_default().push((number, at));
            }
            search.texts.push(Text { text, rules });
        }
        search
    }

    pub fn run(&self, record: &Record<'_>) -> Found {
        let mut found = Found(vec![0; self.count.div_ceil(64)]);
        if self.count == 0 {
            return found;
        }
        let values = record.keywords.iter().flatten().chain(record.fields.iter().map(|(_, value)| value));
        for value in values {
            match value.is_ascii() {
                true => self.mark(value.as_bytes(), &mut found),
                // Some letters beyond ASCII have their lower case in it.
                false => self.mark(value.to_lowercase().as_bytes(), &mut found),
            }
        }
        found
    }

    fn mark(&self, value: &[u8], found: &mut Found) {
        for (at, bytes) in value.windows(3).enumerate() {
            let three = folded(bytes);
            if self.bits[bit(three) / 64] >> (bit(three) % 64) & 1 == 1 {
                self.look(value, at, three, found);
            }
        }
    }

    /// Looks for the texts of which these three bytes, at this place of the value, may be a part.
    fn look(&self, value: &[u8], at: usize, three: u32, found: &mut Found) {
        for (text, before) in self.places.get(&three).into_iter().flatten() {
            let Some(text) = self.texts.get(*text as usize) else { continue };
            let start = at.checked_sub(*before as usize);
            let there = start.and_then(|start| value.get(start..start + text.text.len()));
            if there.is_some_and(|there| there.eq_ignore_ascii_case(text.text.as_bytes())) {
                text.rules.iter().for_each(|rule| found.add(*rule as usize));
            }
        }
    }
}

impl Found {
    fn add(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sceau_event::{Keyword, Micros};
    use std::borrow::Cow;

    /// What is found is what is there, wherever in the record and however written.
    #[test]
    fn finds_each_text() {
        let texts = ["abc", "bcd", "abcabc", "a.b", "union select", "zzz", "/etc/passwd"];
        let mut collected = Texts::default();
        for text in texts {
            collected.add(vec![text.to_owned()]);
        }
        assert_eq!(collected.add(vec!["abc".to_owned(), "never".to_owned()]), texts.len());
        let search = Search::new(collected);
        for value in
            ["", "ab", "ABC", "xabcd", "abcabc", "aabcabcabc", "UNION SELECT zzzz", "\u{212a}a.b", "a.bcd/ETC/passwd"]
        {
            let mut record = Record::new(Micros(0), Cow::Borrowed("s"));
            record.keywords[Keyword::Message as usize] = Some(Cow::Borrowed(value));
            record.fields.push((Cow::Borrowed("x"), Cow::Borrowed("nothing")));
            let found = search.run(&record);
            let lower = value.to_lowercase();
            for (at, text) in texts.iter().enumerate() {
                assert_eq!(found.has(at), lower.contains(text), "{text} in {value}");
            }
            assert_eq!(found.has(texts.len()), lower.contains("abc"));
        }
    }
}
