//! What a certificate is known by where no authority vouches for it.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::{error::ServerError, hex};

/// The SHA-256 of a certificate's bytes, shown as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate, given in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = ServerError;

    /// Reads it as it is shown, or as other tools show it: in capitals, with colons between the bytes.
    fn from_str(text: &str) -> Result<Self, ServerError> {
        let wrong = || {
            ServerError::Config(format!(
                "{text:?} is no SHA-256 fingerprint; it should be like sha256:1f2e… (64 digits)"
            ))
        };
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix("sha256:").or(text.strip_prefix("sha256 fingerprint=")).unwrap_or(&text);
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair =
                std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_tools_write_it() {
        let shown = Fingerprint::of(b"certificate").to_string();
        let bare = shown.strip_prefix("sha256:").unwrap();
        let colons: Vec<&str> = (0..64).step_by(2).map(|at| &bare[at..at + 2]).collect();
        let openssl = format!("sha256 Fingerprint={}", colons.join(":").to_ascii_uppercase());
        for text in [shown.as_str(), bare, &openssl] {
            assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "sha256:", &bare[1..], &format!("{}+f", &bare[2..]), &format!("é{}", &bare[2..])] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
