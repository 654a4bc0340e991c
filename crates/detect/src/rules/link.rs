//! From a correlation's document to what is evaluated.

use super::correlation::{Condition, Correlation, CorrelationKind, Expression, Operator, Window};
use super::detection::chosen;
use super::refuse::{Fault, ReasonKind as R, fault};
use crate::windows::{Limits, unsupported};
use rsigma_parser::value::TimespanUnit;
use rsigma_parser::{
    ConditionExpr, ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, Quantifier, Timespan,
    WindowMode,
};
use serde_norway::{Mapping, Value};
use std::collections::BTreeMap;

/// The most rules that a correlation can refer to, fields that it can group by, and predicates.
const MAX_PARTS: usize = 100;
/// The longest timespan, in seconds: a year.
const MAX_TIMESPAN: u64 = 366 * 86_400;

/// Checks the YAML: what rsigma's parser leaves out without a word.
pub(super) fn check(mapping: &Mapping) -> Result<(), Fault> {
    let Some(Value::Mapping(correlation)) = mapping.get("correlation") else {
        return fault(R::BadCorrelation, "`correlation` must be a mapping");
    };
    const KEYS: [&str; 9] =
        ["type", "rules", "group-by", "timespan", "timeframe", "window", "gap", "condition", "aliases"];
    for key in correlation.keys().map(|key| key.as_str().unwrap_or("?")) {
        if !KEYS.contains(&key) && key != "generate" {
            return Err(Fault::new(R::UnsupportedKey, format!("`{key}` in a correlation is not known")).near(key));
        }
    }
    if correlation.contains_key("timespan") && correlation.contains_key("timeframe") {
        return fault(R::BadCorrelation, "both `timespan` and `timeframe`");
    }
    for key in ["rules", "group-by"] {
        words(correlation.get(key), key)?;
    }
    if !correlation.contains_key("rules") {
        return fault(R::MissingKey, "`rules` is missing");
    }
    for generate in [mapping.get("generate"), correlation.get("generate")].into_iter().flatten() {
        if !generate.is_bool() {
            return Err(Fault::new(R::BadCorrelation, "`generate` must be true or false").near("generate"));
        }
    }
    if let Some(condition) = correlation.get("condition") {
        self::condition(condition).map_err(|f| f.near("condition:"))?;
    }
    aliases(correlation.get("aliases")).map_err(|f| f.near("aliases:"))
}

/// A list of words, or one.
fn words(value: Option<&Value>, key: &str) -> Result<(), Fault> {
    let bad = |why: &str| Err(Fault::new(R::BadCorrelation, format!("`{key}`: {why}")).near(&format!("{key}:")));
    match value {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Sequence(list)) if list.len() > MAX_PARTS => bad("too many"),
        Some(Value::Sequence(list)) if list.iter().all(Value::is_string) => {
            let mut seen: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            seen.sort_unstable();
            seen.dedup();
            if seen.len() < list.len() { bad("the same twice") } else { Ok(()) }
        }
        Some(_) => bad("must be a list of words"),
    }
}

fn condition(condition: &Value) -> Result<(), Fault> {
    let Value::Mapping(condition) = condition else { return Ok(()) };
    for (key, value) in condition {
        match key.as_str().unwrap_or("?") {
            "field" => words(Some(value), "field")?,
            "percentile" if value.as_u64().is_some_and(|percent| percent <= 100) => {}
            "percentile" => return fault(R::BadCorrelation, "`percentile` must be 0 to 100"),
            "gt" | "gte" | "lt" | "lte" | "eq" | "neq" if value.as_u64().is_some() => {}
            operator @ ("gt" | "gte" | "lt" | "lte" | "eq" | "neq") => {
                return fault(R::UnsupportedCondition, format!("`{operator}` must be a whole number, 0 or more"));
            }
            other => return fault(R::UnsupportedCondition, format!("`{other}` in a condition is not known")),
        }
    }
    Ok(())
}

fn aliases(aliases: Option<&Value>) -> Result<(), Fault> {
    let bad = || fault(R::BadCorrelation, "`aliases` must be `alias: {rule: field}`");
    let Some(aliases) = aliases else { return Ok(()) };
    let Value::Mapping(aliases) = aliases else { return bad() };
    for (alias, rules) in aliases {
        let (true, Value::Mapping(rules)) = (alias.is_string(), rules) else { return bad() };
        if !rules.iter().all(|(rule, field)| rule.is_string() && field.is_string()) {
            return bad();
        }
    }
    Ok(())
}

/// What a correlation refers to, resolved: each reference as it is written, what else the rule is called, and its place.
pub(super) struct Referred {
    pub written: String,
    pub names: Vec<String>,
    pub place: usize,
}

