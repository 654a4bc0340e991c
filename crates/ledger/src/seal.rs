//! The forward-secure chain: a head closed under an epoch's own key, naming the next epoch's public key.
//!
//! A seal is a C2SP signed note of its own kind. Its first line can't be a checkpoint's, and its key is never the log
//! key, so neither can be taken for the other. `docs/format.md` gives the bytes.

use crate::checkpoint::{check_version, parse_note, sign_note};
use crate::hash::{from_base64, hash_type, to_base64};
use crate::{Head, LedgerError, RootHash, TreeSize, VerifierKey, check_origin};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::{ZeroizeOnDrop, Zeroizing};

const LABEL: &str = "sceau.seal.v1";
/// What the first seal of a chain names as the hash of the seal before it.
pub const FIRST_PREVIOUS: [u8; 32] = [0; 32];

hash_type! {
    /// An epoch's public Ed25519 key. That of epoch 0 is what an auditor pins.
    EpochPublic
}

impl EpochPublic {
    pub(crate) fn verifier(&self, origin: &str) -> Result<VerifierKey, LedgerError> {
        let error = |reason| LedgerError::Key { what: "epoch key", reason };
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| error("not a point of the curve"))?;
        if key.is_weak() { Err(error("a weak key")) } else { Ok(VerifierKey::new(origin, key)) }
    }
}

/// Who writes a chain: 16 random bytes drawn when the key directory is made. Displayed, parsed and serialised as 32
/// lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for WriterId {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let error = LedgerError::Key { what: "writer id", reason: "not 32 lower-case hexadecimal digits" };
        match u128::from_str_radix(text, 16).map(|number| WriterId(number.to_be_bytes())) {
            Ok(writer) if writer.to_string() == text => Ok(writer),
            _ => Err(error),
        }
    }
}

impl Serialize for WriterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WriterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An epoch's secret key, wiped when it is dropped.
pub struct EpochKey {
    epoch: u64,
    key: SigningKey,
}

impl ZeroizeOnDrop for EpochKey {}

impl EpochKey {
    /// Makes the key of an epoch out of 32 random bytes.
    #[must_use]
    pub fn from_seed(epoch: u64, seed: &[u8; 32]) -> Self {
        EpochKey { epoch, key: SigningKey::from_bytes(seed) }
    }

    /// The epoch, counted from 0.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> EpochPublic {
        EpochPublic(self.key.verifying_key().to_bytes())
    }

    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The seed again, for writing it to the key file.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKey(epoch {}, redacted)", self.epoch)
    }
}

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealBody {
    /// The log's origin.
    pub origin: String,
    /// Whose chain it is.
    pub writer: WriterId,
    /// The epoch it closes, counted from 0 without gaps.
    pub epoch: u64,
    /// The newest committed head.
    pub head: Head,
    /// Wall time of the sealing in microseconds since 1970-01-01T00:00:00Z.
    pub time_micros: i64,
    /// [`Seal::hash`] of the seal of the epoch before; [`FIRST_PREVIOUS`] in epoch 0.
    pub previous: [u8; 32],
    /// Public key of the next epoch.
    pub next: EpochPublic,
}

impl SealBody {
    fn text(&self) -> String {
        format!(
            "{LABEL}\norigin {}\nwriter {}\nepoch {}\nsize {}\nroot {}\ntime {}\nprevious {}\nnext {}\n",
            self.origin,
            self.writer,
            self.epoch,
            self.head.size,
            self.head.root,
            self.time_micros,
            to_base64(&self.previous),
            self.next
        )
    }

    fn parse(text: &str) -> Option<SealBody> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != LABEL {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let body = SealBody {
            origin: field("origin")?.to_owned(),
            writer: field("writer")?.parse().ok()?,
            epoch: field("epoch")?.parse().ok()?,
            head: Head { size: TreeSize(field("size")?.parse().ok()?), root: RootHash(from_base64(field("root")?)?) },
            time_micros: field("time")?.parse().ok()?,
            previous: from_base64(field("previous")?)?,
            next: EpochPublic(from_base64(field("next")?)?),
        };
        lines.next().is_none().then_some(body)
    }
}

/// A seal: a body and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    body: SealBody,
    text: String,
}

impl Seal {
    /// Closes an epoch. Store the seal durably, then destroy the key. Closing the same body again gives the same bytes.
    ///
    /// # Errors
    /// [`LedgerError::OtherEpoch`] if the key is not that epoch's; [`LedgerError::Origin`].
    pub fn close(body: SealBody, key: &EpochKey) -> Result<Seal, LedgerError> {
        check_origin(&body.origin)?;
        if body.epoch != key.epoch {
            return Err(LedgerError::OtherEpoch { key: key.epoch, body: body.epoch });
        }
        let text = sign_note(&body.origin, &key.key, &body.text());
        Ok(Seal { body, text })
    }

    /// Reads a seal **without checking its signature**; only the canonical bytes are accepted.
    ///
    /// # Errors
    /// [`LedgerError::Seal`], [`LedgerError::Newer`].
    pub fn parse(text: &[u8]) -> Result<Seal, LedgerError> {
        check_version("seal", text, LABEL)?;
        let note = parse_note(text).map_err(|_| LedgerError::Seal("not a signed note"))?;
        let text = std::str::from_utf8(text).map_err(|_| LedgerError::Seal("not UTF-8"))?;
        let signed = std::str::from_utf8(note.text()).map_err(|_| LedgerError::Seal("not UTF-8"))?;
        let body = SealBody::parse(signed).ok_or(LedgerError::Seal("not the lines of a seal"))?;
        check_origin(&body.origin).map_err(|_| LedgerError::Seal("its origin is not valid"))?;
        // The label's line breaks keep origin and numbers apart, so equal text means an equal body.
        if body.text() != signed || note.to_bytes() != text.as_bytes() {
            return Err(LedgerError::Seal("not in canonical form"));
        }
        let signatures = text.get(signed.len() + 1..).unwrap_or_default();
        let ours = format!("\u{2014} {} ", body.origin);
        if signatures.lines().count() != 1 || !signatures.starts_with(&ours) {
            return Err(LedgerError::Seal("not signed once in its origin's name"));
        }
        Ok(Seal { body, text: text.to_owned() })
    }

    /// Checks the signature with the public key of the seal's epoch.
    ///
    /// # Errors
    /// [`LedgerError::SealSignature`]; [`LedgerError::Key`] if the public key can't be one.
    pub fn verify(&self, public: &EpochPublic) -> Result<(), LedgerError> {
        let verifier = public.verifier(&self.body.origin)?;
        let wrong = |_| LedgerError::SealSignature { epoch: self.body.epoch };
        let note = parse_note(self.text.as_bytes()).map_err(wrong)?;
        verifier.open(&note).map(|_| ()).map_err(wrong)
    }

    /// What the seal says.
    #[must_use]
    pub fn body(&self) -> &SealBody {
        &self.body
    }

    /// The exact text to store: body, empty line, signature line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the whole text, signature included, which the next seal names.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }
}
