//! The shape of a detection's YAML: what rsigma's parser would turn into something else without a word.

use super::refuse::{Fault, ReasonKind as R, fault};
use rsigma_parser::Modifier;
use serde_norway::{Mapping, Value};

/// The deepest nesting of lists of selections.
const MAX_DEPTH: usize = 8;

/// Checks `detection` or what a filter has in its place, `leave` being keys that are no selections.
pub(super) fn check(detection: &Value, leave: &[&str]) -> Result<(), Fault> {
    let Value::Mapping(detection) = detection else {
        return fault(R::BadDetection, "`detection` must be a mapping of selections and a `condition`");
    };
    if detection.contains_key("timeframe") {
        let reason = "`timeframe` belongs to the aggregation of old: write a correlation rule with a `timespan`";
        return Err(Fault::new(R::Timeframe, reason).near("timeframe"));
    }
    conditions(detection)?;
    let mut selections = 0;
    for (name, selection) in detection {
        let Some(name) = name.as_str() else {
            return fault(R::BadDetection, format!("{name:?} as the name of a selection: put it in quotes"));
        };
        if name == "condition" || leave.contains(&name) {
            continue;
        }
        selections += 1;
        self::selection(selection, 0).map_err(|f| f.near(&format!("{name}:")))?;
    }
    match selections {
        0 => fault(R::BadDetection, "no selection in it"),
        _ => Ok(()),
    }
}

fn conditions(detection: &Mapping) -> Result<(), Fault> {
    let texts: Vec<&str> = match detection.get("condition") {
        None => return fault(R::MissingKey, "`condition` is missing"),
        Some(Value::String(text)) => vec![text],
        Some(Value::Sequence(list)) if !list.is_empty() && list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect()
        }
        Some(_) => return Err(Fault::new(R::BadCondition, "must be text or a list of texts").near("condition:")),
    };
    for text in texts {
        if text.contains('|') {
            let reason = format!("`{text}`: aggregations with `|` are not evaluated; write a correlation rule");
            return Err(Fault::new(R::UnsupportedCondition, reason).near("condition:"));
        }
        if text.split_whitespace().any(|word| word == "near") {
            let reason = format!("`{text}`: `near` is not evaluated; write a temporal correlation");
            return Err(Fault::new(R::UnsupportedCondition, reason).near("condition:"));
        }
    }
    Ok(())
}

fn selection(value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        _ if depth > MAX_DEPTH => fault(R::BadDetection, "nested too deep"),
        Value::Mapping(fields) if fields.is_empty() => fault(R::BadDetection, "an empty selection matches nothing"),
        Value::Mapping(fields) => fields.iter().try_for_each(|(key, value)| field(key, value)),
        Value::Sequence(list) if list.is_empty() => fault(R::BadDetection, "an empty list matches nothing"),
        Value::Sequence(list) => list.iter().try_for_each(|part| match part {
            Value::Sequence(_) => fault(R::BadDetection, "a list in a list means nothing"),
            Value::Mapping(_) => selection(part, depth + 1),
            scalar => keyword(scalar),
        }),
        scalar => keyword(scalar),
    }
}

fn keyword(value: &Value) -> Result<(), Fault> {
    match value {
        Value::String(text) if text.is_empty() => fault(R::BadValue, "an empty keyword is found everywhere"),
        Value::Null => fault(R::BadValue, "`null` is no keyword"),
        _ => scalar(value),
    }
}

fn field(key: &Value, value: &Value) -> Result<(), Fault> {
    let Some(key) = key.as_str() else {
        return fault(R::BadDetection, format!("{key:?} as the name of a field: put it in quotes"));
    };
    let mut parts = key.split('|');
    let name = parts.next().unwrap_or_default();
    if name == "<<" || name == "." {
        return Err(Fault::new(R::BadDetection, format!("`{name}` is no field name")).near(key));
    }
    for word in parts {
        if word.parse::<Modifier>().is_err() {
            let reason = match word {
                "not" => "`|not` is no modifier: write `not selection` in the condition".to_owned(),
                _ => format!("`|{word}` is no modifier of the specification"),
            };
            return Err(Fault::new(R::UnknownModifier, reason).near(key));
        }
    }
    let check = match value {
        Value::Sequence(list) if list.is_empty() => fault(R::BadValue, "an empty list of values matches nothing"),
        Value::Sequence(list) => list.iter().try_for_each(scalar),
        single => scalar(single),
    };
    check.map_err(|f| Fault { reason: format!("{key}: {}", f.reason), ..f }.near(key))
}

/// Nothing but one value.
fn scalar(value: &Value) -> Result<(), Fault> {
    match value {
        Value::Mapping(_) => fault(R::BadDetection, "a mapping where a value is expected"),
        Value::Sequence(_) => fault(R::BadDetection, "a list in a list means nothing"),
        Value::Tagged(tagged) => fault(R::BadValue, format!("the YAML tag {} means nothing here", tagged.tag)),
        Value::Number(number) if number.as_i64().is_none() && !number.as_f64().is_some_and(f64::is_finite) => {
            fault(R::BadValue, format!("{number} is no number to compare with"))
        }
        Value::Number(number) if number.as_i64().is_none() && number.as_u64().is_some() => {
            fault(R::BadValue, format!("{number} is too large for a number: put it in quotes"))
        }
        _ => Ok(()),
    }
}
