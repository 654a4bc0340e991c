//! What word filters hold.

/// Which tokens a filter holds, and how many bits it has for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rules {
    /// Words and whole values; 8 bits.
    Words,
    /// Addresses within texts besides; 16 bits.
    Addresses,
}

impl Rules {
    /// What new filters are made by.
    pub const NEWEST: Self = Self::Addresses;

    /// The rules with their version, if a filter that was made by them can be asked. Unicode moves with the compiler,
    /// and a filter made by other rules for cutting and folding could hide a match.
    #[must_use]
    pub fn named(version: &str) -> Option<Self> {
        [Self::Words, Self::Addresses].into_iter().find(|rules| rules.version() == version)
    }

    /// Names the rules by which [`super::tokens`] and [`super::value_hash`] cut, fold and hash.
    #[must_use]
    pub fn version(self) -> String {
        let (major, minor, update) = char::UNICODE_VERSION;
        let number = match self {
            Self::Words => 1,
            Self::Addresses => 2,
        };
        format!("{number}-unicode-{major}.{minor}.{update}")
    }
}

/// What a filter can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// A word, or a whole value of a column.
    Word(u64),
    /// An address, or a part of one that is several words.
    Address(u64),
}

impl Token {
    /// The token's hash if filters by these rules hold such tokens.
    #[must_use]
    pub fn under(self, rules: Rules) -> Option<u64> {
        match self {
            Self::Word(hash) => Some(hash),
            Self::Address(hash) => (rules >= Rules::Addresses).then_some(hash),
        }
    }
}
