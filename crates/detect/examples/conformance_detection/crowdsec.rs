//! The sources that CrowdSec's scenarios alert on in its own test logs, and those of our brute-force rule.
//!
//! Its scenarios are leaky buckets of many sizes, each for the log of one program. Ours is one rule for all of them. So
//! addresses are compared, not counts, and what a scenario looks for besides failures is another kind.

use super::alerts::{Judged, Product, Table};
use sceau_event::{Keyword, canonical_ip};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What CrowdSec alerts on in one log, and why that is compared or not.
pub struct CrowdSec {
    /// Scenarios that look for many failures in logs whose addresses our parsers read.
    pub brute_force: Table,
    /// Scenarios that look for something else in such logs; ours may alert all the same.
    pub others: Table,
    /// Addresses on which only we alert, or on which nobody does.
    pub quiet: Table,
    /// Sources that are no addresses.
    pub no_address: BTreeSet<String>,
}

/// A scenario and a source.
struct Overflow {
    scenario: String,
    source: String,
}

pub fn run(data: &Path, product: &Product) -> CrowdSec {
    let mut sums = CrowdSec {
        brute_force: Table::default(),
        others: Table::default(),
        quiet: Table::default(),
        no_address: BTreeSet::new(),
    };
    let Ok(folders) = std::fs::read_dir(data.join("crowdsec/tests")) else { return sums };
    let mut tests: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    tests.sort();
    for test in tests {
        // Tests without it are of parsers only.
        let Ok(asserts) = std::fs::read_to_string(test.join("scenario.assert")) else { continue };
        let config = std::fs::read_to_string(test.join("config.yaml")).unwrap();
        let setting = |key: &str| {
            let value = config.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            value.trim().trim_matches('"').to_owned()
        };
        let has_scenarios = scenarios(&config);
        let Ok(log) = std::fs::read(test.join(setting("log_file:"))) else { continue };
        let lines = String::from_utf8_lossy(&log).into_owned();
        let received = "2026-11-22T08:00:00Z".parse().unwrap();
        let lines = lines.lines().filter(|line| !line.trim().is_empty());
        let records = lines.map(|line| product.record(line, received, "UTC")).collect();
        let ours = product.judge(records);
        let name = test.file_name().unwrap().to_string_lossy().into_owned();
        compare(&name, &setting("log_type:"), &overflows(&asserts), has_scenarios, &ours, &mut sums);
    }
    sums
}

/// Whether the test runs any scenario.
fn scenarios(config: &str) -> bool {
    let mut below = config.lines().skip_while(|line| !line.starts_with("scenarios:")).skip(1);
    below.find_map(|line| line.trim().strip_prefix('-')).is_some_and(|first| !first.trim().trim_matches('"').is_empty())
}

fn compare(
    test: &str,
    log_type: &str,
    overflows: &[Overflow],
    has_scenarios: bool,
    ours: &Judged<'_>,
    sums: &mut CrowdSec,
) {
    for overflow in overflows {
        let what = format!("{test} {} {}", overflow.scenario, overflow.source);
        let table = if is_brute_force(&overflow.scenario) { &mut sums.brute_force } else { &mut sums.others };
        if canonical_ip(&overflow.source).is_some() {
            table.compare(what, log_type, &overflow.source, ours);
        } else {
            sums.no_address.insert(what);
        }
    }
    if !has_scenarios {
        return;
    }
    let theirs: BTreeSet<String> = overflows.iter().filter_map(|overflow| canonical_ip(&overflow.source)).collect();
    let seen: BTreeSet<&str> = ours.records.iter().filter_map(|record| record.keyword(Keyword::SourceIp)).collect();
    for address in seen.into_iter().filter(|address| !theirs.contains(*address)) {
        let what = format!("{test} {address}");
        if ours.alerted.contains(address) {
            sums.quiet.disagrees(
                "only ours: five failures within ten minutes, which the test's scenarios don't ask for",
                what,
            );
        } else {
            sums.quiet.agree.insert(what);
        }
    }
}

/// Whether a scenario looks for many failed attempts, going by its name: `ssh-bf`, `ssh-slow-bf_user-enum`…
fn is_brute_force(scenario: &str) -> bool {
    let mut words = scenario.split(['/', '-', '_']);
    words.any(|word| matches!(word, "bf" | "bruteforce"))
}

fn overflows(asserts: &str) -> Vec<Overflow> {
    let mut scenarios = BTreeMap::new();
    let mut sources = Vec::new();
    for line in asserts.lines() {
        if let Some((source, rest)) = line.split_once(" in results[")
            && let Some(number) = rest.strip_suffix("].Overflow.GetSources()")
        {
            sources.push((number, source.trim_matches('"')));
        } else if let Some((number, rest)) =
            line.strip_prefix("results[").and_then(|rest| rest.split_once("].Overflow."))
            && let Some(scenario) = rest.strip_prefix("Alert.GetScenario() == ")
        {
            scenarios.insert(number, scenario.trim_matches('"'));
        }
    }
    let overflow = |(number, source): (&str, &str)| Overflow {
        scenario: scenarios.get(number).map_or("?", |scenario| scenario.rsplit('/').next().unwrap()).to_owned(),
        source: source.to_owned(),
    };
    sources.into_iter().map(overflow).collect()
}

pub fn print(sums: &CrowdSec) {
    sums.brute_force.print("crowdsec, addresses of brute-force scenarios");
    sums.others.print("crowdsec, addresses of other scenarios (requests, exploits, scans)");
    sums.quiet.print("crowdsec, addresses that no scenario alerts on");
    let names: Vec<&str> = sums.no_address.iter().map(String::as_str).collect();
    println!("crowdsec, NOT compared: {} sources that are no addresses: {}", names.len(), names.join(", "));
}
