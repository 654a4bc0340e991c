//! A document that is a rule as far as it can be told from itself.

use super::detection::Logic;
use super::document::{self, Document, Kind};
use super::link;
use super::mapping::LogSource;
use super::refuse::{Fault, ReasonKind as R, fault};
use super::shape;
use super::value::Values;
use crate::types::{Level, RuleFile, Settings};
use rsigma_parser::{CorrelationRule, FilterRuleTarget};
use serde_norway::{Mapping, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// A rule or a correlation, not yet connected with others.
#[derive(Debug)]
pub(super) struct Draft {
    pub path: String,
    pub line: usize,
    pub text: String,
    pub mapping: Mapping,
    pub id: String,
    pub name: Option<String>,
    pub body: Body,
    /// SHA-256 of the text and of the lists that it uses.
    pub hash: Sha256,
}

#[derive(Debug)]
pub(super) enum Body {
    Detection { logic: Logic, logsource: LogSource, sources: Vec<(usize, usize)> },
    Correlation(Box<CorrelationRule>),
}

/// A filter: what narrows other rules.
#[derive(Debug)]
pub(super) struct Filter {
    pub path: String,
    pub line: usize,
    pub text: String,
    pub title: String,
    pub logsource: LogSource,
    /// `None`: every rule of the log source.
    pub rules: Option<Vec<String>>,
    pub logic: Logic,
    pub hash: String,
}

pub(super) enum Read {
    Rule(Box<Draft>),
    Filter(Box<Filter>),
    Action,
}

pub(super) fn read(
    file: &RuleFile,
    document: &Document,
    mapping: &Mapping,
    settings: &Settings,
) -> Result<Read, Fault> {
    let kind = document::kind(mapping)?;
    match kind {
        Kind::Action => return Ok(Read::Action),
        Kind::Detection => {
            logsource(mapping)?;
            shape::check(mapping.get("detection").unwrap_or(&Value::Null), &[])?;
        }
        Kind::Correlation => link::check(mapping)?,
        Kind::Filter => {
            logsource(mapping)?;
            let filter = mapping.get("filter").unwrap_or(&Value::Null);
            shape::check(filter, &["rules"])?;
            targets(filter)?;
        }
    }
    let mut parsed = document::parse(document)?;
    let mut values = Values::new(&settings.lists);
    let text = |key| mapping.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = text("name");
    let id =
        text("id").or_else(|| name.clone()).unwrap_or_else(|| hex(&Sha256::digest(&document.text))[..32].to_owned());
    let draft = |body, hash| {
        let (path, line, text) = (file.path.clone(), document.line, document.text.clone());
        Read::Rule(Box::new(Draft { path, line, text, mapping: mapping.clone(), id, name, body, hash }))
    };
    if let Some(rule) = parsed.rules.pop() {
        let logic = Logic::new(&rule.detection, &mut values)?;
        let body = Body::Detection { logic, logsource: logsource(mapping)?, sources: Vec::new() };
        return Ok(draft(body, hash(document, &values.used, settings)));
    }
    if let Some(rule) = parsed.correlations.pop() {
        return Ok(draft(Body::Correlation(Box::new(rule)), hash(document, &BTreeSet::new(), settings)));
    }
    let Some(filter) = parsed.filters.pop() else { return fault(R::NotARule, "nothing in it") };
    let logic = Logic::new(&filter.detection, &mut values)?;
    Ok(Read::Filter(Box::new(Filter {
        path: file.path.clone(),
        line: document.line,
        text: document.text.clone(),
        title: filter.title,
        logsource: logsource(mapping)?,
        rules: match filter.rules {
            FilterRuleTarget::Any => None,
            FilterRuleTarget::Specific(rules) => Some(rules),
        },
        logic,
        hash: hex(&hash(document, &values.used, settings).finalize()),
    })))
}

/// The parser takes a filter without `rules` for one of all rules.
fn targets(filter: &Value) -> Result<(), Fault> {
    match filter.get("rules") {
        None => fault(R::MissingKey, "`rules` is missing in the filter: list rules, or say `any`"),
        Some(Value::String(_)) => Ok(()),
        Some(Value::Sequence(rules)) if !rules.is_empty() && rules.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(Fault::new(R::BadDetection, "`rules` of a filter must be a list of words").near("rules:")),
    }
}

fn logsource(mapping: &Mapping) -> Result<LogSource, Fault> {
    let found = match mapping.get("logsource") {
        None => return fault(R::MissingKey, "`logsource` is missing"),
        Some(Value::Mapping(found)) => found,
        Some(_) => return Err(Fault::new(R::MissingKey, "`logsource` must be a mapping").near("logsource:")),
    };
    let mut logsource = LogSource::default();
    for (key, value) in found {
        let part = match key.as_str() {
            Some("product") => &mut logsource.product,
            Some("category") => &mut logsource.category,
            Some("service") => &mut logsource.service,
            Some("definition") => continue,
            _ => {
                let reason = format!("{key:?} in a log source is not known");
                return Err(Fault::new(R::UnsupportedKey, reason).near("logsource:"));
            }
        };
        match value.as_str() {
            Some(text) if !text.is_empty() => *part = Some(text.to_owned()),
            _ => return Err(Fault::new(R::BadMetadata, "a log source is made of words").near("logsource:")),
        }
    }
    if logsource == LogSource::default() {
        let reason = "`logsource` names no product, category or service: which records it is about isn't known";
        return Err(Fault::new(R::NoMapping, reason).near("logsource:"));
    }
    Ok(logsource)
}

/// The beginning of a rule's hash. Line ends and spaces at the ends of lines are already gone.
fn hash(document: &Document, lists: &BTreeSet<String>, settings: &Settings) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(b"sceau-rule-1\n");
    feed(&mut hash, &document.text);
    for name in lists {
        feed(&mut hash, name);
        let values = settings.lists.get(name).map(Vec::as_slice).unwrap_or_default();
        hash.update((values.len() as u64).to_be_bytes());
        values.iter().for_each(|value| feed(&mut hash, value));
    }
    if document.text.contains("sceau.hour") || document.text.contains("sceau.weekday") {
        feed(&mut hash, &settings.zone);
    }
    hash
}

/// A text, so that it can't be taken for a part of another.
pub(super) fn feed(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Draft {
    pub fn text(&self, key: &str) -> String {
        self.mapping.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    }

    /// A list of texts, or one.
    pub fn texts(&self, key: &str) -> Vec<String> {
        match self.mapping.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Sequence(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    pub fn level(&self) -> Level {
        match self.mapping.get("level").and_then(Value::as_str) {
            Some("informational") => Level::Informational,
            Some("low") => Level::Low,
            Some("high") => Level::High,
            Some("critical") => Level::Critical,
            _ => Level::Medium,
        }
    }

    /// Whether it says that it fires on its own although another one refers to it.
    pub fn fires_anyway(&self) -> bool {
        self.mapping.get("sceau.fires").and_then(Value::as_bool).unwrap_or(false)
    }
}
