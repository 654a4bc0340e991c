//! What the lexer writes and the lowering reads: the text for the grammar and what its numbers stand for.

/// The name of a field as written, without escapes.
#[derive(Debug)]
pub(super) struct Name {
    pub at: usize,
    pub text: String,
}

/// A value as written, without escapes and quotes.
#[derive(Debug)]
pub(super) struct Value {
    pub at: usize,
    /// The text between unquoted, unescaped `*`; always at least one piece.
    pub pieces: Vec<String>,
    pub quoted: bool,
}

impl Value {
    /// The whole value, if it has no wildcard.
    pub fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Is it nothing but `*`?
    pub fn is_star(&self) -> bool {
        !self.quoted && self.pieces.len() > 1 && self.pieces.iter().all(String::is_empty)
    }
}

/// The canonical text: names are `f0`, `f1`…, values `0`, `1`…, every operator is written out.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    pub text: String,
    pub names: Vec<Name>,
    pub values: Vec<Value>,
    /// Pairs of a byte of the canonical text and the byte of the user's text that it stands for.
    marks: Vec<(usize, usize)>,
}

impl Canonical {
    /// The byte of the user's text that a byte of the canonical text stands for.
    pub fn source(&self, at: usize) -> usize {
        let behind = self.marks.partition_point(|(canonical, _)| *canonical <= at);
        self.marks[..behind].last().map_or(0, |(_, source)| *source)
    }

    /// Adds a part that stands for what is at `at` of the user's text.
    pub fn write(&mut self, at: usize, text: &str) {
        self.marks.push((self.text.len(), at));
        self.text.push_str(text);
    }

    /// Adds a value's number and keeps the value.
    pub fn value(&mut self, value: Value) {
        self.write(value.at, &self.values.len().to_string());
        self.values.push(value);
    }
}
