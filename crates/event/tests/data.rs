//! Counts over real log files that others have counted before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{framer, shared};
use sceau_event::{Deriver, Keyword, Number, Record};
use std::collections::{BTreeMap, BTreeSet};

fn each_line(path: &str, mut each: impl FnMut(usize, &Record<'_>)) -> bool {
    let Some(path) = shared(path) else { return false };
    let bytes = std::fs::read(path).unwrap();
    let (deriver, framer) = (Deriver::builtin(), framer("2026-11-22T08:00:00Z"));
    let mut out = Vec::new();
    for (number, line) in bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        out.clear();
        let record = deriver.push_line(&framer, line, &mut out).unwrap().into_owned();
        assert_eq!(deriver.derive(&out).unwrap(), record);
        each(number + 1, &record);
    }
    true
}

#[test]
fn openssh_failures() {
    let (mut lines, mut attempts, mut addresses) = (0, 0, BTreeSet::new());
    let (mut all, mut authentication, mut unknown) = (0, 0, BTreeMap::<String, u32>::new());
    let there = each_line("logs/openssh_2k.log", |_, record| {
        all += 1;
        assert!(record.time.to_string().starts_with("2026-12-10T"), "{}", record.time);
        let failure = record.keyword(Keyword::EventOutcome) == Some("failure");
        if failure && record.keyword(Keyword::EventAction) == Some("ssh_login") {
            lines += 1;
            attempts += record.count();
            addresses.insert(record.keyword(Keyword::SourceIp).unwrap().to_owned());
        }
        if failure && record.keyword(Keyword::EventCategory) == Some("authentication") {
            authentication += 1;
        }
        if record.keyword(Keyword::EventAction).is_none() {
            *unknown.entry(record.keyword(Keyword::Message).unwrap().to_owned()).or_default() += 1;
        }
    });
    if there {
        assert_eq!((all, lines, attempts, addresses.len()), (2_000, 520, 528, 23));
        assert_eq!(authentication, 520, "one record per attempt counts");
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
fn apache_access_counts() {
    let (mut lines, mut not_found, mut addresses) = (0, 0, BTreeMap::<String, u32>::new());
    let there = each_line("logs/apache_access_10k.log", |number, record| {
        lines += 1;
        let ip = record.keyword(Keyword::SourceIp).unwrap_or_else(|| panic!("line {number}"));
        assert_eq!(record.keyword(Keyword::EventAction), Some("http_request"), "line {number}");
        assert!(record.time.to_string().starts_with("2015-05-"), "line {number}");
        *addresses.entry(ip.to_owned()).or_default() += 1;
        not_found += u32::from(record.number(Number::StatusCode) == Some(404));
    });
    if there {
        assert_eq!((lines, addresses.len(), not_found), (10_000, 1_753, 213));
        assert_eq!(addresses["66.249.73.135"], 482);
    }
}

#[test]
fn apache_error_lines() {
    let (mut lines, mut addresses) = (0, 0);
    let there = each_line("logs/apache_error_2k.log", |number, record| {
        lines += 1;
        assert_eq!(record.keyword(Keyword::EventDataset), Some("apache.error"), "line {number}");
        assert!(record.time.to_string().starts_with("2005-12-"), "line {number}");
        addresses += u32::from(record.keyword(Keyword::SourceIp).is_some());
    });
    if there {
        assert_eq!((lines, addresses), (2_000, 32));
    }
}
