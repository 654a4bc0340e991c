//! Users: who may log in, and what they log in with.
//!
//! A user has two documents. `users` says what he may do and is explained by entries of `sceau.audit`. `credentials` holds
//! what a password can be guessed against, which the log must not hold for ever; its hash is in the other one, so that
//! nobody can exchange it unseen.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use sceau_event::Micros;
use sceau_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{password, role::Role, totp};
use crate::{error::ServerError, guard::StateChange, hex};

/// The collection of the state that holds users.
pub(crate) const COLLECTION: &str = "users";
/// The collection that holds what they log in with.
pub(crate) const CREDENTIALS: &str = "credentials";
/// The most users.
pub(super) const MAX_USERS: usize = 10_000;
/// The most characters of a user's name for log-ins.
const MAX_ID: usize = 64;

/// A user as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// What people call him.
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    /// The hash of the text of what he logs in with; `None` until he has chosen a password.
    pub credential: Option<String>,
    pub created: Micros,
    /// Whether a second factor is set.
    pub totp: bool,
}

/// What a user logs in with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Credential {
    /// A PHC string.
    pub password: String,
    /// Whether the password is so short that it is good only beside a second factor.
    #[serde(default)]
    pub short: bool,
    /// The secret of the second factor, encrypted.
    #[serde(default)]
    pub totp: Option<String>,
    /// Hashes of the recovery codes that are left.
    #[serde(default)]
    pub recovery: Vec<String>,
    pub changed: Micros,
}

impl Credential {
    /// Of a new password, beside what of a second factor there is.
    ///
    /// # Errors
    /// [`ServerError::Internal`].
    pub fn with_password(before: Option<&Self>, password: &str, now: Micros) -> Result<Self, ServerError> {
        Ok(Self {
            password: password::hash(password.as_bytes())?,
            short: password.chars().count() < password::MIN_ALONE,
            totp: before.and_then(|before| before.totp.clone()),
            recovery: before.map(|before| before.recovery.clone()).unwrap_or_default(),
            changed: now,
        })
    }

    /// Without one of its recovery codes, if that is the code.
    pub fn without_recovery(&self, code: &str) -> Option<Self> {
        let at = totp::find_recovery(&self.recovery, code)?;
        let mut rest = self.clone();
        rest.recovery.remove(at);
        Some(rest)
    }
}

/// The hash by which a user's document names what he logs in with.
pub(crate) fn credential_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// A user with what he logs in with.
#[derive(Clone)]
pub(super) struct Account {
    pub user: User,
    pub credential: Option<Credential>,
}

impl Account {
    /// The same with something else to log in with, or nothing.
    pub fn with(&self, credential: Option<Credential>) -> Self {
        let text = credential.as_ref().map(|credential| json!(credential).to_string());
        let mut user = self.user.clone();
        user.totp = credential.as_ref().is_some_and(|credential| credential.totp.is_some());
        user.credential = text.as_deref().map(credential_hash);
        Self { user, credential }
    }

    /// Whether he can log in and do everything.
    pub fn is_administrator(&self) -> bool {
        self.user.role == Role::Administrator && !self.user.disabled && self.credential.is_some()
    }
}

/// The document of what a user logs in with.
pub(super) fn write_credential(id: &str, credential: Option<&Credential>) -> StateChange {
    StateChange {
        collection: CREDENTIALS.into(),
        key: id.to_owned(),
        value: credential.map(|credential| json!(credential)),
        expect: Expect::Any,
        expires: None,
    }
}

/// All users, in memory.
#[derive(Default)]
pub(super) struct Users(RwLock<BTreeMap<String, Arc<Account>>>);

/// What was read, and how much of it is not the log's own.
pub(super) struct Read {
    users: BTreeMap<String, Arc<Account>>,
    pub forged: u64,
}

impl Read {
    /// Binds what was read together. A document that can't be read, or that is not what the other one names, is not used.
    pub fn of(users: &[Document], credentials: &[Document]) -> Self {
        let mut read = Self { users: BTreeMap::new(), forged: 0 };
        let by_key: BTreeMap<&str, &Document> = credentials.iter().map(|it| (it.key.as_str(), it)).collect();
        for document in users {
            let user: User = match serde_json::from_value(document.value.clone()) {
                Ok(user) => user,
                Err(error) => {
                    tracing::error!(%error, user = document.key, "a user can't be read");
                    continue;
                }
            };
            let found = by_key.get(document.key.as_str()).filter(|_| user.credential.is_some());
            let bound = found.filter(|found| Some(credential_hash(&found.text)) == user.credential);
            let credential = bound.and_then(|bound| serde_json::from_value(bound.value.clone()).ok());
            if user.credential.is_some() && credential.is_none() {
                read.forged += 1;
                tracing::error!(
                    user = document.key,
                    "what this user logs in with is not what the log says, and is not used: set it anew with `sceau user \
                     reset`, and look at the log with `sceau verify`"
                );
            }
            read.users.insert(document.key.clone(), Arc::new(Account { user, credential }));
        }
        read
    }
}

