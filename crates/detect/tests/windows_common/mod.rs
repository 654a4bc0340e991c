//! Records and correlations made by hand.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use sceau_detect::{
    Condition, Correlation, CorrelationKind, Expression, Fields, Finding, Level, Limits, Operator, RuleMeta, Window,
    Windows,
};
use sceau_event::{Keyword, Micros, Number, Record};

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;

/// 2028-02-29T23:59:00Z: the last minute of a leap day.
pub const MONTH_END: i64 = 1_835_481_540 * SECOND;

/// Looks fields up by their own names. The address 10.66.66.66 is excepted from every correlation.
pub struct Plain;

impl Fields for Plain {
    fn field<'r>(&self, _: usize, record: &'r Record<'_>, name: &str) -> Option<Cow<'r, str>> {
        let at = Keyword::ALL.iter().find(|keyword| keyword.name() == name);
        match at {
            Some(keyword) => record.keyword(*keyword).map(Cow::Borrowed),
            None => {
                record.fields.iter().find(|(other, _)| other == name).map(|(_, value)| Cow::Borrowed(value.as_ref()))
            }
        }
    }

    fn excepted(&self, _: usize, record: &Record<'_>) -> bool {
        record.keyword(Keyword::SourceIp) == Some("10.66.66.66")
    }
}

pub fn meta(id: &str, kind: &str, fires: bool) -> RuleMeta {
    RuleMeta {
        id: id.to_owned(),
        title: format!("the rule {id}"),
        description: String::new(),
        level: Level::High,
        tags: BTreeSet::from(["attack.t1110".to_owned()]),
        path: "rules.yml".to_owned(),
        line: 1,
        hash: format!("hash of {id}"),
        kind: kind.to_owned(),
        fires,
        enabled: true,
        threshold: None,
        timespan: None,
        group_by: Vec::new(),
        false_positives: Vec::new(),
    }
}

/// A correlation over the rules, at least `least` in `timespan`, grouped by address.
pub fn correlation(rule: usize, kind: CorrelationKind, refers: &[usize], timespan: i64, least: u64) -> Correlation {
    Correlation {
        rule,
        kind,
        refers: refers.to_vec(),
        group_by: vec!["source.ip".to_owned()],
        aliases: BTreeMap::new(),
        timespan,
        window: Window::Sliding,
        condition: Condition::Threshold {
            predicates: vec![(Operator::Gte, least)],
            fields: Vec::new(),
            percentile: None,
        },
        fires: true,
    }
}

pub fn counting(mut correlation: Correlation, field: &str) -> Correlation {
    if let Condition::Threshold { fields, .. } = &mut correlation.condition {
        fields.push(field.to_owned());
    }
    correlation
}

pub fn all_of(mut correlation: Correlation) -> Correlation {
    let all = (0..correlation.refers.len()).map(Expression::Rule).collect();
    correlation.condition = Condition::Expression(Expression::And(all));
    correlation
}

/// A record and what it matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub index: u64,
    pub time: i64,
    pub received: i64,
    pub source: String,
    pub address: Option<String>,
    pub user: Option<String>,
    pub size: Option<i64>,
    pub count: i64,
    pub rules: Vec<usize>,
}

impl Event {
    /// Something that matched rule 0 at a time, from the source `sshd`.
    pub fn at(index: u64, time: i64, address: &str) -> Self {
        Self {
            index,
            time,
            received: time.max(MONTH_END + 1_000_000 * SECOND),
            source: "sshd".to_owned(),
            address: Some(address.to_owned()),
            user: None,
            size: None,
            count: 1,
            rules: vec![0],
        }
    }

    pub fn record(&self) -> Record<'static> {
        let mut record = Record::new(Micros(self.received), Cow::Owned(self.source.clone()));
        record.time = Micros(self.time);
        record.keywords[Keyword::SourceIp as usize] = self.address.clone().map(Cow::Owned);
        record.keywords[Keyword::UserName as usize] = self.user.clone().map(Cow::Owned);
        record.numbers[Number::EventCount as usize] = Some(self.count).filter(|count| *count != 1);
        if let Some(size) = self.size {
            record.fields.push((Cow::Borrowed("size"), Cow::Owned(size.to_string())));
        }
        record
    }
}

/// Windows with what they need.
pub struct Bench {
    pub rules: Vec<RuleMeta>,
    pub correlations: Vec<Correlation>,
    pub windows: Windows,
    pub found: Vec<Finding>,
    pub lateness: i64,
    pub limits: Limits,
}

impl Bench {
    pub fn new(rules: Vec<RuleMeta>, correlations: Vec<Correlation>, limits: Limits, lateness: i64) -> Self {
        let windows = Windows::new(&rules, &correlations, limits.clone(), lateness);
        assert_eq!(windows.refused(), &[]);
        Self { rules, correlations, windows, found: Vec::new(), lateness, limits }
    }

    /// One rule, `failed`, and correlations over it, each at the place after it.
    pub fn of(correlations: Vec<Correlation>) -> Self {
        let mut rules = vec![meta("failed", "detection", false)];
        rules.extend(correlations.iter().map(|one| meta(&format!("c{}", one.rule), one.kind.name(), one.fires)));
        Self::new(rules, correlations, Limits::default(), 5 * MINUTE)
    }

    pub fn push(&mut self, event: &Event) -> &[Finding] {
        let from = self.found.len();
        self.windows.push(event.index, &event.record(), &event.rules, &self.rules, &Plain, &mut self.found);
        &self.found[from..]
    }

    /// The same after a restart.
    pub fn restarted(&self) -> Self {
        let mut windows = Windows::new(&self.rules, &self.correlations, self.limits.clone(), self.lateness);
        let bytes = self.windows.snapshot(&self.rules);
        let restored = windows.restore(&bytes).unwrap();
        assert_eq!(restored.changed, 0);
        assert_eq!(windows.snapshot(&self.rules), bytes);
        assert_eq!(windows.stats(&self.rules), self.windows.stats(&self.rules));
        let (rules, correlations) = (self.rules.clone(), self.correlations.clone());
        Self {
            rules,
            correlations,
            windows,
            found: self.found.clone(),
            lateness: self.lateness,
            limits: self.limits.clone(),
        }
    }
}
