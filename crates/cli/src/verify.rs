//! `sceau verify`.

use std::{io::Write as _, path::PathBuf, time::Duration};

use clap::Args;
use sceau_ledger::EpochPublic;
use sceau_server::{Cancel, Config, VerifyOptions};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    Outcome,
    client::Client,
    error::CliError,
    import::progress::Steps,
    output::stdout,
    target::{Target, TargetArgs, or_file, read_text, verifier_key},
    verdict::Verdict,
};

/// Where verifications of a running log are asked for.
const VERIFY: &str = "api/v1/integrity/verify";
/// How often a running verification is asked how far it is.
const POLL: Duration = Duration::from_millis(250);

/// Options of `sceau verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau verify --data-dir /var/lib/sceau --key-dir /etc/sceau/keys
  sceau verify --store 'mongodb://auditor@db.example.org/sceau?replicaSet=rs0' --store-password-file password.txt
  sceau verify --url http://127.0.0.1:8080 --pin @first-epoch-key.txt --since-checkpoint kept-elsewhere.txt
It reads every entry again, so it takes a while; on a data directory or a database it needs no server, and whoever
does not trust this machine copies the directory elsewhere, or asks the database from elsewhere.
Exit codes: 0 no fault, 1 it could not be verified, 2 usage, 4 faults were found.")]
pub struct VerifyArgs {
    /// The first epoch's public key, as printed when the log was made, or @FILE that holds it; after a loss of keys,
    /// that of each chain of seals.
    #[arg(long, value_name = "KEY|@FILE")]
    pin: Vec<String>,
    /// A checkpoint that was kept elsewhere; may be given several times.
    #[arg(long, value_name = "FILE")]
    since_checkpoint: Vec<PathBuf>,
    /// The log's verifier key as you know it, instead of the one that the log states, or @FILE that holds it.
    #[arg(long, value_name = "KEY|@FILE")]
    verifier_key: Option<String>,
    /// The verdict as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// A verification as the API shows it.
#[derive(Deserialize)]
struct Run {
    state: String,
    done: u64,
    total: u64,
    verdict: Option<Box<RawValue>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Started {
    id: String,
}

#[derive(Deserialize)]
struct Facts {
    verifier_key: String,
    #[serde(default)]
    verifier_keys: Vec<LogKey>,
}

#[derive(Deserialize)]
struct LogKey {
    verifier_key: String,
}

/// Runs `sceau verify`.
pub async fn run(args: VerifyArgs) -> Result<Outcome, CliError> {
    let checkpoints: Result<Vec<String>, _> = args.since_checkpoint.iter().map(|path| read_text(path)).collect();
    let options = VerifyOptions {
        pins: args.pin.iter().map(|text| pin(text)).collect::<Result<_, _>>()?,
        since_checkpoints: checkpoints?,
        verifier_key: args.verifier_key.as_deref().map(verifier_key).transpose()?.map(|key| key.to_string()),
    };
    let text = match args.target.resolve()? {
        Target::Local(config, keys_known) => {
            if keys_known && !config.key_dir.exists() {
                return Err(CliError::Usage(format!(
                    "--key-dir: {} is not there, or can't be reached. Without the keys, leave --key-dir and SCEAU_KEY_DIR \
                     out: then neither MACs nor the noted head are checked, which the verdict says",
                    config.key_dir.display()
                )));
            }
            offline(&config, options).await?
        }
        Target::Remote(client) => online(&client, options).await?,
    };
    let verdict: Verdict = serde_json::from_str(&text).map_err(CliError::json("the verdict"))?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{text}")?;
    } else {
        for line in verdict.lines() {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(if verdict.ok() { Outcome::Done } else { Outcome::Faults })
}

fn pin(text: &str) -> Result<String, CliError> {
    let text = or_file(text)?;
    match text.parse::<EpochPublic>() {
        Ok(_) => Ok(text),
        Err(_) => Err(CliError::Usage(
            "--pin: this is no epoch key; give the first epoch key as `sceau init` printed it: 44 characters of base64"
                .into(),
        )),
    }
}

async fn offline(config: &Config, options: VerifyOptions) -> Result<String, CliError> {
    let steps = Steps::new("entries");
    let cancel = Cancel::new();
    let progress = |done, total| steps.at(done, total);
    let verifying = sceau_server::verify_dir(config, options, &progress, cancel.clone());
    tokio::pin!(verifying);
    let report = tokio::select! {
        report = &mut verifying => report?,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            return Err(CliError::Failed("interrupted: nothing can be said about the log".into()));
        }
    };
    steps.finish();
    serde_json::to_string(&report).map_err(CliError::json("the verdict"))
}

async fn online(client: &Client, options: VerifyOptions) -> Result<String, CliError> {
    check_key(client, options.verifier_key.as_deref()).await?;
    if options.since_checkpoints.len() > 1 {
        return Err(CliError::Usage(
            "a server takes one --since-checkpoint at a time; --data-dir and --store take several".into(),
        ));
    }
    let body = json!({"pin": options.pins, "since_checkpoint": options.since_checkpoints.first()});
    let steps = Steps::new("entries");
    let started: Started = loop {
        match client.post(VERIFY, &[], "application/json", body.to_string().into()).await {
            Err(CliError::Refused(problem)) if problem.code == "verify_running" => {
                steps.print("another verification is running; this one begins when it has ended");
                let other = problem.members.get("id").and_then(|id| id.as_str()).unwrap_or_default();
                match ended(client, other, &steps).await {
                    // A third one has begun since.
                    Err(CliError::Refused(problem)) if problem.status == 404 => tokio::time::sleep(POLL).await,
                    ended => drop(ended?),
                }
            }
            answer => break serde_json::from_str(&answer?).map_err(CliError::json("the answer"))?,
        }
    };
    let run = ended(client, &started.id, &steps).await?;
    steps.finish();
    match (run.state.as_str(), run.verdict) {
        ("done", Some(verdict)) => Ok(verdict.get().to_owned()),
        (state, _) => {
            let why = run.error.unwrap_or_else(|| "the server does not say why".to_owned());
            Err(CliError::Failed(format!("the verification {state}: {why}")))
        }
    }
}

/// Waits for the end of a verification.
async fn ended(client: &Client, id: &str, steps: &Steps) -> Result<Run, CliError> {
    loop {
        let answer = client.get_text(&format!("{VERIFY}/{id}"), &[]).await?;
        let run: Run = serde_json::from_str(&answer).map_err(CliError::json("the answer"))?;
        steps.at(run.done, run.total);
        if run.state != "running" {
            return Ok(run);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A server checks with its own keys, among which the one that the auditor knows has to be.
async fn check_key(client: &Client, key: Option<&str>) -> Result<(), CliError> {
    let Some(key) = key else { return Ok(()) };
    let answer = client.get_text("api/v1/integrity", &[]).await?;
    let facts: Facts = serde_json::from_str(&answer).map_err(CliError::json("the answer"))?;
    if facts.verifier_key == key || facts.verifier_keys.iter().any(|later| later.verifier_key == key) {
        return Ok(());
    }
    Err(CliError::Failed(format!("the log signs with {}, not with the --verifier-key given", facts.verifier_key)))
}
