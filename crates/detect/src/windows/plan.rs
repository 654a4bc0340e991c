//! What is to be done with the matches of each rule, worked out once when the rules are loaded.

use sceau_event::Keyword;
use sha2::{Digest, Sha256};

use super::item::MAX_SLOTS;
use super::span::Span;
use crate::rules::{Condition, Correlation, CorrelationKind, Expression, Operator, Window};
use crate::types::RuleMeta;

/// What a rule that fires on single records is grouped by, as far as the record has it.
pub(crate) const ENTITIES: [Keyword; 3] = [Keyword::SourceIp, Keyword::UserName, Keyword::HostName];

/// Findings of a rule that fires on single records are summed up as long as the next one comes within an hour.
const SINGLE_TIMESPAN: i64 = 3_600_000_000;

/// Greater numbers in a condition on a sum, a mean or a percentile are refused: values are kept in millionths.
const MAX_NUMBER: u64 = 9_000_000_000_000;

/// What must hold for the records of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// At least so many occurrences.
    Count(u64),
    /// At least so many distinct values.
    Distinct { least: u64, fields: Vec<String> },
    /// These rules matched.
    Together(Expression),
    /// So many rules matched one after the other.
    InOrder(usize),
    /// What is reckoned from a number field passes all tests.
    Number { field: String, reckon: Reckon, tests: Vec<(Operator, u64)> },
}

/// What is reckoned from numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reckon {
    Sum,
    Mean,
    /// The smallest value that so many percent of the values don't exceed.
    Percentile(u64),
}

impl Judge {
    /// Is [`super::item::Item::value`] the id of a text?
    pub fn valued(&self) -> bool {
        matches!(self, Self::Distinct { .. })
    }

    /// Does one more record never make it false?
    pub fn monotone(&self) -> bool {
        !matches!(self, Self::Number { .. })
    }
}

/// A field: its name in findings, and that for each of the referred rules.
pub(crate) type FieldNames = (String, Vec<Option<String>>);

/// By what records are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupBy {
    /// [`ENTITIES`].
    Entities,
    Fields(Vec<FieldNames>),
}

/// What is done with the matches of one rule: a correlation, or a rule that fires on single records.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its place among the rules.
    pub rule: usize,
    /// Of everything that decides what its windows hold: its own text and that of all rules below it.
    pub hash: [u8; 32],
    pub judge: Judge,
    pub span: Span,
    pub group: GroupBy,
    /// The fields that the judge reckons with, in the same way.
    pub reckons: Vec<FieldNames>,
    pub fires: bool,
    /// `false`: a rule that fires on single records.
    pub correlated: bool,
    /// Must it remember records? One that fires at each record needn't.
    pub remembers: bool,
    /// Where its own matches go: plan and place among what that one refers to.
    pub parents: Vec<(usize, usize)>,
}

impl Plan {
    /// The name under which a field goes in the referred rule at a place.
    pub fn field_name<'p>(&'p self, field: &'p FieldNames, at: usize) -> Option<&'p str> {
        field.1.get(at).and_then(Option::as_deref)
    }
}

/// All plans, those that others build on first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    pub list: Vec<Plan>,
    /// By rule: plan and place among what that one refers to.
    pub by_rule: Vec<Vec<(usize, usize)>>,
    /// Correlations that can't be evaluated, with the reason.
    pub refused: Vec<(usize, String)>,
}

