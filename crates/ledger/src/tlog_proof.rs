//! Inclusion proofs as text: C2SP tlog-proof, version 1.

use crate::hash::{from_base64, to_base64};
use crate::{Checkpoint, Index, LedgerError, VerifierKey, check_inclusion, leaf_hash, open_checkpoint};
use base64::prelude::{BASE64_STANDARD, Engine as _};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
const MAX_HASHES: usize = 64;

/// A proof read from its text; nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Extra data, which nothing authenticates. Sceau writes none.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry.
    pub index: Index,
    /// Merkle audit path, from the leaf's sibling up.
    pub proof: Vec<[u8; 32]>,
    /// The checkpoint, a signed note, byte for byte.
    pub checkpoint: String,
}

/// What a verified proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    /// The entry's index.
    pub index: Index,
    /// The signed checkpoint of a tree that holds it.
    pub checkpoint: Checkpoint,
}

/// Writes the proof that an entry is in the tree of a checkpoint. `checkpoint_note` is the signed note.
#[must_use]
pub fn tlog_proof(index: Index, proof: &[[u8; 32]], checkpoint_note: &str) -> String {
    let mut text = format!("{FIRST_LINE}\nindex {index}\n");
    for hash in proof {
        text.push_str(&to_base64(hash));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(checkpoint_note);
    text
}

/// Reads a proof. Strict: each line must be as [`tlog_proof`] or another writer of the specification writes it.
///
/// # Errors
/// [`LedgerError::TlogProof`] with the line.
pub fn parse_tlog_proof(text: &str) -> Result<TlogProof, LedgerError> {
    let error = |line, reason| LedgerError::TlogProof { line, reason };
    let (top, checkpoint) = text.split_once("\n\n").ok_or(error(1, "no empty line before the checkpoint"))?;
    let mut lines = top.split('\n').zip(1..).peekable();
    if lines.next().is_none_or(|(first, _)| first != FIRST_LINE) {
        return Err(error(1, "not c2sp.org/tlog-proof@v1"));
    }
    let extra = match lines.peek().and_then(|(line, number)| Some((line.strip_prefix("extra ")?, *number))) {
        Some((data, number)) => {
            lines.next();
            Some(BASE64_STANDARD.decode(data).map_err(|_| error(number, "the extra data is not base64"))?)
        }
        None => None,
    };
    let (line, number) = lines.next().ok_or(error(2, "no index"))?;
    let digits = line.strip_prefix("index ").ok_or(error(number, "no index"))?;
    let index = digits.parse::<u64>().map_err(|_| error(number, "the index is not a number"))?;
    if index.to_string() != digits {
        return Err(error(number, "the index has needless characters"));
    }
    let mut proof = Vec::new();
    for (line, number) in lines {
        if proof.len() == MAX_HASHES {
            return Err(error(number, "too many hashes"));
        }
        proof.push(from_base64(line).ok_or(error(number, "not the base64 of 32 bytes"))?);
    }
    Ok(TlogProof { extra, index: Index(index), proof, checkpoint: checkpoint.to_owned() })
}

/// Checks that `entry`, byte for byte, is in the log whose key is `vkey` (C2SP tlog-proof, "Verifying a tlog proof").
///
/// # Errors
/// What [`parse_tlog_proof`], [`open_checkpoint`] and [`check_inclusion`] return.
pub fn verify_tlog_proof(text: &str, entry: &[u8], vkey: &VerifierKey) -> Result<ProvenEntry, LedgerError> {
    let parsed = parse_tlog_proof(text)?;
    let checkpoint = open_checkpoint(parsed.checkpoint.as_bytes(), vkey)?;
    check_inclusion(parsed.index, leaf_hash(entry), &checkpoint.head, &parsed.proof)?;
    Ok(ProvenEntry { index: parsed.index, checkpoint })
}
