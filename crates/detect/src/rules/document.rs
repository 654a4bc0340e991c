//! From a file to its YAML documents, and what of a document the parser would pass over in silence.

use super::refuse::{Fault, ReasonKind, fault};
use rsigma_parser::{SigmaCollection, parse_sigma_yaml};
use serde_norway::{Mapping, Value};

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// The line of the file it begins at, from 1.
    pub line: usize,
    /// Its text, without the separators.
    pub text: String,
}

/// Splits a file at its `---` and `...` lines; documents without content are left out.
///
/// The parser gives up a file at the first document that it can't read; so each is given to it alone.
pub(super) fn split(text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![Document { line: 1, text: String::new() }];
    for (number, line) in text.lines().enumerate() {
        let after = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        let (line, begins) = match after {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t']) => (format!("   {rest}"), true),
            _ => (line.to_owned(), false),
        };
        if begins {
            documents.push(Document { line: number + 1, text: String::new() });
        }
        if let Some(document) = documents.last_mut() {
            document.text.push_str(line.trim_end());
            document.text.push('\n');
        }
    }
    let filled = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.text.lines().any(filled));
    for document in &mut documents {
        // A refusal should name the line where something is said.
        let blank = document.text.lines().take_while(|line| !filled(line)).count();
        document.line += blank;
        document.text = document.text.lines().skip(blank).flat_map(|line| [line, "\n"]).collect();
    }
    documents
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Detection,
    Correlation,
    Filter,
    /// `action:` of the collections of old.
    Action,
}

/// Reads a document's YAML.
pub(super) fn read(document: &Document) -> Result<Mapping, Fault> {
    let value: Value = serde_norway::from_str(&document.text).map_err(|error| {
        let near = error.location().and_then(|at| document.text.lines().nth(at.line().saturating_sub(1)));
        Fault::new(ReasonKind::Yaml, format!("not YAML: {error}")).near(near.unwrap_or_default())
    })?;
    match value {
        Value::Mapping(mapping) => Ok(mapping),
        _ => fault(ReasonKind::Yaml, "not a YAML mapping: a rule is `key: value` lines"),
    }
}

/// Its title, else its id, for telling people.
pub(super) fn title(mapping: &Mapping) -> String {
    let text = |key| mapping.get(key).and_then(Value::as_str).map(str::to_owned);
    text("title").or_else(|| text("id")).or_else(|| text("name")).unwrap_or_default()
}

/// What it is, once everything is checked that holds for all kinds.
pub(super) fn kind(mapping: &Mapping) -> Result<Kind, Fault> {
    use ReasonKind as R;
    for key in mapping.keys() {
        let Some(key) = key.as_str() else { return fault(R::NotARule, format!("{key:?} as a key: keys are words")) };
        if key.starts_with("rsigma.") || key == "<<" {
            let reason = format!("`{key}` would change what the rule means and is not honoured here");
            return Err(Fault::new(R::UnsupportedKey, reason).near(key));
        }
    }
    if mapping.contains_key("action") {
        return Ok(Kind::Action);
    }
    metadata(mapping)?;
    let has = |key| mapping.contains_key(key);
    match (has("detection"), has("correlation"), has("filter")) {
        (true, false, false) => Ok(Kind::Detection),
        (false, true, false) if has("logsource") => {
            let reason = "a correlation has no log source: its rules have theirs, and this one would do nothing";
            Err(Fault::new(R::UnsupportedKey, reason).near("logsource"))
        }
        (false, true, false) => Ok(Kind::Correlation),
        (false, false, true) => Ok(Kind::Filter),
        (false, false, false) => fault(R::NotARule, "neither `detection`, `correlation` nor `filter` in it"),
        _ => fault(R::NotARule, "more than one of `detection`, `correlation` and `filter` in one document"),
    }
}

fn metadata(mapping: &Mapping) -> Result<(), Fault> {
    use ReasonKind as R;
    let bad = |key: &str, why: String| Err(Fault::new(R::BadMetadata, why).near(&format!("{key}:")));
    match mapping.get("title") {
        Some(Value::String(title)) if !title.trim().is_empty() => {}
        Some(_) => return bad("title", "`title` must be text".to_owned()),
        None => return fault(R::MissingKey, "`title` is missing"),
    }
    for key in ["id", "name", "description"] {
        match mapping.get(key) {
            None | Some(Value::String(_)) => {}
            Some(_) => return bad(key, format!("`{key}` must be text: put it in quotes")),
        }
    }
    for (key, words) in [
        ("level", &["informational", "low", "medium", "high", "critical"][..]),
        ("status", &["stable", "test", "experimental", "deprecated", "unsupported"][..]),
    ] {
        match mapping.get(key).map(Value::as_str) {
            None => {}
            Some(Some(word)) if words.contains(&word) => {}
            Some(word) => return bad(key, format!("`{key}: {}` is none of {words:?}", word.unwrap_or("?"))),
        }
    }
    if mapping.get("status").and_then(Value::as_str) == Some("unsupported") {
        let reason = "its status is `unsupported`: by the specification it can't be used in this form";
        return Err(Fault::new(R::UnsupportedStatus, reason).near("status:"));
    }
    match mapping.get("tags") {
        None => {}
        Some(Value::Sequence(tags)) if tags.iter().all(Value::is_string) => {}
        Some(_) => return bad("tags", "`tags` must be a list of words".to_owned()),
    }
    if let Some(taxonomy) = mapping.get("taxonomy")
        && taxonomy.as_str() != Some("sigma")
    {
        let reason = "a taxonomy other than `sigma` gives fields and log sources other names, which are not known here";
        return Err(Fault::new(R::UnsupportedVersion, reason).near("taxonomy:"));
    }
    if let Some(version) = mapping.get("sigma-version") {
        let major = match version {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()),
            _ => None,
        };
        if !major.is_some_and(|major| (1.0..3.0).contains(&major)) {
            let reason = "only versions 1 and 2 of the specification are known here";
            return Err(Fault::new(R::UnsupportedVersion, reason).near("sigma-version"));
        }
    }
    match mapping.get("sceau.fires") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => bad("sceau.fires", "`sceau.fires` must be true or false".to_owned()),
    }
}

/// Gives a document to rsigma's parser; what it only warns of is a fault.
pub(super) fn parse(document: &Document) -> Result<SigmaCollection, Fault> {
    let parsed =
        parse_sigma_yaml(&document.text).map_err(|error| Fault::new(ReasonKind::NotARule, error.to_string()))?;
    let Some(error) = parsed.errors.first() else {
        let found = parsed.rules.len() + parsed.correlations.len() + parsed.filters.len();
        return match found {
            1 => Ok(parsed),
            _ => fault(ReasonKind::NotARule, format!("{found} documents where one was expected")),
        };
    };
    let (kind, near) = match error {
        e if e.starts_with("Condition parse error") => (ReasonKind::BadCondition, "condition:"),
        e if e.contains("odifier") => (ReasonKind::UnknownModifier, ""),
        e if e.contains("timespan") || e.contains("timeframe") => (ReasonKind::BadCorrelation, "timespan:"),
        e if e.contains("orrelation") => (ReasonKind::BadCorrelation, "correlation:"),
        e if e.contains("Missing required field") => (ReasonKind::MissingKey, ""),
        e if e.contains("etection") => (ReasonKind::BadDetection, "detection:"),
        e if e.contains("YAML") => (ReasonKind::Yaml, ""),
        _ => (ReasonKind::NotARule, ""),
    };
    let reason = error.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Fault::new(kind, reason).near(near))
}
