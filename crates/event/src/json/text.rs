//! The content of JSON strings.

use super::scan::next_special;
use std::borrow::Cow;

/// The value of a string's content that [`super::scan`] has checked; a lone surrogate becomes
/// U+FFFD, so that nothing after it is hidden.
pub(crate) fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    each_piece(raw.as_bytes(), |_, piece| match piece {
        // Pieces lie between ASCII bytes, so they are whole characters.
        Piece::Plain(start, end) => out.push_str(raw.get(start..end).unwrap_or("")),
        Piece::Code(code) => out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
    });
    out
}

/// The value in WTF-8: as [`unescape`], but lone surrogates stay different from each other.
pub(crate) fn unescape_wtf8(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    each_piece(raw, |_, piece| match piece {
        Piece::Plain(start, end) => out.extend_from_slice(&raw[start..end]),
        Piece::Code(code) => match char::from_u32(code) {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {
                let low = |shift: u32| u8::try_from(code >> shift & 0x3f).unwrap_or(0) | 0x80;
                out.extend_from_slice(&[0xe0 | u8::try_from(code >> 12).unwrap_or(0), low(6), low(0)]);
            }
        },
    });
    out
}

/// Where the escapes of a string are, so that a part of its value that has none can be borrowed
/// from the escaped text.
#[derive(Debug, Default)]
pub(crate) struct Escapes {
    /// For each escape: where its character starts and ends in the value, where it ends in the
    /// escaped text.
    marks: Vec<(usize, usize, usize)>,
}

impl Escapes {
    /// The part `start..end` of the value, borrowed from the escaped text.
    #[inline]
    pub fn borrow<'e>(&self, escaped: &'e str, start: usize, end: usize) -> Option<&'e str> {
        let before = self.marks.partition_point(|(_, value_end, _)| *value_end <= start);
        if self.marks.get(before).is_some_and(|(value_start, ..)| *value_start < end) {
            return None;
        }
        let shift = before.checked_sub(1).and_then(|last| self.marks.get(last)).map_or(0, |(_, v, e)| e - v);
        escaped.get(start + shift..end + shift)
    }
}

/// As [`unescape`], and where the escapes were; borrowed if there were none.
pub(crate) fn unescape_mapped(raw: &str) -> (Cow<'_, str>, Escapes) {
    let mut escapes = Escapes::default();
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return (Cow::Borrowed(raw), escapes);
    }
    let mut out = String::with_capacity(raw.len());
    each_piece(raw.as_bytes(), |end, piece| match piece {
        Piece::Plain(start, end) => out.push_str(raw.get(start..end).unwrap_or("")),
        Piece::Code(code) => {
            let start = out.len();
            out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            escapes.marks.push((start, out.len(), end));
        }
    });
    (Cow::Owned(out), escapes)
}

enum Piece {
    /// From here to there, as it is.
    Plain(usize, usize),
    /// A code point, perhaps a surrogate.
    Code(u32),
}

/// Calls `each` for every escape and what lies between, with the place behind it.
fn each_piece(raw: &[u8], mut each: impl FnMut(usize, Piece)) {
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', raw.get(at..).unwrap_or(&[])) {
        if next > 0 {
            each(at + next, Piece::Plain(at, at + next));
        }
        let (code, end) = code_point(raw, at + next);
        at = end;
        each(at, Piece::Code(code));
    }
    if at < raw.len() {
        each(raw.len(), Piece::Plain(at, raw.len()));
    }
}

/// The code point of the escape at `at` and where the escape ends.
fn code_point(raw: &[u8], at: usize) -> (u32, usize) {
    let code = match raw.get(at + 1) {
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => 0x0a,
        Some(b'r') => 0x0d,
        Some(b't') => 0x09,
        Some(b'u') => return surrogate_pair(raw, at),
        Some(other) => u32::from(*other),
        None => 0xfffd,
    };
    (code, at + 2)
}

fn surrogate_pair(raw: &[u8], at: usize) -> (u32, usize) {
    let high = hex4(raw, at + 2);
    if (0xd800..0xdc00).contains(&high) && raw.get(at + 6..at + 8) == Some(b"\\u") {
        let low = hex4(raw, at + 8);
        if (0xdc00..0xe000).contains(&low) {
            return (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12);
        }
    }
    (high, at + 6)
}

fn hex4(raw: &[u8], at: usize) -> u32 {
    raw.get(at..at + 4)
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .unwrap_or(0xfffd)
}

/// The bytes that [`write_string`] appends.
pub(crate) fn string_size(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut size = bytes.len() + 2;
    let mut at = next_special(bytes, 0);
    while let Some(byte) = bytes.get(at) {
        size += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
            _ => 5,
        };
        at = next_special(bytes, at + 1);
    }
    size
}

/// Appends a text as a JSON string, quotes included. Only what must be escaped is.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    loop {
        let at = next_special(bytes, written);
        out.extend_from_slice(&bytes[written..at]);
        let Some(byte) = bytes.get(at) else { break };
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(*byte)]);
            }
        }
    }
    out.push(b'"');
}
