//! Selections, ready to be tried on a record.
//!
//! What they mean is rsigma's; but where a field is has been looked up, and the commonest comparisons are made on the
//! record's own text: rsigma copies each value to compare it in lower case.

use super::names::Place;
use super::view::{Table, View};
use rsigma_eval::matcher::GroupMode;
use rsigma_eval::{CompiledDetection, CompiledDetectionItem, CompiledMatcher, EventValue};
use std::borrow::Cow;

/// What a selection of a rule asks of a record.
pub(super) enum Selection {
    Items(Vec<Item>),
    All(Vec<Selection>),
    Any(Vec<Selection>),
    /// A text of the record, whichever.
    Keywords(CompiledMatcher),
}

/// What is asked of one field.
pub(super) struct Item {
    /// In the order in which to look.
    places: Vec<Place>,
    asks: Asks,
}

enum Asks {
    Exists(bool),
    /// The comparisons of which any has to hold, and rsigma's matcher for texts that are not ASCII.
    Text(Vec<Comparison>, CompiledMatcher),
    Other(CompiledMatcher),
}

/// A comparison with a value that is ASCII, whose lower case then is that of its bytes.
struct Comparison {
    how: How,
    /// In lower case unless the case counts.
    text: Box<[u8]>,
    cased: bool,
}

#[derive(Clone, Copy)]
enum How {
    Is,
    Starts,
    Ends,
}

/// Longer lists of texts are left to rsigma.
const MOST: usize = 16;

impl Selection {
    /// `table` must have all its fields.
    pub fn new(detection: CompiledDetection, table: &Table) -> Self {
        let all = |parts: Vec<CompiledDetection>| parts.into_iter().map(|part| Self::new(part, table)).collect();
        match detection {
            CompiledDetection::AllOf(items) if items.iter().all(|item| item.field.is_some()) => {
                Self::Items(items.into_iter().map(|item| Item::new(item, table)).collect())
            }
            CompiledDetection::AllOf(items) => {
                Self::All(items.into_iter().map(|item| Self::item(item, table)).collect())
            }
            CompiledDetection::AnyOf(parts) => Self::Any(all(parts)),
            CompiledDetection::And(parts) => Self::All(all(parts)),
            CompiledDetection::Keywords(matcher) => Self::Keywords(matcher),
            // Refused when the rule was read.
            CompiledDetection::ArrayMatch { .. } | CompiledDetection::Conditional { .. } => Self::Any(Vec::new()),
        }
    }

    fn item(item: CompiledDetectionItem, table: &Table) -> Self {
        match item.field {
            Some(_) => Self::Items(vec![Item::new(item, table)]),
            None => Self::Keywords(item.matcher),
        }
    }

    pub fn holds(&self, view: &View<'_, '_>) -> bool {
        match self {
            Self::Items(items) => items.iter().all(|item| item.holds(view)),
            Self::All(parts) => parts.iter().all(|part| part.holds(view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(view)),
            Self::Keywords(matcher) => matcher.matches_keyword(view),
        }
    }
}

impl Item {
    fn new(item: CompiledDetectionItem, table: &Table) -> Self {
        let places = item.field.as_ref().and_then(|field| table.get(field)).cloned().unwrap_or_default();
        let asks = match (item.exists, comparisons(&item.matcher)) {
            (Some(expected), _) => Asks::Exists(expected),
            (None, Some(comparisons)) => Asks::Text(comparisons, item.matcher),
            (None, None) => Asks::Other(item.matcher),
        };
        Self { places, asks }
    }

    fn holds(&self, view: &View<'_, '_>) -> bool {
        match &self.asks {
            Asks::Exists(expected) => view.seen.value(&self.places).is_some() == *expected,
            Asks::Text(comparisons, matcher) => {
                let wanted = |value: &str| match value.is_ascii() {
                    true => comparisons.iter().any(|comparison| comparison.holds(value.as_bytes())),
                    false => matcher.matches(&EventValue::Str(Cow::Borrowed(value)), view),
                };
                view.seen.first(&self.places, wanted).unwrap_or(false)
            }
            Asks::Other(matcher) => match view.seen.value(&self.places) {
                Some(value) => matcher.matches(&value, view),
                None => matches!(matcher, CompiledMatcher::Null),
            },
        }
    }
}

impl Comparison {
    fn new(how: How, text: &str, case_insensitive: bool) -> Option<Self> {
        let fit = !case_insensitive || !text.bytes().any(|byte| byte.is_ascii_uppercase());
        fit.then(|| Self { how, text: text.as_bytes().into(), cased: !case_insensitive })
    }