/// Makes what is evaluated. `threshold` is that of the settings.
pub(super) fn correlation(
    rule: &CorrelationRule,
    mapping: &Mapping,
    refers: &[Referred],
    threshold: Option<u64>,
) -> Result<Correlation, Fault> {
    for (at, one) in refers.iter().enumerate() {
        if refers[..at].iter().any(|other| other.place == one.place) {
            return Err(Fault::new(R::BadCorrelation, format!("`{}` is there twice", one.written)).near("rules:"));
        }
    }
    let kind = kind(rule.correlation_type);
    let timespan = micros(&rule.timespan).map_err(|f| f.near("timespan:"))?;
    let window = match (rule.window, &rule.gap) {
        (WindowMode::Sliding, _) => Window::Sliding,
        (WindowMode::Tumbling, _) => Window::Tumbling,
        (WindowMode::Session, Some(gap)) => Window::Session { gap: micros(gap).map_err(|f| f.near("gap:"))? },
        (WindowMode::Session, None) => return fault(R::BadCorrelation, "a session needs a `gap`"),
    };
    let told = mapping.get("correlation").and_then(|c| c.get("condition")).is_some();
    let condition = match &rule.condition {
        CorrelationCondition::Extended(expression) if is_temporal(kind) => {
            no_threshold(threshold)?;
            Condition::Expression(self::expression(expression, refers).map_err(|f| f.near("condition:"))?)
        }
        CorrelationCondition::Extended(_) => {
            return fault(
                R::UnsupportedCondition,
                format!("a condition in words needs `temporal`, not `{}`", kind.name()),
            );
        }
        CorrelationCondition::Threshold { .. } if !told => {
            no_threshold(threshold)?;
            // The specification's default: all of them.
            let predicates = vec![(Operator::Gte, refers.len() as u64)];
            Condition::Threshold { predicates, fields: Vec::new(), percentile: None }
        }
        CorrelationCondition::Threshold { predicates, field, percentile } => {
            let predicates = predicates.iter().map(|(op, number)| (operator(*op), *number)).collect();
            let fields = field.clone().unwrap_or_default();
            self::threshold(kind, predicates, fields, *percentile, refers.len(), threshold)
                .map_err(|f| f.near("condition:"))?
        }
    };
    let aliases = resolved_aliases(rule, refers).map_err(|f| f.near("aliases:"))?;
    let correlation = Correlation {
        rule: 0,
        kind,
        refers: refers.iter().map(|one| one.place).collect(),
        group_by: rule.group_by.clone(),
        aliases,
        timespan,
        window,
        condition,
        fires: false,
    };
    match unsupported(&correlation, Limits::default().records) {
        Some(why) => Err(Fault::new(R::UnsupportedCondition, why).near("condition:")),
        None => Ok(correlation),
    }
}

const fn kind(kind: CorrelationType) -> CorrelationKind {
    match kind {
        CorrelationType::EventCount => CorrelationKind::EventCount,
        CorrelationType::ValueCount => CorrelationKind::ValueCount,
        CorrelationType::Temporal => CorrelationKind::Temporal,
        CorrelationType::TemporalOrdered => CorrelationKind::TemporalOrdered,
        CorrelationType::ValueSum => CorrelationKind::ValueSum,
        CorrelationType::ValueAvg => CorrelationKind::ValueAvg,
        CorrelationType::ValuePercentile => CorrelationKind::ValuePercentile,
        CorrelationType::ValueMedian => CorrelationKind::ValueMedian,
    }
}

const fn is_temporal(kind: CorrelationKind) -> bool {
    matches!(kind, CorrelationKind::Temporal | CorrelationKind::TemporalOrdered)
}

const fn operator(operator: ConditionOperator) -> Operator {
    match operator {
        ConditionOperator::Lt => Operator::Lt,
        ConditionOperator::Lte => Operator::Lte,
        ConditionOperator::Gt => Operator::Gt,
        ConditionOperator::Gte => Operator::Gte,
        ConditionOperator::Eq => Operator::Eq,
        ConditionOperator::Neq => Operator::Neq,
    }
}

fn micros(span: &Timespan) -> Result<i64, Fault> {
    if matches!(span.unit, TimespanUnit::Month | TimespanUnit::Year) {
        return fault(
            R::BadCorrelation,
            format!("`{}`: months and years have no fixed length; give days", span.original),
        );
    }
    if span.seconds == 0 || span.seconds > MAX_TIMESPAN {
        return fault(R::BadCorrelation, format!("`{}` is not between a second and a year", span.original));
    }
    i64::try_from(span.seconds * 1_000_000).map_err(|_| Fault::new(R::BadCorrelation, "too long"))
}

fn no_threshold(threshold: Option<u64>) -> Result<(), Fault> {
    match threshold {
        None => Ok(()),
        Some(_) => fault(R::BadOverride, "the settings give it a threshold, but its condition has no `gte` or `gt`"),
    }
}

