//! Links that work once: for the first administrator, for a new user, and for one who lost his password.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sceau_event::Micros;
use sceau_store::Document;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::role::Role;
use crate::{config::Secret, error::ServerError, hex, keydir::random};

/// The collection of the state that holds links.
pub(crate) const COLLECTION: &str = "setup";
/// How long a link is good for, in microseconds.
const LIFETIME: i64 = 24 * 3_600 * 1_000_000;
const PREFIX: &str = "setup_";
/// The longest secret that is looked at.
const MAX_LENGTH: usize = 128;
/// The most links that are held.
const MAX: usize = 20_000;

/// A link as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    hash: String,
    /// Whose password it sets; `None`: whoever uses it chooses a name.
    pub user: Option<String>,
    pub role: Role,
    pub created: Micros,
    pub created_by: String,
    pub expires: Micros,
}

/// A link that was made just now.
#[derive(Debug)]
pub struct NewLink {
    /// What follows `/setup#` in it; shown once.
    pub secret: Secret,
    /// When it stops to be good.
    pub expires: Micros,
    pub(super) id: String,
    pub(super) link: Link,
}

/// All links.
#[derive(Default)]
pub(super) struct Links(RwLock<BTreeMap<String, Link>>);

impl NewLink {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(user: Option<&str>, role: Role, by: &str, now: Micros) -> Result<Self, ServerError> {
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?.as_slice()));
        let (id, hash) = names(&secret);
        let expires = Micros(now.0.saturating_add(LIFETIME));
        let (user, created_by) = (user.map(str::to_owned), by.to_owned());
        let link = Link { hash, user, role, created: now, created_by, expires };
        Ok(Self { secret: Secret::new(secret), expires, id, link })
    }
}

/// The public name and the hash of a secret. The name is of the hash, since nobody needs to know it from the link.
fn names(secret: &str) -> (String, String) {
    let hash = hex(&Sha256::digest(secret.as_bytes()));
    (hash.get(..16).unwrap_or_default().to_owned(), hash)
}

impl Links {
    fn map(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Link>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Link>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds these, which are the log's own, and no others.
    pub fn become_those_of(&self, documents: &[Document]) {
        let mut links = BTreeMap::new();
        for document in documents.iter().take(MAX) {
            match serde_json::from_value::<Link>(document.value.clone()) {
                Ok(link) => drop(links.insert(document.key.clone(), link)),
                Err(error) => tracing::error!(%error, link = document.key, "a link can't be read"),
            }
        }
        *self.map() = links;
    }

    /// Whether there was never one, as far as the state says.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Holds one that is durable; `None`: it is gone.
    pub fn put(&self, id: &str, link: Option<Link>) {
        match link {
            Some(link) => drop(self.map().insert(id.to_owned(), link)),
            None => drop(self.map().remove(id)),
        }
    }

    /// The link of this secret, if it is good.
    ///
    /// # Errors
    /// [`ServerError::LinkInvalid`].
    pub fn find(&self, secret: &str, now: Micros) -> Result<(String, Link), ServerError> {
        if secret.len() > MAX_LENGTH {
            return Err(ServerError::LinkInvalid);
        }
        let (id, hash) = names(secret);
        let link = self.read().get(&id).cloned().ok_or(ServerError::LinkInvalid)?;
        let same = bool::from(link.hash.as_bytes().ct_eq(hash.as_bytes()));
        if same && now < link.expires { Ok((id, link)) } else { Err(ServerError::LinkInvalid) }
    }

    /// The links of a user, or those for nobody in particular.
    pub fn of(&self, user: Option<&str>) -> Vec<String> {
        self.read().iter().filter(|(_, link)| link.user.as_deref() == user).map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_is_found_by_its_secret_until_it_expires_or_is_gone() {
        let links = Links::default();
        let new = NewLink::new(Some("alice"), Role::Auditor, "bob", Micros(0)).unwrap();
        assert!(!format!("{new:?} {}", json!(new.link)).contains(new.secret.expose()));
        links.put(&new.id, Some(new.link.clone()));
        let secret = new.secret.expose();
        assert_eq!(links.find(secret, Micros(LIFETIME - 1)).unwrap(), (new.id.clone(), new.link));
        assert!(links.find(secret, Micros(LIFETIME)).is_err());
        for wrong in ["", &secret[1..], &format!("{secret}x"), &"a".repeat(1_000)] {
            assert!(matches!(links.find(wrong, Micros(0)), Err(ServerError::LinkInvalid)), "{wrong}");
        }
        assert_eq!((links.of(Some("alice")), links.of(None)), (vec![new.id.clone()], vec![]));
        links.put(&new.id, None);
        assert!(links.find(secret, Micros(0)).is_err() && links.is_empty());
    }
}