impl Users {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Account>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds these and no others.
    pub fn become_those_of(&self, read: Read) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = read.users;
    }

    /// A user.
    pub fn get(&self, id: &str) -> Option<Arc<Account>> {
        self.read().get(id).cloned()
    }

    /// Holds what is durable; `None`: nobody any more.
    pub fn put(&self, id: &str, account: Option<Account>) {
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match account {
            Some(account) => drop(users.insert(id.to_owned(), Arc::new(account))),
            None => drop(users.remove(id)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Up to `limit` of them behind `after`, by name.
    pub fn list(&self, after: &str, limit: usize) -> Vec<(String, Arc<Account>)> {
        let users = self.read();
        let behind = users.iter().filter(|(id, _)| id.as_str() > after);
        behind.take(limit).map(|(id, account)| (id.clone(), account.clone())).collect()
    }

    /// Makes sure that somebody who can do everything is left once this user is as he shall be.
    ///
    /// # Errors
    /// [`ServerError::LastAdministrator`].
    pub fn check_last(&self, id: &str, after: Option<&Account>) -> Result<(), ServerError> {
        let users = self.read();
        let loses = users.get(id).is_some_and(|account| account.is_administrator())
            && !after.is_some_and(Account::is_administrator);
        let others = users.iter().any(|(other, account)| other != id && account.is_administrator());
        if loses && !others { Err(ServerError::LastAdministrator(id.to_owned())) } else { Ok(()) }
    }
}

/// Makes sure that a text can be a user's name for log-ins.
///
/// # Errors
/// [`ServerError::Parameter`].
pub(super) fn check_id(id: &str) -> Result<(), ServerError> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._@-".contains(&byte);
    let first = id.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if first && id.len() <= MAX_ID && id.bytes().all(inside) {
        return Ok(());
    }
    Err(ServerError::parameter(
        "user",
        format!("must be 1 to {MAX_ID} of a-z, 0-9 and . _ @ -, beginning with a letter or digit"),
    ))
}

/// The value of a user's document.
pub(super) fn value(user: &User) -> Value {
    json!(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(key: &str, value: Value) -> Document {
        let text = value.to_string();
        Document { key: key.into(), value, text, version: 1, expires: None, mac: None }
    }

    fn account(role: Role) -> Account {
        let user =
            User { name: "Alice".into(), role, disabled: false, credential: None, created: Micros(1), totp: false };
        let credential = Credential {
            password: "$argon2id$".into(),
            short: false,
            totp: None,
            recovery: vec![],
            changed: Micros(1),
        };
        Account { user, credential: None }.with(Some(credential))
    }

    #[test]
    fn credentials_belong_to_their_user() {
        let alice = account(Role::Auditor);
        let user = document("alice", value(&alice.user));
        let good = document("alice", json!(alice.credential));
        let other = {
            let mut other = alice.credential.clone().unwrap();
            other.password = "$argon2id$other".into();
            document("alice", json!(other))
        };
        let usable = |credentials: &[Document]| {
            let read = Read::of(std::slice::from_ref(&user), credentials);
            (read.users["alice"].credential.is_some(), read.forged)
        };
        assert_eq!(usable(std::slice::from_ref(&good)), (true, 0));
        assert_eq!(usable(&[other]), (false, 1));
        assert_eq!(usable(&[]), (false, 1));
        assert_eq!(usable(&[Document { key: "bob".into(), ..good.clone() }]), (false, 1));
        // A user who was reset has nothing to log in with, whatever lies there.
        let mut reset = alice.user.clone();
        reset.credential = None;
        let read = Read::of(&[document("alice", value(&reset))], &[good]);
        assert!(read.users["alice"].credential.is_none() && read.forged == 0);
    }

    #[test]
    fn somebody_can_always_do_everything() {
        let users = Users::default();
        users.put("a", Some(account(Role::Administrator)));
        users.put("b", Some(account(Role::Analyst)));
        let demoted = account(Role::Auditor);
        let mut disabled = account(Role::Administrator);
        disabled.user.disabled = true;
        let without = Account { credential: None, ..account(Role::Administrator) };
        for after in [None, Some(&demoted), Some(&disabled), Some(&without)] {
            assert!(matches!(users.check_last("a", after), Err(ServerError::LastAdministrator(_))));
            users.check_last("b", after).unwrap();
            users.check_last("nobody", after).unwrap();
        }
        users.check_last("a", Some(&account(Role::Administrator))).unwrap();
        users.put("c", Some(without.clone()));
        assert!(users.check_last("a", None).is_err(), "one who has no password yet is none");
        users.put("c", Some(account(Role::Administrator)));
        users.check_last("a", None).unwrap();
    }

    #[test]
    fn names_for_log_ins() {
        for good in ["a", "alice", "alice.martin@example.org", "0-x_y", &"a".repeat(64)] {
            check_id(good).unwrap();
        }
        for wrong in ["", "Alice", ".a", "-a", "@a", "a b", "a/b", "é", "a\n", &"a".repeat(65)] {
            assert!(check_id(wrong).is_err(), "{wrong}");
        }
    }
}
