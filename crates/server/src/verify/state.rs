//! The state against the audit entries that explain it.

use std::collections::BTreeMap;

use sceau_ledger::{Fault, FaultKind};
use sceau_store::{Document, Store, StoreError};
use serde_json::Value;

use crate::audit_entry::AuditEntry;

/// The collections of which every document must be explained by an entry of `sceau.audit`.
pub const AUDITED: [&str; 5] = [
    crate::auth::COLLECTION,
    crate::auth::users::COLLECTION,
    crate::auth::SETUP,
    crate::history::COLLECTION,
    crate::detect::COLLECTION,
];
/// What users log in with: no entry says what it is, but its hash is in the user's document, which one must explain.
const BOUND: &str = crate::auth::users::CREDENTIALS;

/// All documents of the audited collections, and what is bound to them.
pub(super) async fn documents(store: &dyn Store) -> Result<Vec<(&'static str, Vec<Document>)>, StoreError> {
    let mut found = Vec::new();
    for collection in AUDITED.into_iter().chain([BOUND]) {
        let mut all: Vec<Document> = Vec::new();
        loop {
            let after = all.last().map(|document| document.key.clone()).unwrap_or_default();
            let page = store.list(collection, &after, 500).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        found.push((collection, all));
    }
    Ok(found)
}

/// The documents of one collection among those of all.
pub(super) fn of<'a>(all: &'a [(&'static str, Vec<Document>)], collection: &str) -> &'a [Document] {
    all.iter().find(|(name, _)| *name == collection).map_or(&[], |(_, documents)| documents)
}

/// Names what users log in with that is not what their documents name, and users who lack it.
fn bound(users: &[Document], credentials: &[Document]) -> Vec<Fault> {
    let hash = |user: &Document| user.value.get("credential").and_then(Value::as_str).map(str::to_owned);
    let fault = |key: &str, what: &str| Fault::whole(FaultKind::State, format!("{BOUND}/{key} {what}"));
    let mut faults = Vec::new();
    for credential in credentials {
        let user = users.iter().find(|user| user.key == credential.key).and_then(hash);
        if user != Some(crate::auth::users::credential_hash(&credential.text)) {
            faults.push(fault(&credential.key, "is not what the log says that this user logs in with"));
        }
    }
    for user in users.iter().filter(|user| hash(user).is_some()) {
        if !credentials.iter().any(|credential| credential.key == user.key) {
            faults.push(fault(&user.key, "is missing although the log says that this user logs in with something"));
        }
    }
    faults
}

/// What the audit entries so far say.
#[derive(Clone, Default)]
pub(crate) struct Explained(BTreeMap<(String, String), (u64, Option<Value>)>);

impl Explained {
    /// Takes in an entry; those of another source, and those that change no state, are passed over.
    pub fn add(&mut self, index: u64, entry: &[u8]) {
        if let Some(AuditEntry::State(change) | AuditEntry::Keys(change)) = AuditEntry::read(entry) {
            self.0.insert((change.collection, change.key), (index, change.value));
        }
    }

    /// Whether the newest entry about a document sets it to this.
    pub fn sets(&self, collection: &str, key: &str, value: &Value) -> bool {
        let newest = self.0.get(&(collection.to_owned(), key.to_owned()));
        newest.is_some_and(|(_, set)| set.as_ref() == Some(value))
    }

    /// Names every document that is not what the newest entry about it says.
    pub fn compare(&self, documents: &[(&'static str, Vec<Document>)]) -> Vec<Fault> {
        let mut faults = bound(of(documents, crate::auth::users::COLLECTION), of(documents, BOUND));
        for (collection, documents) in documents.iter().filter(|(collection, _)| *collection != BOUND) {
            for document in documents {
                let name = (String::from(*collection), document.key.clone());
                let fault = match self.0.get(&name) {
                    Some((_, Some(value))) if *value == document.value => continue,
                    Some((index, Some(_))) => Fault::at(
                        FaultKind::State,
                        *index,
                        format!("{collection}/{} is not what this entry set", document.key),
                    ),
                    Some((index, None)) => Fault::at(
                        FaultKind::State,
                        *index,
                        format!("{collection}/{} is there although this entry removed it", document.key),
                    ),
                    None => Fault::whole(
                        FaultKind::State,
                        format!("{collection}/{} is there, but no entry of sceau.audit set it", document.key),
                    ),
                };
                faults.push(fault);
            }
            for ((_, key), (index, value)) in self.0.iter().filter(|((name, _), _)| name == collection) {
                if value.is_some() && !documents.iter().any(|document| document.key == *key) {
                    let detail = format!("{collection}/{key} is missing although this entry set it");
                    faults.push(Fault::at(FaultKind::State, *index, detail));
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(key: &str, value: &Value) -> Vec<u8> {
        let data = json!({"action": "state_change", "collection": "tokens", "key": key, "value": value});
        json!({"v": 1, "source": "sceau.audit", "data": data}).to_string().into_bytes()
    }

    fn document(key: &str, value: Value) -> Document {
        let text = value.to_string();
        Document { key: key.to_owned(), value, text, version: 1, expires: None, mac: None }
    }

    #[test]
    fn what_no_entry_explains_is_named() {
        let mut explained = Explained::default();
        explained.add(0, &entry("a", &json!(1)));
        explained.add(1, &entry("b", &json!(1)));
        explained.add(2, &entry("b", &json!(2)));
        explained.add(3, &entry("c", &Value::Null));
        explained.add(4, &entry("d", &json!(4)));
        explained.add(5, br#"{"data":{"action":"login"}}"#);
        // Whoever can edit a column can show a client's entry as one of ours.
        let sent = String::from_utf8(entry("a", &json!(9))).unwrap().replace("sceau.audit", "http");
        explained.add(6, sent.as_bytes());
        let good = || vec![document("a", json!(1)), document("b", json!(2)), document("d", json!(4))];
        assert_eq!(explained.compare(&[("tokens", good())]), []);
        let mut bad = good();
        bad[0].value = json!(9);
        bad.remove(2);
        bad.push(document("c", json!(1)));
        bad.push(document("e", json!(1)));
        let faults = explained.compare(&[("tokens", bad)]);
        let told: Vec<_> = faults.iter().map(|fault| (fault.first, fault.detail.as_str())).collect();
        assert_eq!(told[0].0, Some(0));
        assert!(told[1].1.contains("tokens/c") && told[1].0 == Some(3), "{told:?}");
        assert!(told[2].1.contains("tokens/e") && told[2].0.is_none(), "{told:?}");
        assert!(told[3].1.contains("tokens/d") && told[3].0 == Some(4), "{told:?}");
        assert_eq!(told.len(), 4);
    }
}
