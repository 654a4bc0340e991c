//! `sceau keys rotate`, `sceau keys replace` and `sceau keys check`.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use sceau_ledger::{EpochPublic, KeyHistory};
use sceau_server::{RotatedKey, VerifyOptions};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Outcome,
    error::CliError,
    import::progress::Steps,
    output::stdout,
    target::{Target, TargetArgs, or_file, read_text, verifier_key},
};

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The key that signs checkpoints.
    Log,
    /// The key that authenticates the entries in the database.
    Mac,
}

/// Options of `sceau keys rotate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau keys rotate log --data-dir /var/lib/sceau --key-dir /etc/sceau/keys
  sceau keys rotate mac --url http://127.0.0.1:8080 --token-file token.txt
The old key signs the new one, in an entry of the log. What was signed before stays valid under the old key.")]
pub struct RotateArgs {
    /// The key to replace.
    #[arg(value_enum)]
    key: Which,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau keys replace`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau keys replace --data-dir /var/lib/sceau --key-dir /etc/sceau/new-keys --i-have-lost-the-keys
Looks for a backup first: a restored key directory needs none of this. The whole log is verified before anything is
made. What was sealed stays sealed under the first chain; an auditor pins the new chain's first key besides.")]
pub struct ReplaceArgs {
    /// Says that the missing keys are lost for good and not in any backup.
    #[arg(long, required = true)]
    i_have_lost_the_keys: bool,
    /// The first epoch's public key that the old chain must begin with, or @FILE that holds it.
    #[arg(long, value_name = "KEY|@FILE")]
    pin: Vec<String>,
    /// A checkpoint kept elsewhere that the log must fit; may be given several times.
    #[arg(long, value_name = "FILE")]
    since_checkpoint: Vec<PathBuf>,
    /// Go on although the log has faults.
    #[arg(long)]
    despite_faults: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `sceau keys check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  sceau keys --url http://127.0.0.1:8080 > keys.txt
  sceau keys check --verifier-key @first-verifier-key.txt keys.txt
Exit codes: 0 they lead to the key printed, 4 they don't.")]
pub struct CheckArgs {
    /// The log's first verifier key, as you know it, or @FILE that holds it.
    #[arg(long, value_name = "KEY|@FILE")]
    verifier_key: String,
    /// What `sceau keys` or `sceau keys --json` printed, or statements cut out of it, in order.
    #[arg(required = true, value_name = "FILE")]
    notes: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Rotated {
    index: u64,
    verifier_key: String,
    first_bundle: Option<u64>,
}

/// Runs `sceau keys rotate`.
pub async fn rotate(args: RotateArgs) -> Result<Outcome, CliError> {
    let key = match args.key {
        Which::Log => RotatedKey::Log,
        Which::Mac => RotatedKey::Mac,
    };
    let text = match args.target.resolve()? {
        Target::Local(config, known) => {
            needs_keys(known)?;
            let rotated = sceau_server::rotate_key(&config, key, "local").await?;
            serde_json::to_string(&rotated).map_err(CliError::json("the answer"))?
        }
        Target::Remote(client) => {
            let body = json!({"key": key}).to_string();
            client.post("api/v1/keys/rotate", &[], "application/json", body.into()).await?
        }
    };
    let mut out = stdout();
    if args.json {
        writeln!(out, "{text}")?;
    } else {
        let rotated: Rotated = serde_json::from_str(&text).map_err(CliError::json("the answer"))?;
        let index = rotated.index;
        match rotated.first_bundle {
            None => {
                writeln!(out, "the log key is rotated; entry {index} says so, signed by the old key and the new one")?;
                writeln!(out, "verifier key: {}", rotated.verifier_key)?;
                writeln!(
                    out,
                    "    checks checkpoints of more than {index} entries; public, hand it to your auditor, or let"
                )?;
                writeln!(out, "    the auditor follow the statements of `sceau keys` from the key that is known")?;
            }
            Some(bundle) => {
                writeln!(out, "the MAC key is rotated; entry {index} says so")?;
                writeln!(out, "    the new one counts from entry {} on; the old one stays in mac.key", bundle * 256)?;
            }
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn needs_keys(known: bool) -> Result<(), CliError> {
    if known {
        return Ok(());
    }
    Err(CliError::Usage("which keys? Give --key-dir (or SCEAU_KEY_DIR) too".into()))
}

/// Runs `sceau keys replace`.
pub async fn replace(args: ReplaceArgs) -> Result<Outcome, CliError> {
    let Target::Local(config, known) = args.target.resolve()? else {
        return Err(CliError::Usage(
            "lost keys are replaced in a log that no server holds: stop the server, then give --data-dir or --store"
                .into(),
        ));
    };
    needs_keys(known)?;
    let pins: Result<Vec<String>, CliError> = args.pin.iter().map(|pin| or_file(pin)).collect();
    let checkpoints: Result<Vec<String>, _> = args.since_checkpoint.iter().map(|path| read_text(path)).collect();
    let options = VerifyOptions { pins: pins?, since_checkpoints: checkpoints?, verifier_key: None };
    let steps = Steps::new("entries");
    let progress = |done, total| steps.at(done, total);
    let replaced = sceau_server::replace_keys(&config, options, args.despite_faults, "local", &progress).await?;
    steps.finish();
    let mut out = stdout();
    if args.json {
        let text = serde_json::to_string(&replaced).map_err(CliError::json("the answer"))?;
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "lost and replaced: {}; entry {} says so", replaced.lost.join(", "), replaced.index)?;
        writeln!(out, "verifier key: {}", replaced.verifier_key)?;
        writeln!(out, "    checks checkpoints of more than {} entries", replaced.index)?;
        writeln!(out, "first epoch key: {}", replaced.epoch_key)?;
        writeln!(
            out,
            "    of the chain of seals that goes on, from epoch {}; public, hand both to your auditor,",
            replaced.epoch
        )?;
        writeln!(out, "    who gives `sceau verify` the --pin of each chain, the first one's too")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// Runs `sceau keys check`.
pub fn check(args: &CheckArgs) -> Result<Outcome, CliError> {
    let first = verifier_key(&args.verifier_key)?;
    // Chains of seals play no part: what begins one is signed by its own key.
    let mut history = KeyHistory::new(first, EpochPublic([0; 32]));
    let mut out = stdout();
    for path in &args.notes {
        let notes = statements(&read_text(path)?);
        if notes.is_empty() {
            let path = path.display();
            return Err(CliError::Usage(format!(
                "{path} holds no statement about keys; give what `sceau keys` prints, which has some once keys were changed"
            )));
        }
        for note in notes {
            if let Err(error) = history.add(note.as_bytes()) {
                writeln!(out, "the statements do NOT lead on from the key given: {error}")?;
                out.flush()?;
                return Ok(Outcome::Faults);
            }
        }
    }
    let losses: Vec<u64> = history
        .changes()
        .iter()
        .map(sceau_ledger::SignedKeyChange::body)
        .filter(|body| body.log.is_some() && !body.lost.is_empty())
        .map(|body| body.index)
        .collect();
    for (above, key) in history.log().iter() {
        writeln!(out, "above {above} entries: {key}")?;
    }
    for index in &losses {
        writeln!(
            out,
            "entry {index} says that the log key was lost: the key before it does not vouch for the one after it"
        )?;
    }
    let vouched = losses.is_empty();
    writeln!(
        out,
        "{}",
        if vouched {
            "each key is signed by the one before it"
        } else {
            "the statements are whole, but not signed throughout"
        }
    )?;
    out.flush()?;
    Ok(if vouched { Outcome::Done } else { Outcome::Faults })
}

/// The statements in a file: in the words or the JSON of `sceau keys`, or by themselves.
fn statements(text: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Facts {
        key_changes: Vec<Statement>,
    }
    #[derive(Deserialize)]
    struct Statement {
        note: String,
    }
    if let Ok(facts) = serde_json::from_str::<Facts>(text) {
        return facts.key_changes.into_iter().map(|statement| statement.note).collect();
    }
    let mut notes: Vec<String> = Vec::new();
    let (mut inside, mut signatures) = (false, false);
    for line in text.lines() {
        if line == "sceau.keys.v1" {
            notes.push(String::new());
            (inside, signatures) = (true, false);
        }
        // What stands behind the signatures is not the log's.
        inside &= !signatures || line.starts_with("\u{2014} ");
        signatures |= line.is_empty();
        if let Some(note) = notes.last_mut().filter(|_| inside) {
            note.push_str(line);
            note.push('\n');
        }
    }
    notes
}
