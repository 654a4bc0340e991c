//! `sceau search`.

use std::io::Write;

use clap::{Args, ValueEnum};
use sceau_server::{Filtered, SearchParams};
use sceau_store::query::Order;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    Outcome,
    error::CliError,
    output::{printable, stdout},
    target::TargetArgs,
};

/// The most events that one page is asked for.
const PAGE: u64 = 1_000;

const EXAMPLES: &str = "\
Examples:
  sceau search 'user:alice AND status:failed' --from now-1d
  sceau search 'ip:10.0.0.0/8 NOT action:log*' --order oldest --limit 20
  sceau search '\"connection reset\"' --all --json > found.ndjson
The language is described in docs/query.md.";

/// Which events: what all questions share.
#[derive(Args, Clone, Debug)]
pub struct FilterArgs {
    /// The query, e.g. 'user:alice AND status:failed'; everything if left out.
    pub query: Option<String>,
    /// Earliest event time: 2026-11-22T08:00:00Z, 2026-11-22, now-1d …
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Latest event time, not included.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

impl FilterArgs {
    /// As the API has it.
    pub fn filtered(&self) -> Filtered {
        Filtered { q: self.query.clone(), from: self.from.clone(), to: self.to.clone() }
    }
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OrderArg {
    /// Newest event first.
    #[default]
    Newest,
    /// Oldest event first.
    Oldest,
}

/// Options of `sceau search`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SearchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Which end comes first.
    #[arg(long, value_enum, default_value_t)]
    order: OrderArg,
    /// At most so many events.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// All events that match.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// One JSON object a line: index, record, entry.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    index: u64,
    record: Map<String, Value>,
}

/// Runs `sceau search`.
pub async fn run(args: SearchArgs) -> Result<Outcome, CliError> {
    let backend = args.target.backend().await?;
    let order = match args.order {
        OrderArg::Newest => Order::Newest,
        OrderArg::Oldest => Order::Oldest,
    };
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut cursor = None;
    let mut out = stdout();
    while left > 0 {
        let limit = Some(left.min(PAGE) as usize);
        let params = SearchParams { filtered: args.filter.filtered(), order, limit, cursor };
        let page: Page = serde_json::from_str(&backend.search(&params).await?).map_err(CliError::json("the answer"))?;
        for event in &page.events {
            if args.json {
                writeln!(out, "{}", event.get())?;
            } else {
                let event: Event = serde_json::from_str(event.get()).map_err(CliError::json("an event"))?;
                writeln!(out, "{}", line(&event))?;
            }
        }
        left -= (page.events.len() as u64).min(left);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    out.flush()?;
    drop(out);
    backend.close().await?;
    Ok(Outcome::Done)
}

/// Names that have a column of their own, or repeat what another says.
const SHOWN: [&str; 4] = ["@timestamp", "received", "source", "message"];

fn line(event: &Event) -> String {
    let text = |name: &str| event.record.get(name).map(plain).unwrap_or_default();
    let message = text("message");
    let body = if message.is_empty() {
        let pairs = event.record.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
        pairs.map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join(" ")
    } else {
        message
    };
    printable(&format!("{}  {:>8}  {}  {body}", text("@timestamp"), event.index, text("source")))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let event = |text: &str| line(&serde_json::from_str::<Event>(text).unwrap());
        assert_eq!(
            event(r#"{"index":7,"record":{"@timestamp":"T","source":"vpn","message":"a\u001b[0m"},"entry":"x"}"#),
            "T         7  vpn  a\\u{1b}[0m"
        );
        assert_eq!(
            event(
                r#"{"index":7,"record":{"@timestamp":"T","received":"R","source":"vpn","n":[1,"b"],"user.name":"al"}}"#
            ),
            "T         7  vpn  n=1,b user.name=al"
        );
    }
}
