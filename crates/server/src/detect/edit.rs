//! What people set about detection: checked with the rules, sealed, and only then it counts.

use std::sync::Arc;

use sceau_detect::{RuleOverride, RuleSet};
use serde_json::Value;

use super::{COLLECTION, Detection, Excepted, General, build, settings, to_value};
use crate::error::ServerError;

/// Bytes of a setting as JSON.
const MAX_SETTING: usize = 60_000;

impl Detection {
    /// Changes a setting document: checked with the rules first, then sealed, then it counts.
    async fn change(self: &Arc<Self>, key: String, value: Option<Value>, user: &str) -> Result<(), ServerError> {
        let (this, user) = (self.clone(), user.to_owned());
        // Carried through even if whoever asked goes away.
        let changing = tokio::spawn(async move {
            let _editing = this.editing.lock().await;
            let mut set = (*this.current().set).clone();
            set.put(&key, value.as_ref()).map_err(|_| ServerError::Body(format!("{key} is no such setting")))?;
            if set.exceptions.len() > settings::MAX_EXCEPTIONS {
                let text = format!("there are {} exceptions already; remove some", settings::MAX_EXCEPTIONS);
                return Err(ServerError::Body(text));
            }
            if value.as_ref().is_some_and(|value| value.to_string().len() > MAX_SETTING) {
                return Err(ServerError::Body(format!(
                    "a setting may have {MAX_SETTING} bytes: it must fit into an entry"
                )));
            }
            let (set, rules) = build(this.directory.clone(), set).await?;
            no_new_refusals(&this.current().rules, &rules)?;
            this.log.record_state_change(COLLECTION, &key, value, &user).await?;
            this.adopt(rules, set, &user).await;
            Ok(())
        });
        changing.await.map_err(|error| ServerError::Internal(format!("a change of settings: {error}")))?
    }

    /// Sets lists, zone and lateness.
    pub async fn set_general(self: &Arc<Self>, general: &General, user: &str) -> Result<(), ServerError> {
        self.change(settings::GENERAL.to_owned(), Some(to_value(general)?), user).await
    }

    /// Sets what counts for one rule beside its file; `None`: what its file says.
    pub async fn set_override(
        self: &Arc<Self>,
        rule: &str,
        change: Option<&RuleOverride>,
        user: &str,
    ) -> Result<(), ServerError> {
        let current = self.current();
        // One that is set can be taken back, whatever has become of the rule.
        let known = current.rules.has(rule) || change.is_none() && current.set.overrides.contains_key(rule);
        if !known {
            return Err(ServerError::NotFound(format!("rule {rule}")));
        }
        let value = change.map(to_value).transpose()?;
        self.change(settings::override_key(rule), value, user).await
    }

    /// Adds an exception; gives its id.
    pub async fn add_exception(self: &Arc<Self>, excepted: &Excepted, user: &str) -> Result<String, ServerError> {
        self.check_exception(excepted)?;
        let id = crate::hex(crate::keydir::random::<8>()?.as_slice());
        self.change(settings::exception_key(&id), Some(to_value(excepted)?), user).await?;
        Ok(id)
    }

    /// Removes an exception.
    pub async fn remove_exception(self: &Arc<Self>, id: &str, user: &str) -> Result<(), ServerError> {
        if !self.current().set.exceptions.contains_key(id) {
            return Err(ServerError::NotFound(format!("exception {id}")));
        }
        self.change(settings::exception_key(id), None, user).await
    }

    /// Makes sure that an exception means something.
    pub fn check_exception(&self, excepted: &Excepted) -> Result<(), ServerError> {
        if excepted.fields.is_empty() || excepted.fields.iter().any(|(name, value)| name.is_empty() || value.is_empty())
        {
            return Err(ServerError::parameter("fields", "must name at least one field and its value"));
        }
        let size = excepted.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if excepted.fields.len() > 20 || size > 8_192 || excepted.reason.len() > 4_096 {
            return Err(ServerError::parameter("fields", "at most 20 fields, 8 KiB; a reason of at most 4 KiB"));
        }
        match &excepted.rule {
            Some(rule) if !self.current().rules.has(rule) => Err(ServerError::NotFound(format!("rule {rule}"))),
            _ => Ok(()),
        }
    }
}

/// Refuses a setting for which rules could not run that do.
fn no_new_refusals(before: &RuleSet, after: &RuleSet) -> Result<(), ServerError> {
    let known =
        |path: &str, rule: &str| before.refusals().iter().any(|other| (&*other.path, &*other.rule) == (path, rule));
    match after.refusals().iter().find(|refusal| !known(&refusal.path, &refusal.rule)) {
        None => Ok(()),
        Some(refusal) => Err(ServerError::Body(format!("then {:?} could not run: {}", refusal.rule, refusal.reason))),
    }
}
