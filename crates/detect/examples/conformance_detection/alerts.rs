//! The shipped rules on lines of others' logs: which addresses they alert on, and why not on others.

use sceau_detect::{Detector, Finding, Limits, Matched, Phase, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Keyword, Meta, Micros, Record, SourceId, canonical_ip};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The shipped rule "Brute force from one address": what it asks for is told beside its id.
const BRUTE_FORCE: &str = "b57433ff-709d-4000-9a39-f5aa3500d2c6";
/// The shipped rule "Failed attempt", which tells what counts.
const FAILED: &str = "3009d8ee-0da2-4454-ad28-d26f79347447";
/// How many failures.
pub const ENOUGH: u64 = 5;
/// What must never be the reason.
pub const FAULT: &str = "FAULT: the rule should have fired";
/// Within how many microseconds.
pub const SPAN: i64 = 600 * 1_000_000;

/// The shipped parsers and rules.
pub struct Product {
    deriver: Deriver,
    rules: Arc<RuleSet>,
}

impl Product {
    pub fn new() -> Self {
        let (rules, mappings) = RuleSet::builtin_files();
        let rules = RuleSet::load(&rules, &mappings, &Settings::default()).unwrap();
        Self { deriver: Deriver::builtin(), rules: Arc::new(rules) }
    }

    /// The record of a line: of JSON if it is an object, else of text.
    pub fn record(&self, line: &str, received: Micros, zone: &str) -> Record<'static> {
        let meta = Meta { zone: Some(zone.to_owned()), ..Meta::default() };
        let framer = Framer::new(received, &SourceId::parse("conformance").unwrap(), &meta);
        let object = line
            .starts_with('{')
            .then(|| self.deriver.push_json(&framer, line.as_bytes(), &mut Vec::new()).map(Record::into_owned));
        match object {
            Some(Ok(record)) => record,
            _ => self.deriver.push_line(&framer, line.as_bytes(), &mut Vec::new()).unwrap().into_owned(),
        }
    }

    /// What brute force of one address is found in records that come in this order, each at its place.
    pub fn brute_force(&self, records: &[Record<'_>]) -> Vec<Finding> {
        let mut detector = Detector::new(self.rules.clone(), Limits::default(), Settings::default().lateness);
        let mut found = Vec::new();
        records.iter().zip(0..).for_each(|(record, index)| detector.push(index, record, &mut found));
        found.retain(|finding| finding.rule == BRUTE_FORCE && finding.phase == Phase::Fired);
        found
    }

    /// Runs the rules on records that come in this order.
    pub fn judge<'r>(&self, records: Vec<Record<'r>>) -> Judged<'r> {
        let found = self.brute_force(&records);
        let mut matched: Vec<Matched> = Vec::new();
        let counts = |record: &Record<'_>| {
            self.rules.matches(record, &mut matched);
            matched.iter().any(|matched| self.rules.rules()[matched.rule].id == FAILED)
        };
        let counts = records.iter().map(counts).collect();
        Judged { counts, records, alerted: found.into_iter().map(|finding| finding.group[0].1.clone()).collect() }
    }
}

/// Records, which of them count as failed attempts, and the addresses that are alerted on.
pub struct Judged<'r> {
    pub records: Vec<Record<'r>>,
    counts: Vec<bool>,
    pub alerted: BTreeSet<String>,
}

impl Judged<'_> {
    /// Why an address is not alerted on, as far as its records tell. Nothing if it should have been.
    fn why_not(&self, address: &str) -> Option<&'static str> {
        let has_address = |(record, _): &(&Record<'_>, &bool)| record.keyword(Keyword::SourceIp) == Some(address);
        let of_address: Vec<_> = self.records.iter().zip(&self.counts).filter(has_address).collect();
        let outcomes: BTreeSet<&str> =
            of_address.iter().filter_map(|(record, _)| record.keyword(Keyword::EventOutcome)).collect();
        let counting = of_address.iter().filter(|(_, counts)| **counts).map(|(record, _)| record);
        let times: Vec<Micros> =
            counting.flat_map(|record| std::iter::repeat_n(record.time, record.count() as usize)).collect();
        if outcomes.is_empty() {
            Some("the address's records have no outcome: what failed is told in words that no parser of ours reads")
        } else if !outcomes.contains("failure") {
            Some("none of the address's records is a failure: the requests succeeded")
        } else if times.is_empty() {
            Some("the address's failures are answers of a web server that deny nobody access (404…): they don't count")
        } else if (times.len() as u64) < ENOUGH {
            Some("fewer than five failures that count")
        } else if !within_span(times) {
            Some("five failures or more, but no five within ten minutes")
        } else {
            None
        }
    }
}

/// Whether so many of the times lie within the span.
pub fn within_span(mut times: Vec<Micros>) -> bool {
    times.sort();
    times.windows(ENOUGH as usize).any(|some| some[some.len() - 1].0 - some[0].0 <= SPAN)
}

/// A comparison: where both say the same, and by reason where they don't.
#[derive(Default)]
pub struct Table {
    pub agree: BTreeSet<String>,
    pub disagree: BTreeMap<String, BTreeSet<String>>,
    /// What can't be compared, by the kind of the log: no record of ours has the address.
    pub uncovered: BTreeMap<String, BTreeSet<String>>,
}

impl Table {
    pub fn disagrees(&mut self, reason: &str, what: String) {
        self.disagree.entry(reason.to_owned()).or_default().insert(what);
    }

    /// Compares what somebody else says of an address with what is found in these records.
    pub fn compare(&mut self, what: String, log: &str, address: &str, ours: &Judged<'_>) {
        let address = canonical_ip(address).unwrap_or_else(|| address.to_owned());
        if !ours.records.iter().any(|record| record.keyword(Keyword::SourceIp) == Some(&address)) {
            self.uncovered.entry(log.to_owned()).or_default().insert(what);
        } else if ours.alerted.contains(&address) {
            self.agree.insert(what);
        } else {
            self.disagrees(ours.why_not(&address).unwrap_or(FAULT), what);
        }
    }

    pub fn compared(&self) -> usize {
        self.agree.len() + self.disagree.values().map(BTreeSet::len).sum::<usize>()
    }

    pub fn print(&self, title: &str) {
        println!("{title}: {} compared, {} agree", self.compared(), self.agree.len());
        for (reason, what) in &self.disagree {
            println!("    {:4} disagree: {reason}", what.len());
            println!("         {}", what.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        }
        if !self.uncovered.is_empty() {
            let all: usize = self.uncovered.values().map(BTreeSet::len).sum();
            let kinds: Vec<String> =
                self.uncovered.iter().map(|(kind, what)| format!("{kind} {}", what.len())).collect();
            println!("    {all:4} NOT compared, no parser of ours reads the address, by kind of log:");
            println!("         {}", kinds.join(", "));
        }
    }
}
