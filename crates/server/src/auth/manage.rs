//! What administrators do with the accounts of others, and with tokens.

use sceau_event::Micros;
use serde_json::json;

use super::{
    Accounts, By, NewLink, NewToken, Role, SessionView, TokenSpec, TokenView, UserView,
    change::Change,
    check_name, ever_made, places, sessions, setup, tokens,
    users::{self, Account, MAX_USERS, User},
};
use crate::{error::ServerError, log::Log};

/// How often a new token's public name may be taken already.
const TRIES: usize = 8;

/// What shall change about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// What people call him.
    pub name: Option<String>,
    /// What he may do.
    pub role: Option<Role>,
    /// Whether he may not log in.
    pub disabled: Option<bool>,
}

impl Accounts {
    /// Up to `limit` users behind `after`, by name for log-ins.
    pub fn list_users(&self, after: &str, limit: usize) -> Vec<UserView> {
        self.0.users.list(after, limit).iter().map(|(id, account)| UserView::of(id, account)).collect()
    }

    /// A user.
    ///
    /// # Errors
    /// [`ServerError::NotFound`].
    pub fn user(&self, id: &str) -> Result<UserView, ServerError> {
        self.account(id).map(|account| UserView::of(id, &account))
    }

    fn account(&self, id: &str) -> Result<std::sync::Arc<Account>, ServerError> {
        self.0.users.get(id).ok_or_else(|| ServerError::NotFound(format!("the user {id}")))
    }

    pub(super) fn check_room(&self) -> Result<(), ServerError> {
        if self.0.users.len() < MAX_USERS {
            return Ok(());
        }
        Err(ServerError::TooMany(format!("the log has {MAX_USERS} users, and can't have more")))
    }

