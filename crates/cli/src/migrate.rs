//! `sceau migrate`.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use sceau_server::{Config, Migrated};

use crate::{
    Outcome,
    error::CliError,
    import::progress::Steps,
    output::{grouped, stdout},
    store::{self, Uri},
};

/// Options of `sceau migrate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau migrate --from /var/lib/sceau --to 'mongodb://sceau@db.example.org/sceau?replicaSet=rs0' \\
      --to-password-file password.txt --key-dir /etc/sceau/keys
  sceau migrate --from 'mongodb://sceau@db.example.org/sceau?replicaSet=rs0' --to /var/lib/sceau --key-dir /etc/sceau/keys
Stop the server first. Every entry keeps its index and its bytes; checkpoints, seals and the state come along, and the
keys stay where they are. The source is only read. If it is interrupted, the same command goes on where it stopped; until
it is done, nobody can serve the target. From then on the target is the log: never serve the source again.")]
pub struct MigrateArgs {
    /// Where the log is: its data directory, or the URI of its MongoDB database.
    #[arg(long, value_name = "DIR|URI")]
    from: Uri,
    /// Where it shall be; a log that is there already is refused.
    #[arg(long, value_name = "DIR|URI")]
    to: Uri,
    /// The log's key directory [env: SCEAU_KEY_DIR].
    #[arg(long, env = "SCEAU_KEY_DIR", value_name = "DIR", hide_env = true)]
    key_dir: PathBuf,
    /// A file that holds the password for --from (or set SCEAU_STORE_PASSWORD).
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// A file that holds the password for --to (or set SCEAU_STORE_PASSWORD).
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// A directory of further parsers, as given to `sceau serve`.
    #[arg(long, value_name = "DIR")]
    parsers: Option<PathBuf>,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `sceau migrate`.
pub async fn run(args: MigrateArgs) -> Result<Outcome, CliError> {
    let from = store::place(&args.from, "--from", args.from_password_file.as_ref())?;
    let to = store::place(&args.to, "--to", args.to_password_file.as_ref())?;
    let config = |place| Config { parsers: args.parsers.clone(), ..Config::at(place, &args.key_dir) };
    let (from, to) = (config(from), config(to));
    let steps = Steps::new("entries");
    let progress = |done, total| steps.at(done, total);
    let migrating = sceau_server::migrate(&from, &to, &progress);
    tokio::pin!(migrating);
    let migrated = tokio::select! {
        migrated = &mut migrating => migrated?,
        _ = tokio::signal::ctrl_c() => {
            return Err(CliError::Failed("interrupted; the same command goes on from there".into()));
        }
    };
    steps.finish();
    tell(&migrated, &from, &to, args.json)?;
    Ok(Outcome::Done)
}

fn tell(migrated: &Migrated, from: &Config, to: &Config, json: bool) -> Result<(), CliError> {
    let mut out = stdout();
    if json {
        let text = serde_json::to_string(migrated).map_err(CliError::json("the answer"))?;
        writeln!(out, "{text}")?;
        return Ok(out.flush()?);
    }
    let Migrated { origin, entries, root_hash, resumed_at, checkpoints, seals, documents, proven, was_complete } =
        migrated;
    let (from, to, entries) = (&from.place, &to.place, grouped(*entries));
    if *was_complete {
        writeln!(out, "{to} holds the whole log already: {origin}, {entries} entries; nothing was done")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "{origin} is in {to} now: {entries} entries, root {root_hash}")?;
    if *resumed_at > 0 {
        writeln!(out, "    of which an earlier run had copied {}", grouped(*resumed_at))?;
    }
    writeln!(out, "    with {checkpoints} checkpoints, {seals} seals and {documents} documents of the state")?;
    match proven {
        Some(size) => writeln!(out, "    the checkpoint of {} entries is consistent with its tree", grouped(*size))?,
        None => writeln!(out, "    no checkpoint was signed yet that it could be compared with")?,
    }
    writeln!(out, "serve it from there from now on, never again from {from}, which is as it was; then verify it:")?;
    writeln!(out, "    `sceau verify` with --since-checkpoint and --pin says the same of it as before")?;
    Ok(out.flush()?)
}
