//! What goes in and what comes out: settings, rules as people see them, findings.

use std::collections::{BTreeMap, BTreeSet};

use sceau_event::Micros;
use serde::{Deserialize, Serialize};

/// A file of rules or of a mapping, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// Its path, relative to the directory of the rules; only told, never opened.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// How serious it is when a rule fires (Sigma specification, `level`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The specification's own words.
pub enum Level {
    Informational,
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// What people set for one rule without touching its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleOverride {
    /// `false`: the rule is loaded but never fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Another level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Another number in the place of that in a correlation's `gte` or `gt`; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
}

/// What a rule doesn't count, though it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The rule's id; `None`: every rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Field name and value; a record is left out if it has all of them (addresses also by CIDR). Never empty.
    pub fields: BTreeMap<String, String>,
    /// Holds for records received before this; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Micros>,
}

/// What detection depends on besides rule files and records. A change of it is an entry of `sceau.audit` first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Values for `%name%` placeholders (`|expand`): `allowed_ranges`, `unusual_hours`, `unusual_days`, and whatever
    /// else rules ask for.
    pub lists: BTreeMap<String, Vec<String>>,
    /// The zone of `sceau.hour` and `sceau.weekday`: `UTC` or an IANA name.
    pub zone: String,
    /// By rule id.
    #[serde(default)]
    pub overrides: BTreeMap<String, RuleOverride>,
    /// By the exception's own id.
    #[serde(default)]
    pub exceptions: BTreeMap<String, Exception>,
    /// How much out of order, by event time, is handled as if it had come in order, in microseconds.
    pub lateness: i64,
}

impl Default for Settings {
    /// 10.0.0.0/16 is allowed; 00:00 to 04:59 UTC of all days is unusual; 5 minutes of lateness.
    fn default() -> Self {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        Self {
            lists: BTreeMap::from([
                ("allowed_ranges".to_owned(), list(&["10.0.0.0/16"])),
                ("unusual_hours".to_owned(), list(&["0", "1", "2", "3", "4"])),
                ("unusual_days".to_owned(), list(&days)),
            ]),
            zone: "UTC".to_owned(),
            overrides: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            lateness: 300 * 1_000_000,
        }
    }
}

/// A rule as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleMeta {
    /// Its `id`, else its `name`, else a hash of its text: stable as long as the file isn't touched.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it says of itself.
    pub description: String,
    /// The level that counts: the override's, else the file's, else medium.
    pub level: Level,
    /// Its `tags`, e.g. `attack.t1110`.
    pub tags: BTreeSet<String>,
    /// The file it came from.
    pub path: String,
    /// The line its document begins at, from 1.
    pub line: usize,
    /// SHA-256, hex, of its text and of what of the settings changes what it means.
    pub hash: String,
    /// `detection` or a correlation's type, e.g. `event_count`.
    pub kind: String,
    /// Whether it fires findings of its own: enabled, and not only a part of a correlation.
    pub fires: bool,
    /// `false` if switched off in the settings.
    pub enabled: bool,
    /// The number in a correlation's condition, if it has one that can be set.
    pub threshold: Option<u64>,
    /// A correlation's timespan in microseconds.
    pub timespan: Option<i64>,
    /// A correlation's group-by fields.
    pub group_by: Vec<String>,
    /// Known false positives, as the rule tells them.
    pub false_positives: Vec<String>,
}

/// Why a document of a rule file is not a rule that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The file.
    pub path: String,
    /// The line, from 1: of what is wrong where that is known, else of the document's beginning.
    pub line: usize,
    /// The rule's title or id, as far as it could be read.
    pub rule: String,
    /// A stable word for the kind of reason, e.g. `no_mapping`.
    pub kind: &'static str,
    /// The reason in words: what is wrong, and what to do.
    pub reason: String,
}

/// Whether a finding begins or sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The rule has just fired.
    Fired,
    /// The burst is over: the totals. Only for correlations; it has the id of the one that fired.
    Ended,
}

/// What a rule says about some entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// 32 hex digits made of rule, group and first evidence, so that the same finding always has the same one.
    pub id: String,
    /// Fired or ended.
    pub phase: Phase,
    /// The rule's id.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    /// [`RuleMeta::hash`].
    pub rule_hash: String,
    /// The level that counted.
    pub level: Level,
    /// The rule's tags.
    pub tags: BTreeSet<String>,
    /// What the records have in common: the correlation's group-by fields in its order; for a single record what
    /// entities it has (`source.ip`, `user.name`, `host.name`).
    pub group: Vec<(String, String)>,
    /// The indexes of the records by time, ties by index, the first 100.
    pub evidence: Vec<u64>,
    /// How many occurrences there were, those beyond [`Self::evidence`] too (a repeated message counts as often as it
    /// says).
    pub count: u64,
    /// The earliest event time.
    pub first: Micros,
    /// The latest event time.
    pub last: Micros,
    /// What came of the correlation's condition beside the count: distinct values, a sum…; the totals' users and addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Vec<String>>,
    /// A record came later than the lateness allows: it was judged with what was still known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}
