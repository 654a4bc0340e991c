//! HMAC-SHA-256 over entries' places and leaves: the guard against whoever has the database but not the keys.
//!
//! The input says "from index `first` on, the entries are": `label ‖ u64 first ‖ (u64 index ‖ leaf)*`, numbers
//! big-endian. A bundle's first index is `256 × bundle`; a single entry is a range of one.

use crate::hash::{from_base64, to_base64};
use crate::{Index, LeafHash, LedgerError, MacCommitment, TILE_WIDTH};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Separates these MACs from any other use of the key.
pub(crate) const LABEL: &[u8] = b"sceau.mac.v1\n";
const SECRET_PREFIX: &str = "PRIVATE+MAC+";

/// A MAC key of the log: 32 random bytes. Wiped when it is dropped.
#[derive(Clone)]
pub struct MacKey(pub(crate) [u8; 32]);

impl Drop for MacKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for MacKey {}

impl MacKey {
    /// Takes 32 random bytes as the key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        MacKey(bytes)
    }

    /// The secret as the line `PRIVATE+MAC+<id>+<base64>`; the id, four bytes of a hash of the key, shows a damaged
    /// file. No line break at the end.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(to_base64(&self.0));
        Zeroizing::new(format!("{SECRET_PREFIX}{}+{}", self.id(), encoded.as_str()))
    }

    /// Reads what [`MacKey::to_secret`] wrote.
    ///
    /// # Errors
    /// [`LedgerError::Key`] if the line is malformed or its id is not that of the key.
    pub fn from_secret(text: &str) -> Result<Self, LedgerError> {
        let error = |reason| LedgerError::Key { what: "MAC key", reason };
        let rest = text.strip_prefix(SECRET_PREFIX).ok_or(error("not a PRIVATE+MAC line"))?;
        let (id, secret) = rest.split_once('+').ok_or(error("parts are missing"))?;
        let key = MacKey(from_base64(secret).ok_or(error("not the base64 of 32 bytes"))?);
        if key.id() == id { Ok(key) } else { Err(error("damaged: its id is not that of the key")) }
    }

    /// The hash that it is known by in public.
    #[must_use]
    pub fn commitment(&self) -> MacCommitment {
        MacCommitment(Sha256::new().chain_update(b"sceau.mac-key.v1\n").chain_update(self.0).finalize().into())
    }

    fn id(&self) -> String {
        self.commitment().0.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The MAC keys that a log has had, as far as they are at hand, each with the first bundle that it authenticates. There
/// is at least one.
#[derive(Clone, Debug)]
pub struct MacKeys {
    first: (u64, MacKey),
    later: Vec<(u64, MacKey)>,
}

impl MacKeys {
    /// A single key, which counts from bundle `first` on.
    #[must_use]
    pub fn new(first: u64, key: MacKey) -> Self {
        MacKeys { first: (first, key), later: Vec::new() }
    }

    /// Reads a key file's lines: a secret each, with the first bundle behind a space; none means 0.
    ///
    /// # Errors
    /// [`LedgerError::Key`] if a line is malformed, there is none, or they are out of order.
    pub fn from_text(text: &str) -> Result<Self, LedgerError> {
        let error = |reason| LedgerError::Key { what: "MAC key", reason };
        let mut keys: Option<MacKeys> = None;
        for line in text.strip_suffix('\n').ok_or(error("its last line is not whole"))?.split('\n') {
            let (secret, first) = match line.split_once(' ') {
                Some((_, "0")) => return Err(error("its first bundle is 0, which is left out")),
                Some(parts) => parts,
                None => (line, "0"),
            };
            let number: u64 = first.parse().map_err(|_| error("its first bundle is not a number"))?;
            // One whose place another took before its first bundle began stands in front of that, with the same number.
            let behind = |keys: &MacKeys| number > 0 && number >= keys.newest().0;
            if number.to_string() != first || keys.as_ref().is_some_and(|keys| !behind(keys)) {
                return Err(error("its first bundle is out of order"));
            }
            let key = MacKey::from_secret(secret)?;
            match &mut keys {
                Some(keys) => keys.later.push((number, key)),
                None => keys = Some(MacKeys::new(number, key)),
            }
        }
        keys.ok_or(error("there is none"))
    }

    /// What [`MacKeys::from_text`] reads.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity((self.later.len() + 1) * 128));
        for (first, key) in self.iter() {
            text.push_str(&key.to_secret());
            if first > 0 {
                text.push_str(&format!(" {first}"));
            }
            text.push('\n');
        }
        text
    }

    /// Adds a key that counts from bundle `first` on, in the place of those that would count from there or later. These
    /// are kept all the same: documents of the state have their MACs. Adding the newest once more changes nothing.
    pub fn add(&mut self, first: u64, key: MacKey) {
        let (from, newest) = self.newest();
        if from == first && newest.commitment() == key.commitment() {
            return;
        }
        for (from, _) in std::iter::once(&mut self.first).chain(&mut self.later) {
            *from = first.min(*from);
        }
        self.later.push((first, key));
    }

    /// The key of a bundle; `None` before the first key that is at hand.
    #[must_use]
    pub fn at(&self, bundle: u64) -> Option<&MacKey> {
        self.iter().rev().find(|(from, _)| *from <= bundle).map(|(_, key)| key)
    }

    /// Starts a bundle that is being written, under the key that counts there.
    #[must_use]
    pub fn start(&self, bundle: u64) -> BundleMac {
        BundleMac::start(self.at(bundle).unwrap_or(&self.first.1), bundle)
    }

    /// The keys, the oldest first, each with its first bundle.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &MacKey)> {
        std::iter::once(&self.first).chain(&self.later).map(|(first, key)| (*first, key))
    }

    /// The present key and its first bundle.
    #[must_use]
    pub fn newest(&self) -> (u64, &MacKey) {
        let (first, key) = self.later.last().unwrap_or(&self.first);
        (*first, key)
    }

    /// The first bundle that can be checked.
    #[must_use]
    pub fn first_bundle(&self) -> u64 {
        self.first.0
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(redacted)")
    }
}

