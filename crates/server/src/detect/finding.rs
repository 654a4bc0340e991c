//! A finding as an entry of `sceau.finding`.

use sceau_detect::{Finding, Level, Phase};
use sceau_event::{Framer, Meta, Micros, SourceId};
use sceau_store::{Batch, BatchBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{error::ServerError, log::Log};

/// A finding with what its entry says besides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sealed {
    pub finding: Finding,
    /// It in words.
    pub message: String,
    /// The suppression for which its alert was closed from the beginning.
    pub suppressed_by: Option<String>,
    /// The alert that it went into; `None` where a version before this one sealed it.
    pub alert: Option<String>,
}

/// Reads what [`event`] wrote.
pub(super) fn read(event: &Value) -> Option<Sealed> {
    fn of<T: DeserializeOwned>(value: &Value) -> Option<T> {
        T::deserialize(value).ok()
    }
    let group: Map<String, Value> = of(&event["group"])?;
    let group: Option<Vec<_>> =
        group.into_iter().map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect();
    let time = |name: &str| of::<Micros>(&event[name]);
    let finding = Finding {
        id: of(&event["id"])?,
        phase: of(&event["phase"])?,
        rule: of(&event["rule"]["id"])?,
        title: of(&event["rule"]["name"])?,
        rule_hash: of(&event["rule"]["hash"])?,
        level: of(&event["severity"])?,
        tags: of(&event["tags"])?,
        group: group?,
        evidence: of(&event["evidence"])?,
        count: of(&event["count"])?,
        first: time("first")?,
        last: time("last")?,
        values: of(&event["values"]).unwrap_or_default(),
        late: event["late"] == true,
    };
    let (message, suppressed_by) = (of(&event["message"])?, of(&event["suppressed_by"]));
    Some(Sealed { finding, message, suppressed_by, alert: of(&event["alert"]["id"]) })
}

/// The event that is sealed for a finding. Its own time is that of the last entry that it is about, so that findings of
/// imported logs lie where the attack was; the same finding always gives the same text.
pub(super) fn event(finding: &Finding) -> Value {
    let group: Map<String, Value> =
        finding.group.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let mut event = json!({
        "timestamp": finding.last.to_string(),
        "action": "finding",
        "id": finding.id,
        "phase": finding.phase,
        "rule": {"id": finding.rule, "name": finding.title, "hash": finding.rule_hash},
        "severity": finding.level,
        "tags": finding.tags,
        "group": group,
        "evidence": finding.evidence,
        "count": finding.count,
        "first": finding.first.to_string(),
        "last": finding.last.to_string(),
        "message": message(finding),
    });
    // The names under which searches find addresses and users.
    for (name, field) in [("ip", "source.ip"), ("user", "user.name")] {
        if let Some((_, value)) = finding.group.iter().find(|(name, _)| name == field) {
            event[name] = Value::from(value.as_str());
        }
    }
    if !finding.values.is_empty() {
        event["values"] = json!(finding.values);
    }
    if finding.late {
        event["late"] = Value::from(true);
    }
    event
}

/// The same for one that is too large for an entry: without what the evidence tells as well, and with the beginning of what
/// the rule says of itself.
pub(super) fn short_event(finding: &Finding) -> Value {
    let cut = |text: &str| text.chars().take(64).collect::<String>();
    let mut short = finding.clone();
    (short.title, short.rule) = (cut(&finding.title), cut(&finding.rule));
    short.values.clear();
    short.tags = finding.tags.iter().take(20).map(|tag| cut(tag)).collect();
    short.group = finding.group.iter().take(8).map(|(name, value)| (cut(name), cut(value))).collect();
    let mut event = event(&short);
    event["shortened"] = Value::from(true);
    event
}

/// A finding in words.
pub(super) fn message(finding: &Finding) -> String {
    let who: Vec<String> = finding.group.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join(", ")) };
    let times = if finding.count == 1 { "once".to_owned() } else { format!("{} times", finding.count) };
    match finding.phase {
        Phase::Fired => format!("{}{who}: {times} by {}", finding.title, finding.last),
        Phase::Ended => format!("{}{who}: over, {times} from {} to {}", finding.title, finding.first, finding.last),
    }
}

