//! What rsyslog makes of messages, as its own tests expect it.

use crate::{Suite, get, record};
use sceau_event::{Micros, Record};
use std::path::Path;

pub fn run(data: &Path, suite: &mut Suite) {
    let Ok(text) = std::fs::read_to_string(data.join("syslog/rsyslog_pairs.jsonl")) else { return };
    for line in text.lines().filter(|line| !line.is_empty()) {
        let test: serde_json::Value = serde_json::from_str(line).unwrap();
        let texts = |key: &str| -> Vec<String> {
            test[key].as_array().into_iter().flatten().filter_map(|v| v.as_str()).map(str::to_owned).collect()
        };
        // Others are about which messages a setting refuses.
        if test["one_to_one"] != true {
            continue;
        }
        let template = test["template"].as_str().unwrap_or("").trim_end_matches("\\n").to_owned();
        for (message, wanted) in texts("messages").iter().zip(texts("expected")) {
            compare(&template, message, &wanted, suite);
        }
    }
}

fn compare(template: &str, message: &str, wanted: &str, suite: &mut Suite) {
    let Some(values) = take_apart(template, wanted) else { return };
    let found = record(message, Micros(1_795_334_400_000_000), "UTC");
    for (property, value) in values {
        let name = property.split(':').next().unwrap_or("");
        let value = value.trim_matches('"');
        let agrees = match name {
            "syslogfacility-text" => found.others("log.syslog.facility.name").next().unwrap_or("user") == value,
            "syslogseverity-text" => severity(&found) == value,
            "hostname" => get(&found, "host.name") == if value == "$RS_HOSTNAME" { "" } else { value },
            "programname" | "app-name" => get(&found, "process.name") == if value == "-" { "" } else { value },
            "msg" => unescape(get(&found, "message").trim()) == unescape(value.trim()),
            "timestamp" | "timereported" => time_agrees(&found, message, value),
            // The tag with its colon is not kept apart, the priority is facility and severity.
            _ => continue,
        };
        suite.check(agrees, || {
            format!(
                "{name} {value:?}, not {:?} {:?} {:?}: {message}",
                get(&found, "host.name"),
                get(&found, "process.name"),
                get(&found, "message")
            )
        });
    }
}

/// The template's properties and what stands for them in a line made with it.
fn take_apart(template: &str, wanted: &str) -> Option<Vec<(String, String)>> {
    let mut pattern = String::from("(?s)^");
    let mut names = Vec::new();
    for (at, part) in template.split('%').enumerate() {
        if at % 2 == 0 {
            pattern.push_str(&regex::escape(part));
        } else {
            names.push(part.to_owned());
            pattern.push_str("(.*?)");
        }
    }
    pattern.push('$');
    let captures = regex::Regex::new(&pattern).ok()?.captures(wanted)?;
    Some(names.into_iter().zip(captures.iter().skip(1).map(|m| m.map_or("", |m| m.as_str()).to_owned())).collect())
}

fn severity(record: &Record<'_>) -> String {
    match get(record, "log.level").as_str() {
        "emergency" => "emerg".into(),
        "critical" => "crit".into(),
        "error" => "err".into(),
        // rsyslog's default for a message without priority.
        "" => "notice".into(),
        other => other.into(),
    }
}

/// Their times are shown in the zone that the message tells, without it.
fn time_agrees(record: &Record<'_>, message: &str, value: &str) -> bool {
    let zone = regex::Regex::new(r"T[0-9:.]+([+-][0-9]{2}:[0-9]{2})").unwrap();
    let zone = zone.captures(message).map_or("UTC".to_owned(), |c| c[1].to_owned());
    let zone = sceau_event::Zone::parse(&zone).unwrap();
    let wanted = sceau_event::parse_time(value, &zone, record.time);
    wanted.is_some_and(|wanted| wanted.0 == record.time.0.div_euclid(1_000_000) * 1_000_000)
}

/// rsyslog shows control and eight-bit bytes as `#` and three octal digits, by its settings.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.filter(|_| bytes[at] == b'#').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