/// The MAC of a bundle while it grows. A clone costs some 200 bytes; the tag after each batch costs only the new leaves.
#[derive(Clone)]
pub struct BundleMac {
    state: Hmac<Sha256>,
    first: u64,
    count: u16,
}

impl BundleMac {
    /// Starts bundle `bundle`, whose first entry has the index `256 × bundle`.
    #[must_use]
    pub fn start(key: &MacKey, bundle: u64) -> Self {
        Self::range(key, bundle.wrapping_mul(u64::from(TILE_WIDTH)))
    }

    fn range(key: &MacKey, first: u64) -> Self {
        Self::of(labelled(key), first)
    }

    fn of(mut state: Hmac<Sha256>, first: u64) -> Self {
        state.update(&first.to_be_bytes());
        BundleMac { state, first, count: 0 }
    }

    /// Adds the next entry's leaf. After 256 leaves the bundle is full: start the next one.
    pub fn push(&mut self, leaf: LeafHash) {
        self.state.update(&(self.first + u64::from(self.count)).to_be_bytes());
        self.state.update(&leaf.0);
        self.count = self.count.saturating_add(1);
    }

    /// The tag over the leaves so far; more can be added after it.
    #[must_use]
    pub fn tag(&self) -> [u8; 32] {
        self.state.clone().finalize().into_bytes().into()
    }

    /// Leaves so far.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }
}

impl fmt::Debug for BundleMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleMac(first {}, {} leaves, redacted)", self.first, self.count)
    }
}

/// HMAC under a key, with the label taken in: what all MACs of that key have in common.
fn labelled(key: &MacKey) -> Hmac<Sha256> {
    // HMAC fills a short key up with zeros itself (RFC 2104); doing it here leaves no length to be refused.
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(&key.0);
    let mut state = Hmac::<Sha256>::new((&*block).into());
    state.update(LABEL);
    state
}

/// Makes the MACs of single entries: each is that of a range with only this entry in it. The key is set up once.
#[derive(Clone)]
pub struct EntryMac(Hmac<Sha256>);

impl EntryMac {
    /// Under this key.
    #[must_use]
    pub fn new(key: &MacKey) -> Self {
        Self(labelled(key))
    }

    /// The MAC of an entry.
    #[must_use]
    pub fn tag(&self, index: Index, leaf: LeafHash) -> [u8; 32] {
        let mut mac = BundleMac::of(self.0.clone(), index.0);
        mac.push(leaf);
        mac.state.finalize().into_bytes().into()
    }
}

impl fmt::Debug for EntryMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntryMac(redacted)")
    }
}

/// The MAC of a single entry under a key that is needed once; see [`EntryMac`] for many.
#[must_use]
pub fn entry_mac(key: &MacKey, index: Index, leaf: LeafHash) -> [u8; 32] {
    EntryMac::new(key).tag(index, leaf)
}
