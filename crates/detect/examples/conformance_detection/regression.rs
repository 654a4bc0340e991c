//! Whether rules fire on the events that come with them as often as they say, and which others do.

use super::rules::walk;
use sceau_detect::{Matched, RuleSet};
use sceau_event::{Deriver, Framer, Meta, Micros, SourceId};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Deserialize)]
struct Info {
    rule_metadata: Vec<Rule>,
    regression_tests_info: Vec<Test>,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    title: String,
}

#[derive(Deserialize)]
struct Test {
    /// Where it is left out, once is enough.
    match_count: Option<usize>,
}

/// One rule and its events.
pub struct Pair {
    pub title: String,
    /// Whether the rule is there at all.
    pub loaded: bool,
    pub events: usize,
    /// `None`: at least once.
    pub wanted: Option<usize>,
    pub found: usize,
    /// Titles and levels of other rules that matched, and how often.
    pub others: BTreeMap<String, usize>,
}

impl Pair {
    pub fn agrees(&self) -> bool {
        self.wanted.map_or(self.found > 0, |wanted| wanted == self.found)
    }
}

pub fn run(sigma: &Path, set: &RuleSet) -> Vec<Pair> {
    let mut infos = Vec::new();
    walk(&sigma.join("regression"), "info.yml", &mut infos);
    let mut pairs = Vec::new();
    for path in infos {
        let info: Info = serde_norway::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut files = Vec::new();
        walk(path.parent().unwrap(), ".json", &mut files);
        let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let wanted = info.regression_tests_info.iter().map(|test| test.match_count).sum();
        for rule in info.rule_metadata {
            pairs.push(pair(set, &rule, wanted, &texts));
        }
    }
    pairs
}

fn pair(set: &RuleSet, rule: &Rule, wanted: Option<usize>, texts: &[String]) -> Pair {
    let (deriver, received) = (Deriver::builtin(), "2026-11-22T08:00:00Z".parse::<Micros>().unwrap());
    let framer = Framer::new(received, &SourceId::parse("sigma").unwrap(), &Meta::default());
    let loaded = set.rules().iter().any(|meta| meta.id == rule.id);
    let mut pair = Pair { title: rule.title.clone(), loaded, events: 0, wanted, found: 0, others: BTreeMap::new() };
    let mut matched: Vec<Matched> = Vec::new();
    for text in texts {
        for event in serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>() {
            let mut entry = Vec::new();
            let record = deriver.push_json(&framer, event.unwrap().to_string().as_bytes(), &mut entry).unwrap();
            pair.events += 1;
            set.matches(&record, &mut matched);
            for meta in matched.iter().map(|matched| &set.rules()[matched.rule]) {
                if meta.id == rule.id {
                    pair.found += 1;
                } else {
                    *pair.others.entry(format!("{} ({:?})", meta.title, meta.level)).or_default() += 1;
                }
            }
        }
    }
    pair
}

pub fn print(pairs: &[Pair]) {
    let loaded: Vec<&Pair> = pairs.iter().filter(|pair| pair.loaded).collect();
    let agree = loaded.iter().filter(|pair| pair.agrees()).count();
    let events: usize = loaded.iter().map(|pair| pair.events).sum();
    println!("sigma regression: {} rules with {events} events, {agree} fire as often as told", loaded.len());
    for pair in pairs.iter().filter(|pair| !pair.loaded) {
        println!("    NOT compared, the rule is not among the data or refused: {}", pair.title);
    }
    for pair in loaded.iter().filter(|pair| !pair.agrees()) {
        println!(
            "    DISAGREES: {}: {:?} wanted, {} found in {} events",
            pair.title, pair.wanted, pair.found, pair.events
        );
    }
    println!("other rules that match the same events:");
    for pair in loaded.iter().filter(|pair| !pair.others.is_empty()) {
        println!("    {}", pair.title);
        for (title, count) in &pair.others {
            println!("        {count:3} {title}");
        }
    }
}
