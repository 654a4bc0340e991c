//! How far Sceau's parsers agree with what others make of the same lines.
//!
//! `cargo run --release -p sceau-event --example conformance [--verbose] [DATA]`
//!
//! Prints one line per suite: compared, agreed, share; with `--verbose` each disagreement. The
//! data is not part of Sceau; without it there is nothing to say, aloud.
#![allow(clippy::unwrap_used)]

mod counts;
mod crowdsec;
mod fail2ban;
mod rsyslog;

use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};
use std::path::PathBuf;

fn main() {
    let (mut verbose, mut data) = (false, None);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--verbose" => verbose = true,
            _ => data = Some(PathBuf::from(argument)),
        }
    }
    let data = data
        .or_else(|| std::env::var_os("SCEAU_SHARED").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")));
    if !data.exists() {
        eprintln!("SKIPPED: no test data at {}", data.display());
        return;
    }
    let mut report = Report { verbose, compared: 0, agreed: 0 };
    report.suite("rsyslog", |suite| rsyslog::run(&data, suite));
    fail2ban::run(&data, &mut report);
    crowdsec::run(&data, &mut report);
    report.line("all", report.compared, report.agreed);
    counts::run(&data);
}

/// Sums over suites.
pub struct Report {
    verbose: bool,
    compared: u32,
    agreed: u32,
}

impl Report {
    /// Runs a suite and prints its line; nothing if it compared nothing.
    pub fn suite(&mut self, name: &str, run: impl FnOnce(&mut Suite)) {
        let mut suite = Suite { compared: 0, agreed: 0, faults: Vec::new() };
        run(&mut suite);
        if suite.compared == 0 {
            return;
        }
        self.line(name, suite.compared, suite.agreed);
        self.compared += suite.compared;
        self.agreed += suite.agreed;
        for fault in suite.faults.iter().filter(|_| self.verbose) {
            println!("    {fault}");
        }
    }

    fn line(&self, name: &str, compared: u32, agreed: u32) {
        let share = f64::from(agreed) * 100.0 / f64::from(compared.max(1));
        println!("{name:32} {compared:6} compared {agreed:6} agree {share:6.1} %");
    }
}

/// One suite's result.
pub struct Suite {
    compared: u32,
    agreed: u32,
    faults: Vec<String>,
}

impl Suite {
    /// Counts one comparison.
    pub fn check(&mut self, agrees: bool, fault: impl FnOnce() -> String) {
        self.compared += 1;
        if agrees {
            self.agreed += 1;
        } else {
            self.faults.push(fault());
        }
    }
}

/// The record of a line received at a time, in a zone.
pub fn record(line: &str, received: Micros, zone: &str) -> Record<'static> {
    thread_local!(static DERIVER: Deriver = Deriver::builtin());
    let meta = Meta { zone: Some(zone.to_owned()), ..Meta::default() };
    let framer = Framer::new(received, &SourceId::parse("conformance").unwrap(), &meta);
    let mut out = Vec::new();
    DERIVER.with(|deriver| deriver.push_line(&framer, line.as_bytes(), &mut out).unwrap().into_owned())
}

/// A field as text, empty if absent.
pub fn get(record: &Record<'_>, name: &str) -> String {
    record.get(&sceau_event::field(name)).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// The address or the name of the remote host.
pub fn remote(record: &Record<'_>) -> String {
    let ip = get(record, "source.ip");
    if ip.is_empty() { get(record, "source.address") } else { ip }
}
