//! Why a document is not a rule that runs.

use crate::types::Refusal;

/// The kind of a reason, by a word that doesn't change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonKind {
    /// Not YAML, or not a mapping.
    Yaml,
    /// Larger than a file may be.
    TooLarge,
    /// Neither a rule, a correlation nor a filter; or several at once.
    NotARule,
    /// Something that a rule must have is missing.
    MissingKey,
    /// A key that changes the meaning and isn't honoured here.
    UnsupportedKey,
    /// `id`, `name`, `title`, `level`, `status` or `tags` is not what it must be.
    BadMetadata,
    /// The rule calls itself unsupported.
    UnsupportedStatus,
    /// A version of the specification, or a taxonomy, that is not understood.
    UnsupportedVersion,
    /// `action: global`, `repeat`, `reset`.
    CollectionAction,
    /// Another rule has this id.
    DuplicateId,
    /// No mapping knows the log source.
    NoMapping,
    /// `timeframe` in a detection: the aggregation before correlations.
    Timeframe,
    /// A selection that is not as it must be.
    BadDetection,
    /// A condition that can't be read.
    BadCondition,
    /// A condition that can be read but not honoured.
    UnsupportedCondition,
    /// A condition names a selection that isn't there.
    UnknownSelection,
    /// A modifier that the specification doesn't have.
    UnknownModifier,
    /// A modifier, or several together, that can't be honoured.
    UnsupportedModifier,
    /// A value that its modifiers can't be used with.
    BadValue,
    /// A regular expression that can't be compiled.
    BadRegex,
    /// `|expand` with a list that the settings don't have, or without a placeholder.
    UnknownList,
    /// A correlation that is not as it must be.
    BadCorrelation,
    /// A correlation or filter refers to a rule that isn't there, was refused, or is not the only one of that name.
    UnknownReference,
    /// Correlations refer to each other in a circle.
    Circular,
    /// The settings give a threshold to a rule that has none.
    BadOverride,
    /// A file of a mapping that is not as it must be.
    BadMapping,
}

impl ReasonKind {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::TooLarge => "too_large",
            Self::NotARule => "not_a_rule",
            Self::MissingKey => "missing_key",
            Self::UnsupportedKey => "unsupported_key",
            Self::BadMetadata => "bad_metadata",
            Self::UnsupportedStatus => "unsupported_status",
            Self::UnsupportedVersion => "unsupported_version",
            Self::CollectionAction => "collection_action",
            Self::DuplicateId => "duplicate_id",
            Self::NoMapping => "no_mapping",
            Self::Timeframe => "timeframe",
            Self::BadDetection => "bad_detection",
            Self::BadCondition => "bad_condition",
            Self::UnsupportedCondition => "unsupported_condition",
            Self::UnknownSelection => "unknown_selection",
            Self::UnknownModifier => "unknown_modifier",
            Self::UnsupportedModifier => "unsupported_modifier",
            Self::BadValue => "bad_value",
            Self::BadRegex => "bad_regex",
            Self::UnknownList => "unknown_list",
            Self::BadCorrelation => "bad_correlation",
            Self::UnknownReference => "unknown_reference",
            Self::Circular => "circular",
            Self::BadOverride => "bad_override",
            Self::BadMapping => "bad_mapping",
        }
    }
}

/// What is wrong with a document.
#[derive(Debug)]
pub(super) struct Fault {
    pub kind: ReasonKind,
    pub reason: String,
    /// A text of the document that stands on the line in question.
    pub near: Option<String>,
}

impl Fault {
    pub fn new(kind: ReasonKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), near: None }
    }

    /// Says where, if that isn't known yet.
    pub fn near(mut self, text: &str) -> Self {
        self.near.get_or_insert_with(|| text.to_owned());
        self
    }

    /// The refusal of the document of `text` that begins at `line` of `path`.
    pub fn refusal(self, path: &str, line: usize, text: &str, rule: String) -> Refusal {
        let near = self.near.as_deref().filter(|near| !near.is_empty());
        let below = near.and_then(|near| text.lines().position(|line| has_word(line, near))).unwrap_or(0);
        Refusal { path: path.to_owned(), line: line + below, rule, kind: self.kind.word(), reason: self.reason }
    }
}

/// Whether a text stands in a line, not as a part of a longer word.
fn has_word(line: &str, text: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(text).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + text.len()..].chars().next());
        let longer = part(before) && part(text.chars().next()) || part(after) && part(text.chars().next_back());
        !longer
    })
}

pub(super) fn fault<T>(kind: ReasonKind, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(kind, reason))
}
