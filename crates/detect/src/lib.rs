//! Detection: Sigma rules and correlations on records. Records in, findings out.
//!
//! The same records in the same order under the same rules and settings give the same findings, byte for byte. The crate
//! does no I/O and knows no clock.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod detector;
mod error;
mod rules;
mod types;
mod windows;

pub use detector::{Detector, FINDING_SOURCE};
pub use error::DetectError;
pub use rules::{
    Condition, Correlation, CorrelationKind, Expression, Matched, Operator, ReasonKind, RuleSet, Window, value_fits,
};
pub use types::{Exception, Finding, Level, Phase, Refusal, RuleFile, RuleMeta, RuleOverride, Settings};
pub use windows::{Fields, Limits, OpenBurst, Restored, RuleStats, SnapshotError, Stats, Windows, unsupported};
