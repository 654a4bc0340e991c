//! CrowdSec's parser assertions: syslog headers of all programs, and what their parsers make of
//! the lines of programs that Sceau covers.

use crate::{Report, Suite, get, record, remote};
use sceau_event::Record;
use std::collections::BTreeMap;
use std::path::Path;

/// Their parser, field, and ours.
const FIELDS: [(&str, &str); 20] = [
    ("Parsed.clientip", "source.ip"),
    ("Parsed.remote_addr", "source.ip"),
    ("Parsed.target_ip", ""),
    ("Parsed.source_ip", "source.ip"),
    ("Meta.source_ip", "source.ip"),
    ("Parsed.verb", "http.request.method"),
    ("Parsed.request", "url.original"),
    ("Parsed.status", "http.response.status_code"),
    ("Parsed.response", "http.response.status_code"),
    ("Parsed.body_bytes_sent", "http.response.body.bytes"),
    ("Parsed.bytes", "http.response.body.bytes"),
    ("Parsed.httpversion", "http.version"),
    ("Parsed.http_version", "http.version"),
    ("Parsed.http_user_agent", "user_agent.original"),
    ("Parsed.http_referer", "http.request.referrer"),
    ("Parsed.referrer", "http.request.referrer"),
    ("Parsed.remote_user", "user.name"),
    ("Parsed.auth", "user.name"),
    ("Parsed.sshd_invalid_user", "user.name"),
    ("Meta.target_user", "user.name"),
];

const PARSERS: [&str; 7] =
    ["sshd-logs", "apache2-logs", "nginx-logs", "sshd-success-logs", "su-logs", "sudo-logs", "pam-logs"];

type Values = BTreeMap<String, String>;
/// By stage, parser and number: success and the values by `Parsed.name` or `Meta.name`.
type Asserts = BTreeMap<(String, String, usize), (bool, Values)>;

pub fn run(data: &Path, report: &mut Report) {
    let Ok(folders) = std::fs::read_dir(data.join("crowdsec/tests")) else { return };
    let mut tests: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    tests.sort();
    let all: Vec<(Asserts, Vec<String>)> = tests.iter().filter_map(|test| load(test)).collect();
    report.suite("crowdsec syslog headers", |suite| {
        all.iter().for_each(|(asserts, lines)| headers(asserts, lines, suite))
    });
    for parser in PARSERS {
        report.suite(&format!("crowdsec {parser}"), |suite| {
            all.iter().for_each(|(asserts, _)| parsed(asserts, parser, suite));
        });
    }
}

fn load(test: &Path) -> Option<(Asserts, Vec<String>)> {
    let asserts = std::fs::read_to_string(test.join("parser.assert")).ok()?;
    let config = std::fs::read_to_string(test.join("config.yaml")).ok()?;
    let log = config.lines().find_map(|line| line.strip_prefix("log_file:"))?.trim().trim_matches('"').to_owned();
    let lines = std::fs::read(test.join(log)).ok()?;
    let lines = String::from_utf8_lossy(&lines).lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
    Some((read(&asserts), lines))
}

fn read(text: &str) -> Asserts {
    let success =
        regex::Regex::new(r#"^results\["([^"]+)"\]\["([^"]+)"\]\[(\d+)\]\.Success == (true|false)$"#).unwrap();
    let value =
        regex::Regex::new(r#"^results\["([^"]+)"\]\["([^"]+)"\]\[(\d+)\]\.Evt\.(Parsed|Meta)\["([^"]+)"\] == (".*")$"#)
            .unwrap();
    let mut asserts = Asserts::new();
    for line in text.lines() {
        if let Some(c) = success.captures(line) {
            let key = (c[1].to_owned(), c[2].to_owned(), c[3].parse().unwrap());
            asserts.entry(key).or_default().0 = &c[4] == "true";
        } else if let Some(c) = value.captures(line) {
            let key = (c[1].to_owned(), c[2].to_owned(), c[3].parse().unwrap());
            // Go's quoting is near enough to JSON's for all but a few lines.
            if let Ok(text) = serde_json::from_str::<String>(&c[6]) {
                asserts.entry(key).or_default().1.insert(format!("{}.{}", &c[4], &c[5]), text);
            }
        }
    }
    asserts
}

fn received() -> sceau_event::Micros {
    "2026-11-22T08:00:00Z".parse().unwrap()
}

fn headers(asserts: &Asserts, lines: &[String], suite: &mut Suite) {
    let stage = |n| (String::from("s00-raw"), String::from("crowdsecurity/syslog-logs"), n);
    for (number, line) in lines.iter().enumerate() {
        let Some((true, values)) = asserts.get(&stage(number)) else { continue };
        let found = record(line, received(), "UTC");
        for (theirs, ours) in [
            ("Parsed.program", "process.name"),
            ("Parsed.pid", "process.pid"),
            ("Parsed.logsource_host", "host.name"),
            ("Parsed.message", "message"),
        ] {
            if let Some(wanted) = values.get(theirs).filter(|wanted| !wanted.is_empty()) {
                let value = get(&found, ours);
                suite.check(value.trim() == wanted.trim(), || format!("{ours} {wanted:?}, not {value:?}: {line}"));
            }
        }
    }
}

fn parsed(asserts: &Asserts, parser: &str, suite: &mut Suite) {
    for ((stage, name, number), (success, values)) in asserts {
        if stage != "s01-parse" || name.rsplit('/').next() != Some(parser) || !success {
            continue;
        }
        let raw = (String::from("s00-raw"), String::from("crowdsecurity/non-syslog"), *number);
        let raw = asserts.get(&raw).filter(|(success, _)| *success).map_or(values, |(_, values)| values);
        let Some(message) = raw.get("Parsed.message") else { continue };
        let program = values.get("Parsed.program").map_or("", String::as_str);
        let plain = record(message, received(), "UTC");
        let found = if plain.has_tag("unparsed") {
            record(&format!("Nov 22 07:00:00 host {program}[1]: {message}"), received(), "UTC")
        } else {
            plain
        };
        compare(&found, message, values, suite);
    }
}

fn compare(found: &Record<'_>, message: &str, values: &Values, suite: &mut Suite) {
    for (theirs, ours) in FIELDS.iter().filter(|(_, ours)| !ours.is_empty()) {
        let Some(wanted) = values.get(*theirs).map(String::as_str) else { continue };
        let value = if *ours == "source.ip" { remote(found) } else { get(found, ours) };
        // A dash is nothing.
        let wanted = if wanted == "-" { "" } else { wanted };
        suite.check(value == wanted, || format!("{ours} {wanted:?}, not {value:?}: {message}"));
    }
}
