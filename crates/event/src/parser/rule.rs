//! One rule: a pattern, where its groups belong, and what it sets.

use super::intern::intern;
use crate::field::{Target, ecs};
use regex::{Captures, Regex};

#[derive(Debug)]
pub(super) struct Rule {
    regex: Regex,
    /// Each named group: its number, field and column.
    groups: Vec<(usize, &'static str, Option<Target>)>,
    set: Vec<(&'static str, Option<Target>, &'static str)>,
}

/// A rule that matched.
pub(crate) struct Matched<'t> {
    /// The rule's position in its parser.
    pub rule: usize,
    pub captures: Captures<'t>,
}

impl Rule {
    pub fn new<'s>(regex: Regex, set: impl Iterator<Item = (&'s str, &'s str)>) -> Self {
        let named = regex.capture_names().enumerate().filter_map(|(at, name)| name.map(|name| (at, name)));
        let groups = named
            .map(|(at, name)| {
                let name = intern(field_of(name));
                (at, name, ecs(name))
            })
            .collect();
        let set = set.map(|(name, value)| (intern(name), ecs(name), intern(value))).collect();
        Self { regex, groups, set }
    }

    pub fn captures<'t>(&self, text: &'t str, rule: usize) -> Option<Matched<'t>> {
        self.regex.captures(text).map(|captures| Matched { rule, captures })
    }

    pub fn set(&self) -> &[(&'static str, Option<Target>, &'static str)] {
        &self.set
    }

    pub fn groups(&self) -> &[(usize, &'static str, Option<Target>)] {
        &self.groups
    }
}

/// The field that a group's name means: names of groups can't start with `@`, and the same field
/// in another branch of a pattern needs another name, hence `timestamp` and `source.ip[2]`.
fn field_of(group: &str) -> &str {
    match group.split('[').next().unwrap_or(group) {
        "timestamp" => "@timestamp",
        name => name,
    }
}
