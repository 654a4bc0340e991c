//! `sceau export`.

use std::{io::Write as _, path::PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::{
    Outcome,
    error::CliError,
    output::{create, grouped},
    target::TargetArgs,
};

/// Options of `sceau export`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau export -o entries.ndjson
  sceau export --from-index 1000 --limit 50
Each line is an entry exactly as it was hashed, so the file can be checked against a checkpoint without Sceau:
docs/format.md shows how, in a few lines of Python.")]
pub struct ExportArgs {
    /// The first entry; the first that retention has kept if left out.
    #[arg(long, value_name = "INDEX")]
    from_index: Option<u64>,
    /// At most so many entries; all if left out.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The last entry, included.
    #[arg(long, value_name = "INDEX", conflicts_with = "limit")]
    to_index: Option<u64>,
    /// The file to write; standard output if left out.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Deserialize)]
struct Integrity {
    head: Head,
    first_index: u64,
}

#[derive(Deserialize)]
struct Head {
    tree_size: u64,
}

/// Runs `sceau export`.
pub async fn run(args: ExportArgs) -> Result<Outcome, CliError> {
    let backend = args.target.backend().await?;
    let integrity: Integrity =
        serde_json::from_str(&backend.integrity().await?).map_err(CliError::json("the answer"))?;
    let size = integrity.head.tree_size;
    let from = args.from_index.unwrap_or(integrity.first_index);
    let end = match (args.limit, args.to_index) {
        (Some(limit), _) => from.saturating_add(limit),
        (_, Some(last)) => last.saturating_add(1),
        _ => u64::MAX,
    };
    let end = end.min(size);
    let mut out = create(args.output.as_deref())?;
    let mut next = from;
    while next < end {
        let mut entries = backend.entries(next, size).await?;
        if entries.is_empty() {
            return Err(CliError::Failed(format!("entry {next} can't be read; run `sceau verify`")));
        }
        entries.truncate(usize::try_from(end - next).unwrap_or(usize::MAX));
        for entry in &entries {
            out.write_all(entry)?;
            out.write_all(b"\n")?;
        }
        next += entries.len() as u64;
    }
    out.flush()?;
    drop(out);
    backend.close().await?;
    if args.output.is_some() {
        eprintln!("{} entries written", grouped(next - from.min(next)));
    }
    Ok(Outcome::Done)
}
