//! A real log of sshd that others have counted: who reaches five failures within ten minutes, and with which lines.

use super::alerts::{ENOUGH, Product, SPAN, Table};
use sceau_event::{Keyword, Record};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// By address. Both must say that it fires, at the same line, and with the same lines as evidence.
pub fn run(data: &Path, product: &Product) -> Table {
    let mut table = Table::default();
    let Ok(log) = std::fs::read(data.join("logs/openssh_2k.log")) else { return table };
    let received = "2026-11-22T08:00:00Z".parse().unwrap();
    let log = String::from_utf8_lossy(&log).into_owned();
    let records: Vec<_> =
        log.lines().filter(|line| !line.is_empty()).map(|line| product.record(line, received, "UTC")).collect();
    let theirs = by_hand(&records);
    let mut ours = BTreeMap::<String, Vec<Vec<u64>>>::new();
    for finding in product.brute_force(&records) {
        ours.entry(finding.group[0].1.clone()).or_default().push(finding.evidence);
    }
    for (address, evidence) in &theirs {
        match ours.get(address).and_then(|bursts| bursts.first()) {
            Some(first) if first == evidence => drop(table.agree.insert(address.clone())),
            Some(_) => table.disagrees("other lines as evidence", address.clone()),
            None => table.disagrees("not found", address.clone()),
        }
    }
    for address in ours.keys().filter(|address| !theirs.contains_key(*address)) {
        table.disagrees("only ours", address.clone());
    }
    table
}

/// The first lines of each address that are enough, in a log whose lines come in order of time.
fn by_hand(records: &[Record<'_>]) -> BTreeMap<String, Vec<u64>> {
    let mut windows = BTreeMap::<&str, VecDeque<(u64, &Record<'_>)>>::new();
    let mut found = BTreeMap::new();
    for (record, index) in records.iter().zip(0..) {
        let (Some("failure"), Some(address)) =
            (record.keyword(Keyword::EventOutcome), record.keyword(Keyword::SourceIp))
        else {
            continue;
        };
        let window = windows.entry(address).or_default();
        window.push_back((index, record));
        while record.time.0 - window[0].1.time.0 > SPAN {
            window.pop_front();
        }
        if window.iter().map(|(_, record)| record.count()).sum::<u64>() >= ENOUGH {
            let evidence = window.iter().map(|(index, _)| *index).collect();
            found.entry(address.to_owned()).or_insert(evidence);
        }
    }
    found
}
