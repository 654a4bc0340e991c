//! Names of sources.

use crate::error::SourceError;
use std::borrow::Cow;
use std::fmt;

/// Who sent an event: 1 to 64 bytes of `a-z 0-9 . _ -`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(Cow<'static, str>);

impl SourceId {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// The name is empty, longer than [`Self::MAX`] or has another character.
    pub fn parse(name: &str) -> Result<Self, SourceError> {
        if is_name(name) {
            Ok(Self(Cow::Owned(name.to_owned())))
        } else {
            Err(SourceError(name.chars().take(Self::MAX + 1).collect()))
        }
    }

    /// Where Sceau records its own settings, log-ins and key events.
    #[must_use]
    pub const fn audit() -> Self {
        Self(Cow::Borrowed("sceau.audit"))
    }

    /// Where Sceau seals its own findings.
    #[must_use]
    pub const fn finding() -> Self {
        Self(Cow::Borrowed("sceau.finding"))
    }

    /// Is it one of Sceau's own sources, which clients can't send to?
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("sceau.")
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    (1..=SourceId::MAX).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SourceId {
    type Err = SourceError;
    fn from_str(name: &str) -> Result<Self, SourceError> {
        Self::parse(name)
    }
}
