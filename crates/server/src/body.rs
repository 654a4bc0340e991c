//! Bodies as bytes: inflating with a limit, and cutting them into events without touching their tokens.

use std::{borrow::Cow, io::Read};

use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::error::ServerError;

/// The greatest window of a Zstandard frame, as a power of two: 32 MiB, more than any level up to 21 uses.
const ZSTD_WINDOW: u32 = 25;

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// It isn't.
    #[default]
    Identity,
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, an array of objects, or an object a line.
    #[default]
    Json,
    /// A JSON object a line.
    Ndjson,
    /// Each line is an event.
    Text,
}

/// The kind of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A JSON object.
    Object,
    /// A line of text.
    Line,
}

/// Inflates a body of at most `limit` bytes.
///
/// # Errors
/// [`ServerError::BodyTooLarge`] beyond the limit, [`ServerError::Body`] if it can't be inflated.
pub fn inflate(body: &[u8], encoding: Encoding, limit: usize) -> Result<Cow<'_, [u8]>, ServerError> {
    let reader: Box<dyn Read + '_> = match encoding {
        Encoding::Identity => return Ok(Cow::Borrowed(body)),
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(body)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)
                .map_err(|error| ServerError::Internal(format!("zstd: {error}")))?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(|error| ServerError::Internal(format!("zstd: {error}")))?;
            Box::new(decoder)
        }
    };
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(4).min(limit));
    let read = reader.take(limit as u64 + 1).read_to_end(&mut inflated);
    read.map_err(|error| ServerError::Body(format!("it can't be inflated: {error}")))?;
    if inflated.len() > limit {
        return Err(ServerError::BodyTooLarge { limit, inflated: true });
    }
    Ok(Cow::Owned(inflated))
}

/// Gives each event of a body with its number (of its line, or of its place in the array, from 1).
///
/// # Errors
/// What `each` returns; [`ServerError::Body`] where the body can't be cut, which only happens to arrays.
pub fn split(
    body: &[u8],
    format: Format,
    mut each: impl FnMut(u64, Kind, &[u8]) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    match format {
        Format::Text => lines(body, |number, line| each(number, Kind::Line, line)),
        Format::Ndjson => lines(body, |number, line| each(number, Kind::Object, line)),
        Format::Json => match body.iter().find(|byte| !is_space(**byte)) {
            None => Ok(()),
            Some(b'[') => array(body, |number, element| each(number, Kind::Object, element)),
            Some(_) if holds_lines(body) => lines(body, |number, line| each(number, Kind::Object, line)),
            Some(_) => each(1, Kind::Object, body),
        },
    }
}

/// Whether the first line is a JSON value of its own and more follows. One object spread over lines is not.
fn holds_lines(body: &[u8]) -> bool {
    let mut full = body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line));
    let (Some(first), Some(_)) = (full.next(), full.next()) else { return false };
    serde_json::from_slice::<&RawValue>(first).is_ok()
}

fn lines(body: &[u8], mut each: impl FnMut(u64, &[u8]) -> Result<(), ServerError>) -> Result<(), ServerError> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', body).chain(std::iter::once(body.len()));
    for (end, number) in ends.zip(1..) {
        let line = body.get(start..end).unwrap_or_default();
        start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !is_blank(line) {
            each(number, line)?;
        }
    }
    Ok(())
}

/// Walks an array without collecting it: a body of millions of tiny elements must not grow in memory.
fn array(body: &[u8], each: impl FnMut(u64, &[u8]) -> Result<(), ServerError>) -> Result<(), ServerError> {
    struct Elements<'r, F> {
        each: F,
        failed: &'r mut Option<ServerError>,
    }

    impl<'de, F: FnMut(u64, &[u8]) -> Result<(), ServerError>> Visitor<'de> for Elements<'_, F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            let mut number = 0;
            while let Some(element) = elements.next_element::<&RawValue>()? {
                number += 1;
                if let Err(error) = (self.each)(number, element.get().as_bytes()) {
                    *self.failed = Some(error);
                    return Err(A::Error::custom("stopped"));
                }
            }
            elements.next_element::<IgnoredAny>().map(|_| ())
        }
    }

    let mut failed = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let walked = deserializer.deserialize_seq(Elements { each, failed: &mut failed });
    if let Some(error) = failed {
        return Err(error);
    }
    walked
        .and_then(|()| deserializer.end())
        .map_err(|error| ServerError::Body(format!("the array is not valid JSON ({error}); nothing of it was kept")))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| is_space(*byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn events(body: &str, format: Format) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        split(body.as_bytes(), format, |number, _, event| {
            found.push((number, String::from_utf8(event.to_vec()).unwrap()));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn events_of_each_shape() {
        let one = |n: u64, text: &str| (n, text.to_owned());
        assert_eq!(events("{\"a\":1}", Format::Json), [one(1, "{\"a\":1}")]);
        assert_eq!(events("{\"a\":1}\n", Format::Json), [one(1, "{\"a\":1}\n")]);
        assert_eq!(events("{\n \"a\": 1\n}\n", Format::Json), [one(1, "{\n \"a\": 1\n}\n")]);
        assert_eq!(events("{\"a\":1}\r\n\n{\"a\":2}\n", Format::Json), [one(1, "{\"a\":1}"), one(3, "{\"a\":2}")]);
        assert_eq!(events("{\"a\":1}\n{broken\n", Format::Json), [one(1, "{\"a\":1}"), one(2, "{broken")]);
        assert_eq!(
            events(" [ {\"a\": 9007199254740993.10} ,\n{\"b\":[1]} ] ", Format::Json),
            [one(1, "{\"a\": 9007199254740993.10}"), one(2, "{\"b\":[1]}")]
        );
        assert_eq!(events("[]", Format::Json), []);
        assert_eq!(events(" \n ", Format::Json), []);
        assert_eq!(events("a\n\n b \r\nc", Format::Text), [one(1, "a"), one(3, " b "), one(4, "c")]);
    }

    #[test]
    fn an_array_that_is_not_json_is_refused() {
        for body in ["[{\"a\":1}", "[{\"a\":1},]", "[{\"a\":1}] x", "[{\"a\":1} {\"a\":2}]"] {
            let result = split(body.as_bytes(), Format::Json, |_, _, _| Ok(()));
            assert!(matches!(result, Err(ServerError::Body(_))), "{body}");
        }
        let mut seen = 0;
        let result = split(b"[1,2,3]", Format::Json, |_, _, _| {
            seen += 1;
            Err(ServerError::Overloaded)
        });
        assert!(matches!(result, Err(ServerError::Overloaded)) && seen == 1);
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bombs_are_refused_and_members_joined() {
        let big = vec![b'a'; 1 << 20];
        for (packed, encoding) in
            [(gzip(&big), Encoding::Gzip), (zstd::encode_all(big.as_slice(), 19).unwrap(), Encoding::Zstd)]
        {
            assert!(packed.len() < 2_000);
            assert_eq!(inflate(&packed, encoding, 1 << 20).unwrap().len(), 1 << 20);
            let refused = inflate(&packed, encoding, (1 << 20) - 1);
            assert!(matches!(refused, Err(ServerError::BodyTooLarge { inflated: true, .. })));
            assert!(matches!(inflate(&packed[..packed.len() / 2], encoding, 1 << 20), Err(ServerError::Body(_))));
            assert!(matches!(inflate(b"not packed", encoding, 100), Err(ServerError::Body(_))));
        }
        let two = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(*inflate(&two, Encoding::Gzip, 100).unwrap(), *b"one\ntwo\n");
    }
}
