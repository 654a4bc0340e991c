//! HMAC-SHA-256 over a document of the state: the guard against whoever writes the database but has no key.

use crate::{MacKey, MacKeys};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const LABEL: &[u8] = b"sceau.state.v1\n";

/// What the MAC of a document covers: `label ‖ collection ‖ 0 ‖ key ‖ 0 ‖ expires ‖ 0 ‖ text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateText<'a> {
    /// The document's collection; holds no zero byte, as the server's never do.
    pub collection: &'a str,
    /// Its name there; no zero byte either.
    pub key: &'a str,
    /// When it stops to exist, microseconds since the epoch, written in decimal; nothing for never.
    pub expires: Option<i64>,
    /// The exact JSON text of its value.
    pub text: &'a str,
}

fn mac(key: &MacKey, document: &StateText<'_>) -> Hmac<Sha256> {
    // As in `BundleMac`: filling up the key here leaves no length to be refused.
    let mut block = Zeroizing::new([0u8; 64]);
    block[..32].copy_from_slice(&key.0);
    let expires = document.expires.map(|expires| expires.to_string()).unwrap_or_default();
    let mut state = Hmac::<Sha256>::new((&*block).into());
    state.update(LABEL);
    for part in [document.collection, document.key, &expires] {
        state.update(part.as_bytes());
        state.update(&[0]);
    }
    state.update(document.text.as_bytes());
    state
}

impl MacKeys {
    /// The MAC of a document under the present key.
    #[must_use]
    pub fn state_mac(&self, document: &StateText<'_>) -> [u8; 32] {
        mac(self.newest().1, document).finalize().into_bytes().into()
    }

    /// Whether it is the MAC of this document under any of the keys.
    #[must_use]
    pub fn state_mac_holds(&self, document: &StateText<'_>, tag: &[u8]) -> bool {
        self.iter().any(|(_, key)| {
            let right: [u8; 32] = mac(key, document).finalize().into_bytes().into();
            right.as_slice().ct_eq(tag).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_old_keys_still_do() {
        let mut keys = MacKeys::new(0, MacKey::from_bytes([1; 32]));
        let document = StateText { collection: "imports", key: "a", expires: Some(5), text: "{\"n\":1.50}" };
        let tag = keys.state_mac(&document);
        assert!(keys.state_mac_holds(&document, &tag));
        for other in [
            StateText { collection: "import", key: "sa", ..document },
            StateText { key: "b", ..document },
            StateText { expires: None, ..document },
            StateText { expires: Some(50), ..document },
            StateText { text: "{\"n\":1.5}", ..document },
        ] {
            assert!(!keys.state_mac_holds(&other, &tag), "{other:?}");
        }
        assert!(!keys.state_mac_holds(&document, &tag[..31]) && !keys.state_mac_holds(&document, b""));
        keys.add(7, MacKey::from_bytes([2; 32]));
        assert_ne!(keys.state_mac(&document), tag);
        assert!(keys.state_mac_holds(&document, &tag) && keys.state_mac_holds(&document, &keys.state_mac(&document)));
        let strange = MacKeys::new(0, MacKey::from_bytes([3; 32]));
        assert!(!strange.state_mac_holds(&document, &tag));
    }
}
