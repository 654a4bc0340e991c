//! `sceau rules test`.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use clap::Args;
use sceau_detect::{Detector, Finding, Limits, Phase, RuleFile, RuleSet, Settings};
use sceau_event::{Deriver, Framer, Meta, Micros, Record, SourceId};

use crate::{
    Outcome,
    error::CliError,
    output::{grouped, pairs, printable, stdout},
    target::read_text,
};

/// Options of `sceau rules test`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau rules test my_rule.yml --events samples.ndjson --expect 2
Events are JSON objects, one a line, or else lines of text; a file that is one JSON array or several documents is taken
too. Exit code 4 if there are not as many findings as expected.")]
pub struct TestArgs {
    /// The rule file.
    file: PathBuf,
    /// The events.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// When the events were received, which decides about times without a year; the newest event's time if left out.
    #[arg(long, value_name = "TIME")]
    received: Option<Micros>,
    /// How many findings there should be.
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// The findings as JSON, one a line.
    #[arg(long)]
    json: bool,
}

/// Runs `sceau rules test`.
pub fn run(args: &TestArgs) -> Result<Outcome, CliError> {
    let (_, mappings) = RuleSet::builtin_files();
    let file = RuleFile { path: args.file.display().to_string(), text: read_text(&args.file)? };
    let rules = RuleSet::load(&[file], &mappings, &Settings::default());
    let rules = rules.map_err(|error| CliError::Failed(error.to_string()))?;
    for refusal in rules.refusals() {
        eprintln!("refused: line {}: {}: {}", refusal.line, printable(&refusal.rule), printable(&refusal.reason));
    }
    if rules.rules().is_empty() {
        return Err(CliError::Failed("the file has no rule that can run".into()));
    }
    let text = read_text(&args.events)?;
    let events = events(&text)?;
    let deriver = Deriver::builtin();
    let received = match args.received {
        Some(time) => time,
        None => newest(&deriver, &events)?,
    };
    let mut detector = Detector::new(Arc::new(rules), Limits::default(), Settings::default().lateness);
    let mut findings = Vec::new();
    for (index, event) in (0..).zip(&events) {
        let mut entry = Vec::new();
        detector.push(index, &record(&deriver, received, event, &mut entry)?, &mut findings);
    }
    tell(args, events.len() as u64, &findings)
}

/// An event as it stands in a file.
enum Event {
    Json(String),
    Line(String),
}

/// The events of a file: JSON documents, whatever lies between them, or else lines.
fn events(text: &str) -> Result<Vec<Event>, CliError> {
    let begins = text.trim_start().chars().next();
    if !matches!(begins, Some('{' | '[')) {
        return Ok(text.lines().filter(|line| !line.is_empty()).map(|line| Event::Line(line.to_owned())).collect());
    }
    let raw = |value: &serde_json::value::RawValue| Event::Json(value.get().to_owned());
    let mut events = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Box<serde_json::value::RawValue>>() {
        let value = value.map_err(CliError::json("the events"))?;
        if value.get().starts_with('[') {
            let values: Vec<Box<serde_json::value::RawValue>> =
                serde_json::from_str(value.get()).map_err(CliError::json("the events"))?;
            events.extend(values.iter().map(|value| raw(value)));
        } else {
            events.push(raw(&value));
        }
    }
    Ok(events)
}

fn record<'e>(
    deriver: &Deriver,
    received: Micros,
    event: &Event,
    entry: &'e mut Vec<u8>,
) -> Result<Record<'e>, CliError> {
    let source = SourceId::parse("test").map_err(|error| CliError::Failed(error.to_string()))?;
    let framer = Framer::new(received, &source, &Meta::default());
    let refused = |error: sceau_event::EventError| CliError::Failed(format!("an event: {error}"));
    match event {
        Event::Json(text) => deriver.push_json(&framer, text.as_bytes(), entry).map_err(refused),
        Event::Line(text) => deriver.push_line(&framer, text.as_bytes(), entry).map_err(refused),
    }
}

/// The newest time that events tell themselves.
fn newest(deriver: &Deriver, events: &[Event]) -> Result<Micros, CliError> {
    let mut newest = Micros(0);
    for event in events {
        let mut entry = Vec::new();
        newest = newest.max(record(deriver, newest, event, &mut entry)?.time);
    }
    Ok(newest)
}

fn tell(args: &TestArgs, events: u64, findings: &[Finding]) -> Result<Outcome, CliError> {
    let fired = findings.iter().filter(|finding| finding.phase == Phase::Fired).count() as u64;
    let mut out = stdout();
    for finding in findings {
        if args.json {
            let text = serde_json::to_string(finding).map_err(CliError::json("a finding"))?;
            writeln!(out, "{text}")?;
            continue;
        }
        let group = pairs(finding.group.iter().map(|(name, value)| (name, value)));
        let (phase, title) = (if finding.phase == Phase::Fired { "fired" } else { "ended" }, printable(&finding.title));
        let evidence: Vec<String> = finding.evidence.iter().map(|index| (index + 1).to_string()).collect();
        writeln!(out, "{phase}  {title}  {}  count {}  events {}", group, finding.count, evidence.join(","))?;
    }
    if !args.json {
        writeln!(out, "{} events, {} findings", grouped(events), grouped(fired))?;
    }
    out.flush()?;
    match args.expect {
        Some(expected) if expected != fired => {
            eprintln!("expected {expected} findings, there are {fired}");
            Ok(Outcome::Faults)
        }
        _ => Ok(Outcome::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_documents_or_an_array() {
        let count = |text: &str| events(text).map(|events| events.len()).ok();
        assert_eq!(count("a\n\nb\n"), Some(2));
        assert_eq!(count("{\"a\":1}\n{\"b\":2}\n"), Some(2));
        assert_eq!(count("{\n \"a\": 1\n}{\"b\":2}"), Some(2));
        assert_eq!(count(" [{\"a\":1},{\"b\":9007199254740993}] "), Some(2));
        assert_eq!(count("{\"a\":"), None);
        assert_eq!(count(""), Some(0));
    }
}
