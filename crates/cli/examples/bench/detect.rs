//! Detection: how many records a second, how soon a finding is there, and what an attack from a million addresses takes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cpu_time::ThreadTime;
use sceau_detect::{Detector, Limits, Phase, RuleFile, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};

use crate::{
    Outcome, events, load, process,
    report::{Bar, Report, median, micros},
    server::Server,
};

/// Rules besides the shipped ones, of the test data beside the repository.
const MORE: usize = 200;
/// 2026-11-22T08:00:00Z.
const RECEIVED: i64 = 1_795_334_400_000_000;
/// The attack from many addresses.
const ADDRESSES: u64 = 1_000_000;
/// Every so many of its records one address of a real burst has its turn.
const APART: u64 = 1_000;
/// Attacks whose finding is waited for.
const ATTACKS: u64 = 40;
/// Lines that the bench's own events don't have.
const LINES: [&str; 6] = [
    "<38>Nov 22 07:00:01 gate sshd[812]: Failed password for invalid user test from 203.0.113.9 port 51022 ssh2",
    "<38>Nov 22 07:00:02 gate sshd[812]: Accepted publickey for alice from 10.0.3.7 port 51022 ssh2: ED25519 SHA256:3vFq",
    "<86>Nov 22 07:00:03 gate sudo: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/apt update",
    "<30>Nov 22 07:00:05 gate systemd[1]: Started Session 4 of user alice.",
    r#"10.0.7.9 - - [22/Nov/2026:07:05:00 +0000] "GET /index.html HTTP/1.1" 200 2091 "-" "Mozilla/5.0 (X11; Linux x86_64)""#,
    r#"10.0.7.10 - bob [22/Nov/2026:07:05:02 +0000] "POST /api/v1/items HTTP/1.1" 201 17 "https://example.org/" "curl/8.5.0""#,
];

/// Measures all of it.
pub async fn run(sceau: &Path, dir: &Path, count: u64, report: &Report) -> Outcome<()> {
    println!("-- detection, in this process");
    records(count, report)?;
    addresses(report)?;
    println!("-- detection, on a server");
    served(sceau, dir, count, report).await
}

