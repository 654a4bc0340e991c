//! Mappings: which records belong to a log source, and what its fields are called in them. `docs/rules.md` tells the form.

use super::names::{Place, Slots};
use super::refuse::{Fault, ReasonKind as R, fault};
use super::view::Seen;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The most log sources in one file, and values in one test.
const MAX_PARTS: usize = 1_000;
/// The deepest nesting of tests.
const MAX_DEPTH: usize = 8;

/// `logsource` of a rule or a mapping.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogSource {
    pub product: Option<String>,
    pub category: Option<String>,
    pub service: Option<String>,
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("product", &self.product), ("category", &self.category), ("service", &self.service)];
        let named =
            parts.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {value}")));
        f.write_str(&named.collect::<Vec<_>>().join(", "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    title: String,
    #[allow(dead_code)] // For people.
    description: Option<String>,
    when: Option<TestForm>,
    #[serde(default)]
    fields: BTreeMap<String, Many<String>>,
    #[serde(default)]
    prefixes: Vec<String>,
    sources: Vec<SourceForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceForm {
    logsource: Many<LogSource>,
    when: Option<TestForm>,
    #[serde(default)]
    fields: BTreeMap<String, Many<String>>,
    #[serde(default)]
    prefixes: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Many<T> {
    One(T),
    Several(Vec<T>),
}

impl<T> Many<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestForm {
    any: Option<Vec<TestForm>>,
    all: Option<Vec<TestForm>>,
    not: Option<Box<TestForm>>,
    field: Option<String>,
    is: Option<Many<Scalar>>,
    starts: Option<Many<Scalar>>,
    ends: Option<Many<Scalar>>,
    contains: Option<Many<Scalar>>,
    exists: Option<bool>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

/// A test of a record, without regard to case.
#[derive(Debug)]
pub(super) enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    /// A value of the first place that has one.
    Field(Vec<Place>, How),
}

#[derive(Debug)]
pub(super) enum How {
    Exists(bool),
    Is(Vec<String>),
    Starts(Vec<String>),
    Ends(Vec<String>),
    Contains(Vec<String>),
}

impl Test {
    pub fn holds(&self, seen: Seen<'_, '_>) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(seen)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(seen)),
            Self::Not(test) => !test.holds(seen),
            Self::Field(places, How::Exists(expected)) => seen.first(places, |_| true).is_some() == *expected,
            Self::Field(places, how) => seen.first(places, |value| how.fits(value)).unwrap_or(false),
        }
    }
}

impl How {
    fn fits(&self, value: &str) -> bool {
        let value = value.as_bytes();
        match self {
            Self::Exists(expected) => *expected,
            Self::Is(texts) => texts.iter().any(|text| value.eq_ignore_ascii_case(text.as_bytes())),
            Self::Starts(texts) => {
                texts.iter().any(|t| value.get(..t.len()).is_some_and(|v| v.eq_ignore_ascii_case(t.as_bytes())))
            }
            Self::Ends(texts) => texts.iter().any(|text| {
                let start = value.len().checked_sub(text.len());
                start.and_then(|start| value.get(start..)).is_some_and(|v| v.eq_ignore_ascii_case(text.as_bytes()))
            }),
            Self::Contains(texts) => {
                texts.iter().any(|text| value.windows(text.len()).any(|v| v.eq_ignore_ascii_case(text.as_bytes())))
            }
        }
    }
}

/// A log source: one entry of a mapping.
#[derive(Debug)]
pub(super) struct Source {
    pub logsources: Vec<LogSource>,
    /// `None`: every record that its file lets through.
    pub when: Option<Test>,
    fields: BTreeMap<String, Vec<String>>,
    prefixes: Vec<String>,
}

impl Source {
    /// Where the values of a rule's field are, in the order in which to look.
    pub fn places(&self, field: &str, slots: &mut Slots) -> Vec<Place> {
        if let Some(names) = self.fields.get(field) {
            return names.iter().map(|name| Place::of(name, slots)).collect();
        }
        let unmapped = Place::unmapped(field, slots);
        if matches!(unmapped[..], [Place::Hour | Place::Weekday | Place::Url(_)]) {
            return unmapped;
        }
        self.prefixes.iter().map(|prefix| slots.other(format!("{prefix}{field}"))).chain(unmapped).collect()
    }
}

