//! The log's signing key, its verifier key, and checkpoints: C2SP signed-note and tlog-checkpoint.
//!
//! `signed_note` parses the notes; signing and verifying go through `ed25519-dalek` 3 with its strict check, which
//! refuses keys of small order and signatures that several messages share.

use crate::hash::to_base64;
use crate::{Head, LedgerError, LogKeys, RootHash, TreeSize};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, NoteError, VerificationError};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest note that is read, in bytes: a checkpoint with 16 post-quantum cosignatures stays below it.
pub const MAX_NOTE_BYTES: usize = 131_072;
const MAX_ORIGIN_BYTES: usize = 255;
/// C2SP signed-note, "Signature types": Ed25519.
const ED25519: u8 = 0x01;
const SECRET_PREFIX: &str = "PRIVATE+KEY+";

/// Says whether a text can be a log's origin, which is its key name too: not empty, at most 255 bytes, without white
/// space, control characters or `+` (C2SP signed-note, "Format"; tlog-checkpoint, "Note text").
///
/// # Errors
/// [`LedgerError::Origin`].
pub fn check_origin(origin: &str) -> Result<(), LedgerError> {
    let fits = origin.len() <= MAX_ORIGIN_BYTES && !origin.chars().any(char::is_control);
    if fits && signed_note::is_key_name_valid(origin) {
        return Ok(());
    }
    Err(LedgerError::Origin(origin.chars().take(80).collect()))
}

fn typed(public: &VerifyingKey) -> [u8; 33] {
    let mut bytes = [ED25519; 33];
    bytes[1..].copy_from_slice(public.as_bytes());
    bytes
}

/// Signs a note's text and returns the whole note.
pub(crate) fn sign_note(name: &str, key: &SigningKey, text: &str) -> String {
    sign_note_by(name, &[key], text)
}

/// The same with several keys, each of which has the same name.
pub(crate) fn sign_note_by(name: &str, keys: &[&SigningKey], text: &str) -> String {
    let mut note = format!("{text}\n");
    for key in keys {
        let id = signed_note::key_id(name, &typed(&key.verifying_key()));
        let mut signature = id.to_be_bytes().to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
        note.push_str(&format!("\u{2014} {name} {}\n", to_base64(&signature)));
    }
    note
}

/// The key that signs checkpoints, with the origin as its name. The secret part is wiped when it is dropped.
#[derive(Clone)]
pub struct LogKey {
    origin: String,
    key: SigningKey,
}

impl LogKey {
    /// Makes the key out of 32 random bytes, the Ed25519 seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`LedgerError::Origin`] if the origin is not valid.
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, LedgerError> {
        check_origin(origin)?;
        Ok(LogKey { origin: origin.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// The log's origin.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey::new(&self.origin, self.key.verifying_key())
    }

    /// The secret as the line `PRIVATE+KEY+<origin>+<key id>+<base64>`, which other signed-note programs read too; the
    /// key id shows a damaged file. No line break at the end.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<String> {
        let mut seed = self.key.to_bytes();
        let mut bytes = Zeroizing::new([ED25519; 33]);
        bytes[1..].copy_from_slice(&seed);
        seed.zeroize();
        let id = signed_note::key_id(&self.origin, &typed(&self.key.verifying_key()));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(bytes.as_slice()));
        Zeroizing::new(format!("{SECRET_PREFIX}{}+{id:08x}+{}", self.origin, encoded.as_str()))
    }

    /// Reads what [`LogKey::to_secret`] wrote.
    ///
    /// # Errors
    /// [`LedgerError::Key`] if the line is malformed or its key id is not that of the key.
    pub fn from_secret(text: &str) -> Result<Self, LedgerError> {
        let error = |reason| LedgerError::Key { what: "log key", reason };
        let rest = text.strip_prefix(SECRET_PREFIX).ok_or(error("not a PRIVATE+KEY line"))?;
        let mut parts = rest.splitn(3, '+');
        let (Some(origin), Some(id), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error("parts are missing"));
        };
        let bytes = BASE64_STANDARD.decode(secret).map_err(|_| error("not base64"))?;
        let bytes = Zeroizing::new(bytes);
        let [ED25519, seed @ ..] = bytes.as_slice() else {
            return Err(error("not an Ed25519 key"));
        };
        let seed: &[u8; 32] = seed.try_into().map_err(|_| error("not 32 bytes long"))?;
        let key = LogKey::from_seed(origin, seed)?;
        if id != format!("{:08x}", key.verifier().id) {
            return Err(error("damaged: its key id is not that of the key"));
        }
        Ok(key)
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({}, redacted)", self.origin)
    }
}

