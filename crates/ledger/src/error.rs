//! The one error type of the crate.

use thiserror::Error;

/// Why something could not be computed, parsed or believed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerError {
    /// An index or size lies outside the tree.
    #[error("{what} {value} is outside the tree of {size} entries")]
    OutOfRange {
        /// What was asked for, such as `index`.
        what: &'static str,
        /// The value asked for.
        value: u64,
        /// The tree's size.
        size: u64,
    },
    /// A tree size that this crate does not compute with (more than 2^62).
    #[error("a tree of {0} entries is larger than this log can hold")]
    TooLarge(u64),
    /// The store could not give the hashes of a tile. Made by implementations of [`crate::Tiles`].
    #[error("tile {level}/{n} can't be read: {reason}")]
    Tile {
        /// Tile level, 0 for leaves.
        level: u8,
        /// Tile number within the level.
        n: u64,
        /// What went wrong, in the store's words.
        reason: String,
    },
    /// An inclusion or consistency proof does not lead to the head's root.
    #[error("the proof does not lead to the head's root hash")]
    ProofMismatch,
    /// A tile path is not in the canonical C2SP form.
    #[error("malformed tile path {0:?}")]
    TilePath(String),
    /// An entry is longer than an entry bundle's 16-bit length can say.
    #[error("entry {position} of the bundle has {length} bytes; at most 65535 are allowed")]
    EntryTooLong {
        /// Its place in the slice given.
        position: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// An origin is empty, too long, or has white space, control characters or `+`.
    #[error("{0:?} can't be an origin: it must be 1 to 255 bytes without white space, control characters and '+'")]
    Origin(String),
    /// A key's text or bytes can't be used.
    #[error("malformed {what}: {reason}")]
    Key {
        /// Which kind of key.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A signed note or the checkpoint in it is malformed.
    #[error("malformed checkpoint: {0}")]
    Checkpoint(&'static str),
    /// No signature by the expected key is on the note.
    #[error("not signed by {0}")]
    NotSigned(String),
    /// The expected key's signature does not verify.
    #[error("the signature by {0} is not valid")]
    Signature(String),
    /// Another of the log's keys signed the checkpoint than the one in use for its size.
    #[error("the checkpoint of size {size} is signed by {signed}, but the log's key for that size is {right}")]
    OtherKeyThen {
        /// The key that signed.
        signed: String,
        /// The key that should have.
        right: String,
        /// The checkpoint's size.
        size: u64,
    },
    /// A statement about keys is malformed or does not hold.
    #[error("a statement about keys does not hold: {0}")]
    KeyChange(String),
    /// A checkpoint is of another log.
    #[error("the checkpoint is of the log {found:?}, not {expected:?}")]
    OtherOrigin {
        /// Origin of the verifier key.
        expected: String,
        /// Origin in the checkpoint.
        found: String,
    },
    /// A C2SP `tlog-proof` text is malformed.
    #[error("malformed tlog-proof, line {line}: {reason}")]
    TlogProof {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A seal's text is malformed.
    #[error("malformed seal: {0}")]
    Seal(&'static str),
    /// A seal's signature is not by the epoch's key.
    #[error("the seal of epoch {epoch} is not signed by that epoch's key")]
    SealSignature {
        /// The epoch the seal claims.
        epoch: u64,
    },
    /// A seal was to be closed with the key of another epoch.
    #[error("the key of epoch {key} can't close epoch {body}")]
    OtherEpoch {
        /// The key's epoch.
        key: u64,
        /// The epoch in the seal's body.
        body: u64,
    },
    /// The epoch key file has another length than two slots.
    #[error("the epoch key file has {found} bytes instead of {expected}")]
    KeyFileSize {
        /// Length found.
        found: usize,
        /// Length expected.
        expected: usize,
    },
    /// A note of Sceau's own kind was written by a newer version.
    #[error("the {what} has format {found}, this version reads up to 1; use a newer sceau")]
    Newer {
        /// Which kind of note.
        what: &'static str,
        /// The version found.
        found: String,
    },
    /// The epoch key file was written by a newer version of Sceau.
    #[error("the epoch key file has format {found}, this version reads up to {known}; use a newer sceau")]
    KeyFileVersion {
        /// Version found.
        found: u32,
        /// Newest version known here.
        known: u32,
    },
    /// Neither slot of the epoch key file can be read.
    #[error("neither slot of the epoch key file can be read: {0}")]
    KeyFileUnreadable(&'static str),
    /// The key file is intact but holds no key that the last stored seal names.
    #[error("the epoch key file holds epoch(s) {held}, but the last stored seal asks for epoch {wanted}: {reason}")]
    KeyFileOther {
        /// Epoch that the stored seals lead to.
        wanted: u64,
        /// Epochs in the file, in words.
        held: String,
        /// What that probably means.
        reason: &'static str,
    },
}
