//! `sceau proof`: get a proof, or check one without any server or log.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use sceau_ledger::{Index, LedgerError, ProvenEntry, RootHash, VerifierKey, leaf_hash, tlog_proof, verify_tlog_proof};
use serde::Deserialize;

use crate::{
    Outcome,
    error::CliError,
    import::hex,
    output::create,
    target::{TargetArgs, read_text, verifier_key},
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
    /// The log's verifier key, as `sceau keys` prints it, or @FILE that holds it.
    #[arg(long, value_name = "KEY|@FILE", requires = "check")]
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
    /// None if retention had deleted it when the proof was made.
    entry: Option<String>,
    // What follows from the others, and has to agree with them if it is there.
    leaf_hash: Option<String>,
    tree_size: Option<u64>,
    root_hash: Option<String>,
}

impl Proof {
    fn parse(text: &str) -> Result<Self, CliError> {
        serde_json::from_str(text).map_err(CliError::json("the proof"))
    }

    fn to_tlog(&self) -> Result<String, String> {
        let hash = |(number, hash): (usize, &String)| {
            let parsed = hash.parse::<RootHash>().map(|hash| hash.0);
            parsed.map_err(|_| format!("its member proof: hash {number} is not the base64 of 32 bytes"))
        };
        let path: Result<Vec<[u8; 32]>, String> = (1..).zip(&self.proof).map(hash).collect();
        Ok(tlog_proof(Index(self.index), &path?, &self.checkpoint))
    }

    /// The first member that says something else than what was proven of `entry`.
    fn disagrees(&self, proven: &ProvenEntry, entry: &[u8]) -> Option<&'static str> {
        let same = |said: &Option<String>, right: &[u8]| {
            said.as_ref().is_none_or(|said| said.eq_ignore_ascii_case(&hex(right)))
        };
        let head = &proven.checkpoint.head;
        let members = [
            ("index", self.index == proven.index.0),
            ("entry", self.entry.as_ref().is_none_or(|own| own.as_bytes() == entry)),
            ("leaf_hash", same(&self.leaf_hash, &leaf_hash(entry).0)),
            ("tree_size", self.tree_size.is_none_or(|size| size == head.size.0)),
            ("root_hash", same(&self.root_hash, &head.root.0)),
        ];
        members.into_iter().find(|(_, agrees)| !agrees).map(|(name, _)| name)
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
        ProofFormat::Tlog => {
            out.write_all(Proof::parse(&answer)?.to_tlog().map_err(CliError::Failed)?.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn check(file: &Path, entry: Option<&Path>, key: &str) -> Result<Outcome, CliError> {
    let vkey = verifier_key(key)?;
    let text = read_text(file)?;
    let json = if text.starts_with(TLOG) { None } else { Some(Proof::parse(&text)?) };
    let entry = match (entry, &json) {
        (Some(path), _) => {
            let mut bytes = std::fs::read(path).map_err(CliError::file("reading", path))?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            bytes
        }
        (None, Some(Proof { entry: Some(entry), .. })) => entry.clone().into_bytes(),
        (None, _) => return Err(CliError::Usage("this proof does not hold the entry: give --entry too".into())),
    };
    match prove(text, json.as_ref(), &entry, &vkey) {
        Ok(proven) => {
            let checkpoint = &proven.checkpoint;
            println!(
                "the proof holds: this is entry {} of {}, in the log of {} entries that its key signed",
                proven.index, checkpoint.origin, checkpoint.head.size
            );
            Ok(Outcome::Done)
        }
        Err(why) => {
            println!("the proof does NOT hold: {why}");
            Ok(Outcome::Faults)
        }
    }
}

/// Checks the proof, and that whatever else its JSON form says is the same.
fn prove(text: String, json: Option<&Proof>, entry: &[u8], vkey: &VerifierKey) -> Result<ProvenEntry, String> {
    let tlog = json.map_or(Ok(text), Proof::to_tlog)?;
    let proven = verify_tlog_proof(&tlog, entry, vkey).map_err(|error| match error {
        LedgerError::NotSigned(_) => format!(
            "{error}. If the log has had its key rotated, a newer proof is under a newer key: `sceau keys` prints the log's \
             keys with the statements that lead from each to the next, `sceau keys check` follows these from the key \
             that you know; then give the newer one with --verifier-key"
        ),
        error => error.to_string(),
    })?;
    match json.and_then(|proof| proof.disagrees(&proven, entry)) {
        Some(member) => Err(format!("its member {member} says something else than what its path and checkpoint prove")),
        None => Ok(proven),
    }
}

#[cfg(test)]
mod tests {
    use sceau_ledger::{LogKey, Tree, sign_checkpoint};

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
        let text = std::fs::read_to_string(&json).unwrap();
        let with = |member: &str, value: serde_json::Value| {
            let mut proof: serde_json::Value = serde_json::from_str(&text).unwrap();
            proof[member] = value;
            let proof = Proof::parse(&proof.to_string()).unwrap();
            let vkey = key.verifier();
            prove(String::new(), Some(&proof), b"two", &vkey).map(|_| ())
        };
        let (root, leaf) = (hex(&tree.head().root.0), hex(&leaves[1].0));
        for (member, right, wrong) in [
            ("tree_size", serde_json::json!(2), serde_json::json!(3)),
            ("root_hash", root.clone().into(), leaf.clone().into()),
            ("leaf_hash", leaf.into(), root.into()),
        ] {
            assert_eq!(with(member, right), Ok(()), "{member}");
            assert!(with(member, wrong).unwrap_err().contains(&format!("member {member} ")));
        }
        assert!(with("proof", serde_json::json!(["x"])).unwrap_err().contains("member proof"));
        let key_file = format!("@{}", write("key", &format!("{vkey}\n")).display());
        assert_eq!(check(&json, None, &key_file).unwrap(), Outcome::Done);
        // The entry given is in the log, but the proof's own is another.
        let own = write("own.json", &text.replace("\"two\"", "\"tw0\""));
        assert_eq!(check(&own, Some(&entry), &vkey).unwrap(), Outcome::Faults);
        assert!(matches!(check(&json, None, "nonsense"), Err(CliError::Usage(_))));
        assert!(matches!(check(&tlog, None, &vkey), Err(CliError::Usage(_))));
        let stranger = LogKey::from_seed("example.org/log", &[8; 32]).unwrap().verifier().to_string();
        assert_eq!(check(&json, None, &stranger).unwrap(), Outcome::Faults);
    }
}
