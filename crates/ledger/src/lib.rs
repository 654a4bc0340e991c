//! The sealed log's mathematics: leaves, tree, tiles, checkpoints, proofs, MACs, seals and the audit.
//!
//! Opaque bytes go in, verdicts come out. Nothing here does I/O or reads a clock: time and randomness are
//! parameters. The byte formats are described in `docs/format.md`, what each guard is worth in `docs/trust.md`.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::unwrap_used)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used))]

mod audit;
mod checkpoint;
mod error;
mod hash;
mod key_change;
mod key_history;
mod mac;
mod proof;
mod seal;
mod sha256;
mod slots;
mod state_mac;
mod tile;
mod tlog_proof;
mod tree;

pub use audit::{
    AuditInput, Auditor, Checked, Fault, FaultKind, MAX_EPOCH_MICROS, MAX_FAULTS, Reach, SEAL_SLACK_MICROS, Verdict,
};
pub use checkpoint::{
    Checkpoint, LogKey, MAX_NOTE_BYTES, VerifierKey, check_origin, open_checkpoint, open_checkpoint_of, sign_checkpoint,
};
pub use error::LedgerError;
pub use hash::{Head, Index, LeafHash, RootHash, TreeSize, leaf_hash};
pub use key_change::{KeyChange, LogChange, Lost, MacChange, MacCommitment, NewChain, SignedKeyChange, Signer};
pub use key_history::{ChainStart, KeyHistory, LogKeys};
pub use mac::{BundleMac, EntryMac, MacKey, MacKeys, entry_mac};
pub use proof::{check_consistency, check_inclusion, consistency_proof, inclusion_proof};
pub use seal::{EpochKey, EpochPublic, FIRST_PREVIOUS, Seal, SealBody, WriterId};
pub use slots::{Chosen, FILE_SIZE, SLOT_SIZE, Slot, choose, decode, encode, wiped};
pub use state_mac::StateText;
pub use tile::{MAX_ENTRY_BYTES, TILE_WIDTH, TileKind, TilePath, bundle};
pub use tlog_proof::{ProvenEntry, TlogProof, parse_tlog_proof, tlog_proof, verify_tlog_proof};
pub use tree::{MAX_TREE_SIZE, TileHash, Tiles, Tree};
