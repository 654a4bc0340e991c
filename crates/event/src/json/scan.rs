//! The scanner: checks a JSON text and lists its tokens.

use super::shape::Shape;
use super::text::{unescape, unescape_wtf8};
use crate::MAX_DEPTH;
use crate::error::EventError;
use std::borrow::Cow;
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    String,
    Number,
    True,
    False,
    Null,
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
}

/// A token and where it is in the text *without line breaks*, quotes excluded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    /// The string has a backslash.
    pub escaped: bool,
    pub start: u32,
    pub end: u32,
}

impl Token {
    /// The token's text in the text that was scanned, line breaks taken out.
    #[inline]
    pub fn of<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start as usize..self.end as usize).unwrap_or("")
    }

    /// The value of a key or string: escapes resolved, lone surrogates as U+FFFD.
    #[inline]
    pub fn value<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let raw = self.of(text);
        if self.escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }
}

/// What [`scan`] found, and the memory for the next one.
#[derive(Default)]
pub(crate) struct Scan {
    pub tokens: Vec<Token>,
    /// Line breaks between tokens, which entries leave out.
    pub breaks: u32,
    /// The names of the outermost object, if [`Shape::learning`].
    pub shape: Shape,
    frames: Vec<Frame>,
    keys: Vec<Key>,
}

/// Checks one JSON value, white space around it allowed. The bytes must be UTF-8.
pub(crate) fn scan(bytes: &[u8]) -> Result<Scan, EventError> {
    let mut found = Scan { tokens: Vec::with_capacity(48), ..Scan::default() };
    scan_into(bytes, &mut found)?;
    Ok(found)
}

/// The same, into memory that may have been used before.
pub(crate) fn scan_into(bytes: &[u8], found: &mut Scan) -> Result<(), EventError> {
    // Positions are kept in 32 bits.
    if u32::try_from(bytes.len()).is_err() {
        return Err(EventError::too_large(bytes.len()));
    }
    let Scan { tokens, breaks, shape, frames, keys } = found;
    tokens.clear();
    frames.clear();
    keys.clear();
    shape.known = 0;
    let in_step = !shape.ends.is_empty();
    let mut scanner = Scanner { bytes, at: 0, breaks: 0, tokens, frames, keys, shape, in_step };
    scanner.run()?;
    *breaks = scanner.breaks;
    Ok(())
}

/// An open object or array.
struct Frame {
    object: bool,
    /// Where its keys start in [`Scanner::keys`].
    keys: usize,
    /// One bit per key seen, by length and outer bytes: most keys are new at one glance.
    seen: u64,
    /// All keys, once there are so many that comparing each would become quadratic.
    set: Option<HashSet<Vec<u8>>>,
}

/// Where a key is in the text.
#[derive(Clone, Copy)]
struct Key {
    start: u32,
    end: u32,
    escaped: bool,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    breaks: u32,
    tokens: &'a mut Vec<Token>,
    frames: &'a mut Vec<Frame>,
    keys: &'a mut Vec<Key>,
    shape: &'a mut Shape,
    /// Whether the outermost object's keys so far are those of the shape.
    in_step: bool,
}

impl Key {
    #[inline]
    fn at(start: usize, end: usize, escaped: bool) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end), escaped }
    }

    /// Its bytes, escapes resolved.
    #[inline]
    fn value(self, text: &[u8]) -> Cow<'_, [u8]> {
        let raw = text.get(self.start as usize..self.end as usize).unwrap_or_default();
        if self.escaped { Cow::Owned(unescape_wtf8(raw)) } else { Cow::Borrowed(raw) }
    }
}

/// One bit for a key, by its length and outer bytes.
#[inline]
fn bit(key: &[u8]) -> u64 {
    let outer = usize::from(*key.first().unwrap_or(&0)) * 7 + usize::from(*key.last().unwrap_or(&0));
    1 << ((key.len() * 31 + outer) & 63)
}

/// From this many keys on, an object's keys are looked up in a set.
const MANY_KEYS: usize = 24;

impl<'a> Scanner<'a> {
    fn run(&mut self) -> Result<(), EventError> {
        loop {
            if self.value()? {
                continue;
            }
            if !self.after_value()? {
                break;
            }
        }
        self.space();
        if self.at < self.bytes.len() { Err(self.error("the end, but more follows")) } else { Ok(()) }
    }

