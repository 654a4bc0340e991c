//! Cursors as text, for clients to hand back.

use std::{fmt, str::FromStr};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

use super::Cursor;

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor; take `next_cursor` of the page before as it is")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.time.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| CursorError)?;
        let both = u128::from_be_bytes(bytes);
        Ok(Self { time: (both >> 64) as i64, index: both as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for cursor in [(0, 0), (-1, 7), (i64::MIN, u64::MAX), (1_795_334_400_000_000, 42)] {
            let cursor = Cursor { time: cursor.0, index: cursor.1 };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            assert_eq!(cursor.to_string().len(), 22);
        }
        for text in ["", "x", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "////////////////////AA"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
