//! Reads a parser's file.

use super::Parser;
use super::intern::intern;
use super::rule::Rule;
use crate::error::ParserError;
use regex::{Regex, RegexBuilder, RegexSetBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A line and what its record must hold. A field that must be absent is none.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub line: String,
    pub expect: Vec<(String, Option<String>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
    dataset: Option<String>,
    #[serde(default)]
    programs: Vec<String>,
    #[serde(default)]
    line: bool,
    #[serde(default)]
    patterns: BTreeMap<String, String>,
    rules: Vec<FileRule>,
    #[serde(default)]
    samples: Vec<FileSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    r#match: String,
    #[serde(default)]
    set: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSample {
    line: String,
    #[serde(default)]
    expect: BTreeMap<String, Option<Scalar>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t.clone(),
        }
    }
}

/// A compiled pattern can take this many bytes: generous for a pattern written by hand, and a
/// bound for one that is not.
const PATTERN_LIMIT: usize = 4 << 20;

pub(super) fn load(file: &str, yaml: &str) -> Result<Parser, ParserError> {
    let fault = |rule: Option<usize>, reason: String| ParserError { file: file.to_owned(), rule, reason };
    let read: File = serde_norway::from_str(yaml).map_err(|e| fault(None, e.to_string()))?;
    check(&read).map_err(|reason| fault(None, reason))?;
    let mut rules = Vec::with_capacity(read.rules.len());
    let mut patterns = Vec::with_capacity(read.rules.len());
    for (at, rule) in read.rules.iter().enumerate() {
        let pattern = expand(&rule.r#match, &read.patterns).map_err(|reason| fault(Some(at + 1), reason))?;
        let regex = compile(&pattern).map_err(|reason| fault(Some(at + 1), reason))?;
        let set: Vec<_> = rule.set.iter().map(|(name, value)| (name.as_str(), value.text())).collect();
        rules.push(Rule::new(regex, set.iter().map(|(name, value)| (*name, value.as_str()))));
        patterns.push(pattern);
    }
    let set = RegexSetBuilder::new(&patterns)
        .size_limit(PATTERN_LIMIT * 8)
        .dfa_size_limit(PATTERN_LIMIT * 4)
        .build()
        .map_err(|e| fault(None, e.to_string()))?;
    let samples = read.samples.into_iter().map(|sample| Sample {
        line: sample.line,
        expect: sample.expect.into_iter().map(|(name, value)| (name, value.map(|v| v.text()))).collect(),
    });
    Ok(Parser {
        file: file.to_owned(),
        name: intern(&read.name),
        dataset: intern(read.dataset.as_deref().unwrap_or(&read.name)),
        programs: read.programs.iter().map(|program| program.to_ascii_lowercase()).collect(),
        line: read.line,
        rules,
        set,
        samples: samples.collect(),
    })
}

fn check(read: &File) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if read.name.is_empty() || read.name.len() > 64 || !read.name.bytes().all(good) {
        return Err("name must be 1 to 64 of the characters a-z 0-9 . _ -".into());
    }
    if matches!(read.name.as_str(), "auto" | "plain" | "syslog") {
        return Err(format!("the name {:?} has a meaning of its own: choose another", read.name));
    }
    if read.programs.is_empty() && !read.line {
        return Err("it would never be used: give programs, or line: true, or both".into());
    }
    if read.rules.is_empty() {
        return Err("it has no rules".into());
    }
    Ok(())
}

/// Puts the file's own `patterns` in the place of their `{{name}}`.
fn expand(pattern: &str, patterns: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            return Err("{{ without }}".into());
        };
        let Some(part) = patterns.get(name) else {
            return Err(format!("{{{{{name}}}}} is not among the file's patterns"));
        };
        out.push_str(before);
        out.push_str(part);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let regex = RegexBuilder::new(pattern)
        .size_limit(PATTERN_LIMIT)
        .dfa_size_limit(PATTERN_LIMIT)
        .build()
        .map_err(|e| e.to_string())?;
    if !pattern.starts_with('^') {
        return Err(
            "match must start with ^: a pattern that can begin anywhere can be fooled by what users type".into()
        );
    }
    Ok(regex)
}
