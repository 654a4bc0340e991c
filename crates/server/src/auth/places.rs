//! From where users have logged in lately, and the last code of each one's second factor.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

use sceau_event::Micros;
use sceau_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::guard::StateChange;

/// The collection of the state that holds them. No entry explains it: it lets nobody in.
pub(super) const COLLECTION: &str = "logins";
/// How long an address is known after a log-in, in microseconds.
const KNOWN: i64 = 30 * 24 * 3_600 * 1_000_000;
/// The most addresses of one user.
const MAX: usize = 20;

/// Of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    addresses: BTreeMap<IpAddr, Micros>,
    /// The step of the last code, which is good once.
    step: u64,
}

/// Of all users.
#[derive(Default)]
pub(super) struct Places(RwLock<HashMap<String, Place>>);

impl Place {
    /// The same after a log-in from there, by a code of that step.
    fn after(mut self, address: IpAddr, step: Option<u64>, now: Micros) -> Self {
        self.addresses.retain(|_, last| now.0.saturating_sub(last.0) < KNOWN);
        self.addresses.insert(address, now);
        while self.addresses.len() > MAX {
            let oldest = self.addresses.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address);
            oldest.and_then(|oldest| self.addresses.remove(&oldest));
        }
        self.step = self.step.max(step.unwrap_or_default());
        self
    }
}

impl Places {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Place>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds these, which are the log's own, and no others.
    pub fn become_those_of(&self, documents: &[Document]) {
        let read = |it: &Document| Some((it.key.clone(), serde_json::from_value(it.value.clone()).ok()?));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = documents.iter().filter_map(read).collect();
    }

    /// Whether a user has logged in from there lately.
    pub fn knows(&self, user: &str, address: IpAddr, now: Micros) -> bool {
        let places = self.read();
        let last = places.get(user).and_then(|place| place.addresses.get(&address));
        last.is_some_and(|last| now.0.saturating_sub(last.0) < KNOWN)
    }

    /// Whether a code of this step was not used yet.
    pub fn is_fresh(&self, user: &str, step: u64) -> bool {
        self.read().get(user).is_none_or(|place| step > place.step)
    }

    /// What is to be written after a log-in, and then held.
    pub fn after(&self, user: &str, address: IpAddr, step: Option<u64>, now: Micros) -> Place {
        self.read().get(user).cloned().unwrap_or_default().after(address, step, now)
    }

    /// Holds what is durable; `None`: the user is gone.
    pub fn put(&self, user: &str, place: Option<Place>) {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => drop(places.insert(user.to_owned(), place)),
            None => drop(places.remove(user)),
        }
    }
}

/// The document of a user's.
pub(super) fn write(user: &str, place: Option<&Place>) -> StateChange {
    StateChange {
        collection: COLLECTION.into(),
        key: user.to_owned(),
        value: place.map(|place| json!(place)),
        expect: Expect::Any,
        expires: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_for_a_month_and_not_too_many() {
        let places = Places::default();
        let ip = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..30 {
            let place = places.after("alice", ip(n), Some(u64::from(n)), Micros(i64::from(n)));
            places.put("alice", Some(place));
        }
        let known = |n: u32, now: i64| places.knows("alice", ip(n), Micros(now));
        assert!(known(29, 29) && known(10, 29) && !known(9, 29) && !places.knows("bob", ip(29), Micros(29)));
        assert!(known(29, KNOWN + 28) && !known(29, KNOWN + 29));
        assert!(!places.is_fresh("alice", 29) && places.is_fresh("alice", 30) && places.is_fresh("bob", 0));
        let json = write("alice", Some(&places.read()["alice"])).value.unwrap();
        assert_eq!(serde_json::from_value::<Place>(json).unwrap(), places.read()["alice"]);
    }
}
