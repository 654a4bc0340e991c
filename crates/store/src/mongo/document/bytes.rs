//! BSON, written straight into one buffer.

/// BSON's kinds of values, as far as documents of `logs` use them.
const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BINARY: u8 = 0x05;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const INT64: u8 = 0x12;

/// A document being written. Names must not hold NUL: they are this crate's own, never an event's.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

/// Where an open document began.
#[derive(Debug)]
#[must_use]
pub struct Open(usize);

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes) }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    pub fn begin(&mut self) -> Open {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        Open(start)
    }

    /// Closes a document or array. What is longer than 2 GiB can't come into being: limits of commits are far lower, and
    /// the server refuses a wrong length.
    pub fn end(&mut self, Open(start): Open) {
        self.buffer.push(0);
        let length = i32::try_from(self.buffer.len() - start).unwrap_or(i32::MAX);
        self.buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn key(&mut self, kind: u8, name: &str) {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(0);
    }

    fn number_key(&mut self, kind: u8, mut number: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&digits[at..]);
        self.buffer.push(0);
    }

    fn text(&mut self, text: &str) {
        let length = i32::try_from(text.len() + 1).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(0);
    }

    pub fn document(&mut self, name: &str) -> Open {
        self.key(DOCUMENT, name);
        self.begin()
    }

    pub fn array(&mut self, name: &str) -> Open {
        self.key(ARRAY, name);
        self.begin()
    }

    /// A document as the element of an array.
    pub fn item(&mut self, number: usize) -> Open {
        self.number_key(DOCUMENT, number);
        self.begin()
    }

    /// A document that is written already as the element of an array.
    pub fn raw_item(&mut self, number: usize, document: &[u8]) {
        self.number_key(DOCUMENT, number);
        self.buffer.extend_from_slice(document);
    }

    pub fn string_item(&mut self, number: usize, text: &str) {
        self.number_key(STRING, number);
        self.text(text);
    }

    pub fn string(&mut self, name: &str, text: &str) {
        self.key(STRING, name);
        self.text(text);
    }

    pub fn boolean(&mut self, name: &str, value: bool) {
        self.key(BOOLEAN, name);
        self.buffer.push(value.into());
    }

    pub fn int64(&mut self, name: &str, value: i64) {
        self.key(INT64, name);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    pub fn double(&mut self, name: &str, value: f64) {
        self.key(DOUBLE, name);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    /// A date of the millisecond that these microseconds lie in.
    pub fn date(&mut self, name: &str, micros: i64) {
        self.key(DATE, name);
        self.buffer.extend_from_slice(&micros.div_euclid(1_000).to_le_bytes());
    }

    pub fn binary(&mut self, name: &str, bytes: &[u8]) {
        self.key(BINARY, name);
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        // The generic subtype.
        self.buffer.push(0);
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes in lower-case hexadecimal digits.
    pub fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.key(STRING, name);
        let length = i32::try_from(2 * bytes.len() + 1).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_le_bytes());
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        self.buffer.extend(digits);
        self.buffer.push(0);
    }
}
