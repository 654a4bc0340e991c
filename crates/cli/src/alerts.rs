//! `sceau alerts`: what was found, and what people make of it.

use std::{collections::BTreeMap, io::Write as _};

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Outcome,
    client::Client,
    error::CliError,
    output::{grouped, pairs, printable, stdout, table, tell_noisy},
    target::{Target, TargetArgs},
};

/// Options of `sceau alerts`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau alerts list --state open
  sceau alerts show 3f2a…
  sceau alerts set 3f2a… --state acknowledged --assignee ann --comment 'looking at it'")]
pub struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

/// What can be done with alerts.
#[derive(Subcommand, Debug)]
pub enum AlertsCommand {
    /// Show alerts, the last changed first.
    List(ListArgs),
    /// Show one with its evidence and comments.
    Show(ShowArgs),
    /// Change one; the change is sealed.
    Set(SetArgs),
}

/// How far people are with an alert.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StateArg {
    /// Nobody has looked at it.
    Open,
    /// Somebody works on it.
    Acknowledged,
    /// Dealt with.
    Closed,
    /// It was none.
    FalsePositive,
}

impl StateArg {
    fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Closed => "closed",
            Self::FalsePositive => "false_positive",
        }
    }
}

/// Options of `sceau alerts list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only those in this state.
    #[arg(long)]
    state: Option<StateArg>,
    /// Only those of this level or above: informational, low, medium, high, critical.
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Only those of this rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau alerts show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The alert's id.
    id: String,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau alerts set`.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// The alert's id.
    id: String,
    /// Its state from now on.
    #[arg(long)]
    state: Option<StateArg>,
    /// Who works on it; empty for nobody.
    #[arg(long, value_name = "NAME")]
    assignee: Option<String>,
    /// Something to say about it.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Deserialize)]
struct Page {
    alerts: Vec<Alert>,
    noisy_rule: Option<String>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Alert {
    id: String,
    rule: String,
    title: String,
    level: String,
    state: String,
    assignee: Option<String>,
    group: BTreeMap<String, String>,
    count: u64,
    first: String,
    last: String,
    message: String,
    evidence: Vec<u64>,
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    time: String,
    user: String,
    text: String,
}

/// Runs `sceau alerts`.
pub async fn run(args: AlertsArgs) -> Result<Outcome, CliError> {
    match args.command {
        AlertsCommand::List(args) => list(args).await,
        AlertsCommand::Show(args) => {
            let answer = server(&args.target)?.get_text(&path(&args.id), &[]).await?;
            show(&answer, args.json)
        }
        AlertsCommand::Set(args) => {
            let mut body = Map::new();
            let text = [
                ("state", args.state.map(|state| state.word().to_owned())),
                ("assignee", args.assignee),
                ("comment", args.comment),
            ];
            body.extend(text.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?)))));
            if body.is_empty() {
                return Err(CliError::Usage("say what to change: --state, --assignee or --comment".into()));
            }
            let answer = server(&args.target)?.patch(&path(&args.id), &Value::Object(body)).await?;
            show(&answer, false)
        }
    }
}

fn path(id: &str) -> String {
    format!("api/v1/alerts/{}", id.replace(['/', '?', '#'], "_"))
}

fn server(target: &TargetArgs) -> Result<Client, CliError> {
    match target.resolve()? {
        Target::Remote(client) => Ok(client),
        Target::Local(..) => {
            Err(CliError::Usage("alerts are kept by a running server: give --url (or SCEAU_URL)".into()))
        }
    }
}

async fn list(args: ListArgs) -> Result<Outcome, CliError> {
    let params = [
        ("state", args.state.map(|state| state.word().to_owned())),
        ("level", args.level.clone()),
        ("rule", args.rule.clone()),
        ("limit", Some(args.limit.to_string())),
    ];
    let answer = server(&args.target)?.get_text("api/v1/alerts", &params).await?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{answer}")?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    let page: Page = serde_json::from_str(&answer).map_err(CliError::json("the answer"))?;
    let mut rows = vec![["count", "level", "state", "last", "id", "what", "who"].map(str::to_owned).to_vec()];
    for alert in &page.alerts {
        let texts = [&alert.level, &alert.state, &alert.last, &alert.id, &alert.title].map(|text| printable(text));
        rows.push(std::iter::once(grouped(alert.count)).chain(texts).chain([pairs(&alert.group)]).collect());
    }
    table(&mut out, &rows, &[0])?;
    if page.next_cursor.is_some() {
        writeln!(out, "… there are more: --limit")?;
    }
    tell_noisy(&mut out, page.noisy_rule.as_deref())?;
    out.flush()?;
    Ok(Outcome::Done)
}

fn show(answer: &str, json: bool) -> Result<Outcome, CliError> {
    let mut out = stdout();
    if json {
        writeln!(out, "{answer}")?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    let alert: Alert = serde_json::from_str(answer).map_err(CliError::json("the answer"))?;
    writeln!(out, "{}  {}  {}", printable(&alert.level), printable(&alert.state), printable(&alert.title))?;
    writeln!(out, "  rule      {}", printable(&alert.rule))?;
    writeln!(out, "  who       {}", pairs(&alert.group))?;
    writeln!(out, "  count     {}, {} to {}", grouped(alert.count), printable(&alert.first), printable(&alert.last))?;
    writeln!(out, "  last      {}", printable(&alert.message))?;
    if let Some(assignee) = &alert.assignee {
        writeln!(out, "  assignee  {}", printable(assignee))?;
    }
    let evidence: Vec<String> = alert.evidence.iter().map(u64::to_string).collect();
    writeln!(out, "  evidence  entries {}", evidence.join(", "))?;
    for comment in &alert.comments {
        writeln!(out, "  {} {}: {}", printable(&comment.time), printable(&comment.user), printable(&comment.text))?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}
