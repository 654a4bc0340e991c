//! Schemas of what other crates define: those know nothing of HTTP, so their types are described here, as JSON Schema.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        RefOr,
        path::{Parameter, ParameterIn},
        schema::Schema,
    },
};

/// A schema out of its JSON; a test sees that each is one.
fn schema(json: Value) -> RefOr<Schema> {
    serde_json::from_value(json).unwrap_or_default()
}

macro_rules! schemas {
    ($($(#[$doc:meta])* $type:ident $name:literal $json:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $type;

            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    schema($json)
                }
            }

            impl ToSchema for $type {
                fn name() -> Cow<'static, str> {
                    $name.into()
                }
            }
        )*

        #[cfg(test)]
        fn all() -> Vec<(&'static str, Value)> {
            vec![$(($name, $json)),*]
        }
    };
}

fn whole() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 0})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn level() -> Value {
    json!({
        "type": "string",
        "description": "How serious it is, as in Sigma.",
        "enum": ["informational", "low", "medium", "high", "critical"],
    })
}

fn finding() -> Value {
    json!({
        "type": "object",
        "description": "What a rule says about some entries.",
        "required": [
            "id", "phase", "rule", "title", "rule_hash", "level", "tags", "group", "evidence", "count", "first", "last",
        ],
        "properties": {
            "id": {"type": "string"}, "phase": {"type": "string", "enum": ["fired", "ended"]}, "rule": {"type": "string"},
            "title": {"type": "string"}, "rule_hash": {"type": "string"}, "level": level(), "tags": texts(),
            "group": {"type": "array", "items": texts(), "description": "Pairs of a field and its value."},
            "evidence": {"type": "array", "items": whole(), "description": "Indexes of entries, the first 100."},
            "count": whole(), "first": time(), "last": time(),
            "values": {"type": "object", "additionalProperties": texts()},
            "late": {"type": "boolean"},
        },
    })
}

fn windows_of_a_rule() -> Value {
    json!({
        "type": "object",
        "required": ["groups", "bursts", "evicted", "thinned", "ungrouped", "ended_early"],
        "properties": {
            "groups": whole(), "bursts": whole(), "evicted": whole(), "thinned": whole(), "ungrouped": whole(),
            "ended_early": whole(),
        },
    })
}

schemas! {
    /// `sceau_detect::Level`.
    LevelSchema "Level" level();
    /// `sceau_detect::RuleOverride`.
    OverrideSchema "RuleOverride" json!({
        "type": "object",
        "description": "What is set for a rule beside its file.",
        "additionalProperties": false,
        "properties": {
            "enabled": {"type": ["boolean", "null"]},
            "level": {"type": ["string", "null"], "enum": ["informational", "low", "medium", "high", "critical", null]},
            "threshold": {"type": ["integer", "null"], "format": "int64", "minimum": 1},
        },
    });
    /// What an exception says, where it stands beside its id.
    ExceptedSchema "Excepted" json!({
        "type": "object",
        "description": "What is excepted.",
        "required": ["rule", "fields", "until", "mode", "reason"],
        "properties": {
            "rule": {"type": ["string", "null"]},
            "fields": {"type": "object", "additionalProperties": {"type": "string"}},
            "until": {"type": ["string", "null"], "format": "date-time"},
            "mode": {"type": "string", "enum": ["exclude", "suppress"]},
            "reason": {"type": "string"},
        },
    });
    /// `sceau_detect::RuleMeta`.
    MetaSchema "RuleFile" json!({
        "type": "object",
        "description": "A rule as its file has it.",
        "required": [
            "id", "title", "description", "level", "tags", "path", "line", "hash", "kind", "fires", "enabled", "threshold",
            "timespan", "group_by", "false_positives",
        ],
        "properties": {
            "id": {"type": "string"}, "title": {"type": "string"}, "description": {"type": "string"},
            "level": level(), "tags": texts(), "path": {"type": "string"}, "line": whole(), "hash": {"type": "string"},
            "kind": {"type": "string", "description": "`detection` or a correlation's type."},
            "fires": {"type": "boolean", "description": "Whether it fires findings of its own."},
            "enabled": {"type": "boolean"},
            "threshold": {"type": ["integer", "null"], "format": "int64"},
            "timespan": {"type": ["integer", "null"], "format": "int64", "description": "Microseconds."},
            "group_by": texts(), "false_positives": texts(),
        },
    });
    /// `sceau_detect::Refusal`.
    RefusalSchema "RefusedRule" json!({
        "type": "object",
        "description": "A document of a rule file that is not a rule that runs.",
        "required": ["path", "line", "rule", "kind", "reason"],
        "properties": {
            "path": {"type": "string"}, "line": whole(), "rule": {"type": "string"}, "kind": {"type": "string"},
            "reason": {"type": "string"},
        },
    });
    /// `sceau_detect::OpenBurst`.
    BurstSchema "OpenBurst" json!({
        "type": "object",
        "description": "What was counted so far of a burst that goes on.",
        "required": ["count", "last"],
        "properties": {"count": whole(), "last": time()},
    });
    /// What a replay has found, which is there once it has ended.
    FoundSchema "Found" json!({
        "type": "object",
        "description": "What a replay found; there once it is done.",
        "properties": {
            "findings": {"type": "array", "items": finding(), "description": "The first 10,000."},
            "count": whole(), "suppressed": whole(),
        },
    });
    /// `sceau_detect::Stats`.
    WindowsSchema "DetectorWindows" json!({
        "type": "object",
        "description": "What the detector remembers, and what it had to let go.",
        "required": ["groups", "bytes", "bursts", "sources", "late", "rules"],
        "properties": {
            "groups": whole(), "bytes": whole(), "bursts": whole(), "sources": whole(), "late": whole(),
            "rules": {"type": "object", "additionalProperties": windows_of_a_rule()},
        },
    });
    /// [`crate::Problem`].
    ProblemSchema "Problem" json!({
        "type": "object",
        "description": "A problem detail (RFC 9457). Some codes have further members.",
        "required": ["status", "code", "title"],
        "additionalProperties": true,
        "properties": {
            "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "description": "A stable word for programs."},
            "title": {"type": "string", "description": "The same in words."},
            "detail": {"type": "string", "description": "What is wrong with this request, and what would be right."},
        },
    });
}

