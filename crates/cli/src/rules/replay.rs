//! `sceau rules replay`.

use std::{io::Write as _, time::Duration};

use clap::Args;
use sceau_server::{Reader, ReplayParams};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::RulesDir;
use crate::{
    Outcome,
    client::Client,
    error::CliError,
    import::progress::Steps,
    output::{grouped, pairs, printable, stdout},
    search::FilterArgs,
    target::{Target, TargetArgs},
};

const POLL: Duration = Duration::from_millis(300);
const PATH: &str = "api/v1/rules/replay";

/// Options of `sceau rules replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau rules replay --from 2026-11-01 --to 2026-12-01
  sceau rules replay 'source.ip:203.0.113.7' --rule 5f0f7c0e-… --json
The same entries under the same rules always give the same findings. A query is answered by the store, so that a hunt for
something rare needn't read the whole log; conditions of rules then only see what it finds.")]
pub struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only this rule, by its id.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// The findings as JSON, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    rules: RulesDir,
    #[command(flatten)]
    target: TargetArgs,
}

/// A replay as the API shows it.
#[derive(Deserialize)]
struct Run {
    id: String,
    state: String,
    done: u64,
    total: u64,
    judged: u64,
    error: Option<String>,
    #[serde(default)]
    findings: Vec<Box<RawValue>>,
    #[serde(default)]
    count: u64,
}

#[derive(Deserialize)]
struct Found {
    phase: String,
    title: String,
    group: Vec<(String, String)>,
    count: u64,
    first: String,
    last: String,
}

/// Runs `sceau rules replay`.
pub async fn run(args: ReplayArgs) -> Result<Outcome, CliError> {
    let steps = Steps::new("entries");
    let text = match args.target.resolve()? {
        Target::Remote(_) if args.rules.rules.is_some() => {
            return Err(CliError::Usage("--rules goes with --data-dir or --store; a server has its own".into()));
        }
        Target::Remote(client) => remote(&client, &args, &steps).await?,
        Target::Local(config, _) => {
            let reader = Reader::open(&config).await?;
            let params = ReplayParams { filtered: args.filter.filtered(), rule: args.rule.clone() };
            let progress = |done, total| steps.at(done, total);
            let replaying = sceau_server::replay_log(&reader, args.rules.rules.as_deref(), params, &progress);
            let answer = tokio::select! {
                answer = replaying => answer?,
                _ = tokio::signal::ctrl_c() => return Err(CliError::Failed("interrupted".into())),
            };
            reader.close().await?;
            answer
        }
    };
    steps.finish();
    let run: Run = serde_json::from_str(&text).map_err(CliError::json("the answer"))?;
    if run.state != "done" {
        let why = run.error.unwrap_or_else(|| "the server's own log says more".to_owned());
        return Err(CliError::Failed(format!("the replay {}: {why}", run.state)));
    }
    tell(&args, &run)?;
    Ok(Outcome::Done)
}

async fn remote(client: &Client, args: &ReplayArgs, steps: &Steps) -> Result<String, CliError> {
    let filtered = args.filter.filtered();
    let body = json!({"from": filtered.from, "to": filtered.to, "q": filtered.q, "rule": args.rule});
    let answer = client.post(PATH, &[], "application/json", body.to_string().into()).await?;
    let run: Run = serde_json::from_str(&answer).map_err(CliError::json("the answer"))?;
    loop {
        let text = client.get_text(&format!("{PATH}/{}", run.id), &[]).await?;
        let now: Run = serde_json::from_str(&text).map_err(CliError::json("the answer"))?;
        steps.at(now.done, now.total);
        if now.state != "running" {
            return Ok(text);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = tokio::signal::ctrl_c() => {
                client.delete(&format!("{PATH}/{}", run.id)).await?;
                return Err(CliError::Failed("interrupted; the server has been told to stop".into()));
            }
        }
    }
}

fn tell(args: &ReplayArgs, run: &Run) -> Result<(), CliError> {
    let mut out = stdout();
    for finding in &run.findings {
        if args.json {
            writeln!(out, "{}", finding.get())?;
            continue;
        }
        let found: Found = serde_json::from_str(finding.get()).map_err(CliError::json("a finding"))?;
        let group = pairs(found.group.iter().map(|(name, value)| (name, value)));
        let (phase, title) = (printable(&found.phase), printable(&found.title));
        let (first, last) = (printable(&found.first), printable(&found.last));
        writeln!(out, "{phase}  {title}  {}  count {}  {first} to {last}", group, found.count)?;
    }
    if !args.json {
        writeln!(out, "{} entries judged, {} findings", grouped(run.judged), grouped(run.count))?;
    }
    let told = run.findings.len() as u64;
    if told < run.count {
        eprintln!("only the first {} are told: narrow the time, or give --rule", grouped(told));
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_and_without_findings() {
        let running = json!({"id": "a", "state": "running", "done": 1, "total": 2, "judged": 0, "error": null});
        let run: Run = serde_json::from_value(running).unwrap();
        assert!(run.findings.is_empty() && run.count == 0);
        let value: serde_json::Value =
            json!({"phase": "fired", "title": "t", "group": [["a", "b"]], "count": 5, "first": "x", "last": "y"});
        let found: Found = serde_json::from_value(value).unwrap();
        assert_eq!(found.group, [("a".to_owned(), "b".to_owned())]);
    }
}