/// The entries of findings. They were received when their alerts changed, so that these can be made again from them.
pub(super) fn batch(log: &Log, findings: &[Sealed], now: Micros) -> Result<Batch, ServerError> {
    let framer = Framer::new(now, &SourceId::finding(), &Meta::default());
    let mut builder = BatchBuilder::new(log.reader().deriver().clone());
    for sealed @ Sealed { finding, .. } in findings {
        let text = |event: Value| with_alert(event, sealed).to_string();
        if builder.push_json(&framer, text(event(finding)).as_bytes()).is_ok() {
            continue;
        }
        let refused = |error| ServerError::Internal(format!("a finding of rule {}: {error}", finding.rule));
        builder.push_json(&framer, text(short_event(finding)).as_bytes()).map_err(refused)?;
    }
    builder.finish().map_err(|error| ServerError::Internal(error.to_string()))
}

/// Besides what was found, an entry says into which alert that went: retention may delete what led there.
fn with_alert(mut event: Value, sealed: &Sealed) -> Value {
    if let Some(suppression) = &sealed.suppressed_by {
        event["suppressed_by"] = Value::from(suppression.as_str());
    }
    if let Some(alert) = &sealed.alert {
        event["alert"] = json!({"id": alert});
    }
    event
}

/// The word of a level.
pub(super) fn word(level: Level) -> &'static str {
    match level {
        Level::Informational => "informational",
        Level::Low => "low",
        Level::Medium => "medium",
        Level::High => "high",
        Level::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_finding_says_who_what_and_when() {
        let mut finding = Finding {
            id: "00".repeat(16),
            phase: Phase::Fired,
            rule: "r".into(),
            title: "Brute force".into(),
            rule_hash: "h".into(),
            level: Level::High,
            tags: BTreeSet::from(["attack.t1110".to_owned()]),
            group: vec![("source.ip".into(), "192.0.2.7".into())],
            evidence: vec![3, 5, 8],
            count: 5,
            first: Micros(0),
            last: Micros(60_000_000),
            values: BTreeMap::new(),
            late: false,
        };
        let text = event(&finding).to_string();
        assert_eq!(text, event(&finding).to_string());
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&read["ip"], &read["severity"], &read["phase"]),
            (&"192.0.2.7".into(), &"high".into(), &"fired".into())
        );
        assert_eq!(read["timestamp"], "1970-01-01T00:01:00.000000Z");
        assert_eq!(read["message"], "Brute force (source.ip 192.0.2.7): 5 times by 1970-01-01T00:01:00.000000Z");
        assert!(read.get("late").is_none() && read.get("user").is_none() && read.get("values").is_none());
        let mut large = finding.clone();
        large.title = "\u{1}".repeat(60_000);
        large.group = (0..40).map(|n| (format!("name{n}"), "\u{1}".repeat(1_000))).collect();
        large.tags = (0..500).map(|n| format!("tag.{n}.{}", "x".repeat(200))).collect();
        assert!(event(&large).to_string().len() > 65_535);
        let short = short_event(&large);
        assert!(short.to_string().len() < 20_000 && short["shortened"] == true && short["id"] == finding.id.as_str());
        finding.phase = Phase::Ended;
        finding.late = true;
        assert!(message(&finding).contains("over, 5 times from 1970-01-01T00:00:00.000000Z"), "{}", message(&finding));
        assert_eq!(event(&finding)["late"], true);
        finding.values.insert("user.name".into(), vec!["ann".into()]);
        let read = super::read(&event(&finding)).unwrap();
        assert_eq!((&read.message, &read.suppressed_by, &read.alert), (&message(&finding), &None, &None));
        assert_eq!(read.finding, finding);
        let sealed = Sealed { suppressed_by: Some("s".into()), alert: Some("a".into()), ..read };
        assert_eq!(super::read(&with_alert(event(&finding), &sealed)).unwrap(), sealed);
    }
}