/// A parameter of the part behind `?`.
fn query(name: &str, description: &str, schema: Value) -> Parameter {
    let json = json!({
        "name": name, "in": "query", "required": false, "description": description, "schema": schema,
    });
    serde_json::from_value(json).unwrap_or_else(|_| Parameter::new(name))
}

/// `q`, `from` and `to`, which all questions share.
pub(crate) struct Filtering;

impl IntoParams for Filtering {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let time = |which| {
            let text = format!("{which} RFC 3339, a date, epoch seconds to nanoseconds, `now`, `now-15m`.");
            move |name| query(name, &text, json!({"type": "string"}))
        };
        vec![
            query(
                "q",
                "A query in the language of docs/query.md. The product's own sources (`sceau.…`) are left out unless it asks \
                 for them.",
                json!({"type": "string", "maxLength": sceau_store::query::MAX_TEXT}),
            ),
            time("Only events whose own time is not before this.")("from"),
            time("Only events whose own time is before this.")("to"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_one_and_loses_nothing() {
        for (name, json) in all() {
            let read: RefOr<Schema> = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), json, "{name}");
        }
        for parameter in Filtering::into_params(|| None) {
            let parameter = serde_json::to_value(parameter).unwrap();
            assert!(parameter["in"] == "query" && parameter["schema"]["type"] == "string", "{parameter}");
        }
    }

    /// The types of the detector have the members that are described, and no others.
    #[test]
    fn the_detectors_types_are_as_described() {
        let found = sceau_detect::Finding {
            id: "f".into(),
            phase: sceau_detect::Phase::Fired,
            rule: "r".into(),
            title: "t".into(),
            rule_hash: "h".into(),
            level: sceau_detect::Level::High,
            tags: ["a".to_owned()].into(),
            group: vec![("source.ip".into(), "192.0.2.1".into())],
            evidence: vec![1],
            count: 2,
            first: sceau_event::Micros(0),
            last: sceau_event::Micros(1),
            values: [("users".to_owned(), vec!["ann".to_owned()])].into(),
            late: true,
        };
        let rule = sceau_detect::RuleOverride {
            enabled: Some(true),
            level: Some(sceau_detect::Level::Low),
            threshold: Some(3),
        };
        let windows = sceau_detect::Stats {
            rules: [("r".to_owned(), sceau_detect::RuleStats::default())].into(),
            ..sceau_detect::Stats::default()
        };
        let burst = sceau_detect::OpenBurst { rule: 1, count: 2, last: sceau_event::Micros(0) };
        let values = [
            ("RuleOverride", serde_json::to_value(rule)),
            ("DetectorWindows", serde_json::to_value(windows)),
            ("OpenBurst", serde_json::to_value(burst)),
        ];
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&serde_json::to_value(found).unwrap()), keys(&finding()["properties"]));
        for (name, value) in values {
            let (_, schema) = all().into_iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(keys(&value.unwrap()), keys(&schema["properties"]), "{name}");
        }
    }
}
