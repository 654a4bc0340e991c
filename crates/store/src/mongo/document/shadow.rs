//! What searches need of a record and people don't: left out of a document where it is empty.
//!
//! - `w`: the distinct folded words of all texts (columns and values of other fields, not the source), sorted. Four
//!   neighbours that are an IPv4 address are listed as one besides, `10.0.0.7`: each of the four is in most documents.
//! - `t`: one string for each of those texts that has words: a [tag](keyword_tag) without blanks, then a blank before each
//!   folded word and one behind the last. A phrase is ` failed password `, a beginning ` failed pass`; within one field it
//!   is looked for behind the tag at the string's begin. Tags hold no blank, so no phrase is ever found in one. A text that
//!   is one folded word as it stands is left out: its field says as much.
//! - `n`, `a`: columns and source whose text is a number or an address, by the name of the column.
//! - `f`: other fields whose value is a number or an address.

use std::net::{IpAddr, Ipv6Addr};

use sceau_event::Keyword;

use super::bytes::Writer;
use crate::{
    mongo::names,
    query::{
        number::Num,
        words::{fold_into, spans},
    },
};

/// Names the rules by which shadows are made. Unicode moves with the compiler, and what is a word and how it is folded
/// with it.
#[must_use]
pub fn version() -> String {
    const RULES: u32 = 1;
    let (major, minor, update) = char::UNICODE_VERSION;
    format!("{RULES}-unicode-{major}.{minor}.{update}")
}

/// What the strings of a column in `shadow.t` begin with; a blank follows.
#[must_use]
pub fn keyword_tag(keyword: Keyword) -> &'static str {
    names::keyword(keyword)
}

/// What the strings of another field in `shadow.t` begin with; a blank follows. No two names have the same tag, and none
/// has that of a column.
#[must_use]
pub fn other_tag(name: &str) -> String {
    let mut tag = String::with_capacity(name.len() + 1);
    append_other_tag(name, &mut tag);
    tag
}

fn append_other_tag(name: &str, tag: &mut String) {
    tag.push('=');
    for c in name.chars() {
        match c {
            ' ' => tag.push_str("\\s"),
            '\\' => tag.push_str("\\\\"),
            other => tag.push(other),
        }
    }
}

/// An address as `shadow.a` and `shadow.f.a` hold it: a byte 4 or 6 and its 4 or 16 bytes. A range of one kind holds none of
/// the other, whether a server orders binary values by their length first or not.
#[must_use]
pub fn packed(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => [&[4], v4.octets().as_slice()].concat(),
        IpAddr::V6(v6) => tagged_v6(v6),
    }
}

/// The same for one of IPv6 that may look like one of IPv4, as the ends of a network do.
#[must_use]
pub fn tagged_v6(address: Ipv6Addr) -> Vec<u8> {
    [&[6], address.octets().as_slice()].concat()
}

/// What `w` holds for every text in which these words are neighbours.
#[must_use]
pub fn needed(words: &[String]) -> Vec<String> {
    let octets = |four: &&[String]| four.iter().all(|word| is_octet(word.as_bytes()));
    let addresses = words.windows(4).filter(octets).map(|four| four.join("."));
    words.iter().cloned().chain(addresses).collect()
}

/// A number up to 255 without needless noughts, as an address has four of.
fn is_octet(word: &[u8]) -> bool {
    let digits = word.len() <= 3 && word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || word[0] != b'0');
    digits && word.iter().fold(0, |number, digit| 10 * number + u32::from(digit - b'0')) <= 255
}

/// A folded word: its first eight bytes as a number that orders as they do, and where it lies. No word has a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    first: u64,
    from: usize,
    to: usize,
}

impl Word {
    fn of(texts: &str, from: usize) -> Self {
        let word = &texts.as_bytes()[from..];
        let first = word.first_chunk().map_or_else(
            || word.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) << (64 - 8 * word.len().max(1)),
            |first| u64::from_be_bytes(*first),
        );
        Self { first, from, to: texts.len() }
    }
}

