//! `sceau init`, `sceau keys` and `sceau checkpoint`: the public facts of a log.

mod change;

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use sceau_ledger::Seal;
use sceau_server::{Config, InitReport};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Outcome,
    error::CliError,
    output::stdout,
    store::{DATA_DIR, StoreArgs},
    target::TargetArgs,
};

/// Options of `sceau init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau init --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --origin logs.example.org/main
  sceau init --store 'mongodb://sceau@db.example.org/sceau?replicaSet=rs0' --key-dir /etc/sceau/keys
Doing it twice is harmless: a log that is there already is left as it is.")]
pub struct InitArgs {
    /// Where the log shall be; ./sceau-data if left out [env: SCEAU_DATA_DIR].
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Where its keys shall be; keep them off the disk and the backups of the log itself [env: SCEAU_KEY_DIR].
    #[arg(long, env = "SCEAU_KEY_DIR", default_value = "./sceau-keys", value_name = "DIR", hide_env = true)]
    key_dir: PathBuf,
    /// The log's name, fixed for ever, e.g. logs.example.org/main; drawn at random if left out.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `sceau keys`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  sceau keys --data-dir /var/lib/sceau
  sceau keys rotate log --url http://127.0.0.1:8080 --token-file token.txt
  sceau keys check --verifier-key @first-verifier-key.txt keys.txt
Nothing secret is ever printed."
)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// What can be done with keys.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Put a new key in the place of the log key or the MAC key; the log says so.
    Rotate(change::RotateArgs),
    /// Put new keys in the place of lost ones: a new chain of seals begins, which the log and `verify` say.
    Replace(change::ReplaceArgs),
    /// Complete a copy of the log's keys for a further server of the same log, with a chain of seals of its own.
    Standby(StandbyArgs),
    /// Follow the statements by which a log took new keys, without the log.
    Check(change::CheckArgs),
}

/// Options of `sceau keys standby`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, on the machine of the second server:
  install -d -m 0700 /etc/sceau/keys
  scp 'first:/etc/sceau/keys/{origin,log.key,mac.key,accounts.key,format}' /etc/sceau/keys/
  sceau keys standby --key-dir /etc/sceau/keys
  sceau serve --standby --store mongodb://… --key-dir /etc/sceau/keys
