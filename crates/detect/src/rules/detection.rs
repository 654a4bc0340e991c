//! From a parsed rule to selections and conditions that can be evaluated.

use super::refuse::{Fault, ReasonKind as R, fault};
use super::value::Values;
use rsigma_eval::{CompiledDetection, CompiledMatcher};
use rsigma_parser::fieldpath::unescape_brackets;
use rsigma_parser::{ConditionExpr, Detection, Detections, Quantifier, SelectorPattern};
use std::collections::{BTreeMap, BTreeSet};

/// The selections and the conditions of a rule or a filter.
#[derive(Clone, Debug)]
pub(super) struct Logic {
    pub named: BTreeMap<String, CompiledDetection>,
    /// Any of them is enough.
    pub conditions: Vec<ConditionExpr>,
}

impl Logic {
    pub fn new(detections: &Detections, values: &mut Values<'_>) -> Result<Self, Fault> {
        // In the order of their names: what is refused first must not depend on a hash.
        let sorted: BTreeMap<&String, &Detection> = detections.named.iter().collect();
        let mut named = BTreeMap::new();
        for (name, detection) in sorted {
            let made = self::detection(detection, values);
            named.insert(name.clone(), made.map_err(|f| f.near(&format!("{name}:")))?);
        }
        let conditions = detections.conditions.iter().map(|expression| condition(expression, &named));
        let conditions = conditions.collect::<Result<_, _>>().map_err(|f| f.near("condition:"))?;
        Ok(Self { named, conditions })
    }

    /// The names of all fields that it reads.
    pub fn fields(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.named.values().for_each(|detection| fields(detection, &mut found));
        found
    }

    /// Adds a filter: each condition must hold together with one of the filter's.
    pub fn restrict(&mut self, filter: &Self, number: usize) {
        let rename = |name: &str| format!("filter {number} {name}");
        self.named.extend(filter.named.iter().map(|(name, detection)| (rename(name), detection.clone())));
        let filters: Vec<_> = filter.conditions.iter().map(|condition| renamed(condition, &rename)).collect();
        let filter = ConditionExpr::Or(filters);
        for condition in &mut self.conditions {
            *condition = ConditionExpr::And(vec![condition.clone(), filter.clone()]);
        }
    }
}

fn detection(detection: &Detection, values: &mut Values<'_>) -> Result<CompiledDetection, Fault> {
    match detection {
        Detection::AllOf(items) => {
            let mut simple = Vec::new();
            let mut others = Vec::new();
            for item in items {
                let name = item.field.name.as_deref().unwrap_or_default();
                let made = values.item(item).map_err(|f| match name {
                    "" => f,
                    name => Fault { reason: format!("{name}: {}", f.reason), ..f }.near(name),
                })?;
                match made {
                    CompiledDetection::AllOf(items) => simple.extend(items),
                    other => others.push(other),
                }
            }
            Ok(match (simple.is_empty(), others.len()) {
                (_, 0) => CompiledDetection::AllOf(simple),
                (true, 1) => others.remove(0),
                (true, _) => CompiledDetection::And(others),
                (false, _) => {
                    others.insert(0, CompiledDetection::AllOf(simple));
                    CompiledDetection::And(others)
                }
            })
        }
        Detection::AnyOf(parts) => {
            let parts = parts.iter().map(|part| self::detection(part, values)).collect::<Result<_, _>>()?;
            Ok(CompiledDetection::AnyOf(parts))
        }
        Detection::Keywords(keywords) => values.plain_keywords(keywords),
        Detection::ArrayMatch { .. } | Detection::And(_) | Detection::Conditional { .. } => {
            fault(R::UnsupportedVersion, "conditions on one and the same element of a list are not evaluated")
        }
    }
}

/// A condition in which `of` is written out, so that a pattern that names no selection, or fewer than it asks for, is seen.
fn condition(expression: &ConditionExpr, named: &BTreeMap<String, CompiledDetection>) -> Result<ConditionExpr, Fault> {
    let all = |parts: &[ConditionExpr]| parts.iter().map(|part| condition(part, named)).collect::<Result<Vec<_>, _>>();
    match expression {
        ConditionExpr::And(parts) => all(parts).map(ConditionExpr::And),
        ConditionExpr::Or(parts) => all(parts).map(ConditionExpr::Or),
        ConditionExpr::Not(part) => condition(part, named).map(|part| ConditionExpr::Not(Box::new(part))),
        ConditionExpr::Identifier(name) if named.contains_key(name) => Ok(expression.clone()),
        ConditionExpr::Identifier(name) => {
            fault(R::UnknownSelection, format!("the condition names `{name}`, but there is no such selection"))
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let found: Vec<_> = named.keys().filter(|name| chosen(pattern, name)).collect();
            if found.is_empty() {
                return fault(R::UnknownSelection, format!("`{expression}`: no selection has such a name"));
            }
            let each = found.iter().map(|name| ConditionExpr::Identifier((*name).clone()));
            match quantifier {
                Quantifier::Any => Ok(ConditionExpr::Or(each.collect())),
                Quantifier::All => Ok(ConditionExpr::And(each.collect())),
                Quantifier::Count(0) => fault(R::UnsupportedCondition, format!("`{expression}` is always true")),
                Quantifier::Count(n) if usize::try_from(*n).is_ok_and(|n| n <= found.len()) => at_least(*n, &found),
                Quantifier::Count(_) => fault(
                    R::UnknownSelection,
                    format!("`{expression}`: only {} selections have such a name, so it is never true", found.len()),
                ),
            }
        }
    }
}

