//! What people set about detection, as documents of the state. Each is first an entry of `sceau.audit`.

use std::collections::BTreeMap;

use sceau_detect::{Exception, RuleOverride, Settings};
use sceau_event::Micros;
use sceau_store::{Document, Store};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{error::ServerError, guard, keydir::KeyDir};

/// The collection of the state that holds them; every document is explained by an audit entry.
pub(crate) const COLLECTION: &str = "detection";
/// The document with lists, zone and lateness.
pub(super) const GENERAL: &str = "settings";
/// The document that says which rules were loaded last.
pub(super) const RULES: &str = "rules";
const OVERRIDE: &str = "override/";
const EXCEPTION: &str = "exception/";
/// The most documents that are read.
const MAX_DOCUMENTS: usize = 20_000;
/// The most exceptions that there can be.
pub(super) const MAX_EXCEPTIONS: usize = 10_000;

/// What one setting document for everything holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DetectionSettings)]
pub(crate) struct General {
    pub lists: BTreeMap<String, Vec<String>>,
    pub zone: String,
    /// Seconds.
    pub lateness: u32,
}

impl Default for General {
    fn default() -> Self {
        let Settings { lists, zone, lateness, .. } = Settings::default();
        Self { lists, zone, lateness: u32::try_from(lateness / 1_000_000).unwrap_or_default() }
    }
}

/// What an exception does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExceptionMode)]
pub(crate) enum Mode {
    /// Records that have the values don't count.
    #[default]
    Exclude,
    /// Findings whose group has the values are sealed, but open no alert.
    Suppress,
}

/// An exception as people made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewException)]
pub(crate) struct Excepted {
    #[serde(default)]
    pub rule: Option<String>,
    pub fields: BTreeMap<String, String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Micros>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub reason: String,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub general: General,
    pub overrides: BTreeMap<String, RuleOverride>,
    pub exceptions: BTreeMap<String, Excepted>,
}

impl Set {
    /// Reads it; one document that is not this log's own is an error: whoever wrote it wanted something not to be seen.
    pub async fn load(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        Self::load_if(store, |document| guard::check(keys, COLLECTION, document)).await
    }

    /// The same without a look at MACs.
    pub async fn load_unchecked(store: &dyn Store) -> Result<Self, ServerError> {
        Self::load_if(store, |_| Ok(())).await
    }

    async fn load_if(
        store: &dyn Store,
        check: impl Fn(&Document) -> Result<(), ServerError>,
    ) -> Result<Self, ServerError> {
        let (mut set, mut after, mut count) = (Self::default(), String::new(), 0);
        loop {
            let page = store.list(COLLECTION, &after, 500).await?;
            let Some(last) = page.last() else { return Ok(set) };
            after.clone_from(&last.key);
            count += page.len();
            if count > MAX_DOCUMENTS {
                return Err(damaged(&format!("more than {MAX_DOCUMENTS} documents")));
            }
            for document in page {
                check(&document)?;
                set.put(&document.key, Some(&document.value))?;
            }
        }
    }

    /// Takes a document in, or out.
    pub fn put(&mut self, key: &str, value: Option<&Value>) -> Result<(), ServerError> {
        if let Some(rule) = key.strip_prefix(OVERRIDE) {
            place(&mut self.overrides, rule, key, value)?;
        } else if let Some(id) = key.strip_prefix(EXCEPTION) {
            place(&mut self.exceptions, id, key, value)?;
        } else if key == GENERAL {
            self.general = value.map(|value| read(key, value)).transpose()?.unwrap_or_default();
        } else if key != RULES {
            return Err(damaged(key));
        }
        Ok(())
    }

    /// As the detector takes it.
    pub fn settings(&self) -> Settings {
        let excluded = |(id, excepted): (&String, &Excepted)| {
            let Excepted { rule, fields, until, .. } = excepted.clone();
            (excepted.mode == Mode::Exclude).then(|| (id.clone(), Exception { rule, fields, until }))
        };
        Settings {
            lists: self.general.lists.clone(),
            zone: self.general.zone.clone(),
            overrides: self.overrides.clone(),
            exceptions: self.exceptions.iter().filter_map(excluded).collect(),
            lateness: i64::from(self.general.lateness) * 1_000_000,
        }
    }
}

/// The document of a rule's override.
pub(super) fn override_key(rule: &str) -> String {
    format!("{OVERRIDE}{rule}")
}

/// The document of an exception.
pub(super) fn exception_key(id: &str) -> String {
    format!("{EXCEPTION}{id}")
}

fn place<T: DeserializeOwned>(
    map: &mut BTreeMap<String, T>,
    name: &str,
    key: &str,
    value: Option<&Value>,
) -> Result<(), ServerError> {
    match value {
        Some(value) => map.insert(name.to_owned(), read(key, value)?),
        None => map.remove(name),
    };
    Ok(())
}

fn read<T: DeserializeOwned>(key: &str, value: &Value) -> Result<T, ServerError> {
    T::deserialize(value).map_err(|_| damaged(key))
}

fn damaged(key: &str) -> ServerError {
    sceau_store::StoreError::Damaged(format!("the state {COLLECTION}/{key} is no setting of this version")).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_settings_and_go_again() {
        let mut set = Set::default();
        assert_eq!(set.settings(), Settings::default());
        set.put("override/r1", Some(&json!({"enabled": false}))).unwrap();
        let fields = json!({"fields": {"source.ip": "10.0.0.0/8"}, "rule": "r1"});
        set.put("exception/e1", Some(&fields)).unwrap();
        let mut suppressed = fields.clone();
        suppressed["mode"] = "suppress".into();
        set.put("exception/e2", Some(&suppressed)).unwrap();
        set.put("settings", Some(&json!({"lists": {"a": ["b"]}, "zone": "Europe/Paris", "lateness": 60}))).unwrap();
        set.put("rules", Some(&json!({"r1": "hash"}))).unwrap();
        let settings = set.settings();
        assert_eq!(settings.exceptions.keys().collect::<Vec<_>>(), ["e1"]);
        assert_eq!((settings.zone.as_str(), settings.lateness), ("Europe/Paris", 60_000_000));
        assert_eq!(settings.overrides["r1"].enabled, Some(false));
        for (key, wrong) in [("override/r", json!({"enable": 1})), ("exception/e", json!({})), ("other", json!({}))] {
            assert!(set.put(key, Some(&wrong)).is_err(), "{key}");
        }
        for key in ["override/r1", "exception/e1", "exception/e2", "settings", "rules"] {
            set.put(key, None).unwrap();
        }
        assert_eq!(set, Set::default());
    }
}