    /// Makes a user, who chooses a password by the link that this gives.
    ///
    /// # Errors
    /// [`ServerError::Exists`], [`ServerError::Parameter`], [`ServerError::TooMany`]; or it could not be sealed.
    pub async fn create_user(
        &self,
        log: &Log,
        by: &By,
        id: &str,
        name: &str,
        role: Role,
        now: Micros,
    ) -> Result<NewLink, ServerError> {
        users::check_id(id)?;
        check_name(name)?;
        if role == Role::Ingest {
            return Err(ServerError::parameter("role", "ingest is for tokens, not for people"));
        }
        let (accounts, log, by, id, name) =
            (self.clone(), log.clone(), by.clone(), id.to_owned(), name.trim().to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            if accounts.0.users.get(&id).is_some() {
                return Err(ServerError::Exists(format!("the user {id}")));
            }
            accounts.check_room()?;
            let user = User { name, role, disabled: false, credential: None, created: now, totp: false };
            let link = NewLink::new(Some(&id), role, by.name(), now)?;
            let mut change = Change::new(&log, &by);
            let message = format!("the user {id} was made, as {role}");
            change.set(users::COLLECTION, &id, Some(users::value(&user)), &message);
            accounts.set_link(&mut change, &link);
            change.commit().await?;
            accounts.0.users.put(&id, Some(Account { user, credential: None }));
            accounts.hold_link(&link);
            Ok(link)
        })
        .await
    }

    /// Makes a link for the first administrator, if there never was a user and there is no link.
    ///
    /// # Errors
    /// It could not be sealed.
    pub(crate) async fn first_link(&self, log: &Log, now: Micros) -> Result<Option<NewLink>, ServerError> {
        let _held = self.0.changing.lock().await;
        if self.0.users.len() > 0 || !self.0.links.is_empty() {
            return Ok(None);
        }
        // Whoever emptied the state must not make us hand out another one.
        if ever_made(&**log.reader().store(), users::COLLECTION).await? {
            tracing::error!(
                "there is no user, although the log had some: the state was altered. Look at it with `sceau verify`, then \
                 stop the server and make a user with `sceau user add`"
            );
            return Ok(None);
        }
        let link = NewLink::new(None, Role::Administrator, "system", now)?;
        let mut change = Change::new(log, &By::local("system"));
        self.set_link(&mut change, &link);
        change.commit().await?;
        self.hold_link(&link);
        Ok(Some(link))
    }

    /// Makes a link a part of a change, in the place of others for the same user.
    fn set_link(&self, change: &mut Change<'_>, link: &NewLink) {
        for old in self.0.links.of(link.link.user.as_deref()) {
            change.set(setup::COLLECTION, &old, None, "another link takes its place");
        }
        change.set(setup::COLLECTION, &link.id, Some(json!(link.link)), "a link to choose a password was made");
    }

    fn hold_link(&self, link: &NewLink) {
        for old in self.0.links.of(link.link.user.as_deref()) {
            self.0.links.put(&old, None);
        }
        self.0.links.put(&link.id, Some(link.link.clone()));
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`ServerError::NotFound`], [`ServerError::LastAdministrator`], [`ServerError::Parameter`]; or it could not be sealed.
    pub async fn change_user(
        &self,
        log: &Log,
        by: &By,
        id: &str,
        wanted: UserChange,
        now: Micros,
    ) -> Result<UserView, ServerError> {
        if let Some(name) = &wanted.name {
            check_name(name)?;
        }
        if wanted.role == Some(Role::Ingest) {
            return Err(ServerError::parameter("role", "ingest is for tokens, not for people"));
        }
        if wanted == UserChange::default() {
            return Err(ServerError::Body("say what to change: name, role or disabled".to_owned()));
        }
        let (accounts, log, by, id) = (self.clone(), log.clone(), by.clone(), id.to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let mut account = (*accounts.account(&id)?).clone();
            let mut told = Vec::new();
            if let Some(name) = wanted.name.filter(|name| *name != account.user.name) {
                told.push("name".to_owned());
                account.user.name = name.trim().to_owned();
            }
            if let Some(role) = wanted.role.filter(|role| *role != account.user.role) {
                told.push(format!("role from {} to {role}", account.user.role));
                account.user.role = role;
            }
            if let Some(disabled) = wanted.disabled.filter(|disabled| *disabled != account.user.disabled) {
                told.push(if disabled { "disabled" } else { "enabled" }.to_owned());
                account.user.disabled = disabled;
            }
            if told.is_empty() {
                return Ok(UserView::of(&id, &account));
            }
            accounts.0.users.check_last(&id, Some(&account))?;
            let mut change = Change::new(&log, &by);
            let message = format!("the user {id} was changed: {}", told.join(", "));
            change.set(users::COLLECTION, &id, Some(users::value(&account.user)), &message);
            let ended =
                if account.user.disabled { accounts.end_sessions(&mut change, &id, None, now) } else { Vec::new() };
            change.commit().await?;
            accounts.0.sessions.end(&ended);
            let view = UserView::of(&id, &account);
            accounts.0.users.put(&id, Some(account));
            Ok(view)
        })
        .await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`ServerError::NotFound`], [`ServerError::LastAdministrator`]; or it could not be sealed.
    pub async fn delete_user(&self, log: &Log, by: &By, id: &str, now: Micros) -> Result<(), ServerError> {
        let (accounts, log, by, id) = (self.clone(), log.clone(), by.clone(), id.to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            accounts.account(&id)?;
            accounts.0.users.check_last(&id, None)?;
            let mut change = Change::new(&log, &by);
            change.account(&id, None, &format!("the user {id} was removed"));
            change.write(places::write(&id, None));
            let links = accounts.0.links.of(Some(&id));
            for link in &links {
                change.set(setup::COLLECTION, link, None, "its user was removed");
            }
            let ended = accounts.end_sessions(&mut change, &id, None, now);
            change.commit().await?;
            accounts.0.sessions.end(&ended);
            links.iter().for_each(|link| accounts.0.links.put(link, None));
            accounts.0.users.put(&id, None);
            accounts.0.places.put(&id, None);
            Ok(())
        })
        .await
    }

    /// Takes password, second factor and sessions from a user, who chooses a password anew by the link that this gives.
    /// `even_the_last`: also from the only administrator, as whoever has the key directory may.
    ///
    /// # Errors
    /// [`ServerError::NotFound`], [`ServerError::LastAdministrator`]; or it could not be sealed.
    pub async fn reset_user(
        &self,
        log: &Log,
        by: &By,
        id: &str,
        even_the_last: bool,
        now: Micros,
    ) -> Result<NewLink, ServerError> {
        let (accounts, log, by, id) = (self.clone(), log.clone(), by.clone(), id.to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let account = accounts.account(&id)?.with(None);
            if !even_the_last {
                accounts.0.users.check_last(&id, Some(&account))?;
            }
            let link = NewLink::new(Some(&id), account.user.role, by.name(), now)?;
            let mut change = Change::new(&log, &by);
            let message = format!("the user {id} was reset: password, second factor and sessions are gone");
            change.account(&id, Some(&account), &message);
            accounts.set_link(&mut change, &link);
            let ended = accounts.end_sessions(&mut change, &id, None, now);
            change.commit().await?;
            accounts.0.sessions.end(&ended);
            accounts.0.users.put(&id, Some(account));
            accounts.hold_link(&link);
            Ok(link)
        })
        .await
    }

    /// A user's sessions, the last used first.
    pub fn list_sessions(&self, user: &str, now: Micros) -> Vec<SessionView> {
        self.0.sessions.of(user, now).into_iter().map(|(id, session)| SessionView::of(id, session)).collect()
    }

    /// Ends a session; `of`: only if it is that user's.
    ///
    /// # Errors
    /// [`ServerError::NotFound`]; or it could not be sealed.
    pub async fn revoke_session(
        &self,
        log: &Log,
        by: &By,
        id: &str,
        of: Option<&str>,
        now: Micros,
    ) -> Result<(), ServerError> {
        let (accounts, log, by, id, of) = (self.clone(), log.clone(), by.clone(), id.to_owned(), of.map(str::to_owned));
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let found = accounts.0.sessions.get(&id, now);
            let found = found.filter(|session| of.as_ref().is_none_or(|of| *of == session.user));
            let session = found.ok_or_else(|| ServerError::NotFound(format!("the session {id}")))?;
            let mut change = Change::new(&log, &by);
            let message = format!("a session of {} was ended", session.user);
            change.note("session_revoked", json!({"session": id, "message": message}));
            change.write(sessions::write(&id, None));
            change.commit().await?;
            accounts.0.sessions.end(&[id]);
            Ok(())
        })
        .await
    }

    /// Ends all sessions of a user but one; gives how many.
    ///
    /// # Errors
    /// It could not be sealed.
    pub async fn revoke_sessions(
        &self,
        log: &Log,
        by: &By,
        user: &str,
        but: Option<&str>,
        now: Micros,
    ) -> Result<usize, ServerError> {
        let (accounts, log, by, user, but) =
            (self.clone(), log.clone(), by.clone(), user.to_owned(), but.map(str::to_owned));
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let mut change = Change::new(&log, &by);
            let ended = accounts.end_sessions(&mut change, &user, but.as_deref(), now);
            if ended.is_empty() {
                return Ok(0);
            }
            let message = format!("{} sessions of {user} were ended", ended.len());
            change.note("session_revoked", json!({"sessions": ended, "message": message}));
            change.commit().await?;
            accounts.0.sessions.end(&ended);
            Ok(ended.len())
        })
        .await
    }

    /// Up to `limit` tokens behind `after`, by public name.
    pub fn list_tokens(&self, after: &str, limit: usize) -> Vec<TokenView> {
        let found = self.0.tokens.list(after, limit);
        found.into_iter().map(|(id, kept, last)| TokenView::of(id, kept, last)).collect()
    }

    /// Makes a token. Its secret is kept nowhere.
    ///
    /// # Errors
    /// [`ServerError::Parameter`], [`ServerError::TooMany`]; or it could not be sealed.
    pub async fn create_token(
        &self,
        log: &Log,
        by: &By,
        spec: TokenSpec,
        now: Micros,
    ) -> Result<NewToken, ServerError> {
        spec.check(now)?;
        let (accounts, log, by) = (self.clone(), log.clone(), by.clone());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            accounts.0.tokens.check_room()?;
            let mut token = NewToken::of(&spec, Some(by.name()), now)?;
            for _ in 0..TRIES {
                if accounts.0.tokens.get(&token.id).is_none() {
                    break;
                }
                token = NewToken::of(&spec, Some(by.name()), now)?;
            }
            if accounts.0.tokens.get(&token.id).is_some() {
                return Err(ServerError::Internal("no name is left for a token".to_owned()));
            }
            let mut change = Change::new(&log, &by);
            let message = format!("a token was made: {}, {}", spec.role, spec.name);
            change.set(tokens::COLLECTION, &token.id, Some(token.value.clone()), &message);
            change.commit().await?;
            accounts.0.tokens.accept(&token);
            Ok(token)
        })
        .await
    }

    /// Takes its validity from a token, at once; one that has none any more is removed from the list.
    ///
    /// # Errors
    /// [`ServerError::NotFound`]; or it could not be sealed.
    pub async fn revoke_token(&self, log: &Log, by: &By, id: &str, now: Micros) -> Result<(), ServerError> {
        let (accounts, log, by, id) = (self.clone(), log.clone(), by.clone(), id.to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let kept = accounts.0.tokens.get(&id).ok_or_else(|| ServerError::NotFound(format!("the token {id}")))?;
            let mut change = Change::new(&log, &by);
            if kept.revoked.is_some() {
                change.set(tokens::COLLECTION, &id, None, "a revoked token was removed");
                change.write(tokens::forget_use(&id));
                change.commit().await?;
                accounts.0.tokens.remove(&id);
                return Ok(());
            }
            let message = format!("the token {id} ({}) was revoked", kept.name);
            let value = json!(tokens::Kept { revoked: Some(now), ..kept });
            change.set(tokens::COLLECTION, &id, Some(value.clone()), &message);
            change.commit().await?;
            accounts.0.tokens.put(&id, &value);
            Ok(())
        })
        .await
    }
}
