//! Cutting an input into events, and knowing at each event's end where that is.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;
use sha2::{Digest as _, Sha256};

/// The longest event that is kept in memory. What is longer is far beyond what an entry can hold, so its start is
/// enough for the server to refuse and count it.
pub const MAX_EVENT: usize = 4 << 20;
/// How much of the input before a position identifies it.
pub const TAIL: usize = 4096;
/// What some editors begin a file with.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// The last bytes that went by.
#[derive(Clone, Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Bytes go by.
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.len() >= TAIL {
            self.0.clear();
            self.0.extend_from_slice(&bytes[bytes.len() - TAIL..]);
            return;
        }
        self.0.extend_from_slice(bytes);
        // Not at every push, so that short ones stay cheap.
        if self.0.len() > 4 * TAIL {
            self.0.drain(..self.0.len() - TAIL);
        }
    }

    /// The last of them, at most [`TAIL`].
    pub fn bytes(&self) -> &[u8] {
        &self.0[self.0.len().saturating_sub(TAIL)..]
    }

    /// Their SHA-256 in hexadecimal.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.bytes()))
    }

    fn take(&mut self, other: &mut Self) {
        self.push(other.bytes());
        other.0.clear();
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is one JSON value.
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(text.trim_ascii()).is_ok()
}

/// How events lie in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One a line.
    Lines,
    /// JSON values one after the other, or in an array.
    Values,
}

/// What there is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event, in [`Events::event`].
    Event,
    /// The input ends for now, perhaps inside an event.
    End,
}

/// Reads events from an input.
pub struct Events {
    input: BufReader<Box<dyn Read + Send>>,
    shape: Shape,
    scan: Scan,
    event: Vec<u8>,
    done: bool,
    at_end: bool,
    growing: bool,
    held_back: bool,
    /// Bytes since the last event's end.
    length: u64,
    pending: Tail,
    offset: u64,
    tail: Tail,
}

/// Where a scan through JSON values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Between,
    Scalar,
    Inside { depth: u32, string: bool, escape: bool },
}

impl Events {
    /// Reads from `input`, which stands at `offset` behind `tail`.
    pub fn new(input: Box<dyn Read + Send>, shape: Shape, offset: u64, tail: Tail) -> Self {
        Self {
            input: BufReader::with_capacity(256 << 10, input),
            shape,
            scan: Scan::Between,
            event: Vec::new(),
            done: true,
            at_end: false,
            growing: false,
            held_back: false,
            length: 0,
            pending: Tail::default(),
            offset,
            tail,
        }
    }

    /// The input is JSON that may be written to: an object that is not whole at its end is held back.
    pub fn growing(mut self) -> Self {
        self.growing = true;
        self
    }

    /// Whether there was such an object.
    pub fn held_back(&self) -> bool {
        self.held_back
    }

    /// The event, without its line feed.
    pub fn event(&self) -> &[u8] {
        &self.event
    }

    /// Where the last event ended, in inflated bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The hash of the bytes before [`Events::offset`].
    pub fn tail(&self) -> String {
        self.tail.hash()
    }

    /// Whether more was read already, so that the next event can be had at once.
    pub fn buffered(&self) -> bool {
        !self.input.buffer().is_empty()
    }

    /// Whether the input had no more when it was last asked.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// Looks for the next event. At the input's end, an event without an end counts if `last`.
    pub fn next(&mut self, last: bool) -> io::Result<Next> {
        if self.done {
            self.event.clear();
            self.done = false;
        }
        loop {
            let chunk = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            self.at_end = chunk.is_empty();
            if self.at_end {
                let begun = self.length > 0 && (self.shape == Shape::Lines || self.scan != Scan::Between);
                self.held_back = begun && self.growing && self.unfinished();
                if last && begun && !self.held_back {
                    self.complete();
                    return Ok(Next::Event);
                }
                return Ok(Next::End);
            }
            let (used, ended) = match self.shape {
                Shape::Lines => line(chunk, &mut self.event),
                Shape::Values => value(chunk, &mut self.scan, &mut self.event),
            };
            self.pending.push(&chunk[..used]);
            self.length += used as u64;
            self.input.consume(used);
            if ended {
                self.complete();
                return Ok(Next::Event);
            }
        }
    }

    /// Whether what was read of the event can't be all of it.
    fn unfinished(&self) -> bool {
        let text = self.event.strip_prefix(BOM).unwrap_or(&self.event).trim_ascii();
        match self.shape {
            Shape::Lines => !(text.is_empty() || text.starts_with(b"{") && is_json(text)),
            Shape::Values => matches!(self.scan, Scan::Inside { .. }),
        }
    }

    fn complete(&mut self) {
        self.offset += self.length;
        self.length = 0;
        self.tail.take(&mut self.pending);
        self.scan = Scan::Between;
        self.done = true;
    }
}