    /// Reads a value; true if it opened a container whose first value has to be read next.
    #[inline]
    fn value(&mut self) -> Result<bool, EventError> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'"') => self.string(Kind::String).map(|_| false),
            Some(b'{') => self.open(true),
            Some(b'[') => self.open(false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal(Kind::True, b"true").map(|()| false),
            Some(b'f') => self.literal(Kind::False, b"false").map(|()| false),
            Some(b'n') => self.literal(Kind::Null, b"null").map(|()| false),
            Some(_) => Err(self.error("a value: a string, number, object, array, true, false or null")),
            None => Err(self.error("a value, but the text ends")),
        }
    }

    /// Goes on behind a value; true if another has to be read, false at the end of the outermost.
    #[inline]
    fn after_value(&mut self) -> Result<bool, EventError> {
        while let Some(frame) = self.frames.last() {
            let object = frame.object;
            self.space();
            match (self.bytes.get(self.at), object) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.space();
                    self.key()?;
                    return Ok(true);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    return Ok(true);
                }
                (Some(b'}'), true) => self.close(Kind::ObjectEnd),
                (Some(b']'), false) => self.close(Kind::ArrayEnd),
                (None, _) => return Err(self.error("more, but the text ends inside an object or array")),
                (_, true) => return Err(self.error("',' or '}' after a member")),
                (_, false) => return Err(self.error("',' or ']' after an element")),
            }
        }
        Ok(false)
    }

    fn open(&mut self, object: bool) -> Result<bool, EventError> {
        if self.frames.len() == MAX_DEPTH {
            return Err(EventError::TooDeep { offset: self.at });
        }
        let (start, end, closer) =
            if object { (Kind::ObjectStart, Kind::ObjectEnd, b'}') } else { (Kind::ArrayStart, Kind::ArrayEnd, b']') };
        self.push(start, false, self.at, self.at + 1);
        self.frames.push(Frame { object, keys: self.keys.len(), seen: 0, set: None });
        self.at += 1;
        self.space();
        if self.bytes.get(self.at) == Some(&closer) {
            self.close(end);
            return Ok(false);
        }
        if object {
            self.key()?;
        }
        Ok(true)
    }

    #[inline]
    fn close(&mut self, kind: Kind) {
        self.push(kind, false, self.at, self.at + 1);
        self.at += 1;
        if self.shape.learning && self.frames.len() == 1 && kind == Kind::ObjectEnd {
            self.learn();
        }
        if let Some(frame) = self.frames.pop() {
            self.keys.truncate(frame.keys);
        }
    }

    /// Reads a key and the colon behind it.
    #[inline]
    fn key(&mut self) -> Result<(), EventError> {
        if self.in_step && self.frames.len() == 1 {
            if self.known_key() {
                return Ok(());
            }
            self.out_of_step();
        }
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.error("a key in double quotes"));
        }
        let (start, end, escaped) = self.string(Kind::Key)?;
        self.check_new(start, end, escaped)?;
        self.space();
        if self.bytes.get(self.at) != Some(&b':') {
            return Err(self.error("':' after a key"));
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over the key that the shape has in this place, if it is the same. It was checked when the shape was made,
    /// and as the others of the shape stand in front of it, it is new.
    #[inline]
    fn known_key(&mut self) -> bool {
        let number = self.shape.known;
        let Some(known) = self.shape.written(number) else { return false };
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(known)) {
            return false;
        }
        let (start, end) = (self.at + 1, self.at + known.len() - 2);
        self.at += known.len();
        self.push(Kind::Key, false, start, end);
        self.keys.push(Key::at(start, end, false));
        self.shape.known = number + 1;
        true
    }

    /// From here on the keys have to be compared with those before them.
    #[cold]
    fn out_of_step(&mut self) {
        self.in_step = false;
        let bytes = self.bytes;
        if let Some(frame) = self.frames.last_mut() {
            frame.seen = self.keys.iter().fold(0, |seen, key| seen | bit(&key.value(bytes)));
        }
    }

    /// The outermost object is at its end: what it looks like is kept for the next one.
    fn learn(&mut self) {
        if self.in_step {
            return;
        }
        let whole = self.frames.first().is_some_and(|frame| frame.set.is_none());
        if whole && self.keys.iter().all(|key| !key.escaped) {
            self.shape.learn(self.keys.iter().map(|key| key.value(self.bytes)));
        } else {
            self.shape.forget();
        }
    }

    #[inline]
    fn check_new(&mut self, start: usize, end: usize, escaped: bool) -> Result<(), EventError> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let new = Key::at(start, end, escaped);
        let key = new.value(self.bytes);
        let bit = bit(&key);
        let known = match &mut frame.set {
            Some(set) => !set.insert(key.to_vec()),
            None => {
                let before = self.keys.get(frame.keys..).unwrap_or_default();
                frame.seen & bit != 0 && before.iter().any(|other| other.value(self.bytes) == key)
            }
        };
        if known {
            let key = String::from_utf8_lossy(&key).chars().take(64).collect();
            return Err(EventError::DuplicateKey { key, offset: start });
        }
        frame.seen |= bit;
        if frame.set.is_none() {
            self.keys.push(new);
            if self.keys.len() - frame.keys >= MANY_KEYS {
                let all = self.keys.drain(frame.keys..).map(|key| key.value(self.bytes).into_owned());
                frame.set = Some(all.collect());
            }
        }
        Ok(())
    }

    /// Reads a string; gives where its content starts and ends, and whether it has a backslash.
    #[inline]
    fn string(&mut self, kind: Kind) -> Result<(usize, usize, bool), EventError> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = next_special(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at = at;
                    at = self.escape(at)?;
                }
                Some(_) => {
                    self.at = at;
                    return Err(self.error("control characters in strings to be escaped, as in \\n"));
                }
                None => {
                    self.at = at;
                    return Err(self.error("a closing double quote, but the text ends"));
                }
            }
        }
        self.at = at + 1;
        self.push(kind, escaped, start, at);
        Ok((start, at, escaped))
    }

    /// Checks the escape at `at`; gives where it ends.
    fn escape(&self, at: usize) -> Result<usize, EventError> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.bytes.get(at + 2..at + 6) {
                Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
                _ => Err(self.error("four hexadecimal digits after \\u")),
            },
            _ => Err(self.error("one of \" \\ / b f n r t u after a backslash")),
        }
    }

    /// RFC 8259, section 6.
    fn number(&mut self) -> Result<(), EventError> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits("a digit after '-'")?;
        if leading_zero && whole > 1 {
            return Err(self.error("no leading zero in a number"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("a digit after '.'")?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits("a digit in the exponent")?;
        }
        self.push(Kind::Number, false, start, self.at);
        Ok(())
    }

    fn digits(&mut self, why: &'static str) -> Result<usize, EventError> {
        let count = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.error(why)) } else { Ok(count) }
    }

    fn literal(&mut self, kind: Kind, word: &'static [u8]) -> Result<(), EventError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.error("true, false or null"));
        }
        self.push(kind, false, self.at, self.at + word.len());
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b @ (b' ' | b'\t' | b'\n' | b'\r')) = self.bytes.get(self.at) {
            self.breaks += u32::from(matches!(b, b'\n' | b'\r'));
            self.at += 1;
        }
    }

    #[inline]
    fn push(&mut self, kind: Kind, escaped: bool, start: usize, end: usize) {
        // `scan` has checked that positions fit.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX) - self.breaks;
        self.tokens.push(Token { kind, escaped, start: place(start), end: place(end) });
    }

    fn error(&self, why: &'static str) -> EventError {
        EventError::Json { offset: self.at, why }
    }
}

/// The next byte from `at` on that a string can't hold as it is: a quote, a backslash or a control
/// character. Eight bytes at a time, by the bit tricks that find a zero byte in a word.
#[inline]
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero = |v: u64| v.wrapping_sub(ONES) & !v;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let v = u64::from_le_bytes(chunk);
        let control = v.wrapping_sub(ONES * 0x20) & !v;
        let found = (control | zero(v ^ (ONES * 0x22)) | zero(v ^ (ONES * 0x5c))) & TOPS;
        if found != 0 {
            // Borrows can only mark bytes above one that is marked rightly: the lowest is exact.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|b| *b >= 0x20 && !matches!(b, b'"' | b'\\')) {
        at += 1;
    }
    at
}