/// The most ways in which so many of the selections can be chosen.
const MAX_CHOICES: usize = 1_000;

/// `n of` them: each choice of so many.
fn at_least(n: u64, names: &[&String]) -> Result<ConditionExpr, Fault> {
    let mut choices: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..n {
        choices = choices
            .iter()
            .flat_map(|choice| {
                let next = choice.last().map_or(0, |last| last + 1);
                (next..names.len()).map(move |at| choice.iter().copied().chain([at]).collect::<Vec<_>>())
            })
            .take(MAX_CHOICES + 1)
            .collect();
        if choices.len() > MAX_CHOICES {
            return fault(
                R::UnsupportedCondition,
                format!("{n} of {} selections: too many ways to choose", names.len()),
            );
        }
    }
    let all = |choice: Vec<usize>| {
        let each = choice.into_iter().filter_map(|at| names.get(at));
        ConditionExpr::And(each.map(|name| ConditionExpr::Identifier((*name).clone())).collect())
    };
    Ok(ConditionExpr::Or(choices.into_iter().map(all).collect()))
}

/// Whether a pattern means a selection: `*` at any places; `them` leaves out names that begin with `_`.
pub(super) fn chosen(pattern: &SelectorPattern, name: &str) -> bool {
    match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(pattern) => {
            let mut pieces = pattern.split('*');
            let first = pieces.next().unwrap_or_default();
            let Some(mut rest) = name.strip_prefix(first) else { return false };
            let Some(last) = pieces.next_back() else { return rest.is_empty() };
            for piece in pieces {
                match rest.find(piece) {
                    Some(at) => rest = &rest[at + piece.len()..],
                    None => return false,
                }
            }
            rest.ends_with(last)
        }
    }
}

fn renamed(expression: &ConditionExpr, rename: &impl Fn(&str) -> String) -> ConditionExpr {
    let all = |parts: &[ConditionExpr]| parts.iter().map(|part| renamed(part, rename)).collect();
    match expression {
        ConditionExpr::And(parts) => ConditionExpr::And(all(parts)),
        ConditionExpr::Or(parts) => ConditionExpr::Or(all(parts)),
        ConditionExpr::Not(part) => ConditionExpr::Not(Box::new(renamed(part, rename))),
        ConditionExpr::Identifier(name) => ConditionExpr::Identifier(rename(name)),
        selector @ ConditionExpr::Selector { .. } => selector.clone(),
    }
}

fn fields(detection: &CompiledDetection, found: &mut BTreeSet<String>) {
    match detection {
        CompiledDetection::AllOf(items) => {
            for item in items {
                found.extend(item.field.iter().cloned());
                references(&item.matcher, found);
            }
        }
        CompiledDetection::AnyOf(parts) | CompiledDetection::And(parts) => {
            parts.iter().for_each(|part| fields(part, found));
        }
        CompiledDetection::Keywords(_) => {}
        CompiledDetection::ArrayMatch { .. } | CompiledDetection::Conditional { .. } => {}
    }
}

fn references(matcher: &CompiledMatcher, found: &mut BTreeSet<String>) {
    match matcher {
        CompiledMatcher::FieldRef { field, .. } => {
            found.insert(field.clone());
        }
        CompiledMatcher::Not(inner) => references(inner, found),
        CompiledMatcher::AnyOf(parts) | CompiledMatcher::AllOf(parts) => {
            parts.iter().for_each(|part| references(part, found));
        }
        _ => {}
    }
}

/// A field's name as its author wrote it; the parser escapes brackets.
pub(super) fn written(field: &str) -> String {
    unescape_brackets(field).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose() {
        let chosen = |pattern: &str, name| super::chosen(&SelectorPattern::Pattern(pattern.to_owned()), name);
        assert!(
            chosen("*", "a") && chosen("sel*", "sel") && chosen("*_main", "x_main") && chosen("sel*main", "sel_main")
        );
        assert!(
            chosen("s*_*_x", "sel_a_b_x") && chosen("selection", "selection") && !chosen("selection", "selection1")
        );
        assert!(!chosen("sel*main", "selmai") && !chosen("ab*ba", "aba") && !chosen("a*b*c", "acb"));
        assert!(!super::chosen(&SelectorPattern::Them, "_x") && super::chosen(&SelectorPattern::Them, "x"));
    }
}