fn keep(event: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_EVENT.saturating_sub(event.len());
    event.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Takes bytes up to the line's end: how many, and whether it was found.
fn line(chunk: &[u8], event: &mut Vec<u8>) -> (usize, bool) {
    match memchr(b'\n', chunk) {
        Some(end) => {
            keep(event, &chunk[..end]);
            (end + 1, true)
        }
        None => {
            keep(event, chunk);
            (chunk.len(), false)
        }
    }
}

/// Takes bytes up to the value's end. What is no JSON comes out in pieces that the server refuses by number.
fn value(chunk: &[u8], scan: &mut Scan, event: &mut Vec<u8>) -> (usize, bool) {
    for (at, &byte) in chunk.iter().enumerate() {
        match scan {
            Scan::Between => match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' => continue,
                b'{' => *scan = Scan::Inside { depth: 1, string: false, escape: false },
                _ => *scan = Scan::Scalar,
            },
            Scan::Scalar => {
                if matches!(byte, b',' | b']' | b'\n') {
                    return (at, true);
                }
            }
            Scan::Inside { depth, string, escape } => match byte {
                _ if *escape => *escape = false,
                b'\\' if *string => *escape = true,
                b'"' => *string = !*string,
                b'{' | b'[' if !*string => *depth = depth.saturating_add(1),
                b'}' | b']' if !*string => *depth -= 1,
                _ => {}
            },
        }
        let string = matches!(scan, Scan::Inside { string: true, .. });
        let byte = match byte {
            // One value a line. Inside a string a line break is not JSON, and must not become it.
            b'\n' | b'\r' if string => 0x01,
            b'\n' | b'\r' => b' ',
            byte => byte,
        };
        keep(event, &[byte]);
        if matches!(scan, Scan::Inside { depth: 0, .. }) {
            return (at + 1, true);
        }
    }
    (chunk.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one length.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    fn all(text: &str, shape: Shape, piece: usize) -> Vec<(String, u64)> {
        let mut events = Events::new(Box::new(Pieces(text.into(), piece)), shape, 0, Tail::default());
        let mut found = Vec::new();
        while events.next(true).unwrap() == Next::Event {
            let mut tail = Tail::default();
            tail.push(&text.as_bytes()[..events.offset() as usize]);
            assert_eq!(events.tail(), tail.hash());
            found.push((String::from_utf8(events.event().to_vec()).unwrap(), events.offset()));
        }
        found
    }

    #[test]
    fn lines_end_where_they_end() {
        for piece in [1, 2, 100] {
            let found = all("one\n\ntwo\r\nend", Shape::Lines, piece);
            let found: Vec<_> = found.iter().map(|(text, at)| (text.as_str(), *at)).collect();
            assert_eq!(found, [("one", 4), ("", 5), ("two\r", 10), ("end", 13)]);
            assert_eq!(all("", Shape::Lines, piece), []);
        }
    }

    #[test]
    fn values_of_arrays_and_in_a_row() {
        for piece in [1, 3, 100] {
            let text = "[ {\"a\": \"]}\\\"\"},\n {\"b\":\n[1,{}]}, 7, x\n]\n";
            let found: Vec<_> = all(text, Shape::Values, piece).into_iter().map(|(text, _)| text).collect();
            assert_eq!(found, ["{\"a\": \"]}\\\"\"}", "{\"b\": [1,{}]}", "7", "x"]);
            let found = all("{\n\"a\":1\n}\n{\"b\":\"\n\"}", Shape::Values, piece);
            let found: Vec<_> = found.iter().map(|(text, at)| (text.as_str(), *at)).collect();
            assert_eq!(found, [("{ \"a\":1 }", 9), ("{\"b\":\"\u{1}\"}", 19)]);
        }
    }

    #[test]
    fn an_unfinished_event_waits() {
        let (input, shape) = (Box::new(Pieces(b"one\ntw".to_vec(), 100)), Shape::Lines);
        let mut events = Events::new(input, shape, 0, Tail::default());
        assert_eq!(events.next(false).unwrap(), Next::Event);
        assert_eq!(events.next(false).unwrap(), Next::End);
        assert_eq!(events.offset(), 4);
        assert_eq!(events.next(true).unwrap(), Next::Event);
        assert_eq!((events.event(), events.offset()), (&b"tw"[..], 6));
    }

    #[test]
    fn an_object_that_is_still_being_written_is_held_back() {
        for (text, shape, held, offset) in [
            ("{\"a\":1}\n{\"a\":", Shape::Lines, true, 8),
            ("{\"a\":1}\nx", Shape::Lines, true, 8),
            ("{\"a\":1}\n{\"a\":2}", Shape::Lines, false, 15),
            ("{\"a\":1}\n  ", Shape::Lines, false, 10),
            ("\u{feff}{\"a\":1} ", Shape::Lines, false, 11),
            ("[{\"a\":1},\n{\"a\":", Shape::Values, true, 8),
            ("[{\"a\":1},\n7", Shape::Values, false, 11),
        ] {
            let input = Box::new(io::Cursor::new(text.to_owned()));
            let mut events = Events::new(input, shape, 0, Tail::default()).growing();
            while events.next(true).unwrap() == Next::Event {}
            assert_eq!((events.held_back(), events.offset()), (held, offset), "{text}");
        }
    }

    #[test]
    fn long_events_are_cut_but_counted() {
        let text = "x".repeat(MAX_EVENT + 10_000) + "\nnext\n";
        let mut events = Events::new(Box::new(io::Cursor::new(text.clone())), Shape::Lines, 0, Tail::default());
        assert_eq!(events.next(true).unwrap(), Next::Event);
        assert_eq!((events.event().len(), events.offset()), (MAX_EVENT, MAX_EVENT as u64 + 10_001));
        assert_eq!(events.next(true).unwrap(), Next::Event);
        assert_eq!(events.event(), b"next");
        let mut tail = Tail::default();
        tail.push(text.as_bytes());
        assert_eq!(events.tail(), tail.hash());
    }
}
