//! A line and the bytes that its record can borrow from.

use crate::json::Escapes;
use std::borrow::Cow;

/// A line as it was sent (`line`) and as it stands in the entry, escaped.
pub(crate) struct Text<'l, 'e> {
    pub line: &'l str,
    entry: Option<(&'e str, Escapes)>,
}

impl<'l, 'e> Text<'l, 'e> {
    /// A line that stands in the entry as it is.
    pub fn plain(line: &'e str) -> Text<'e, 'e> {
        Text { line, entry: Some((line, Escapes::default())) }
    }

    /// A line whose escaped form stands in the entry.
    pub fn escaped(line: &'l str, entry: &'e str, escapes: Escapes) -> Self {
        Self { line, entry: Some((entry, escapes)) }
    }

    /// A line of which no part stands in the entry.
    pub fn detached(line: &'l str) -> Self {
        Self { line, entry: None }
    }

    /// A part of the line, borrowed from the entry if it has no escape there.
    pub fn keep(&self, part: &str) -> Cow<'e, str> {
        let start = (part.as_ptr() as usize).wrapping_sub(self.line.as_ptr() as usize);
        match &self.entry {
            Some((entry, escapes)) if start <= self.line.len() => escapes
                .borrow(entry, start, start + part.len())
                .map_or_else(|| Cow::Owned(part.to_owned()), Cow::Borrowed),
            _ => Cow::Owned(part.to_owned()),
        }
    }
}
