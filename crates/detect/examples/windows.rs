//! How fast windows are and what they take, alone, without rules being matched. An argument names the one case to run.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sceau_detect::{
    Condition, Correlation, CorrelationKind, Fields, Level, Limits, Operator, RuleMeta, Window, Windows,
};
use sceau_event::{Keyword, Micros, Record};

struct Plain;

impl Fields for Plain {
    fn field<'r>(&self, _: usize, record: &'r Record<'_>, name: &str) -> Option<Cow<'r, str>> {
        let keyword = Keyword::ALL.iter().find(|keyword| keyword.name() == name)?;
        record.keyword(*keyword).map(Cow::Borrowed)
    }

    fn excepted(&self, _: usize, _: &Record<'_>) -> bool {
        false
    }
}

fn meta(id: &str, kind: &str) -> RuleMeta {
    RuleMeta {
        id: id.to_owned(),
        title: id.to_owned(),
        description: String::new(),
        level: Level::High,
        tags: BTreeSet::new(),
        path: String::new(),
        line: 1,
        hash: id.to_owned(),
        kind: kind.to_owned(),
        fires: kind != "detection",
        enabled: true,
        threshold: None,
        timespan: None,
        group_by: Vec::new(),
        false_positives: Vec::new(),
    }
}

fn correlation(rule: usize, kind: CorrelationKind, group: &str, fields: &[&str]) -> Correlation {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Correlation {
        rule,
        kind,
        refers: vec![0],
        group_by: vec![group.to_owned()],
        aliases: BTreeMap::new(),
        timespan: 600_000_000,
        window: Window::Sliding,
        condition: Condition::Threshold { predicates: vec![(Operator::Gte, 5)], fields, percentile: None },
        fires: true,
    }
}

/// Resident memory in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn run(name: &str, records: u64, matched: &[usize], address: impl Fn(u64) -> String, user: impl Fn(u64) -> String) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let rules =
        vec![meta("failed", "detection"), meta("a", "event_count"), meta("b", "event_count"), meta("c", "value_count")];
    let correlations = [
        correlation(1, CorrelationKind::EventCount, "source.ip", &[]),
        correlation(2, CorrelationKind::EventCount, "user.name", &[]),
        correlation(3, CorrelationKind::ValueCount, "user.name", &["source.ip"]),
    ];
    let mut windows = Windows::new(&rules, &correlations, Limits::default(), 300_000_000);
    let mut found = Vec::new();
    let base = 1_800_000_000_000_000;
    let texts: Vec<(String, String)> = (0..records).map(|at| (address(at), user(at))).collect();
    let before = resident();
    let begun = Instant::now();
    for (at, (address, user)) in (0..).zip(&texts) {
        let mut record = Record::new(Micros(base + at * 500), Cow::Borrowed("sshd"));
        record.keywords[Keyword::SourceIp as usize] = Some(Cow::Borrowed(address));
        record.keywords[Keyword::UserName as usize] = Some(Cow::Borrowed(user));
        windows.push(at as u64, &record, matched, &rules, &Plain, &mut found);
    }
    let spent = begun.elapsed();
    let stats = windows.stats(&rules);
    println!(
        "{name}: {:.2} us a record; {} groups, {} MiB reckoned, {} MiB resident; {} findings; evicted {}",
        spent.as_secs_f64() * 1e6 / records as f64,
        stats.groups,
        stats.bytes >> 20,
        resident().saturating_sub(before),
        found.len(),
        stats.rules.values().map(|rule| rule.evicted).sum::<u64>(),
    );
    let begun = Instant::now();
    let bytes = windows.snapshot(&rules);
    let written = begun.elapsed();
    let restored = windows.restore(&bytes).unwrap();
    println!(
        "  snapshot: {} MiB in {} ms, read with {} rules in {} ms",
        bytes.len() >> 20,
        written.as_millis(),
        restored.kept,
        (begun.elapsed() - written).as_millis()
    );
}

fn main() {
    let root = |_| "root".to_owned();
    run("nothing matches", 1_000_000, &[], |at| format!("10.0.{}.1", at % 200), root);
    run("1,000,000 addresses, one user", 1_000_000, &[0], |at| format!("2001:db8::{at:x}"), root);
    run("1,000,000 addresses and users", 1_000_000, &[0], |at| format!("2001:db8::{at:x}"), |at| format!("user{at}"));
    run("100 addresses, 7 users", 1_000_000, &[0], |at| format!("10.0.0.{}", at % 100), |at| format!("user{}", at % 7));
}