/// A C2SP verifier key, `<origin>+<key id>+<base64>`: what an auditor needs to check the log's checkpoints.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl VerifierKey {
    pub(crate) fn new(name: &str, key: VerifyingKey) -> Self {
        let id = signed_note::key_id(name, &typed(&key));
        VerifierKey { name: name.to_owned(), id, key }
    }

    /// The key's name, which is the origin of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.name
    }

    /// The text of the note if this key signed it.
    pub(crate) fn open<'a>(&self, note: &'a Note) -> Result<&'a str, LedgerError> {
        match note.verify(self) {
            Ok(_) => std::str::from_utf8(note.text()).map_err(|_| LedgerError::Checkpoint("not UTF-8")),
            Err(NoteError::InvalidSignature { .. }) => Err(LedgerError::Signature(self.name.clone())),
            Err(_) => Err(LedgerError::NotSigned(self.to_string())),
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&typed(&self.key)))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let error = |reason| LedgerError::Key { what: "verifier key", reason };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(public)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error("not of the form <origin>+<key id>+<base64>"));
        };
        check_origin(name)?;
        let bytes = BASE64_STANDARD.decode(public).map_err(|_| error("not base64"))?;
        let [ED25519, public @ ..] = bytes.as_slice() else {
            return Err(error("not an Ed25519 key"));
        };
        let public: &[u8; 32] = public.try_into().map_err(|_| error("not 32 bytes long"))?;
        let public = VerifyingKey::from_bytes(public).map_err(|_| error("not a point of the curve"))?;
        if public.is_weak() {
            return Err(error("a weak key"));
        }
        let key = VerifierKey::new(name, public);
        if key.to_string() == text { Ok(key) } else { Err(error("its key id is not that of the key")) }
    }
}

impl signed_note::Verifier for VerifierKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
    }
}

impl signed_note::Verifiers for VerifierKey {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn signed_note::Verifier, VerificationError> {
        if name == self.name && id == self.id {
            return Ok(self);
        }
        Err(VerificationError::UnknownKey { name: name.to_owned(), id })
    }
}

/// A checkpoint's content. Only [`open_checkpoint`] says that it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin.
    pub origin: String,
    /// Size and root hash.
    pub head: Head,
}

impl Checkpoint {
    /// Reads a checkpoint **without checking any signature**, for display only.
    ///
    /// # Errors
    /// [`LedgerError::Checkpoint`] if note or checkpoint are malformed.
    pub fn parse_unverified(note: &[u8]) -> Result<Checkpoint, LedgerError> {
        Self::from_text(parse_note(note)?.text())
    }

    /// Reads the signed text (C2SP tlog-checkpoint, "Note text"): origin, size, root, no extension lines of our own
    /// but any of others.
    fn from_text(text: &[u8]) -> Result<Checkpoint, LedgerError> {
        let malformed = LedgerError::Checkpoint("not origin, size and root hash, a line each");
        let parsed = tlog_tiles::Checkpoint::from_bytes(text).map_err(|_| malformed.clone())?;
        if parsed.to_bytes() != text {
            return Err(malformed);
        }
        let head = Head { size: TreeSize(parsed.size()), root: RootHash(parsed.hash().0) };
        Ok(Checkpoint { origin: parsed.origin().to_owned(), head })
    }
}

pub(crate) fn parse_note(note: &[u8]) -> Result<Note, LedgerError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(LedgerError::Checkpoint("the note is too long"));
    }
    Note::from_bytes(note).map_err(|_| LedgerError::Checkpoint("not a signed note"))
}

/// Tells a note of ours that a newer version wrote from a malformed one: its first line is `label` with another number.
pub(crate) fn check_version(what: &'static str, note: &[u8], label: &str) -> Result<(), LedgerError> {
    let stem = label.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let line = note.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(version) = line.strip_prefix(stem.as_bytes()) else { return Ok(()) };
    if line == label.as_bytes() || !(1..=9).contains(&version.len()) || !version.iter().all(u8::is_ascii_digit) {
        return Ok(());
    }
    Err(LedgerError::Newer { what, found: String::from_utf8_lossy(version).into_owned() })
}

/// Reads a checkpoint and checks that it is signed by the log key that was in use for its size.
///
/// # Errors
/// As for [`open_checkpoint`]; [`LedgerError::OtherKeyThen`] if another of the log's keys signed it.
pub fn open_checkpoint_of(note: &[u8], keys: &LogKeys) -> Result<Checkpoint, LedgerError> {
    let size = Checkpoint::parse_unverified(note)?.head.size.0;
    let right = keys.at(size);
    let error = match open_checkpoint(note, right) {
        Ok(checkpoint) => return Ok(checkpoint),
        Err(error) => error,
    };
    match keys.iter().find(|(_, key)| *key != right && open_checkpoint(note, key).is_ok()) {
        Some((_, other)) => {
            Err(LedgerError::OtherKeyThen { signed: other.to_string(), right: right.to_string(), size })
        }
        None => Err(error),
    }
}

/// Signs a head as a checkpoint (C2SP tlog-checkpoint). Sign only heads read back as committed: two signed heads of one
/// size must never differ. Signing the same head again gives the same bytes.
#[must_use]
pub fn sign_checkpoint(key: &LogKey, head: &Head) -> String {
    sign_note(&key.origin, &key.key, &format!("{}\n{}\n{}\n", key.origin, head.size, head.root))
}

/// Reads a checkpoint and checks that the log's key signed it. Other signatures, such as witnesses', are ignored.
///
/// # Errors
/// [`LedgerError::Checkpoint`] if it is malformed, [`LedgerError::NotSigned`] without a signature by this key,
/// [`LedgerError::Signature`] if that signature is wrong, [`LedgerError::OtherOrigin`] if the first line is not the
/// key's name.
pub fn open_checkpoint(note: &[u8], vkey: &VerifierKey) -> Result<Checkpoint, LedgerError> {
    let note = parse_note(note)?;
    let checkpoint = Checkpoint::from_text(vkey.open(&note)?.as_bytes())?;
    if checkpoint.origin != vkey.name {
        return Err(LedgerError::OtherOrigin { expected: vkey.name.clone(), found: checkpoint.origin });
    }
    Ok(checkpoint)
}