Never copy epoch.key: each server has its own. Copy log.key and mac.key again after each `sceau keys rotate`.")]
pub struct StandbyArgs {
    /// The key directory with the copies [env: SCEAU_KEY_DIR].
    #[arg(long, env = "SCEAU_KEY_DIR", value_name = "DIR", hide_env = true)]
    key_dir: PathBuf,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `sceau checkpoint`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau checkpoint > kept-elsewhere.txt
Later, `sceau verify --since-checkpoint kept-elsewhere.txt` shows that nothing up to it was changed since.")]
pub struct CheckpointArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// What `init`, `keys` and each start of `serve` tell.
pub fn tell(out: &mut impl Write, report: &InitReport) -> std::io::Result<()> {
    writeln!(out, "origin: {}", report.origin)?;
    writeln!(out, "    the log's name, in each of its checkpoints and seals; public")?;
    writeln!(out, "verifier key: {}", report.verifier_key)?;
    writeln!(out, "    checks the log's checkpoints and proofs; public, hand it to your auditor")?;
    writeln!(out, "first epoch key: {}", report.first_epoch_key)?;
    writeln!(out, "    begins the chain of seals; public, hand it to your auditor now, who later gives it to")?;
    writeln!(out, "    `sceau verify --pin`: then not even this server's keys can rewrite what was sealed")?;
    if report.key_changes > 0 {
        writeln!(out, "keys were changed since, {} times: `sceau keys` prints them all", report.key_changes)?;
    }
    Ok(())
}

/// Runs `sceau init`.
pub async fn init(args: InitArgs) -> Result<Outcome, CliError> {
    let place = args.store.place_or(args.data_dir.as_ref(), DATA_DIR)?;
    let mut config = Config::at(place, &args.key_dir);
    config.origin = args.origin;
    let report = sceau_server::init(&config).await?;
    let mut out = stdout();
    if args.json {
        let text = json!({
            "created": report.created, "origin": report.origin, "verifier_key": report.verifier_key,
            "first_epoch_key": report.first_epoch_key,
        });
        writeln!(out, "{text}")?;
    } else {
        let what = if report.created { "made a log" } else { "the log was there already" };
        writeln!(out, "{what}: data in {}, keys in {}", config.place, args.key_dir.display())?;
        tell(&mut out, &report)?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// What the API tells about the log's keys.
#[derive(Debug, Deserialize)]
struct Integrity {
    origin: String,
    verifier_key: String,
    first_epoch_key: String,
    #[serde(default)]
    verifier_keys: Vec<LogKey>,
    #[serde(default)]
    chains: Vec<Chain>,
    #[serde(default)]
    key_changes: Vec<Change>,
    checkpoint: Option<String>,
    last_seal: Option<SealText>,
}

#[derive(Debug, Deserialize, Serialize)]
struct LogKey {
    verifier_key: String,
    above: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Chain {
    epoch: u64,
    first_epoch_key: String,
    index: Option<u64>,
    #[serde(default)]
    taken_over: bool,
    #[serde(default)]
    goes_on: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Change {
    index: u64,
    lost: Vec<String>,
    note: String,
}

#[derive(Debug, Deserialize)]
struct SealText {
    text: String,
}

async fn integrity(target: &TargetArgs) -> Result<Integrity, CliError> {
    let backend = target.backend().await?;
    let answer = backend.integrity().await?;
    backend.close().await?;
    serde_json::from_str(&answer).map_err(CliError::json("the answer"))
}

/// Runs `sceau keys`.
pub async fn keys(args: KeysArgs) -> Result<Outcome, CliError> {
    match args.command {
        Some(KeysCommand::Rotate(args)) => change::rotate(args).await,
        Some(KeysCommand::Replace(args)) => change::replace(args).await,
        Some(KeysCommand::Standby(args)) => standby(&args),
        Some(KeysCommand::Check(args)) => change::check(&args),
        None => show(&args).await,
    }
}

/// Runs `sceau keys standby`.
fn standby(args: &StandbyArgs) -> Result<Outcome, CliError> {
    let joined = sceau_server::join(&args.key_dir)?;
    let mut out = stdout();
    if args.json {
        let text = serde_json::to_string(&joined).map_err(CliError::json("the answer"))?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{} can be given to `sceau serve --standby` for {}", args.key_dir.display(), joined.origin)?;
        writeln!(out, "first epoch key: {}", joined.first_epoch_key)?;
        writeln!(
            out,
            "    begins this server's chain of seals, once it has the log; public, hand it to your auditor now,"
        )?;
        writeln!(out, "    who gives it to `sceau verify --pin` besides the first server's")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

async fn show(args: &KeysArgs) -> Result<Outcome, CliError> {
    let facts = integrity(&args.target).await?;
    let (epoch, key) = present(&facts)?;
    let mut out = stdout();
    if args.json {
        let text = json!({
            "origin": facts.origin, "verifier_key": facts.verifier_key, "first_epoch_key": facts.first_epoch_key,
            "epoch": epoch, "epoch_key": key, "verifier_keys": facts.verifier_keys, "chains": facts.chains,
            "key_changes": facts.key_changes,
        });
        writeln!(out, "{text}")?;
    } else {
        let Integrity { origin, verifier_key, first_epoch_key, verifier_keys, chains, key_changes, .. } = facts;
        tell(&mut out, &InitReport { origin, verifier_key, first_epoch_key, key_changes: 0, created: false })?;
        for LogKey { verifier_key, above } in verifier_keys.iter().skip(1) {
            writeln!(out, "later verifier key: {verifier_key}")?;
            writeln!(out, "    checks checkpoints of more than {above} entries, and proofs under them")?;
        }
        for Chain { epoch, first_epoch_key, index, taken_over, .. } in
            chains.iter().skip(1).filter(|chain| !chain.goes_on)
        {
            writeln!(out, "later first epoch key: {first_epoch_key}")?;
            let index = index.unwrap_or_default();
            let what = if *taken_over {
                format!("begins the chain of another server, which took the log over at epoch {epoch}")
            } else {
                format!("begins the chain of seals anew at epoch {epoch}, as keys were lost")
            };
            writeln!(out, "    {what} (entry {index} says so);")?;
            writeln!(out, "    hand it to your auditor, who gives it to `sceau verify --pin` besides the first")?;
        }
        writeln!(out, "current epoch: {epoch}, key {key}")?;
        writeln!(
            out,
            "    the next seal is checked by this key; its private half exists only until then; nothing to keep"
        )?;
        for Change { index, note, .. } in &key_changes {
            writeln!(out, "\nstatement in entry {index}, to be checked with `sceau keys check`:\n{note}")?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// The present epoch and its public key.
fn present(facts: &Integrity) -> Result<(u64, String), CliError> {
    let seal = facts.last_seal.as_ref().map(|seal| Seal::parse(seal.text.as_bytes())).transpose()?;
    let begins = |epoch| facts.chains.iter().rfind(|chain| chain.epoch == epoch).map(|chain| &chain.first_epoch_key);
    Ok(match &seal {
        Some(seal) => {
            let epoch = seal.body().epoch + 1;
            (epoch, begins(epoch).cloned().unwrap_or_else(|| seal.body().next.to_string()))
        }
        None => (0, begins(0).unwrap_or(&facts.first_epoch_key).clone()),
    })
}

/// Runs `sceau checkpoint`.
pub async fn checkpoint(args: CheckpointArgs) -> Result<Outcome, CliError> {
    let Some(note) = integrity(&args.target).await?.checkpoint else {
        return Err(CliError::Failed(
            "no checkpoint was signed yet; the first comes within a second of the first start".into(),
        ));
    };
    let mut out = stdout();
    out.write_all(note.as_bytes())?;
    out.flush()?;
    Ok(Outcome::Done)
}
