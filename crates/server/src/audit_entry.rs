//! What an entry of `sceau.audit` states about a document of the state: the one reader of such entries.

use sceau_event::SourceId;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// A change of a document, as an entry tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub collection: String,
    pub key: String,
    /// What it was set to; `None` if it was removed.
    pub value: Option<Value>,
    /// The deleted entry that this one repeats.
    pub carried: Option<u64>,
    /// That entry's exact text, if it was a statement about keys.
    pub entry: Option<String>,
}

/// What an entry states. Every reader says which of these it takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AuditEntry {
    /// A document was set or removed, or a deleted entry that did so is repeated.
    State(Change),
    /// The same by a statement about keys, signed by those that were there before; it is the document's note.
    Keys(Change),
    /// Something else about a document.
    Other(Change),
}

impl AuditEntry {
    /// Reads an entry. `None` if it is of another source, whoever said otherwise, or is not about a document.
    pub fn read(entry: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Data {
            action: String,
            collection: String,
            key: String,
            value: Option<Value>,
            carried: Option<u64>,
            entry: Option<String>,
        }
        let Data { action, collection, key, value, carried, entry } = data(entry)?;
        let change = Change { collection, key, value, carried, entry };
        Some(match action.as_str() {
            "state_change" => Self::State(change),
            "key_rotation" | "key_loss" | "take_over" => Self::Keys(change),
            _ => Self::Other(change),
        })
    }

    /// Whether an entry of `sceau.audit` names the collection, whatever else is in it or lacks: for who may rather take
    /// an entry for a change than overlook one.
    pub fn names(entry: &[u8], collection: &str) -> bool {
        #[derive(Deserialize)]
        struct Data {
            collection: String,
        }
        data::<Data>(entry).is_some_and(|data| data.collection == collection)
    }

    /// The document that it is about, whatever it says of it.
    pub fn about(&self) -> &Change {
        match self {
            Self::State(change) | Self::Keys(change) | Self::Other(change) => change,
        }
    }
}

/// The event in an entry of `sceau.audit`; `None` if it is of another source or lacks what is asked for.
fn data<D: DeserializeOwned>(entry: &[u8]) -> Option<D> {
    #[derive(Deserialize)]
    struct Envelope<D> {
        source: String,
        data: D,
    }
    let Envelope { source, data } = serde_json::from_slice(entry).ok()?;
    (source == SourceId::audit().as_str()).then_some(data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(source: &str, data: &Value) -> Vec<u8> {
        json!({"v": 1, "received": "2026-11-22T08:00:00Z", "source": source, "meta": {}, "data": data})
            .to_string()
            .into()
    }

    #[test]
    fn actions_and_sources_are_told_apart() {
        let data =
            |action: &str| json!({"action": action, "collection": "c", "key": "k", "value": {"n": 1}, "user": "u"});
        let change = Change {
            collection: "c".into(),
            key: "k".into(),
            value: Some(json!({"n": 1})),
            carried: None,
            entry: None,
        };
        for (action, wanted) in [
            ("state_change", AuditEntry::State(change.clone())),
            ("key_rotation", AuditEntry::Keys(change.clone())),
            ("key_loss", AuditEntry::Keys(change.clone())),
            ("take_over", AuditEntry::Keys(change.clone())),
            ("state_change_2", AuditEntry::Other(change.clone())),
        ] {
            let read = AuditEntry::read(&entry("sceau.audit", &data(action)));
            assert_eq!(read.as_ref().map(AuditEntry::about), Some(&change), "{action}");
            assert_eq!(read, Some(wanted), "{action}");
            for other in ["http", "sceau.finding", "sceau.audit2"] {
                assert_eq!(AuditEntry::read(&entry(other, &data(action))), None, "{action} of {other}");
            }
        }
    }

    #[test]
    fn a_removal_and_a_repetition_are_read_whole() {
        let data =
            json!({"action": "state_change", "collection": "c", "key": "k", "value": null, "carried": 7, "entry": "e"});
        let Some(AuditEntry::State(change)) = AuditEntry::read(&entry("sceau.audit", &data)) else { panic!("{data}") };
        assert_eq!((change.value, change.carried, change.entry.as_deref()), (None, Some(7), Some("e")));
    }

    #[test]
    fn a_collection_is_seen_whatever_the_other_fields_are() {
        let data = |fields: &str| format!(r#"{{"collection":"c"{fields}}}"#);
        let audit = |data: &str| format!(r#"{{"v":1,"source":"sceau.audit","meta":{{}},"data":{data}}}"#).into_bytes();
        for fields in [
            "",
            r#","action":"state_change","value":{}"#,
            r#","action":7,"key":[]"#,
            r#","action":"state_change","key":"k","carried":"7""#,
            r#","action":"state_change","key":"k","carried":-1"#,
            r#","action":"state_change","key":"k","entry":{}"#,
            r#","action":"state_change","key":"k","value":1e999"#,
        ] {
            let read = audit(&data(fields));
            assert!(AuditEntry::names(&read, "c") && !AuditEntry::names(&read, "d"), "{fields}");
            let foreign = entry("http", &json!({"source": "sceau.audit", "collection": "c"}));
            assert!(!AuditEntry::names(&foreign, "c"));
        }
        for other in ["{}", r#"{"collection":["c"]}"#, r#"{"value":{"collection":"c"}}"#, r#""c""#] {
            assert!(!AuditEntry::names(&audit(other), "c"), "{other}");
        }
    }

    #[test]
    fn what_names_no_document_states_nothing() {
        for data in [
            json!({"action": "verification", "ok": true}),
            json!({"action": "state_change", "collection": "c", "value": 1}),
            json!({"action": "state_change", "key": "k", "value": 1}),
            json!({"collection": "c", "key": "k"}),
            json!({"action": "state_change", "collection": 1, "key": "k"}),
            json!("action state_change collection c key k"),
        ] {
            assert_eq!(AuditEntry::read(&entry("sceau.audit", &data)), None, "{data}");
        }
        assert_eq!(AuditEntry::read(b"{}"), None);
        assert_eq!(AuditEntry::read(b""), None);
    }
}