/// A file of a mapping.
#[derive(Debug)]
pub(super) struct Family {
    /// What all its log sources have in common.
    pub when: Option<Test>,
    pub sources: Vec<Source>,
}

impl Family {
    pub fn read(text: &str, slots: &mut Slots) -> Result<Self, Fault> {
        let form: FileForm = serde_norway::from_str(text).map_err(|error| {
            let near = error.location().and_then(|at| text.lines().nth(at.line().saturating_sub(1)));
            Fault::new(R::BadMapping, error.to_string()).near(near.unwrap_or_default())
        })?;
        if form.title.trim().is_empty() || form.sources.is_empty() || form.sources.len() > MAX_PARTS {
            return fault(R::BadMapping, format!("it needs a title and 1 to {MAX_PARTS} sources"));
        }
        let common: BTreeMap<_, _> = form.fields.into_iter().map(|(name, names)| (name, names.into_vec())).collect();
        let when = form.when.map(|when| test(when, &common, slots, 0)).transpose()?;
        let mut sources = Vec::new();
        for source in form.sources {
            let mut fields = common.clone();
            fields.extend(source.fields.into_iter().map(|(name, names)| (name, names.into_vec())));
            if let Some((name, _)) =
                fields.iter().find(|(_, names)| names.is_empty() || names.iter().any(String::is_empty))
            {
                return Err(Fault::new(R::BadMapping, format!("field `{name}` leads nowhere")).near(name));
            }
            let when = source.when.map(|when| test(when, &fields, slots, 0)).transpose()?;
            let prefixes = source.prefixes.into_iter().chain(form.prefixes.iter().cloned()).collect();
            let logsources = source.logsource.into_vec();
            if logsources.is_empty() || logsources.contains(&LogSource::default()) {
                return fault(R::BadMapping, "a source without `product`, `category` or `service`");
            }
            sources.push(Source { logsources, when, fields, prefixes });
        }
        Ok(Self { when, sources })
    }
}

/// A test, the names in it being those of the mapping or of the record.
fn test(
    form: TestForm,
    fields: &BTreeMap<String, Vec<String>>,
    slots: &mut Slots,
    depth: usize,
) -> Result<Test, Fault> {
    if depth > MAX_DEPTH {
        return fault(R::BadMapping, "tests nested too deep");
    }
    let mut all = |forms: Vec<TestForm>| {
        if forms.is_empty() {
            return fault(R::BadMapping, "`any` or `all` of nothing");
        }
        forms.into_iter().map(|form| test(form, fields, slots, depth + 1)).collect::<Result<Vec<_>, _>>()
    };
    let texts = |many: Many<Scalar>| {
        let text = |scalar| match scalar {
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text,
        };
        let texts: Vec<String> = many.into_vec().into_iter().map(text).collect();
        match texts.len() {
            1..=MAX_PARTS if texts.iter().all(|text| !text.is_empty()) => Ok(texts),
            _ => fault(R::BadMapping, format!("a test needs 1 to {MAX_PARTS} values, none of them empty")),
        }
    };
    let TestForm { any, all: every, not, field, is, starts, ends, contains, exists } = form;
    let how = match (is, starts, ends, contains, exists) {
        (None, None, None, None, None) => None,
        (Some(v), None, None, None, None) => Some(How::Is(texts(v)?)),
        (None, Some(v), None, None, None) => Some(How::Starts(texts(v)?)),
        (None, None, Some(v), None, None) => Some(How::Ends(texts(v)?)),
        (None, None, None, Some(v), None) => Some(How::Contains(texts(v)?)),
        (None, None, None, None, Some(expected)) => Some(How::Exists(expected)),
        _ => return fault(R::BadMapping, "one comparison for each test: use `all` for several"),
    };
    match (any, every, not, field, how) {
        (Some(forms), None, None, None, None) => all(forms).map(Test::Any),
        (None, Some(forms), None, None, None) => all(forms).map(Test::All),
        (None, None, Some(form), None, None) => {
            test(*form, fields, slots, depth + 1).map(|inner| Test::Not(Box::new(inner)))
        }
        (None, None, None, Some(name), Some(how)) => {
            let names = fields.get(&name).cloned().unwrap_or_else(|| vec![name]);
            Ok(Test::Field(names.iter().map(|name| Place::of(name, slots)).collect(), how))
        }
        _ => fault(R::BadMapping, "a test is `any`, `all`, `not`, or a `field` with one comparison"),
    }
}
