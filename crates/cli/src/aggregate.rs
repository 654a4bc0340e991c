//! `sceau count`, `sceau top` and `sceau histogram`.

use std::io::Write;

use clap::Args;
use sceau_server::{HistogramParams, TopParams};
use serde::Deserialize;

use crate::{
    Outcome,
    error::CliError,
    output::{grouped, printable, stdout, table},
    search::FilterArgs,
    target::TargetArgs,
};

/// How wide a histogram's longest bar is.
const BAR: u64 = 40;

/// Options of `sceau count`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sceau count 'status:failed' --from now-1h")]
pub struct CountArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau top`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sceau top source.ip 'status:failed' --limit 5")]
pub struct TopArgs {
    /// The field, e.g. source.ip or user.name.
    field: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many values.
    #[arg(long, default_value_t = 10, value_name = "N")]
    limit: usize,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau histogram`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sceau histogram 'status:failed' --interval 10m --by source.ip")]
pub struct HistogramArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The interval: 10s, 5m, 1h, 1d …; chosen to fit if left out.
    #[arg(long, value_name = "TIME")]
    interval: Option<String>,
    /// Split by a field.
    #[arg(long, value_name = "FIELD")]
    by: Option<String>,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Deserialize)]
struct Counted {
    count: u64,
    occurrences: u64,
}

#[derive(Deserialize)]
struct Top {
    values: Vec<TopValue>,
    distinct: u64,
}

#[derive(Deserialize)]
struct TopValue {
    value: String,
    count: u64,
    occurrences: u64,
}

#[derive(Deserialize)]
struct Histogram {
    interval: String,
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    start: String,
    by: Option<String>,
    count: u64,
}

/// Runs `sceau count`.
pub async fn count(args: CountArgs) -> Result<Outcome, CliError> {
    let backend = args.target.backend().await?;
    let answer = backend.count(&args.filter.filtered()).await?;
    backend.close().await?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{answer}")?;
    } else {
        let counted: Counted = parse(&answer)?;
        writeln!(out, "{}", counted.count)?;
        if counted.occurrences != counted.count {
            let occurrences = grouped(counted.occurrences);
            eprintln!("({occurrences} with those that stand for several, as in `message repeated 5 times`)");
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Runs `sceau top`.
pub async fn top(args: TopArgs) -> Result<Outcome, CliError> {
    let backend = args.target.backend().await?;
    let params = TopParams { filtered: args.filter.filtered(), field: args.field.clone(), limit: Some(args.limit) };
    let answer = backend.top(&params).await?;
    backend.close().await?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{answer}")?;
    } else {
        let top: Top = parse(&answer)?;
        let shown = top.values.len() as u64;
        let mut rows = vec![vec!["occurrences".to_owned(), "events".into(), printable(&args.field)]];
        rows.extend(
            top.values
                .iter()
                .map(|value| vec![grouped(value.occurrences), grouped(value.count), printable(&value.value)]),
        );
        table(&mut out, &rows, &[0, 1])?;
        if top.distinct > shown {
            writeln!(out, "… {} values in all", grouped(top.distinct))?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Runs `sceau histogram`.
pub async fn histogram(args: HistogramArgs) -> Result<Outcome, CliError> {
    let backend = args.target.backend().await?;
    let filtered = args.filter.filtered();
    let params = HistogramParams { filtered, interval: args.interval.clone(), by: args.by.clone() };
    let answer = backend.histogram(&params).await?;
    backend.close().await?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{answer}")?;
    } else {
        let histogram: Histogram = parse(&answer)?;
        writeln!(out, "events per {}", histogram.interval)?;
        let most = histogram.buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1).max(1);
        let rows: Vec<Vec<String>> = histogram.buckets.iter().map(|bucket| row(bucket, most)).collect();
        table(&mut out, &rows, &[1])?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn row(bucket: &Bucket, most: u64) -> Vec<String> {
    let length = u128::from(bucket.count) * u128::from(BAR) / u128::from(most);
    let bar = "#".repeat(length as usize);
    let mut row = vec![printable(&bucket.start), grouped(bucket.count)];
    row.extend(bucket.by.as_deref().map(printable));
    row.push(bar);
    row
}

fn parse<T: for<'a> Deserialize<'a>>(answer: &str) -> Result<T, CliError> {
    serde_json::from_str(answer).map_err(CliError::json("the answer"))
}
