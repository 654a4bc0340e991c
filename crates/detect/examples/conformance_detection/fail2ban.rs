//! The hosts that fail2ban's marked lines would have banned after five failures within ten minutes, and our alerts.

use super::alerts::{Product, Table, within_span};
use sceau_event::{Micros, Zone, parse_time};
use std::collections::BTreeMap;
use std::path::Path;

/// What its own tests run in.
const ZONE: &str = "Europe/Zurich";

/// By host and file.
pub fn run(data: &Path, product: &Product) -> Table {
    let mut table = Table::default();
    let Ok(files) = std::fs::read_dir(data.join("fail2ban")) else { return table };
    for path in files.flatten().map(|file| file.path()).filter(|path| path.is_file()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read(&path).unwrap();
        let mut lines = marked(&String::from_utf8_lossy(&text));
        // The lines are examples, in no order of time.
        lines.sort_by_key(|line| line.time);
        let records = lines
            .iter()
            // Each came a minute after it was written.
            .map(|line| product.record(&line.text, Micros(line.time.0 + 60_000_000), ZONE))
            .collect();
        let mut hosts = BTreeMap::<&str, Vec<Micros>>::new();
        for line in &lines {
            if let Some(host) = &line.failure {
                hosts.entry(host).or_default().push(line.time);
            }
        }
        hosts.retain(|_, times| within_span(times.clone()));
        let ours = product.judge(records);
        for host in hosts.keys() {
            table.compare(format!("{name} {host}"), &name, host, &ours);
        }
        for address in ours.alerted.iter().filter(|address| !hosts.contains_key(address.as_str())) {
            table.disagrees("only ours: failures that the filter does not count", format!("{name} {address}"));
        }
    }
    table
}

struct Line {
    text: String,
    time: Micros,
    /// From whom, if it is one.
    failure: Option<String>,
}

fn marked(text: &str) -> Vec<Line> {
    let zone = Zone::parse(ZONE).unwrap();
    let mut wanted: Option<serde_json::Value> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(json) = line.trim_start_matches(['#', ' ']).strip_prefix("failJSON:") {
            wanted = serde_json::from_str(json.trim()).ok();
        } else if !line.starts_with('#')
            && !line.is_empty()
            && let Some(wanted) = wanted.take()
            // Those of other lines aren't told.
            && let Some(time) = wanted["time"].as_str().and_then(|time| parse_time(time, &zone, Micros(0)))
        {
            let host = wanted["host"].as_str().filter(|_| wanted["match"] == true).map(str::to_owned);
            lines.push(Line { text: line.to_owned(), time, failure: host });
        }
    }
    lines
}
