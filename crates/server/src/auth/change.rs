//! One change of accounts: its entries of `sceau.audit` and its documents, in one commit.

use std::net::IpAddr;

use sceau_event::SourceId;
use sceau_store::Expect;
use serde_json::{Value, json};

use super::users::{self, Account};
use crate::{error::ServerError, guard::StateChange, log::Log};

/// Who changes something, and from where.
#[derive(Clone, Debug)]
pub struct By {
    name: String,
    address: Option<IpAddr>,
}

impl By {
    /// Somebody on the machine itself.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self { name: name.to_owned(), address: None }
    }

    /// Somebody who came over the network.
    #[must_use]
    pub fn from(name: &str, address: IpAddr) -> Self {
        Self { name: name.to_owned(), address: Some(address.to_canonical()) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What is sealed and written together.
pub(super) struct Change<'a> {
    log: &'a Log,
    by: By,
    events: Vec<Value>,
    writes: Vec<StateChange>,
}

impl<'a> Change<'a> {
    /// An empty one.
    pub fn new(log: &'a Log, by: &By) -> Self {
        Self { log, by: by.clone(), events: Vec::new(), writes: Vec::new() }
    }

    fn event(&self, action: &str) -> Value {
        let mut event = json!({
            "timestamp": self.log.now().to_string(),
            "action": action,
            "service": "sceau",
            "user": self.by.name,
        });
        if let Some(address) = self.by.address {
            event["ip"] = Value::from(address.to_string());
        }
        event
    }

    /// Says what was done, with further members.
    pub fn note(&mut self, action: &str, members: Value) {
        let mut event = self.event(action);
        if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
            event.extend(members.into_iter().filter(|(_, value)| !value.is_null()));
        }
        self.events.push(event);
    }

    /// Sets a document that an entry must explain, or removes it.
    pub fn set(&mut self, collection: &str, key: &str, value: Option<Value>, message: &str) {
        let mut event = self.event("state_change");
        event["collection"] = collection.into();
        event["key"] = key.into();
        event["value"] = value.clone().unwrap_or_default();
        event["message"] = message.into();
        self.events.push(event);
        let (collection, key) = (collection.to_owned(), key.to_owned());
        self.writes.push(StateChange { collection, key, value, expect: Expect::Any, expires: None });
    }

    /// Sets a user and what he logs in with, or removes both: the one holds the hash of the other, so they go together.
    pub fn account(&mut self, id: &str, account: Option<&Account>, message: &str) {
        self.set(users::COLLECTION, id, account.map(|account| users::value(&account.user)), message);
        self.write(users::write_credential(id, account.and_then(|account| account.credential.as_ref())));
    }

    /// Writes a document that no entry explains.
    pub fn write(&mut self, write: StateChange) {
        self.writes.push(write);
    }

    /// Seals and writes all of it.
    ///
    /// # Errors
    /// Nothing was changed; or, after [`ServerError::Poisoned`], nobody knows.
    pub async fn commit(self) -> Result<(), ServerError> {
        self.log.note_events(SourceId::audit(), &self.events, self.writes).await.map(drop)
    }
}
