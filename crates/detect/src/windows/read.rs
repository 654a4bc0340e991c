//! The bytes of snapshots: whole numbers of as few bytes as they need, texts once.

use super::names::{Id, NONE, Names};
use super::snapshot::SnapshotError;

/// Times beyond that are no times. Differences between two that aren't always fit.
pub(super) const MAX_TIME: i64 = 1 << 61;

/// Writes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub bytes: Vec<u8>,
    /// By id: the text's number in these bytes, from 1; 0 if it isn't there yet.
    known: Vec<u32>,
    texts: u32,
}

impl Writer {
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A text by its id: 0 for none, 1 and the text if it is the first time, else its number and 1.
    pub fn id(&mut self, id: Id, names: &Names) {
        if id == NONE {
            return self.number(0);
        }
        if self.known.len() <= id as usize {
            self.known.resize(id as usize + 1, 0);
        }
        match self.known[id as usize] {
            0 => {
                self.texts += 1;
                self.known[id as usize] = self.texts;
                self.number(1);
                self.text(names.text(id));
            }
            number => self.number(u64::from(number) + 1),
        }
    }
}

/// Reads bytes that anybody may have made.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    /// By number. Each is held once by the reader itself.
    texts: Vec<Id>,
}

type Result<T> = std::result::Result<T, SnapshotError>;

impl<'b> Reader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes, texts: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SnapshotError::Malformed("it is cut"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SnapshotError::Malformed("it is cut"))
    }

    pub fn number(&mut self) -> Result<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(SnapshotError::Malformed("a number is too long"))
    }

    pub fn signed(&mut self) -> Result<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| SnapshotError::Malformed("a number is too great"))
    }

    /// How many elements follow; each takes a byte at least, so that nobody makes us reserve memory for nothing.
    pub fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.rest.len() {
            Err(SnapshotError::Malformed("a list is longer than the rest"))
        } else {
            Ok(count)
        }
    }

    pub fn time(&mut self) -> Result<i64> {
        checked_time(self.signed()?)
    }

    /// A time told as the difference to another.
    pub fn time_from(&mut self, other: i64) -> Result<i64> {
        checked_time(other.wrapping_add(self.signed()?))
    }

    pub fn text(&mut self) -> Result<&'b str> {
        let count = self.count()?;
        std::str::from_utf8(self.take(count)?).map_err(|_| SnapshotError::Malformed("a text is not UTF-8"))
    }

    /// A text, held.
    pub fn id(&mut self, names: &mut Names) -> Result<Id> {
        match self.number()? {
            0 => Ok(NONE),
            1 => {
                let id = names.hold(self.text()?);
                self.texts.push(id);
                Ok(names.share(id))
            }
            number => {
                let at = usize::try_from(number - 2).unwrap_or(usize::MAX);
                let id = self.texts.get(at).ok_or(SnapshotError::Malformed("a text is not there"))?;
                Ok(names.share(*id))
            }
        }
    }

    /// Gives back what the reader itself held.
    pub fn finish(self, names: &mut Names) {
        self.texts.into_iter().for_each(|id| names.drop(id));
    }
}

fn checked_time(time: i64) -> Result<i64> {
    if (-MAX_TIME..=MAX_TIME).contains(&time) { Ok(time) } else { Err(SnapshotError::Malformed("a time is no time")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        let mut writer = Writer::default();
        numbers.iter().for_each(|&number| writer.number(number));
        numbers.iter().for_each(|&number| writer.signed(number as i64));
        let mut reader = Reader::new(&writer.bytes);
        for number in numbers {
            assert_eq!(reader.number(), Ok(number));
        }
        for number in numbers {
            assert_eq!(reader.signed(), Ok(number as i64));
        }
        assert!(reader.is_empty());
        assert!(Reader::new(&[0x80; 12]).number().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number().is_err());
    }

    #[test]
    fn texts_come_once() {
        let mut names = Names::new();
        let (a, b) = (names.hold("alice"), names.hold("bob"));
        let mut writer = Writer::default();
        [a, b, a, NONE, b].into_iter().for_each(|id| writer.id(id, &names));
        let mut others = Names::new();
        let mut reader = Reader::new(&writer.bytes);
        let read: Vec<Id> = (0..5).map(|_| reader.id(&mut others).unwrap()).collect();
        let texts: Vec<&str> = read.iter().map(|id| others.text(*id)).collect();
        assert_eq!(texts, ["alice", "bob", "alice", "", "bob"]);
        reader.finish(&mut others);
        read.into_iter().for_each(|id| others.drop(id));
        assert_eq!(others.bytes(), 0);
    }
}
