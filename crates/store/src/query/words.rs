//! The one definition of a word: a maximal run of alphanumeric characters, folded to lower case. Token filters and
//! matching both take it from here, so that a filter never hides what a match would find.

mod joined;
mod token;

use std::fmt;

use joined::Joiner;
use memchr::{memchr2, memmem::Finder};
pub use token::{Rules, Token};

/// Consecutive words to look for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phrase {
    /// The folded words, at least one.
    pub words: Vec<String>,
    /// Whether the last word is only the beginning of one, as in `fail*`.
    pub last_is_prefix: bool,
}

impl Phrase {
    /// The words of a text; none if it has no letter and no digit. With `prefix` the last word may go on, if the text
    /// ends within it.
    #[must_use]
    pub fn new(text: &str, prefix: bool) -> Option<Self> {
        let words: Vec<String> = spans(text).map(|(from, to)| text[from..to].chars().map(fold).collect()).collect();
        let open = text.chars().next_back().is_some_and(char::is_alphanumeric);
        (!words.is_empty()).then_some(Self { words, last_is_prefix: prefix && open })
    }

    /// Do the words occur in the text, next to each other and in this order?
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matcher().matches(text)
    }

    /// The same question prepared for many texts.
    #[must_use]
    pub fn matcher(&self) -> Matcher<'_> {
        Matcher { phrase: self, anchor: self.words.first().and_then(|word| Anchor::of(word)) }
    }

    /// What [`tokens`] gives for every text that matches: those of the words that are whole.
    #[must_use]
    pub fn required(&self) -> Vec<Token> {
        let whole = self.words.len() - usize::from(self.last_is_prefix && !self.words.is_empty());
        let (mut required, mut joiner) = (Vec::with_capacity(whole), Joiner::default());
        for word in &self.words[..whole] {
            let hash = word_hash(word);
            required.push(Token::Word(hash));
            joiner.word(word.as_bytes(), hash, &mut |hash| required.push(Token::Address(hash)));
        }
        required
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.words.join(" "), if self.last_is_prefix { "*" } else { "" })
    }
}

/// How the first word is scanned for.
#[derive(Clone, Debug)]
enum Anchor<'a> {
    /// By the whole word, which has no letters and so no case.
    Digits(Box<Finder<'a>>),
    /// By the byte that is rarest in logs.
    Byte { word: &'a str, offset: usize, lower: u8, upper: u8 },
}

impl<'a> Anchor<'a> {
    /// Folding never makes an ASCII character of another one, so an ASCII word is found by its bytes; other words have
    /// no anchor.
    fn of(word: &'a str) -> Option<Self> {
        const COMMON_FIRST: &[u8] = b"e0ta1oins2rlcdhp3u45m6879fgbwvykxjqz";
        let rarity = |byte: u8| COMMON_FIRST.iter().position(|other| *other == byte);
        if !word.is_ascii() {
            return None;
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Digits(Box::new(Finder::new(word))));
        }
        let (offset, byte) = word.bytes().enumerate().max_by_key(|(_, byte)| rarity(*byte))?;
        Some(Self::Byte { word, offset, lower: byte, upper: byte.to_ascii_uppercase() })
    }

    /// Where the word's bytes, in any case, lie next from a place on.
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        match self {
            Self::Digits(finder) => Some(from + finder.find(bytes.get(from..)?)?),
            Self::Byte { word, offset, lower, upper } => {
                let mut from = from + offset;
                loop {
                    let found = from + memchr2(*lower, *upper, bytes.get(from..)?)?;
                    let start = found - offset;
                    let there = bytes.get(start..start + word.len());
                    if there.is_some_and(|there| there.eq_ignore_ascii_case(word.as_bytes())) {
                        return Some(start);
                    }
                    from = found + 1;
                }
            }
        }
    }
}

/// A [`Phrase`] made ready to be looked for in many texts.
#[derive(Clone, Debug)]
pub struct Matcher<'a> {
    phrase: &'a Phrase,
    anchor: Option<Anchor<'a>>,
}

