//! What the tests share.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "../../../cli/tests/common/shared.rs"]
mod shared;

use sceau_detect::{Matched, RuleFile, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};
#[allow(unused_imports)]
pub use shared::shared;

pub fn json(event: &str) -> Record<'static> {
    let framer = Framer::new(
        "2026-11-22T08:00:00Z".parse::<Micros>().unwrap(),
        &SourceId::parse("app").unwrap(),
        &Meta::default(),
    );
    Deriver::builtin().push_json(&framer, event.as_bytes(), &mut Vec::new()).unwrap().into_owned()
}

pub fn line(line: &str) -> Record<'static> {
    let framer = Framer::new(
        "2026-11-22T08:00:00Z".parse::<Micros>().unwrap(),
        &SourceId::parse("app").unwrap(),
        &Meta::default(),
    );
    Deriver::builtin().push_line(&framer, line.as_bytes(), &mut Vec::new()).unwrap().into_owned()
}

pub fn file(path: &str, text: &str) -> RuleFile {
    RuleFile { path: path.to_owned(), text: text.to_owned() }
}

/// With the shipped mappings.
pub fn load(text: &str) -> RuleSet {
    load_with(&[file("x.yml", text)], &Settings::default())
}

pub fn load_with(files: &[RuleFile], settings: &Settings) -> RuleSet {
    RuleSet::load(files, &RuleSet::builtin_files().1, settings).unwrap()
}

/// A rule for all records with this under `detection`, and its condition.
pub fn detection(detection: &str) -> String {
    let indented: String = detection.trim_matches('\n').lines().flat_map(|line| ["    ", line, "\n"]).collect();
    format!("title: T\nid: t\nlogsource:\n    product: sceau\ndetection:\n{indented}")
}

/// A rule with one selection.
pub fn selection(selection: &str) -> RuleSet {
    let indented: String = selection.trim_matches('\n').lines().flat_map(|line| ["    ", line, "\n"]).collect();
    let set = load(&detection(&format!("s:\n{indented}condition: s")));
    assert_eq!(set.refusals(), []);
    set
}

/// The ids of the rules that match.
pub fn matches(set: &RuleSet, record: &Record<'_>) -> Vec<String> {
    let mut out = vec![Matched { rule: 99 }];
    set.matches(record, &mut out);
    out.iter().map(|matched| set.rules()[matched.rule].id.clone()).collect()
}

/// Whether the rule matches, and not for all records.
pub fn hits(set: &RuleSet, event: &str) -> bool {
    !matches(set, &json(event)).is_empty()
}