/// The shipped rules, and others for Linux and web servers if they are there.
fn rules(report: &Report) -> Outcome<Arc<RuleSet>> {
    let (mut files, mappings) = RuleSet::builtin_files();
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let sigma =
        std::env::var_os("SCEAU_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from).join("sigma/rules");
    if sigma.exists() {
        let mut paths = Vec::new();
        for directory in ["web", "linux"] {
            walk(&sigma.join(directory), &mut paths)?;
        }
        paths.truncate(MORE);
        for path in paths {
            files.push(RuleFile { path: path.display().to_string(), text: std::fs::read_to_string(&path)? });
        }
    } else {
        println!("SKIPPED: no rules at {}: only the shipped ones are measured", sigma.display());
    }
    let rules = RuleSet::load(&files, &mappings, &Settings::default())?;
    report.row("rules, and rules refused", format!("{} and {}", rules.rules().len(), rules.refusals().len()));
    Ok(Arc::new(rules))
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Outcome<()> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

fn framer(source: &str) -> Outcome<Framer> {
    Ok(Framer::new(Micros(RECEIVED), &SourceId::parse(source)?, &Meta::default()))
}

/// Rules and windows on the bench's events and on lines of other logs, one in seven of each.
fn records(count: u64, report: &Report) -> Outcome<()> {
    // Each has a source of its own, as they are of different days: within one, all of the older day would be late.
    let (deriver, rules) = (Deriver::builtin(), rules(report)?);
    let (bench, gate) = (framer("bench")?, framer("gate")?);
    let detector = || Detector::new(rules.clone(), Limits::default(), Settings::default().lateness);
    let mut detector = detector();
    let (mut cpu, mut findings) = (Duration::ZERO, Vec::new());
    let count = count.min(1_000_000);
    for first in (0..count).step_by(10_000) {
        let mut records: Vec<Record<'static>> = Vec::new();
        for number in first..count.min(first + 10_000) {
            let mut event = Vec::new();
            match usize::try_from(number % 7)? {
                0 => {
                    let line = LINES[usize::try_from(number / 7 % 6)?];
                    records.push(deriver.push_line(&gate, line.as_bytes(), &mut Vec::new())?.into_owned());
                }
                _ => {
                    events::write(number, count, &mut event);
                    records.push(deriver.push_json(&bench, event.trim_ascii_end(), &mut Vec::new())?.into_owned());
                }
            }
        }
        let begun = ThreadTime::now();
        for (index, record) in (first..).zip(&records) {
            detector.push(index, record, &mut findings);
        }
        cpu += begun.elapsed();
    }
    let rate = count as f64 / cpu.as_secs_f64();
    report.bar("judged by rules and windows, one core", rate, "records/s", Bar::AtLeast(300_000.0));
    let fired = findings.iter().filter(|finding| finding.phase == Phase::Fired).count();
    report.row("  findings, bytes of the windows", format!("{fired}, {}", detector.stats().bytes));
    Ok(())
}

/// A million addresses with one failure each, and real bursts between them.
fn addresses(report: &Report) -> Outcome<()> {
    let (files, mappings) = RuleSet::builtin_files();
    let rules = Arc::new(RuleSet::load(&files, &mappings, &Settings::default())?);
    let limits = Limits::default();
    let most = limits.bytes as f64 / f64::from(1 << 20);
    let mut detector = Detector::new(rules, limits, Settings::default().lateness);
    let (deriver, framer, mut findings) = (Deriver::builtin(), framer("bench")?, Vec::new());
    let (mut cpu, mut index, mut peak) = (Duration::ZERO, 0, 0);
    let mut bursts = std::collections::BTreeSet::new();
    for number in 0..ADDRESSES {
        // All within ten minutes.
        let time = Micros(RECEIVED - 600_000_000 + i64::try_from(number * 599)?);
        let burst = number / APART / 5;
        let alone = format!("100.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
        let attacked = (number % APART == 0).then(|| format!("10.0.{}.{}", burst >> 8, burst & 255));
        for ip in [Some(alone), attacked.clone()].into_iter().flatten() {
            let event = format!(
                r#"{{"timestamp":"{time}","ip":"{ip}","user":"u{number}","action":"login","status":"failed"}}"#
            );
            let mut entry = Vec::new();
            let record = deriver.push_json(&framer, event.as_bytes(), &mut entry)?;
            let begun = ThreadTime::now();
            detector.push(index, &record, &mut findings);
            cpu += begun.elapsed();
            index += 1;
        }
        bursts.extend(attacked);
        if number % 10_000 == 0 {
            peak = peak.max(detector.stats().bytes);
        }
    }
    let found: std::collections::BTreeSet<String> = findings
        .iter()
        .filter(|finding| finding.title == "Brute force from one address")
        .filter_map(|finding| finding.group.first().map(|(_, ip)| ip.clone()))
        .collect();
    let missed = bursts.difference(&found).count();
    report.bar(
        "1,000,000 addresses: memory of the windows",
        peak as f64 / f64::from(1 << 20),
        "MiB",
        Bar::AtMost(most),
    );
    report.bar(
        "  real bursts between them that were missed",
        missed as f64,
        &format!("of {}", bursts.len()),
        Bar::AtMost(0.0),
    );
    let evicted: u64 = detector.stats().rules.values().map(|rule| rule.evicted).sum();
    report.row("  evicted; CPU per record", format!("{evicted}; {:.2} µs", micros(cpu, index)));
    Ok(())
}

/// A server under load: what detection costs it, and how long after the fifth failure's answer its alert is there.
async fn served(sceau: &Path, dir: &Path, count: u64, report: &Report) -> Outcome<()> {
    let dir = dir.join("detect");
    std::fs::create_dir_all(&dir)?;
    let server = Server::start(sceau, &dir, &[])?;
    let count = count.min(500_000);
    let before = server.cpu()?;
    load::batches(&server.url, 0..count, count).await?;
    server.settle().await?;
    report.row(
        "ingest with detection, segments written: CPU per event",
        format!("{:.2} µs", micros(server.cpu()? - before, count)),
    );
    let mut times = Vec::new();
    for attack in 0..ATTACKS {
        let ip = format!("198.51.100.{}", attack + 1);
        for second in 0..5 {
            let event = format!(
                r#"{{"timestamp":"2026-11-22T10:00:0{second}Z","ip":"{ip}","user":"u{attack}","action":"login","status":"failed"}}"#
            );
            server.post("/api/v1/events?source=attack", &event).await?;
        }
        let begun = Instant::now();
        let path = format!("/api/v1/alerts?level=high&field=source.ip%3D{ip}");
        while !server.ask(&path).await?.contains(&ip) {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("no alert names {ip}").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(begun.elapsed());
    }
    let slowest = times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    report.bar("an alert, after the fifth failure's answer: the slowest", slowest, "ms", Bar::AtMost(1_000.0));
    report.row("  the median", format!("{:.1} ms", median(times)));
    report.row("  memory of the server", format!("{} MB", process::memory(server.pid(), process::PEAK)? / 1_000_000));
    server.stop()
}
