//! The statement by which a log takes new keys: a rotation, signed by the old key and the new one, what was put in the
//! place of lost keys, signed by whatever was left, or that another writer seals from here on. `docs/format.md` gives the
//! bytes.
//!
//! It is a C2SP signed note of its own kind: its first line can't be a checkpoint's, which is an origin followed by a
//! number, nor a seal's.

use crate::checkpoint::{check_version, parse_note, sign_note_by};
use crate::hash::{from_base64, hash_type, to_base64};
use crate::{EpochKey, EpochPublic, LedgerError, LogKey, MacKey, VerifierKey, WriterId, check_origin};
use ed25519_dalek::SigningKey;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const LABEL: &str = "sceau.keys.v1";
/// What stands where there is nothing to say.
const NOTHING: &str = "-";

hash_type! {
    /// What a MAC key is known by in public: a hash of it.
    MacCommitment
}

/// Something of a key directory that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The log key.
    Log,
    /// The MAC key.
    Mac,
    /// The epoch key.
    Epoch,
    /// The note of the newest heads.
    Heads,
}

impl Lost {
    const ALL: [Self; 4] = [Self::Log, Self::Mac, Self::Epoch, Self::Heads];

    /// Its word in a statement.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Mac => "mac",
            Self::Epoch => "epoch",
            Self::Heads => "heads",
        }
    }
}

/// A new log key: it signs the checkpoints of more entries than the statement's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChange {
    /// The key until then.
    pub old: VerifierKey,
    /// The key from then on.
    pub new: VerifierKey,
}

/// A new MAC key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacChange {
    /// The key until then; `None` if it was lost.
    pub old: Option<MacCommitment>,
    /// The key from then on.
    pub new: MacCommitment,
    /// The first bundle under it.
    pub bundle: u64,
}

/// A new chain of seals, or one that goes on after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChain {
    /// Its first epoch: the one that the chain before it could not close, or did not.
    pub epoch: u64,
    /// That epoch's public key; of a writer that had the log before, the one that its last seal names.
    pub key: EpochPublic,
    /// Who writes it.
    pub writer: WriterId,
    /// [`crate::Seal::hash`] of the last seal of the chain before it; [`crate::FIRST_PREVIOUS`] if it had none.
    pub previous: [u8; 32],
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The log's origin.
    pub origin: String,
    /// The index of the entry that holds the statement.
    pub index: u64,
    /// What was lost, in the order of [`Lost`]; nothing in a rotation or a take-over.
    pub lost: Vec<Lost>,
    /// The new log key.
    pub log: Option<LogChange>,
    /// The new MAC key.
    pub mac: Option<MacChange>,
    /// The new chain of seals.
    pub chain: Option<NewChain>,
}

impl KeyChange {
    /// Whether another writer takes the log over, with a chain of seals of its own, and nothing was lost.
    #[must_use]
    pub fn is_take_over(&self) -> bool {
        self.lost.is_empty() && self.chain.is_some()
    }

    /// The lines that the old MAC key authenticates.
    fn head(&self) -> String {
        let lost: Vec<&str> = self.lost.iter().map(|lost| lost.word()).collect();
        let lost = if lost.is_empty() { NOTHING.to_owned() } else { lost.join(" ") };
        let log = self.log.as_ref().map(|log| format!("{} {}", log.old, log.new));
        let mac = self.mac.map(|mac| {
            let old = mac.old.map_or_else(|| NOTHING.to_owned(), |old| old.to_string());
            format!("{old} {} {}", mac.new, mac.bundle)
        });
        let chain = self.chain.as_ref().map(|chain| {
            let previous = to_base64(&chain.previous);
            format!("{} {} {} {previous}", chain.epoch, chain.key, chain.writer)
        });
        let or_nothing = |value: Option<String>| value.unwrap_or_else(|| NOTHING.to_owned());
        format!(
            "{LABEL}\norigin {}\nindex {}\nlost {lost}\nlog {}\nmac {}\nchain {}\n",
            self.origin,
            self.index,
            or_nothing(log),
            or_nothing(mac),
            or_nothing(chain)
        )
    }

