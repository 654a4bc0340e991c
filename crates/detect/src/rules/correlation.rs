//! A correlation as it is evaluated: every reference resolved, every number checked.

use std::collections::BTreeMap;

/// What a correlation reckons over the records of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CorrelationKind {
    /// How many occurrences.
    EventCount,
    /// How many distinct values of [`Condition::fields`].
    ValueCount,
    /// How many different rules of [`Correlation::refers`] matched, or which.
    Temporal,
    /// As temporal, in the order of [`Correlation::refers`].
    TemporalOrdered,
    /// The sum of a number field.
    ValueSum,
    /// The mean of a number field.
    ValueAvg,
    /// A percentile of a number field.
    ValuePercentile,
    /// The median of a number field.
    ValueMedian,
}

impl CorrelationKind {
    /// The specification's word, e.g. `event_count`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventCount => "event_count",
            Self::ValueCount => "value_count",
            Self::Temporal => "temporal",
            Self::TemporalOrdered => "temporal_ordered",
            Self::ValueSum => "value_sum",
            Self::ValueAvg => "value_avg",
            Self::ValuePercentile => "value_percentile",
            Self::ValueMedian => "value_median",
        }
    }

    /// Does it read a number from a field?
    #[must_use]
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::ValueSum | Self::ValueAvg | Self::ValuePercentile | Self::ValueMedian)
    }
}

/// How a number is compared with a condition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The specification's own words.
pub enum Operator {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
    Neq,
}

impl Operator {
    /// The specification's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Eq => "eq",
            Self::Neq => "neq",
        }
    }

    /// `value OP bound`.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, value: T, bound: T) -> bool {
        match self {
            Self::Gt => value > bound,
            Self::Gte => value >= bound,
            Self::Lt => value < bound,
            Self::Lte => value <= bound,
            Self::Eq => value == bound,
            Self::Neq => value != bound,
        }
    }
}

/// How a correlation's timespan lies on the time of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// Any stretch of that length.
    Sliding,
    /// Buckets of that length, aligned to 1970-01-01 UTC.
    Tumbling,
    /// From an event on as long as the next one comes within the gap, at most the timespan.
    Session {
        /// The longest pause, in microseconds.
        gap: i64,
    },
}

/// A boolean expression over the rules that a temporal correlation refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The rule at this place in [`Correlation::refers`] matched in the window.
    Rule(usize),
    /// All of them.
    And(Vec<Expression>),
    /// Any of them.
    Or(Vec<Expression>),
    /// At least so many of them.
    AtLeast(usize, Vec<Expression>),
}

impl Expression {
    /// Its value, given which of the referred rules matched.
    pub fn holds(&self, matched: &mut impl FnMut(usize) -> bool) -> bool {
        match self {
            Self::Rule(at) => matched(*at),
            Self::And(all) => all.iter().all(|part| part.holds(matched)),
            Self::Or(any) => any.iter().any(|part| part.holds(matched)),
            Self::AtLeast(wanted, parts) => {
                let mut found = 0;
                parts.iter().any(|part| {
                    found += usize::from(part.holds(matched));
                    found >= *wanted
                })
            }
        }
    }
}

/// When a correlation holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All the comparisons hold for what [`CorrelationKind`] reckons.
    Threshold {
        /// Never empty. The override of the threshold is already in it.
        predicates: Vec<(Operator, u64)>,
        /// The fields whose values are counted or reckoned with: one or more for `value_count`, one for a number, else none.
        fields: Vec<String>,
        /// For `value_percentile`: 0 to 100.
        percentile: Option<u64>,
    },
    /// For `temporal` and `temporal_ordered` only. Without negation, so that one more match never makes it false.
    Expression(Expression),
}

/// A correlation, ready to be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// Its place in `RuleSet::rules`, where its id, hash and level are.
    pub rule: usize,
    /// What it reckons.
    pub kind: CorrelationKind,
    /// The places in `RuleSet::rules` of the rules it refers to, in the order of its file. Detection rules and
    /// correlations; never in a circle, never twice the same.
    pub refers: Vec<usize>,
    /// Field names or aliases; may be empty: then all records are one group.
    pub group_by: Vec<String>,
    /// By alias: the field's name for each of [`Self::refers`], `None` where the alias doesn't tell one.
    pub aliases: BTreeMap<String, Vec<Option<String>>>,
    /// In microseconds, more than 0.
    pub timespan: i64,
    /// How the timespan lies.
    pub window: Window,
    /// When it holds.
    pub condition: Condition,
    /// Whether it makes findings: enabled, and not only there for another correlation.
    pub fires: bool,
}

impl Correlation {
    /// The name by which a field that this correlation calls `name` goes in the rule at place `at` of [`Self::refers`].
    /// `None`: it is an alias that tells nothing for that rule, so its records have no such field.
    #[must_use]
    pub fn field_name<'c>(&'c self, at: usize, name: &'c str) -> Option<&'c str> {
        match self.aliases.get(name) {
            None => Some(name),
            Some(by_rule) => by_rule.get(at).and_then(Option::as_deref),
        }
    }
}