impl Matcher<'_> {
    /// See [`Phrase::matches`].
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Some(anchor) = &self.anchor else {
            return spans(text).any(|(start, _)| self.occurs_at(text, start));
        };
        let mut from = 0;
        while let Some(start) = anchor.find(text.as_bytes(), from) {
            if self.begins_at(text, start) {
                return true;
            }
            from = start + 1;
        }
        false
    }

    /// Which of many texts match: those whose numbers `found` is given, in order. They are `offsets.len() - 1` and lie in
    /// `bytes` without gaps: one pass over all is quicker than many short ones.
    pub(crate) fn matching<'t>(
        &self,
        bytes: &[u8],
        offsets: &[i32],
        text: impl Fn(usize) -> &'t str,
        mut found: impl FnMut(usize),
    ) {
        let place = |number: usize| offsets.get(number).map_or(usize::MAX, |offset| offset.unsigned_abs() as usize);
        let count = offsets.len().saturating_sub(1);
        let Some(anchor) = &self.anchor else {
            (0..count).filter(|number| self.matches(text(*number))).for_each(found);
            return;
        };
        let bytes = bytes.get(..place(count)).unwrap_or(bytes);
        let (mut from, mut number) = (place(0), 0);
        while let Some(start) = anchor.find(bytes, from) {
            while place(number + 1) <= start {
                number += 1;
            }
            if self.begins_at(text(number), start - place(number)) {
                found(number);
                from = place(number + 1);
            } else {
                from = start + 1;
            }
        }
    }

    fn begins_at(&self, text: &str, start: usize) -> bool {
        // In this order, since `start` may lie within a character as long as the first word has not been found there.
        self.occurs_at(text, start) && !text[..start].chars().next_back().is_some_and(char::is_alphanumeric)
    }

    fn occurs_at(&self, text: &str, start: usize) -> bool {
        let last = self.phrase.words.len().saturating_sub(1);
        let mut at = start;
        for (number, word) in self.phrase.words.iter().enumerate() {
            if number > 0 {
                at = skip_separators(text, at);
            }
            match word_end(text, at, word) {
                Some(end) if number == last && self.phrase.last_is_prefix => at = end,
                Some(end) if !text[end..].starts_with(char::is_alphanumeric) => at = end,
                _ => return false,
            }
        }
        true
    }
}

/// Where the folded `word` ends in the text if it lies at `at`, whatever follows.
fn word_end(text: &str, at: usize, word: &str) -> Option<usize> {
    if word.is_ascii() {
        let end = at + word.len();
        let same = text.as_bytes().get(at..end)?.eq_ignore_ascii_case(word.as_bytes());
        return same.then_some(end);
    }
    let mut rest = text.get(at..)?.chars();
    for wanted in word.chars() {
        if fold(rest.next()?) != wanted {
            return None;
        }
    }
    Some(text.len() - rest.as_str().len())
}

fn skip_separators(text: &str, at: usize) -> usize {
    skip(text, at, |c| !c.is_alphanumeric())
}

/// The next place from `at` on whose character does not pass. Most texts are ASCII, which needs no decoding.
fn skip(text: &str, mut at: usize, passes: impl Fn(char) -> bool) -> usize {
    while let Some(byte) = text.as_bytes().get(at) {
        if !byte.is_ascii() {
            return text[at..].find(|c| !passes(c)).map_or(text.len(), |found| at + found);
        }
        if !passes(char::from(*byte)) {
            break;
        }
        at += 1;
    }
    at
}

/// Lower case, character by character. The few characters whose lower case is ASCII or several characters (the Kelvin
/// sign, İ) stay as they are: ASCII words can then be found by their bytes alone.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => c,
    }
}

/// Appends a word as [`Phrase`] folds it.
pub(crate) fn fold_into(word: &str, folded: &mut String) {
    if word.is_ascii() {
        let start = folded.len();
        folded.push_str(word);
        folded[start..].make_ascii_lowercase();
    } else {
        folded.extend(word.chars().map(fold));
    }
}

/// The byte ranges of a text's words.
pub(crate) fn spans(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = skip_separators(text, at);
        at = skip(text, from, char::is_alphanumeric);
        (from < at).then_some((from, at))
    })
}

/// Gives `found` every token of a text, as often as it occurs.
///
/// Their hashes are stored in segments: the version of the [`Rules`] changes with anything that changes them.
pub fn tokens(text: &str, mut found: impl FnMut(Token)) {
    let bytes = text.as_bytes();
    let mut joiner = Joiner::default();
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        if first.is_ascii() && !first.is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let from = at;
        let (word, hash) = if let Some((hash, end)) = ascii_word(bytes, from) {
            at = end;
            (&bytes[from..end], hash)
        } else {
            let (word, hash, length) = any_word(&text[from..]);
            at = from + length;
            (word.as_bytes(), hash)
        };
        if !word.is_empty() {
            found(Token::Word(hash));
            joiner.word(word, hash, &mut |hash| found(Token::Address(hash)));
        }
    }
}

/// One bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The bit of each byte that ASCII has not.
const TOPS: u64 = ONES << 7;
/// This bit makes lower case of an ASCII letter, and digits have it already.
const LOWER: u64 = ONES << 5;