fn threshold(
    kind: CorrelationKind,
    mut predicates: Vec<(Operator, u64)>,
    fields: Vec<String>,
    percentile: Option<u64>,
    refers: usize,
    threshold: Option<u64>,
) -> Result<Condition, Fault> {
    let at = predicates.iter().position(|(op, _)| matches!(op, Operator::Gte | Operator::Gt));
    match (threshold, at) {
        (Some(number), Some(at)) => predicates[at].1 = number,
        (given, _) => no_threshold(given)?,
    }
    match (kind, fields.len()) {
        (CorrelationKind::ValueCount, 0) => {
            return fault(R::BadCorrelation, "`value_count` needs a `field` in its condition");
        }
        (CorrelationKind::ValueCount, _) => {}
        (kind, 1) if kind.is_numeric() => {}
        (kind, _) if kind.is_numeric() => {
            return fault(R::BadCorrelation, format!("`{}` needs one `field` in its condition", kind.name()));
        }
        (_, 0) => {}
        (kind, _) => {
            return fault(R::BadCorrelation, format!("`field` does nothing in a condition of `{}`", kind.name()));
        }
    }
    if percentile.is_some() && kind != CorrelationKind::ValuePercentile {
        return fault(R::BadCorrelation, format!("`percentile` does nothing in a condition of `{}`", kind.name()));
    }
    possible(kind, &predicates, refers)?;
    Ok(Condition::Threshold { predicates, fields, percentile })
}

/// Whether the numbers can be met at all, and aren't always met.
fn possible(kind: CorrelationKind, predicates: &[(Operator, u64)], refers: usize) -> Result<(), Fault> {
    let no = |why: String| fault(R::UnsupportedCondition, why);
    let (mut least, mut most) = (0_u64, u64::MAX);
    if is_temporal(kind) {
        most = refers as u64;
    }
    for (operator, number) in predicates {
        match operator {
            Operator::Gt => least = least.max(number.saturating_add(1)),
            Operator::Gte => least = least.max(*number),
            Operator::Lt => most = most.min(number.saturating_sub(1)),
            Operator::Lte => most = most.min(*number),
            Operator::Eq => (least, most) = (least.max(*number), most.min(*number)),
            Operator::Neq => {}
        }
        if *operator == Operator::Gte && *number == 0 {
            return no("`gte: 0` always holds".to_owned());
        }
        if *operator == Operator::Lt && *number == 0 {
            return no("`lt: 0` never holds".to_owned());
        }
    }
    // A mean or a median lies between whole numbers, too.
    if least > most && !(kind.is_numeric() && least - most == 1) {
        return no("its numbers can't all be met at once, so it would never fire".to_owned());
    }
    Ok(())
}

fn resolved_aliases(
    rule: &CorrelationRule,
    refers: &[Referred],
) -> Result<BTreeMap<String, Vec<Option<String>>>, Fault> {
    let mut aliases = BTreeMap::new();
    for alias in &rule.aliases {
        let mut by_rule: Vec<Option<String>> = vec![None; refers.len()];
        let sorted: BTreeMap<_, _> = alias.mapping.iter().collect();
        for (name, field) in sorted {
            let Some(at) = refers.iter().position(|one| one.names.contains(name)) else {
                let reason = format!("alias `{}` names the rule `{name}`, which is not under `rules`", alias.alias);
                return fault(R::UnknownReference, reason);
            };
            if by_rule[at].replace(field.clone()).is_some() {
                return fault(R::BadCorrelation, format!("alias `{}` names one rule twice", alias.alias));
            }
        }
        if let Some(at) = by_rule.iter().position(Option::is_none) {
            let reason = format!(
                "alias `{}` tells no field for `{}`, which then would never count",
                alias.alias, refers[at].written
            );
            return fault(R::BadCorrelation, reason);
        }
        aliases.insert(alias.alias.clone(), by_rule);
    }
    Ok(aliases)
}

/// A condition in words; its identifiers are rules.
fn expression(expression: &ConditionExpr, refers: &[Referred]) -> Result<Expression, Fault> {
    let all = |parts: &[ConditionExpr]| {
        parts.iter().map(|part| self::expression(part, refers)).collect::<Result<Vec<_>, _>>()
    };
    match expression {
        ConditionExpr::And(parts) => all(parts).map(Expression::And),
        ConditionExpr::Or(parts) => all(parts).map(Expression::Or),
        ConditionExpr::Not(_) => fault(
            R::UnsupportedCondition,
            "`not` in a correlation: that something has not happened is only known when the time is over",
        ),
        ConditionExpr::Identifier(name) => match refers.iter().position(|one| one.names.contains(name)) {
            Some(at) => Ok(Expression::Rule(at)),
            None => fault(R::UnknownReference, format!("the condition names `{name}`, which is not under `rules`")),
        },
        ConditionExpr::Selector { quantifier, pattern } => {
            let fits = |one: &Referred| one.names.iter().any(|name| chosen(pattern, name));
            let found: Vec<_> = (0..refers.len()).filter(|at| fits(&refers[*at])).map(Expression::Rule).collect();
            let wanted = match quantifier {
                Quantifier::Any => 1,
                Quantifier::All => found.len(),
                Quantifier::Count(n) => usize::try_from(*n).unwrap_or(usize::MAX),
            };
            if found.is_empty() || wanted == 0 || wanted > found.len() {
                return fault(
                    R::UnsupportedCondition,
                    format!("`{expression}`: {} of the rules are meant", found.len()),
                );
            }
            Ok(Expression::AtLeast(wanted, found))
        }
    }
}