    /// Signs the statement with each of `signers`. `old_mac` is the MAC key until then, if the statement replaces it and
    /// it was not lost.
    ///
    /// # Errors
    /// [`LedgerError::Origin`].
    pub fn sign(self, old_mac: Option<&MacKey>, signers: &[Signer<'_>]) -> Result<SignedKeyChange, LedgerError> {
        check_origin(&self.origin)?;
        let head = self.head();
        let tag = old_mac.map(|key| hmac(key, &head));
        let keys: Vec<&SigningKey> = signers.iter().map(Signer::key).collect();
        let text = sign_note_by(&self.origin, &keys, &format!("{head}{}", hmac_line(tag)));
        Ok(SignedKeyChange { body: self, hmac: tag, text })
    }

    fn parse(text: &str) -> Option<(KeyChange, Option<[u8; 32]>)> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != LABEL {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let body = KeyChange {
            origin: field("origin")?.to_owned(),
            index: field("index")?.parse().ok()?,
            lost: parse_lost(field("lost")?)?,
            log: optional(field("log")?, parse_log)?,
            mac: optional(field("mac")?, parse_mac)?,
            chain: optional(field("chain")?, parse_chain)?,
        };
        let tag = optional(field("hmac")?, from_base64)?;
        lines.next().is_none().then_some((body, tag))
    }
}

fn hmac_line(tag: Option<[u8; 32]>) -> String {
    format!("hmac {}\n", tag.map_or_else(|| NOTHING.to_owned(), |tag| to_base64(&tag)))
}

/// `None` for a malformed value, `Some(None)` for none.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == NOTHING { Some(None) } else { parse(text).map(Some) }
}

fn parse_lost(text: &str) -> Option<Vec<Lost>> {
    if text == NOTHING {
        return Some(Vec::new());
    }
    text.split(' ').map(|word| Lost::ALL.into_iter().find(|lost| lost.word() == word)).collect()
}

fn parse_log(text: &str) -> Option<LogChange> {
    let (old, new) = text.split_once(' ')?;
    Some(LogChange { old: old.parse().ok()?, new: new.parse().ok()? })
}

fn parse_mac(text: &str) -> Option<MacChange> {
    let mut parts = text.splitn(3, ' ');
    let old = optional(parts.next()?, |old| old.parse().ok())?;
    Some(MacChange { old, new: parts.next()?.parse().ok()?, bundle: parts.next()?.parse().ok()? })
}

fn parse_chain(text: &str) -> Option<NewChain> {
    let mut parts = text.splitn(4, ' ');
    Some(NewChain {
        epoch: parts.next()?.parse().ok()?,
        key: parts.next()?.parse().ok()?,
        writer: parts.next()?.parse().ok()?,
        previous: from_base64(parts.next()?)?,
    })
}

fn hmac(key: &MacKey, text: &str) -> [u8; 32] {
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(&key.0);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Who signs a statement.
#[derive(Debug, Clone, Copy)]
pub enum Signer<'a> {
    /// A log key.
    Log(&'a LogKey),
    /// The key of an epoch.
    Epoch(&'a EpochKey),
}

impl Signer<'_> {
    fn key(&self) -> &SigningKey {
        match self {
            Signer::Log(key) => key.signing_key(),
            Signer::Epoch(key) => key.signing_key(),
        }
    }
}

/// A statement with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedKeyChange {
    body: KeyChange,
    hmac: Option<[u8; 32]>,
    text: String,
}

impl SignedKeyChange {
    /// Reads a statement **without checking any signature**; only the canonical bytes are accepted.
    ///
    /// # Errors
    /// [`LedgerError::KeyChange`], [`LedgerError::Newer`].
    pub fn parse(text: &[u8]) -> Result<Self, LedgerError> {
        let malformed = |reason: &str| LedgerError::KeyChange(reason.to_owned());
        check_version("statement about keys", text, LABEL)?;
        let note = parse_note(text).map_err(|_| malformed("it is not a signed note"))?;
        let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8"))?;
        let signed = std::str::from_utf8(note.text()).map_err(|_| malformed("it is not UTF-8"))?;
        let (body, hmac) =
            KeyChange::parse(signed).ok_or_else(|| malformed("it has not the lines of a statement about keys"))?;
        check_origin(&body.origin).map_err(|_| malformed("its origin is not valid"))?;
        if format!("{}{}", body.head(), hmac_line(hmac)) != signed || note.to_bytes() != text.as_bytes() {
            return Err(malformed("it is not in canonical form"));
        }
        Ok(Self { body, hmac, text: text.to_owned() })
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &KeyChange {
        &self.body
    }

    /// The exact text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        parse_note(self.text.as_bytes()).is_ok_and(|note| key.open(&note).is_ok())
    }

    /// Whether this epoch key signed it.
    #[must_use]
    pub fn is_signed_by_epoch(&self, key: &EpochPublic) -> bool {
        key.verifier(&self.body.origin).is_ok_and(|key| self.is_signed_by(&key))
    }

    /// Whether it was authenticated by this MAC key; `None` if by none.
    #[must_use]
    pub fn is_authenticated_by(&self, key: &MacKey) -> Option<bool> {
        self.hmac.map(|tag| tag.ct_eq(&hmac(key, &self.body.head())).into())
    }

    /// Whether it was authenticated by any MAC key.
    #[must_use]
    pub fn has_hmac(&self) -> bool {
        self.hmac.is_some()
    }
}
