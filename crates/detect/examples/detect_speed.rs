//! How many records a second one core matches with rules: `cargo run --release -p sceau-detect --example detect_speed`.
//!
//! The base rules and, from the test data beside the repository, 200 rules for Linux and web servers; without them only the
//! base rules, aloud. The records are lines of sshd, sudo, cron and Apache, a few of them attacks.
#![allow(clippy::unwrap_used)]

#[path = "conformance_detection/rules.rs"]
#[allow(dead_code)]
mod rules;

use sceau_detect::{Matched, RuleFile, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};
use std::path::{Path, PathBuf};
use std::time::Instant;

const LINES: [&str; 8] = [
    "<38>Nov 22 07:00:01 gate sshd[812]: Failed password for invalid user test from 203.0.113.9 port 51022 ssh2",
    "<38>Nov 22 07:00:02 gate sshd[812]: Accepted publickey for alice from 10.0.3.7 port 51022 ssh2: ED25519 SHA256:3vFq",
    "<86>Nov 22 07:00:03 gate sudo: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/apt update",
    "<78>Nov 22 07:00:04 gate CRON[9]: (root) CMD (command -v debian-sa1 > /dev/null && debian-sa1 1 1)",
    "<30>Nov 22 07:00:05 gate systemd[1]: Started Session 4 of user alice.",
    r#"10.0.7.9 - - [22/Nov/2026:07:05:00 +0000] "GET /index.html HTTP/1.1" 200 2091 "-" "Mozilla/5.0 (X11; Linux x86_64)""#,
    r#"203.0.113.9 - - [22/Nov/2026:07:05:01 +0000] "GET /a?id=1%27+union+select+1 HTTP/1.1" 404 209 "-" "sqlmap/1.5""#,
    r#"10.0.7.10 - bob [22/Nov/2026:07:05:02 +0000] "POST /api/v1/items HTTP/1.1" 201 17 "https://example.org/" "curl/8.5.0""#,
];

fn main() {
    let (mut files, mappings) = RuleSet::builtin_files();
    let base = files.len();
    let sigma = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sigma"));
    if sigma.exists() {
        files.extend(some_rules(&sigma, 200));
    } else {
        eprintln!("SKIPPED: no test data at {}: only the base rules are measured", sigma.display());
    }
    let others = files.len() - base;
    let set = RuleSet::load(&files, &mappings, &Settings::default()).unwrap();
    let (deriver, received) = (Deriver::builtin(), "2026-11-22T08:00:00Z".parse::<Micros>().unwrap());
    let framer = Framer::new(received, &SourceId::parse("app").unwrap(), &Meta::default());
    let record = |line: &&str| deriver.push_line(&framer, line.as_bytes(), &mut Vec::new()).unwrap().into_owned();
    let records: Vec<Record<'static>> = LINES.iter().map(record).collect();
    let mut matched: Vec<Matched> = Vec::new();
    for _ in 0..3 {
        let (start, mut hits, rounds) = (Instant::now(), 0, 50_000);
        for _ in 0..rounds {
            for record in &records {
                set.matches(record, &mut matched);
                hits += matched.len();
            }
        }
        let count = rounds * records.len();
        let rate = count as f64 / start.elapsed().as_secs_f64();
        let (rules, refused) = (set.rules().len(), set.refusals().len());
        println!(
            "{rules} rules ({others} files besides the base rules, {refused} refused): {rate:.0} records/s, {hits} matches"
        );
    }
    for (line, record) in LINES.iter().zip(&records) {
        let start = Instant::now();
        (0..50_000).for_each(|_| set.matches(record, &mut matched));
        println!(
            "{:8.0} ns  {}",
            start.elapsed().as_nanos() as f64 / 50_000.0,
            line.chars().take(60).collect::<String>()
        );
    }
}

/// Rules for what the records could be.
fn some_rules(sigma: &Path, wanted: usize) -> Vec<RuleFile> {
    let mut paths = Vec::new();
    for directory in ["web", "linux/builtin", "linux/auditd", "linux"] {
        let mut found = Vec::new();
        rules::walk(&sigma.join("rules").join(directory), ".yml", &mut found);
        found.retain(|path| !paths.contains(path));
        paths.extend(found);
    }
    paths.truncate(wanted);
    let file = |path: &PathBuf| RuleFile {
        path: path.to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    paths.iter().map(file).collect()
}
