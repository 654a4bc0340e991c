//! `sceau rules check` and `sceau rules list`.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf};

use clap::Args;
use sceau_detect::{RuleSet, Settings};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Outcome,
    error::CliError,
    output::{grouped, printable, stdout, table, tell_noisy},
    target::{Target, TargetArgs},
};

/// Options of `sceau rules check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The directory, as given to `sceau serve --rules`; only the shipped rules if left out.
    directory: Option<PathBuf>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `sceau rules list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Runs `sceau rules check`.
pub fn check(args: &CheckArgs) -> Result<Outcome, CliError> {
    let files = sceau_server::read_rules(args.directory.as_deref())?;
    let rules = load(&files)?;
    let refusals = rules.refusals();
    let mut out = stdout();
    if args.json {
        let told = json!({"loaded": rules.rules().len(), "hash": rules.hash(), "refused": refusals});
        writeln!(out, "{told}")?;
    } else {
        for refusal in refusals {
            let (path, rule, reason) = (printable(&refusal.path), printable(&refusal.rule), printable(&refusal.reason));
            writeln!(out, "{path}:{}: {rule}: {reason} [{}]", refusal.line, refusal.kind)?;
        }
        let mut kinds = BTreeMap::<&str, u64>::new();
        refusals.iter().for_each(|refusal| *kinds.entry(refusal.kind).or_default() += 1);
        writeln!(
            out,
            "{} rules loaded, {} refused",
            grouped(rules.rules().len() as u64),
            grouped(refusals.len() as u64)
        )?;
        let rows: Vec<Vec<String>> =
            kinds.iter().map(|(kind, count)| vec![grouped(*count), (*kind).to_owned()]).collect();
        table(&mut out, &rows, &[0])?;
    }
    out.flush()?;
    Ok(if refusals.is_empty() { Outcome::Done } else { Outcome::Faults })
}

/// Loads rules under the settings of a new log.
pub(super) fn load(files: &sceau_server::DetectionFiles) -> Result<RuleSet, CliError> {
    RuleSet::load(&files.rules, &files.mappings, &Settings::default())
        .map_err(|error| CliError::Failed(error.to_string()))
}

#[derive(Deserialize)]
struct Rules {
    rules: Vec<Rule>,
    refused: Vec<Refused>,
    noisy_rule: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    title: String,
    level: String,
    kind: String,
    fires: bool,
    enabled: bool,
    alerts: u64,
}

#[derive(Deserialize)]
struct Refused {
    path: String,
    line: u64,
    rule: String,
    reason: String,
}

/// Runs `sceau rules list`.
pub async fn list(args: ListArgs) -> Result<Outcome, CliError> {
    let Target::Remote(client) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "rules are listed by a running server (--url); `sceau rules check` reads files".into(),
        ));
    };
    let answer = client.get_text("api/v1/rules", &[]).await?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{answer}")?;
        out.flush()?;
        return Ok(Outcome::Done);
    }
    let rules: Rules = serde_json::from_str(&answer).map_err(CliError::json("the answer"))?;
    let mut rows = vec![["alerts", "level", "kind", "state", "id", "title"].map(str::to_owned).to_vec()];
    for rule in &rules.rules {
        let state = match (rule.enabled, rule.fires) {
            (false, _) => "off",
            (true, false) => "part of others",
            (true, true) => "on",
        };
        let row = [&rule.level, &rule.kind, state, &rule.id, &rule.title].map(printable);
        rows.push(std::iter::once(grouped(rule.alerts)).chain(row).collect());
    }
    table(&mut out, &rows, &[0])?;
    for refused in &rules.refused {
        let (path, rule, reason) = (printable(&refused.path), printable(&refused.rule), printable(&refused.reason));
        writeln!(out, "refused: {path}:{}: {rule}: {reason}", refused.line)?;
    }
    tell_noisy(&mut out, rules.noisy_rule.as_deref())?;
    out.flush()?;
    Ok(Outcome::Done)
}
