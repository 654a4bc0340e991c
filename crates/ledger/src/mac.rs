//! HMAC-SHA-256 over entries' places and leaves: the guard against whoever has the database but not the keys.
//!
//! The input says "from index `first` on, the entries are": `label ‖ u64 first ‖ (u64 index ‖ leaf)*`, numbers
//! big-endian. A bundle's first index is `256 × bundle`; a single entry is a range of one.

use crate::hash::{from_base64, to_base64};
use crate::{Index, LeafHash, LedgerError, TILE_WIDTH};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Separates these MACs from any other use of the key.
pub(crate) const LABEL: &[u8] = b"sceau.mac.v1\n";
const SECRET_PREFIX: &str = "PRIVATE+MAC+";

/// The log's MAC key: 32 random bytes, fixed at `init`. Wiped when it is dropped.
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

    fn id(&self) -> String {
        let hash = Sha256::new().chain_update(b"sceau.mac-key.v1\n").chain_update(self.0).finalize();
        hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
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
        // HMAC fills a short key up with zeros itself (RFC 2104); doing it here leaves no length to be refused.
        let mut block = Zeroizing::new([0u8; 64]);
        block[..32].copy_from_slice(&key.0);
        let mut state = Hmac::<Sha256>::new((&*block).into());
        state.update(LABEL);
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

/// The MAC of a single entry: that of a range with only this entry in it.
#[must_use]
pub fn entry_mac(key: &MacKey, index: Index, leaf: LeafHash) -> [u8; 32] {
    let mut mac = BundleMac::range(key, index.0);
    mac.push(leaf);
    mac.tag()
}