impl Plans {
    /// `most`: [`super::Limits::records`].
    pub fn new(rules: &[RuleMeta], correlations: &[Correlation], most: usize) -> Self {
        let mut plans = Self { by_rule: vec![Vec::new(); rules.len()], ..Self::default() };
        let mut of_rule: Vec<Option<usize>> = vec![None; rules.len()];
        let singles = (0..rules.len()).filter(|&rule| rules[rule].fires && rules[rule].kind == "detection");
        for rule in singles {
            plans.by_rule[rule].push((plans.list.len(), 0));
            plans.list.push(single(rule, &rules[rule]));
        }
        for at in order(correlations, rules.len()) {
            let correlation = &correlations[at];
            let judge = match judge(correlation, most) {
                Ok(judge) => judge,
                Err(reason) => {
                    plans.refused.push((correlation.rule, reason));
                    continue;
                }
            };
            let here = plans.list.len();
            let mut hash = Sha256::new_with_prefix(b"sceau-plan-1\n");
            hash.update(&rules[correlation.rule].hash);
            for (slot, &rule) in correlation.refers.iter().enumerate() {
                match of_rule[rule] {
                    Some(child) => {
                        hash.update(plans.list[child].hash);
                        plans.list[child].parents.push((here, slot));
                    }
                    None => {
                        hash.update(&rules[rule].hash);
                        plans.by_rule[rule].push((here, slot));
                    }
                }
            }
            // What comes from a correlation may come twice, and must then be recognised; a session has no length of its own.
            let plain = correlation.refers.iter().all(|&rule| of_rule[rule].is_none());
            let session = matches!(correlation.window, Window::Session { .. });
            let remembers = judge != Judge::Count(1) || !plain || session;
            of_rule[correlation.rule] = Some(here);
            plans.list.push(correlated(correlation, judge, remembers, hash.finalize().into()));
        }
        plans
    }
}

/// The plan of a rule that fires on single records. A rule that matches everything must not make a finding of each
/// record: they are summed up by entity as bursts.
fn single(rule: usize, meta: &RuleMeta) -> Plan {
    Plan {
        rule,
        hash: Sha256::new_with_prefix(b"sceau-single-1\n").chain_update(&meta.hash).finalize().into(),
        judge: Judge::Count(1),
        span: Span::sliding(SINGLE_TIMESPAN),
        group: GroupBy::Entities,
        reckons: Vec::new(),
        fires: true,
        correlated: false,
        remembers: false,
        parents: Vec::new(),
    }
}

fn correlated(correlation: &Correlation, judge: Judge, remembers: bool, hash: [u8; 32]) -> Plan {
    let names = |name: &String| {
        let by_rule = (0..correlation.refers.len()).map(|at| correlation.field_name(at, name).map(str::to_owned));
        (name.clone(), by_rule.collect())
    };
    let reckons = match &judge {
        Judge::Distinct { fields, .. } => fields.iter().map(names).collect(),
        Judge::Number { field, .. } => vec![names(field)],
        Judge::Count(_) | Judge::Together(_) | Judge::InOrder(_) => Vec::new(),
    };
    Plan {
        rule: correlation.rule,
        hash,
        judge,
        span: Span::new(correlation.window, correlation.timespan),
        group: GroupBy::Fields(correlation.group_by.iter().map(names).collect()),
        reckons,
        fires: correlation.fires,
        correlated: true,
        remembers,
        parents: Vec::new(),
    }
}

/// The correlations that fire or that one that fires builds on, each after those that it refers to.
fn order(correlations: &[Correlation], rules: usize) -> Vec<usize> {
    let mut of_rule = vec![None; rules];
    for (at, correlation) in correlations.iter().enumerate() {
        of_rule[correlation.rule] = Some(at);
    }
    let mut order = Vec::new();
    let mut begun = vec![false; correlations.len()];
    // Not by recursion: the depth is the rule author's. The second time a correlation is taken off, all below it is there.
    let firing = (0..correlations.len()).rev().filter(|&at| correlations[at].fires);
    let mut todo: Vec<(usize, bool)> = firing.map(|at| (at, false)).collect();
    while let Some((at, below_done)) = todo.pop() {
        if below_done {
            order.push(at);
        } else if !std::mem::replace(&mut begun[at], true) {
            todo.push((at, true));
            todo.extend(
                correlations[at].refers.iter().rev().filter_map(|&rule| of_rule[rule]).map(|below| (below, false)),
            );
        }
    }
    order
}

/// Why a correlation can't be evaluated exactly, so that it has to be refused. `most`: [`super::Limits::records`].
#[must_use]
pub fn unsupported(correlation: &Correlation, most: usize) -> Option<String> {
    judge(correlation, most).err()
}