    fn holds(&self, value: &[u8]) -> bool {
        let wanted = &*self.text;
        let part = match self.how {
            How::Is => Some(value),
            How::Starts => value.get(..wanted.len()),
            How::Ends => value.len().checked_sub(wanted.len()).and_then(|from| value.get(from..)),
        };
        part.is_some_and(|part| if self.cased { part == wanted } else { part.eq_ignore_ascii_case(wanted) })
    }
}

/// The comparisons of which any is all that the matcher asks of a text; `None`: it asks something else, too.
fn comparisons(matcher: &CompiledMatcher) -> Option<Vec<Comparison>> {
    let one = |how, text, case_insensitive| Comparison::new(how, text, case_insensitive).map(|one| vec![one]);
    match matcher {
        CompiledMatcher::Exact { value, case_insensitive } => one(How::Is, value, *case_insensitive),
        CompiledMatcher::StartsWith { value, case_insensitive } => one(How::Starts, value, *case_insensitive),
        CompiledMatcher::EndsWith { value, case_insensitive } => one(How::Ends, value, *case_insensitive),
        CompiledMatcher::AnyOf(parts)
        | CompiledMatcher::CaseInsensitiveGroup { children: parts, mode: GroupMode::Any }
            if parts.len() <= MOST =>
        {
            parts.iter().map(comparisons).collect::<Option<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::super::names::Slots;
    use super::super::view::Seen;
    use super::*;
    use proptest::prelude::*;
    use rsigma_eval::JsonEvent;
    use rsigma_eval::compiler::optimizer::optimize_any_of;
    use rsigma_eval::compiler::{compile_rule, evaluate_rule};
    use sceau_event::{Field, Keyword, Micros, Number, Record};

    /// What is asked of a field, by its modifier.
    fn asked() -> impl Strategy<Value = (&'static str, serde_json::Value)> {
        let text = || "[aAb\u{e9}\u{c9}\u{df}k\u{212a}1*?]{0,3}".prop_map(serde_json::Value::from);
        let mixed = prop_oneof![
            6 => text(),
            1 => (0..12i64).prop_map(serde_json::Value::from),
            1 => Just(serde_json::Value::Null),
            1 => any::<bool>().prop_map(serde_json::Value::from),
        ];
        let list = |one: BoxedStrategy<serde_json::Value>| {
            prop_oneof![one.clone(), prop::collection::vec(one, 1..5).prop_map(serde_json::Value::from)]
        };
        let texts = prop::sample::select(vec!["|contains", "|startswith", "|endswith", "|cased", "|contains|cased"]);
        prop_oneof![
            (Just(""), list(mixed.boxed())),
            (texts, list(text().boxed())),
            (Just("|contains|all"), prop::collection::vec(text(), 2..4).prop_map(serde_json::Value::from)),
            (Just("|exists"), any::<bool>().prop_map(serde_json::Value::from)),
            (prop::sample::select(vec!["|gt", "|lte"]), (0..12i64).prop_map(serde_json::Value::from)),
            (Just("|re"), Just(serde_json::Value::from("[aA1].?"))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// A selection holds where rsigma says so: of texts, numbers, lists, nothing, in several places.
        #[test]
        fn a_selection_holds_where_rsigma_says_so(
            (modifier, wanted) in asked(),
            pairs in prop::collection::vec((0..2usize, "[aAb\u{e9}\u{c9}\u{df}k\u{212a}1]{0,3}"), 0..4),
            number in prop::option::of(0..12i64),
            user in prop::option::of("[aAbk\u{e9}]{0,2}"),
        ) {
            let selection = serde_json::json!({ format!("f{modifier}"): wanted });
            let rule = serde_json::json!({
                "title": "t",
                "logsource": {"category": "c"},
                "detection": {"selection": selection, "condition": "selection"},
            });
            let read = rsigma_parser::parse_sigma_yaml(&rule.to_string()).unwrap();
            // Some of them make no sense to rsigma.
            let Ok(compiled) = compile_rule(&read.rules[0]) else { return Ok(()) };
            let mut slots = Slots::default();
            let mut places = vec![slots.other("a".to_owned()), slots.other("b".to_owned())];
            places.push(Place::Column(Field::Number(Number::StatusCode)));
            places.push(Place::Column(Field::Keyword(Keyword::UserName)));
            let table = Table::from_iter([("f".to_owned(), places)]);
            let mut record = Record::new(Micros(0), Cow::Borrowed("s"));
            record.numbers[Number::StatusCode as usize] = number;
            record.keywords[Keyword::UserName as usize] = user.map(Cow::Owned);
            record.fields = pairs.into_iter().map(|(at, value)| (["a", "b"][at].into(), value.into())).collect();
            let (present, clock) = (slots.present(&record), Clock::new("UTC").unwrap());
            let view = View { seen: Seen { record: &record, present: &present, clock: &clock }, table: &table };
            let holds = Selection::new(compiled.detections["selection"].clone(), &table).holds(&view);
            prop_assert_eq!(holds, evaluate_rule(&compiled, &view).is_some(), "{} of {:?}", rule, record.fields);
        }
    }

    fn matcher(how: usize, text: &str, case_insensitive: bool) -> CompiledMatcher {
        let value = if case_insensitive { text.to_lowercase() } else { text.to_owned() };
        match how {
            0 => CompiledMatcher::Exact { value, case_insensitive },
            1 => CompiledMatcher::StartsWith { value, case_insensitive },
            _ => CompiledMatcher::EndsWith { value, case_insensitive },
        }
    }

    proptest! {
        /// The comparisons find what rsigma's matchers find: alone, and several of them as its optimiser puts them together.
        #[test]
        fn the_same_as_rsigma(
            wanted in prop::collection::vec((0..3usize, "[aAbB\u{e9}\u{c9}\u{212a}k]{0,3}", any::<bool>()), 1..8),
            value in "[aAbBkK@\\[`{]{0,4}",
        ) {
            let nothing = serde_json::json!({});
            let event = JsonEvent::borrow(&nothing);
            let found = EventValue::Str(Cow::Borrowed(&value));
            let each: Vec<_> = wanted.iter().map(|(how, text, cased)| matcher(*how, text, !*cased)).collect();
            for matcher in each.iter().cloned().chain([optimize_any_of(each.clone())]) {
                if let Some(comparisons) = comparisons(&matcher) {
                    let holds = comparisons.iter().any(|comparison| comparison.holds(value.as_bytes()));
                    prop_assert_eq!(holds, matcher.matches(&found, &event), "{:?} of {:?}", matcher, value);
                }
            }
        }
    }
}
