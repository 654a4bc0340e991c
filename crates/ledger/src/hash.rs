//! Index, sizes and the three kinds of hash, as types that can't be mixed up.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::sha256::prefixed;

/// An entry's place in the log: 0, 1, 2…, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Index(pub u64);

/// The number of entries in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TreeSize(pub u64);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Standard base64 with padding, as C2SP uses it everywhere.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Canonical base64 of exactly 32 bytes; anything else is `None`.
pub(crate) fn from_base64(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Displayed, parsed and serialised as standard padded base64.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::hash::to_base64(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::LedgerError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::hash::from_base64(text).map(Self).ok_or($crate::LedgerError::Key {
                    what: stringify!($name),
                    reason: "not the base64 of 32 bytes",
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hash_type;

hash_type! {
    /// The hash of one entry as the tree takes it in: SHA-256(0x00 ‖ entry), RFC 6962 section 2.1.
    LeafHash
}
hash_type! {
    /// The Merkle tree hash over all leaves, RFC 6962 section 2.1.
    RootHash
}

/// Hashes an entry's exact bytes into its leaf: SHA-256(0x00 ‖ entry), RFC 6962 section 2.1.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> LeafHash {
    LeafHash(prefixed(0x00, entry))
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right), RFC 6962 section 2.1.
pub(crate) fn node_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut children = [0; 64];
    children[..32].copy_from_slice(left);
    children[32..].copy_from_slice(right);
    prefixed(0x01, &children)
}

/// A tree size and the root hash at that size: what a checkpoint and a seal sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Number of entries.
    pub size: TreeSize,
    /// Root hash over exactly these entries.
    pub root: RootHash,
}

impl Head {
    /// The head of a log without entries: size 0 and SHA-256 of nothing (RFC 6962 section 2.1).
    #[must_use]
    pub fn empty() -> Self {
        Head { size: TreeSize(0), root: RootHash(tlog_tiles::EMPTY_HASH.0) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries, root {}", self.size, self.root)
    }
}