/// The hash and end of the word that begins at `from`, eight bytes at a step; `None` if not all of it is ASCII.
#[inline]
fn ascii_word(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let mut state = WORD_SEED;
    let mut at = from;
    loop {
        let chunk = eight(bytes, at);
        let length = (!alphanumeric(chunk) & TOPS).trailing_zeros() / 8;
        if length > 0 {
            state = mixed(state, (chunk | LOWER) & (u64::MAX >> (64 - 8 * length)));
        }
        at += length as usize;
        if length < 8 {
            let whole = bytes.get(at).is_none_or(u8::is_ascii);
            return whole.then(|| (finished(state, (at - from) as u64), at));
        }
    }
}

/// The eight bytes from a place on, the first the lowest, nought behind the end.
#[inline]
fn eight(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    if let Some(chunk) = rest.first_chunk() {
        return u64::from_le_bytes(*chunk);
    }
    match bytes.last_chunk() {
        Some(chunk) if !rest.is_empty() => u64::from_le_bytes(*chunk) >> (64 - 8 * rest.len()),
        _ => rest.iter().rev().fold(0, |chunk, byte| chunk << 8 | u64::from(*byte)),
    }
}

/// Marks those of eight bytes that are ASCII letters or digits, with their uppermost bit.
#[inline]
fn alphanumeric(chunk: u64) -> u64 {
    // No borrow passes from one byte to the next, since the uppermost bits are set before something smaller is taken.
    let at_least = |bytes: u64, least: u8| (bytes | TOPS) - ONES * u64::from(least);
    let folded = chunk | LOWER;
    let letter = at_least(folded, b'a') & !at_least(folded, b'z' + 1);
    let digit = at_least(chunk, b'0') & !at_least(chunk, b'9' + 1);
    (letter | digit) & !chunk & TOPS
}

/// The word at the beginning of a text with its hash, or the empty one, and how far that and a character behind it go.
fn any_word(text: &str) -> (&str, u64, usize) {
    let mut hasher = Hasher::new(WORD_SEED);
    for (at, c) in text.char_indices() {
        if !c.is_alphanumeric() {
            return (&text[..at], hasher.finish(), at + c.len_utf8());
        }
        hasher.text(fold(c).encode_utf8(&mut [0; 4]));
    }
    (text, hasher.finish(), text.len())
}

/// A cheap hash of a text's length and outer bytes, for caches.
pub(crate) fn glance(text: &str) -> usize {
    let bytes = text.as_bytes();
    let first = bytes.first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let last = match bytes.last_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().fold(0, |chunk, byte| chunk << 8 | u64::from(*byte)),
    };
    (finished(mixed(first, last), bytes.len() as u64) >> 32) as usize
}

/// The hash of a whole value of a column, for equality; it can't be mistaken for the hash of a word.
#[must_use]
pub fn value_hash(column: &str, value: &str) -> u64 {
    let mut hasher = Hasher::new(VALUE_SEED);
    hasher.text(column);
    // No UTF-8 text holds this byte, so column and value can't be cut elsewhere.
    hasher.byte(0xff);
    hasher.text(value);
    hasher.finish()
}

fn word_hash(folded: &str) -> u64 {
    let mut hasher = Hasher::new(WORD_SEED);
    hasher.text(folded);
    hasher.finish()
}

// Digits of pi; only that they differ matters.
const WORD_SEED: u64 = 0x243f_6a88_85a3_08d3;
const VALUE_SEED: u64 = 0x1319_8a2e_0370_7344;

/// A hash that takes bytes one by one in eights: little-endian chunks of eight bytes, the last padded with zeros, each
/// xored in, multiplied with an odd constant and xor-shifted; at the end the length and MurmurHash3's 64-bit finaliser.
/// Words of up to eight bytes never collide with each other unless they differ in length. Not meant to resist attack: a
/// collision costs one needless read.
struct Hasher {
    state: u64,
    chunk: u64,
    shift: u32,
    length: u64,
}

impl Hasher {
    fn new(seed: u64) -> Self {
        Self { state: seed, chunk: 0, shift: 0, length: 0 }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.chunk |= u64::from(byte) << self.shift;
        self.length += 1;
        self.shift += 8;
        if self.shift == 64 {
            self.take_chunk();
        }
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.byte(byte);
        }
    }

    fn take_chunk(&mut self) {
        self.state = mixed(self.state, self.chunk);
        self.chunk = 0;
        self.shift = 0;
    }

    fn finish(mut self) -> u64 {
        if self.shift > 0 {
            self.take_chunk();
        }
        finished(self.state, self.length)
    }
}

#[inline]
fn mixed(state: u64, chunk: u64) -> u64 {
    let mixed = (state ^ chunk).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

#[inline]
fn finished(state: u64, length: u64) -> u64 {
    let mut hash = state ^ length;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
