//! fail2ban's own test lines: is this a failure, from whom, when?

use crate::{Report, Suite, get, record, remote};
use sceau_event::{Micros, Record, Zone, parse_time};
use std::path::Path;

/// The filters whose programs Sceau has parsers for.
const FILES: [&str; 8] =
    ["sshd", "pam-generic", "apache-auth", "nginx-http-auth", "nginx-forbidden", "nginx-limit-req", "sudo", "su"];

pub fn run(data: &Path, report: &mut Report) {
    for file in FILES {
        if let Ok(bytes) = std::fs::read(data.join("fail2ban").join(file)) {
            let text = String::from_utf8_lossy(&bytes);
            report.suite(&format!("fail2ban {file}"), |suite| file_lines(&text, |_| true, suite));
        }
    }
    let Ok(files) = std::fs::read_dir(data.join("fail2ban")) else { return };
    let mut others: Vec<_> = files.flatten().map(|file| file.path()).collect();
    others.retain(|path| path.is_file() && !FILES.iter().any(|file| path.ends_with(file)));
    others.sort();
    for path in others {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let name = format!("fail2ban {}, lines read", path.file_name().unwrap().to_string_lossy());
        report.suite(&name, |suite| file_lines(&text, is_covered, suite));
    }
}

/// Whether one of our parsers has read the line of a program that Sceau need not have one for.
fn is_covered(record: &Record<'_>) -> bool {
    !record.has_tag("unparsed") && !get(record, "event.action").is_empty()
}

fn file_lines(text: &str, covered: impl Fn(&Record<'_>) -> bool, suite: &mut Suite) {
    let mut wanted: Option<serde_json::Value> = None;
    for line in text.lines() {
        if let Some(json) = line.trim_start_matches(['#', ' ']).strip_prefix("failJSON:") {
            wanted = serde_json::from_str(json.trim()).ok();
        } else if !line.starts_with('#')
            && !line.is_empty()
            && let Some(wanted) = wanted.take()
        {
            compare(line, &wanted, &covered, suite);
        }
    }
}

fn compare(line: &str, wanted: &serde_json::Value, covered: impl Fn(&Record<'_>) -> bool, suite: &mut Suite) {
    // Their tests run in this zone and tell times in it.
    let zone = Zone::parse("Europe/Zurich").unwrap();
    let time = wanted["time"].as_str().and_then(|time| parse_time(time, &zone, Micros(0)));
    // The line came a minute after it was written.
    let received = time.map_or(Micros(1_795_334_400_000_000), |time| Micros(time.0 + 60_000_000));
    let found = record(line, received, "Europe/Zurich");
    if !covered(&found) {
        return;
    }
    let matches = wanted["match"].as_bool().unwrap_or(false);
    if !matches {
        suite.check(!is_failure(&found), || format!("not a failure: {line}"));
        return;
    }
    suite.check(is_failure(&found), || format!("a failure: {line}"));
    let host = wanted["host"].as_str().unwrap_or("");
    suite.check(remote(&found) == host, || format!("from {host}, not {:?}: {line}", remote(&found)));
    if let Some(time) = time.filter(|_| found.time != received) {
        // Theirs are whole seconds.
        let second = found.time.0.div_euclid(1_000_000) * 1_000_000;
        suite.check(second == time.0, || format!("at {time}, not {}: {line}", found.time));
    }
}

/// What fail2ban calls a failure: those of Sceau and their companion lines.
fn is_failure(record: &Record<'_>) -> bool {
    const COMPANIONS: [&str; 8] = [
        "pam_auth",
        "ssh_invalid_user",
        "ssh_user_not_allowed",
        "ssh_max_attempts",
        "ssh_negotiation_failed",
        "ssh_connection_refused",
        "ssh_bad_protocol",
        "ssh_no_identification",
    ];
    let outcome = get(record, "event.outcome");
    outcome == "failure" || (outcome.is_empty() && COMPANIONS.contains(&get(record, "event.action").as_str()))
}
