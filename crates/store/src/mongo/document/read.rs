//! A document of `logs` as it lies in the database, which somebody may have changed.

use std::borrow::Cow;

use mongodb::bson::{RawBsonRef, RawDocument};
use sceau_event::{Keyword, Micros, Number, Record};

use super::names;

/// What a document says, as far as it can be understood.
#[derive(Debug)]
pub struct Stored<'a> {
    /// The entry's exact bytes.
    pub entry: Option<&'a [u8]>,
    /// The leaf hash.
    pub hash: Option<[u8; 32]>,
    /// The HMAC.
    pub hmac: Option<[u8; 32]>,
    /// The deriver's version.
    pub deriver: &'a str,
    /// The record that people see.
    pub record: Record<'a>,
    /// Fields of another kind than they should be, and such as are none of a document's.
    pub odd: Vec<String>,
}

/// The index that a document says it has, and whether it is a whole number of the kind that it should be. `None`: nothing
/// that could be an index.
pub fn index(document: &RawDocument) -> Option<(u64, bool)> {
    let (value, right) = match document.get(names::ID).ok()?? {
        RawBsonRef::Int64(value) => (value, true),
        RawBsonRef::Int32(value) => (value.into(), false),
        // What a double can't hold exactly is no index that this product has written.
        RawBsonRef::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => (value as i64, false),
        _ => return None,
    };
    Some((u64::try_from(value).ok()?, right))
}

/// The entry's exact bytes.
pub fn entry(document: &RawDocument) -> Option<&[u8]> {
    bytes_of(document.get(names::ENTRY).ok()??)
}

fn bytes_of(value: RawBsonRef<'_>) -> Option<&[u8]> {
    match value {
        RawBsonRef::String(text) => Some(text.as_bytes()),
        RawBsonRef::Binary(binary) => Some(binary.bytes),
        _ => None,
    }
}

/// 32 bytes from lower-case hexadecimal digits.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let half = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = half(pair[0])? << 4 | half(pair[1])?;
    }
    Some(bytes)
}

impl<'a> Stored<'a> {
    /// Reads a document.
    pub fn of(document: &'a RawDocument) -> Self {
        let mut stored = Self {
            entry: None,
            hash: None,
            hmac: None,
            deriver: "",
            record: Record::new(Micros(0), Cow::Borrowed("")),
            odd: Vec::new(),
        };
        for element in document {
            match element {
                Ok((name, value)) => {
                    let name = name.as_str();
                    if stored.take(name, value).is_none() {
                        stored.odd.push(name.to_owned());
                    }
                }
                Err(error) => {
                    stored.odd.push(format!("({error})"));
                    break;
                }
            }
        }
        stored
    }

    /// Takes one field; `None` if it is not what it should be.
    fn take(&mut self, name: &str, value: RawBsonRef<'a>) -> Option<()> {
        match name {
            // Compared as a whole with what the record would be written as.
            names::ID | names::TIMESTAMP | names::TIME | names::RECEIVED | names::SHADOW => {}
            names::TIME_MICROS => self.record.time = Micros(value.as_i64()?),
            names::RECEIVED_MICROS => self.record.received = Micros(value.as_i64()?),
            names::SOURCE => self.record.source = Cow::Borrowed(value.as_str()?),
            names::ENTRY => self.entry = Some(bytes_of(value)?),
            names::HASH => self.hash = Some(from_hex(value.as_str()?)?),
            names::HMAC => self.hmac = Some(from_hex(value.as_str()?)?),
            names::DERIVER => self.deriver = value.as_str()?,
            names::FIELDS => {
                for item in value.as_array()? {
                    let pair = item.ok()?.as_document()?;
                    let text = |name| Some(Cow::Borrowed(pair.get(name).ok()??.as_str()?));
                    self.record.fields.push((text(names::PAIR_KEY)?, text(names::PAIR_VALUE)?));
                }
            }
            _ => self.take_column(name, value)?,
        }
        Some(())
    }

    fn take_column(&mut self, name: &str, value: RawBsonRef<'a>) -> Option<()> {
        if let Some(keyword) = Keyword::ALL.into_iter().find(|keyword| names::keyword(*keyword) == name) {
            let text = value.as_str()?;
            let text = if keyword == Keyword::EventOutcome { names::outcome_of_status(text) } else { text };
            self.record.keywords[keyword as usize] = Some(Cow::Borrowed(text));
            return Some(());
        }
        let number = Number::ALL.into_iter().find(|number| names::number(*number) == name)?;
        self.record.numbers[number as usize] = Some(value.as_i64()?);
        Some(())
    }
}

/// The first field in which two documents differ.
pub fn difference(stored: &RawDocument, wanted: &RawDocument) -> Option<String> {
    if stored.as_bytes() == wanted.as_bytes() {
        return None;
    }
    let value = |document: &RawDocument, name: &str| -> Option<mongodb::bson::RawBson> {
        document.get(name).ok().flatten().map(Into::into)
    };
    let names = |document: &RawDocument| -> Vec<String> {
        document.iter().map_while(Result::ok).map(|(name, _)| name.as_str().to_owned()).collect()
    };
    // In another order, but otherwise the same, it is still the same to everybody who reads it.
    let all = names(wanted).into_iter().chain(names(stored));
    let differs = |name: &String| value(stored, name) != value(wanted, name);
    let mut seen = std::collections::HashSet::new();
    let twice = names(stored).into_iter().find(|name| !seen.insert(name.clone()));
    all.into_iter().find(differs).or(twice)
}
