//! Base64 and UTF-16 of values, as the specification's appendix on modifiers tells them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A UTF-16 encoding of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    /// `utf16le` or `wide`.
    Le,
    /// `utf16be`.
    Be,
    /// `utf16`: a byte order mark, then little endian.
    Bom,
}

pub(super) fn bytes(text: &str, wide: Option<Wide>) -> Vec<u8> {
    let units = || text.encode_utf16();
    match wide {
        None => text.as_bytes().to_vec(),
        Some(Wide::Le) => units().flat_map(u16::to_le_bytes).collect(),
        Some(Wide::Be) => units().flat_map(u16::to_be_bytes).collect(),
        Some(Wide::Bom) => [0xff, 0xfe].into_iter().chain(units().flat_map(u16::to_le_bytes)).collect(),
    }
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The three texts of which one is in the Base64 of any text that has `bytes` in it: for each number of bytes before
/// them, modulo 3, the characters that depend on nothing but `bytes`. A character that also has bits of what comes
/// before or after is left out. Empty ones too: bytes so short that nothing is certain.
pub(super) fn base64_offsets(bytes: &[u8]) -> Vec<String> {
    (0..3_usize)
        .map(|before| {
            let mut shifted = vec![0; before];
            shifted.extend_from_slice(bytes);
            let encoded = STANDARD.encode(&shifted);
            // Each character has 6 bits: the first that has none of the bytes before, and how many are whole.
            let first = (before * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            encoded.get(first..last.max(first)).unwrap_or_default().to_owned()
        })
        .filter(|text| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_do_not_depend_on_neighbours() {
        for secret in ["f", "fo", "foo", "foob", "http://", "/bin/bash", "IEX ("] {
            let offsets = base64_offsets(secret.as_bytes());
            for before in 0..7_usize {
                for around in [b'\0', b'A', 0xff] {
                    for after in 0..4 {
                        let mut text = vec![around; before];
                        text.extend_from_slice(secret.as_bytes());
                        text.extend(vec![around; after]);
                        let encoded = STANDARD.encode(&text);
                        let found = offsets.iter().any(|offset| encoded.contains(offset));
                        assert!(
                            found || offsets.len() < 3,
                            "{secret} {before} {around} {after}: {encoded} {offsets:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn known_offsets() {
        assert_eq!(base64_offsets(b"foobar"), ["Zm9vYmFy", "Zvb2Jhc", "mb29iYX"]);
        assert_eq!(base64_offsets(b"/bin/bash"), ["L2Jpbi9iYXNo", "9iaW4vYmFza", "vYmluL2Jhc2"]);
        assert_eq!(base64_offsets(b"http://"), ["aHR0cDovL", "h0dHA6Ly", "odHRwOi8v"]);
    }

    /// The examples of the appendix.
    #[test]
    fn wide_as_in_the_specification() {
        assert_eq!(bytes("cmd", Some(Wide::Le)), [0x63, 0, 0x6d, 0, 0x64, 0]);
        assert_eq!(bytes("cmd", Some(Wide::Be)), [0, 0x63, 0, 0x6d, 0, 0x64]);
        assert_eq!(bytes("cmd", Some(Wide::Bom)), [0xff, 0xfe, 0x63, 0, 0x6d, 0, 0x64, 0]);
    }
}