fn judge(correlation: &Correlation, most: usize) -> Result<Judge, String> {
    use CorrelationKind as Kind;
    let kind = correlation.kind;
    match (&correlation.condition, kind) {
        (Condition::Threshold { predicates, fields, .. }, Kind::EventCount | Kind::ValueCount) => {
            let least = least(predicates, kind, most as u64)?;
            Ok(match kind {
                Kind::EventCount => Judge::Count(least),
                _ => Judge::Distinct { least, fields: fields.clone() },
            })
        }
        (_, Kind::Temporal | Kind::TemporalOrdered) if correlation.refers.len() > MAX_SLOTS => {
            Err(format!("{} refers to more than {MAX_SLOTS} rules", kind.name()))
        }
        (Condition::Expression(expression), Kind::Temporal) => Ok(Judge::Together(expression.clone())),
        (Condition::Threshold { predicates, .. }, Kind::Temporal) => {
            let least = least(predicates, kind, correlation.refers.len() as u64)?;
            let all = (0..correlation.refers.len()).map(Expression::Rule).collect();
            Ok(Judge::Together(Expression::AtLeast(usize::try_from(least).unwrap_or(usize::MAX), all)))
        }
        (condition, Kind::TemporalOrdered) => {
            let all = correlation.refers.len();
            let wanted = match condition {
                Condition::Threshold { predicates, .. } => least(predicates, kind, all as u64)? == all as u64,
                Condition::Expression(expression) => needs_all(expression, all),
            };
            if wanted {
                Ok(Judge::InOrder(all))
            } else {
                Err("temporal_ordered asks for fewer than all of its rules".into())
            }
        }
        (Condition::Threshold { predicates, fields, percentile }, _) => number(kind, predicates, fields, *percentile),
        (Condition::Expression(_), _) => Err(format!("a condition in words makes no sense for {}", kind.name())),
    }
}

/// The least number that fulfils the predicates. Only those that one more record never makes false: the others hold for
/// good only when the last late record has come.
fn least(predicates: &[(Operator, u64)], kind: CorrelationKind, most: u64) -> Result<u64, String> {
    let mut least = 1;
    for &(operator, bound) in predicates {
        least = least.max(match operator {
            Operator::Gte => bound,
            Operator::Gt => bound.saturating_add(1),
            other => {
                return Err(format!(
                    "{} for {} isn't known before the window is over and the last late record has come: use gt or gte",
                    other.name(),
                    kind.name()
                ));
            }
        });
    }
    if least > most {
        return Err(format!("{} asks for {least}, more than the {most} that can be seen together", kind.name()));
    }
    Ok(least)
}

fn number(
    kind: CorrelationKind,
    tests: &[(Operator, u64)],
    fields: &[String],
    percentile: Option<u64>,
) -> Result<Judge, String> {
    let [field] = fields else { return Err(format!("{} needs one field", kind.name())) };
    let reckon = match kind {
        CorrelationKind::ValueSum => {
            // With a sum that is still growing, "less than" would hold at the first record of each group.
            if let Some((other, _)) = tests.iter().find(|(test, _)| !matches!(test, Operator::Gt | Operator::Gte)) {
                return Err(format!("{} for a sum isn't known before the window is over: use gt or gte", other.name()));
            }
            Reckon::Sum
        }
        CorrelationKind::ValueAvg => Reckon::Mean,
        CorrelationKind::ValuePercentile => match percentile {
            Some(percent @ 0..=100) => Reckon::Percentile(percent),
            _ => return Err("value_percentile needs a percentile from 0 to 100".into()),
        },
        _ => Reckon::Percentile(50),
    };
    if let Some((_, bound)) = tests.iter().find(|(_, bound)| *bound > MAX_NUMBER) {
        return Err(format!("{bound} is more than the {MAX_NUMBER} that numbers are kept to"));
    }
    Ok(Judge::Number { field: field.clone(), reckon, tests: tests.to_vec() })
}

/// Can the expression hold only with all of the rules?
fn needs_all(expression: &Expression, all: usize) -> bool {
    expression.holds(&mut |_| true) && (0..all).all(|missing| !expression.holds(&mut |at| at != missing))
}