/// Collects a record's shadow; used again for the next one, so that it allocates nothing.
#[derive(Debug, Default)]
pub struct Shadow {
    /// What `t` and `w` lie in.
    texts: String,
    /// Where the strings of `t` lie in `texts`.
    listed: Vec<(usize, usize)>,
    /// Where the words lie in `texts`.
    words: Vec<Word>,
    columns: Vec<(&'static str, Value)>,
    pairs: Vec<(usize, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Number(Num),
    Address(IpAddr),
}

impl Value {
    /// What a text stands for besides itself.
    fn of(text: &str) -> [Option<Self>; 2] {
        // Both begin with a digit, a sign, a point, a colon or a hexadecimal letter; most texts with something else.
        let first = text.bytes().next().unwrap_or(b' ');
        if !(first.is_ascii_hexdigit() || b"+-.:".contains(&first)) {
            return [None, None];
        }
        [Num::parse(text).map(Self::Number), text.parse().ok().map(Self::Address)]
    }

    fn write(self, name: &str, writer: &mut Writer) {
        match self {
            Self::Number(Num::Whole(whole)) => writer.int64(name, whole),
            Self::Number(Num::Real(real)) => writer.double(name, real),
            Self::Address(address) => writer.binary(name, &packed(address)),
        }
    }
}

impl Shadow {
    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.listed.clear();
        self.words.clear();
        self.columns.clear();
        self.pairs.clear();
    }

    /// Takes the source, which is no text that words are looked for in.
    pub fn source(&mut self, source: &str) {
        self.columns.extend(Value::of(source).into_iter().flatten().map(|value| (names::SOURCE, value)));
    }

    /// Takes the text of a column.
    pub fn keyword(&mut self, keyword: Keyword, text: &str) {
        let name = names::keyword(keyword);
        self.columns.extend(Value::of(text).into_iter().flatten().map(|value| (name, value)));
        self.text(text, |tag| tag.push_str(name));
    }

    /// The pair of this number.
    pub fn pair(&mut self, number: usize, key: &str, value: &str) {
        self.pairs.extend(Value::of(value).into_iter().flatten().map(|value| (number, value)));
        self.text(value, |tag| append_other_tag(key, tag));
    }

    fn text(&mut self, text: &str, tag: impl FnOnce(&mut String)) {
        let mut spans = spans(text).peekable();
        if spans.peek().is_none() {
            return;
        }
        let (start, first) = (self.texts.len(), self.words.len());
        tag(&mut self.texts);
        for (from, to) in spans {
            self.texts.push(' ');
            let start = self.texts.len();
            fold_into(&text[from..to], &mut self.texts);
            self.words.push(Word::of(&self.texts, start));
        }
        self.texts.push(' ');
        let itself = matches!(self.words[first..], [Word { from, to, .. }] if self.texts[from..to] == *text);
        if !itself {
            self.listed.push((start, self.texts.len()));
        }
        self.join(first);
    }

    /// Adds the addresses among the words from `first` on.
    fn join(&mut self, first: usize) {
        for at in first + 3..self.words.len() {
            let [one, two, three, four] = [at - 3, at - 2, at - 1, at].map(|at| self.words[at]);
            if [one, two, three, four].iter().all(|word| is_octet(&self.texts.as_bytes()[word.from..word.to])) {
                let start = self.texts.len();
                for (number, Word { from, to, .. }) in [one, two, three, four].into_iter().enumerate() {
                    if number > 0 {
                        self.texts.push('.');
                    }
                    self.texts.extend_from_within(from..to);
                }
                self.words.push(Word::of(&self.texts, start));
            }
        }
    }

    /// Writes what was collected; `key` names a pair by its number.
    pub fn write<'k>(&mut self, writer: &mut Writer, key: impl Fn(usize) -> &'k str) {
        if self.words.is_empty() && self.columns.is_empty() && self.pairs.is_empty() {
            return;
        }
        let shadow = writer.document(names::SHADOW);
        if !self.words.is_empty() {
            self.write_words(writer);
        }
        self.write_columns(writer, names::NUMBERS, |value| matches!(value, Value::Number(_)));
        self.write_columns(writer, names::ADDRESSES, |value| matches!(value, Value::Address(_)));
        if !self.pairs.is_empty() {
            let list = writer.array(names::PAIRS);
            for (at, &(number, value)) in self.pairs.iter().enumerate() {
                let item = writer.item(at);
                writer.string(names::PAIR_KEY, key(number));
                let name = if matches!(value, Value::Number(_)) { names::NUMBERS } else { names::ADDRESSES };
                value.write(name, writer);
                writer.end(item);
            }
            writer.end(list);
        }
        writer.end(shadow);
    }

    fn write_words(&mut self, writer: &mut Writer) {
        let texts = self.texts.as_str();
        let word = |word: &Word| &texts[word.from..word.to];
        self.words.sort_unstable_by(|one, other| one.first.cmp(&other.first).then_with(|| word(one).cmp(word(other))));
        self.words.dedup_by(|one, other| one.first == other.first && word(one) == word(other));
        let list = writer.array(names::WORDS);
        self.words.iter().map(word).enumerate().for_each(|(at, word)| writer.string_item(at, word));
        writer.end(list);
        if !self.listed.is_empty() {
            let list = writer.array(names::TEXTS);
            for (at, &(from, to)) in self.listed.iter().enumerate() {
                writer.string_item(at, &texts[from..to]);
            }
            writer.end(list);
        }
    }

    fn write_columns(&self, writer: &mut Writer, name: &str, wanted: impl Fn(&Value) -> bool) {
        let mut values = self.columns.iter().filter(|(_, value)| wanted(value)).peekable();
        if values.peek().is_some() {
            let list = writer.document(name);
            values.for_each(|(column, value)| value.write(column, writer));
            writer.end(list);
        }
    }
}

#[cfg(test)]
mod tests;
