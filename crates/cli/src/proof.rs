//! `sceau proof`: get a proof, or check one without any server or log.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use sceau_ledger::{Index, RootHash, VerifierKey, tlog_proof, verify_tlog_proof};
use serde::Deserialize;

use crate::{
    Outcome,
    error::CliError,
    output::create,
    target::{TargetArgs, read_text},
};

const TLOG: &str = "c2sp.org/tlog-proof@";

/// How a proof is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProofFormat {
    /// One object with the entry, the path and the checkpoint.
    #[default]
    Json,
    /// C2SP tlog-proof text, without the entry.
    Tlog,
}

/// Options of `sceau proof`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau proof 1234 -o proof.json
  sceau proof 1234 --format tlog -o proof.txt && sceau export --from-index 1234 --limit 1 -o entry.json
  sceau proof --check proof.txt --entry entry.json --verifier-key 'logs.example.org/main+1234abcd+AQ…'
Checking needs neither a server nor the log. Its exit code is 0 if the proof holds, 4 if it does not.")]
pub struct ProofArgs {
    /// The entry's index.
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    index: Option<u64>,
    /// How the proof is written.
    #[arg(long, value_enum, default_value_t)]
    format: ProofFormat,
    /// The file to write; standard output if left out.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Check the proof in this file instead.
    #[arg(long, value_name = "FILE", requires = "verifier_key")]
    check: Option<PathBuf>,
    /// The entry to check, byte for byte (a line feed at its end is ignored); a JSON proof holds it already.
    #[arg(long, value_name = "FILE", requires = "check")]
    entry: Option<PathBuf>,
    /// The log's verifier key, as `sceau keys` prints it.
    #[arg(long, value_name = "KEY", requires = "check")]
    verifier_key: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The JSON form.
#[derive(Debug, Deserialize)]
struct Proof {
    index: u64,
    proof: Vec<String>,
    checkpoint: String,
    entry: String,
}

impl Proof {
    fn parse(text: &str) -> Result<Self, CliError> {
        serde_json::from_str(text).map_err(CliError::json("the proof"))
    }

    fn to_tlog(&self) -> Result<String, CliError> {
        let path: Result<Vec<[u8; 32]>, _> =
            self.proof.iter().map(|hash| hash.parse::<RootHash>().map(|h| h.0)).collect();
        Ok(tlog_proof(Index(self.index), &path?, &self.checkpoint))
    }
}

/// Runs `sceau proof`.
pub async fn run(args: ProofArgs) -> Result<Outcome, CliError> {
    if let (Some(file), Some(key)) = (&args.check, &args.verifier_key) {
        return check(file, args.entry.as_deref(), key);
    }
    let Some(index) = args.index else { return Err(CliError::Usage("which entry? Give its index".into())) };
    let backend = args.target.backend().await?;
    let answer = backend.proof(index).await?;
    backend.close().await?;
    let mut out = create(args.output.as_deref())?;
    match args.format {
        ProofFormat::Json => writeln!(out, "{answer}")?,
        ProofFormat::Tlog => out.write_all(Proof::parse(&answer)?.to_tlog()?.as_bytes())?,
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn check(file: &Path, entry: Option<&Path>, key: &str) -> Result<Outcome, CliError> {
    let vkey: VerifierKey = key.trim().parse()?;
    let text = read_text(file)?;
    let (tlog, inside) = if text.starts_with(TLOG) {
        (text, None)
    } else {
        let proof = Proof::parse(&text)?;
        (proof.to_tlog()?, Some(proof.entry.into_bytes()))
    };
    let entry = match (entry, inside) {
        (Some(path), _) => {
            let mut bytes = std::fs::read(path).map_err(CliError::file("reading", path))?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            bytes
        }
        (None, Some(inside)) => inside,
        (None, None) => return Err(CliError::Usage("this proof does not hold the entry: give --entry too".into())),
    };
    match verify_tlog_proof(&tlog, &entry, &vkey) {
        Ok(proven) => {
            let checkpoint = &proven.checkpoint;
            println!(
                "the proof holds: this is entry {} of {}, in the log of {} entries that its key signed",
                proven.index, checkpoint.origin, checkpoint.head.size
            );
            Ok(Outcome::Done)
        }
        Err(error) => {
            println!("the proof does NOT hold: {error}");
            Ok(Outcome::Faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use sceau_ledger::{LogKey, Tree, leaf_hash, sign_checkpoint};

    use super::*;

    #[test]
    fn both_forms_can_be_checked() {
        let dir = tempfile::tempdir().unwrap();
        let (entries, key) = ([&b"one"[..], b"two"], LogKey::from_seed("example.org/log", &[7; 32]).unwrap());
        let leaves = entries.map(leaf_hash);
        let mut tree = Tree::new();
        tree.append(&leaves);
        let checkpoint = sign_checkpoint(&key, &tree.head());
        let path = serde_json::json!([leaves[0].to_string()]);
        let json = serde_json::json!({"index": 1, "proof": path, "checkpoint": checkpoint, "entry": "two"}).to_string();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (tlog, entry) = (write("p.txt", &Proof::parse(&json).unwrap().to_tlog().unwrap()), write("e", "two\n"));
        let (json, other) = (write("p.json", &json), write("o", "tw0\n"));
        let vkey = key.verifier().to_string();
        assert_eq!(check(&tlog, Some(&entry), &vkey).unwrap(), Outcome::Done);
        assert_eq!(check(&tlog, Some(&other), &vkey).unwrap(), Outcome::Faults);
        assert_eq!(check(&json, None, &vkey).unwrap(), Outcome::Done);
        assert_eq!(check(&json, Some(&other), &vkey).unwrap(), Outcome::Faults);
        assert!(matches!(check(&tlog, None, &vkey), Err(CliError::Usage(_))));
        let stranger = LogKey::from_seed("example.org/log", &[8; 32]).unwrap().verifier().to_string();
        assert_eq!(check(&json, None, &stranger).unwrap(), Outcome::Faults);
    }
}
