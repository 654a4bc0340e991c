//! What the outermost objects of many texts have in common: their keys. Most neighbours in a log look alike.

/// The keys of an outermost object, in order, all different from each other. Fewer than there can be in an event: those
/// with escapes and very many are not kept.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// Whether keys are to be kept for the next text.
    pub learning: bool,
    /// How many keys of the last text, from the first on, are those of the shape.
    pub known: usize,
    /// Changes with the keys.
    pub version: u64,
    /// The keys one behind the other as texts have them, with quotes and colon.
    written: Vec<u8>,
    /// Where each ends in `written`.
    pub(super) ends: Vec<usize>,
}

impl Shape {
    /// One that keeps keys.
    pub fn learning() -> Self {
        Self { learning: true, ..Self::default() }
    }

    /// A key with its quotes and the colon.
    #[inline]
    pub(super) fn written(&self, number: usize) -> Option<&[u8]> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |start| *start);
        self.written.get(start..end)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let written = (0..self.ends.len()).filter_map(|number| self.written(number));
        written.map(|key| key.get(1..key.len() - 2).and_then(|key| std::str::from_utf8(key).ok()).unwrap_or(""))
    }

    pub(super) fn learn<K: AsRef<[u8]>>(&mut self, keys: impl Iterator<Item = K>) {
        self.forget();
        for key in keys {
            self.written.push(b'"');
            self.written.extend_from_slice(key.as_ref());
            self.written.extend_from_slice(b"\":");
            self.ends.push(self.written.len());
        }
        self.known = self.ends.len();
    }

    pub(super) fn forget(&mut self) {
        self.written.clear();
        self.ends.clear();
        self.known = 0;
        self.version += 1;
    }
}
