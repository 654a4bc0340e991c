//! Addresses within texts as one token each, so that a rare one is told from its common parts.
//!
//! Matching knows words only: a search for `192.0.2.99` finds `192-0-2-99` as well. So what is listed does not depend on
//! what stands between the words either: four neighbours that are numbers up to 255, as an IPv4 address has; three
//! neighbours of up to four hexadecimal digits with a letter among them, as an IPv6 address has (several of them, if it
//! is long).

use super::{finished, mixed};

// Further digits of pi, see the other seeds.
const OCTETS_SEED: u64 = 0xa409_3822_299f_31d0;
const GROUPS_SEED: u64 = 0x082e_fa98_ec4e_6c89;
/// Words of an IPv4 address.
const OCTETS: usize = 4;
/// Words of an IPv6 address that make a token.
const GROUPS: usize = 3;

/// What a word can be in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A number up to 255 without needless noughts: most numbers of dates and times of day are none.
    Octet,
    /// Up to four other digits.
    Digits,
    /// Up to four hexadecimal digits, not all of them decimal.
    Letters,
}

impl Part {
    fn of(word: &[u8]) -> Option<Self> {
        if word.len() > 4 || !word.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        if !word.iter().all(u8::is_ascii_digit) {
            return Some(Self::Letters);
        }
        let number = word.iter().fold(0, |number, digit| 10 * number + u32::from(digit - b'0'));
        let octet = number <= 255 && (word.len() == 1 || word.first() != Some(&b'0'));
        Some(if octet { Self::Octet } else { Self::Digits })
    }
}

/// The last words of a text, as far as they can be parts of addresses.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// The newest last.
    hashes: [u64; OCTETS],
    /// How many of the newest words are octets.
    octets: usize,
    /// How many of the newest words are groups.
    groups: usize,
    /// How many groups ago there was a letter, plus one; 0: none.
    letter: usize,
}

impl Joiner {
    /// Takes the text's next word, of which `hash` is the hash, and gives `found` what it completes.
    #[inline]
    pub fn word(&mut self, word: &[u8], hash: u64, found: &mut impl FnMut(u64)) {
        let Some(part) = Part::of(word) else {
            self.gap();
            return;
        };
        self.hashes.rotate_left(1);
        self.hashes[OCTETS - 1] = hash;
        self.octets = if part == Part::Octet { self.octets + 1 } else { 0 };
        self.groups += 1;
        self.letter = match part {
            Part::Letters => 1,
            _ if self.letter > 0 => self.letter + 1,
            _ => 0,
        };
        if self.octets >= OCTETS {
            found(joined(OCTETS_SEED, &self.hashes));
        }
        if self.groups >= GROUPS && (1..=GROUPS).contains(&self.letter) {
            found(joined(GROUPS_SEED, &self.hashes[OCTETS - GROUPS..]));
        }
    }

    /// A word that is part of no address.
    #[inline]
    pub fn gap(&mut self) {
        (self.octets, self.groups, self.letter) = (0, 0, 0);
    }
}

fn joined(seed: u64, words: &[u64]) -> u64 {
    finished(words.iter().fold(seed, |state, word| mixed(state, *word)), words.len() as u64)
}
