//! What users do with their own accounts.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use sceau_event::Micros;
use zeroize::Zeroizing;

use super::{
    Accounts, By,
    change::Change,
    password, sessions, setup, totp,
    users::{self, Account, Credential, User},
};
use crate::{config::Secret, error::ServerError, log::Log};

/// How long a second factor that is being set waits for its first code, in microseconds.
const ENROLMENT: i64 = 10 * 60 * 1_000_000;
/// How many may wait at once.
const MAX_ENROLMENTS: usize = 1_000;

/// A secret that is not set yet, and when it is forgotten.
type Waiting = (Zeroizing<Vec<u8>>, Micros);

/// Second factors that wait for their first code, by user.
#[derive(Default)]
pub(super) struct Enrolments(Mutex<HashMap<String, Waiting>>);

/// A second factor that is being set.
#[derive(Debug)]
pub struct Enrolment {
    /// The secret in base32, to be typed.
    pub secret: Secret,
    /// The same as an `otpauth` URI, to be shown as a QR code.
    pub uri: Secret,
    /// When it is forgotten unless a code is sent.
    pub expires: Micros,
}

impl Enrolments {
    fn begin(&self, user: &str, secret: Zeroizing<Vec<u8>>, now: Micros) -> Result<Micros, ServerError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, expires)| *expires > now);
        if waiting.len() >= MAX_ENROLMENTS {
            return Err(ServerError::TooMany(
                "too many second factors are being set at once; try again later".to_owned(),
            ));
        }
        let expires = Micros(now.0.saturating_add(ENROLMENT));
        waiting.insert(user.to_owned(), (secret, expires));
        Ok(expires)
    }

    fn get(&self, user: &str, now: Micros) -> Option<Zeroizing<Vec<u8>>> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(user).filter(|(_, expires)| *expires > now).map(|(secret, _)| secret.clone())
    }

    fn end(&self, user: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

/// The words of a user that make a bad password.
fn words<'a>(id: &'a str, user: &'a User) -> [&'a str; 2] {
    [id, &user.name]
}

impl Accounts {
    /// Uses a link: sets the first password of a user, or makes the user that the link is for. Gives his name for log-ins.
    ///
    /// # Errors
    /// [`ServerError::LinkInvalid`], [`ServerError::WeakPassword`], [`ServerError::Parameter`], [`ServerError::Exists`];
    /// or it could not be sealed.
    pub async fn setup(
        &self,
        log: &Log,
        secret: &Secret,
        user: &str,
        password: &Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<String, ServerError> {
        let found = self.0.links.find(secret.expose(), now);
        if found.is_err() {
            self.0.delayed.note(address);
        }
        let (_, link) = found?;
        let given = user.trim().to_ascii_lowercase();
        let id = match link.user {
            Some(id) if given.is_empty() || given == id => id,
            Some(_) => return Err(ServerError::parameter("user", "is not the one that this link is for")),
            None => given,
        };
        users::check_id(&id)?;
        let (accounts, log, secret, password) = (self.clone(), log.clone(), secret.clone(), password.clone());
        self.carried(async move { accounts.set_up(&log, &secret, id, password, address, now).await }).await
    }

    async fn set_up(
        &self,
        log: &Log,
        secret: &Secret,
        id: String,
        password: Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<String, ServerError> {
        let credential = self.new_credential(&id, None, password, now).await?;
        let _held = self.0.changing.lock().await;
        // Somebody may have used it meanwhile.
        let (link_id, link) = self.0.links.find(secret.expose(), now)?;
        let account = match (&link.user, self.0.users.get(&id)) {
            (None, None) => {
                self.check_room()?;
                let (name, created) = (id.clone(), now);
                let user = User { name, role: link.role, disabled: false, credential: None, created, totp: false };
                Account { user, credential: None }
            }
            (None, Some(_)) => return Err(ServerError::Exists(format!("the user {id}"))),
            (Some(_), Some(account)) => (*account).clone(),
            (Some(_), None) => return Err(ServerError::LinkInvalid),
        };
        let account = account.with(Some(credential));
        let mut change = Change::new(log, &By::from(&id, address));
        change.account(&id, Some(&account), "a password was set by a link");
        change.set(setup::COLLECTION, &link_id, None, "the link was used");
        let ended = self.end_sessions(&mut change, &id, None, now);
        change.commit().await?;
        self.0.links.put(&link_id, None);
        self.0.sessions.end(&ended);
        self.0.users.put(&id, Some(account));
        Ok(id)
    }

    /// Exchanges a user's password; all of his other sessions end.
    ///
    /// # Errors
    /// [`ServerError::BadCredentials`], [`ServerError::WeakPassword`], [`ServerError::Delayed`]; or it could not be sealed.
    pub async fn change_password(
        &self,
        log: &Log,
        by: (&str, Option<&str>),
        passwords: (&Secret, &Secret),
        address: IpAddr,
        now: Micros,
    ) -> Result<(), ServerError> {
        let (id, session) = (by.0.to_owned(), by.1.map(str::to_owned));
        let (before, after) = (passwords.0.clone(), passwords.1.clone());
        let (accounts, log) = (self.clone(), log.clone());
        self.carried(async move {
            let account = accounts.confirm(&log, &id, &before, address, now).await?;
            let credential = accounts.new_credential(&id, Some(&account), after, now).await?;
            let _held = accounts.0.changing.lock().await;
            accounts.check_unchanged(&id, &account)?;
            let changed = account.with(Some(credential));
            let mut change = Change::new(&log, &By::from(&id, address));
            change.account(&id, Some(&changed), "the password was changed");
            let ended = accounts.end_sessions(&mut change, &id, session.as_deref(), now);
            change.commit().await?;
            accounts.0.sessions.end(&ended);
            accounts.0.users.put(&id, Some(changed));
            Ok(())
        })
        .await
    }

    /// Begins to set a second factor: it counts once a first code of it was sent.
    ///
    /// # Errors
    /// [`ServerError::BadCredentials`], [`ServerError::Exists`], [`ServerError::Delayed`].
    pub async fn begin_totp(
        &self,
        log: &Log,
        id: &str,
        password: &Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<Enrolment, ServerError> {
        let (accounts, log, id, password) = (self.clone(), log.clone(), id.to_owned(), password.clone());
        self.carried(async move {
            let account = accounts.confirm(&log, &id, &password, address, now).await?;
            if account.user.totp {
                return Err(ServerError::Exists("a second factor".to_owned()));
            }
            let bytes = totp::secret()?;
            let (secret, uri) = totp::shown(&bytes, &id)?;
            let expires = accounts.0.enrolments.begin(&id, bytes, now)?;
            Ok(Enrolment { secret, uri, expires })
        })
        .await
    }

    /// Sets the second factor, since this is a code of it; gives the recovery codes, which are shown once.
    ///
    /// # Errors
    /// [`ServerError::BadCredentials`]: it is no such code, or none is being set; or it could not be sealed.
    pub async fn confirm_totp(
        &self,
        log: &Log,
        id: &str,
        code: &Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<Vec<Secret>, ServerError> {
        let (accounts, log, id, code) = (self.clone(), log.clone(), id.to_owned(), code.clone());
        self.carried(async move {
            let attempt = accounts.begin_attempt(&id, address.to_canonical(), now)?;
            let secret = accounts.0.enrolments.get(&id, now).ok_or(ServerError::BadCredentials)?;
            let step = totp::step(&secret, code.expose().trim(), now).ok_or(ServerError::BadCredentials)?;
            accounts.0.delays.undo(&attempt);
            let _held = accounts.0.changing.lock().await;
            let account = accounts.0.users.get(&id).ok_or(ServerError::Unauthorized)?;
            let mut credential = account.credential.clone().ok_or(ServerError::Unauthorized)?;
            let (codes, kept) = totp::recovery()?;
            credential.totp = Some(accounts.key()?.seal(&id, &secret)?);
            credential.recovery = kept;
            credential.changed = now;
            let changed = account.with(Some(credential));
            let place = accounts.0.places.after(&id, address.to_canonical(), Some(step), now);
            let mut change = Change::new(&log, &By::from(&id, address));
            change.account(&id, Some(&changed), "a second factor was set");
            change.write(super::places::write(&id, Some(&place)));
            change.commit().await?;
            accounts.0.places.put(&id, Some(place));
            accounts.0.users.put(&id, Some(changed));
            accounts.0.enrolments.end(&id);
            Ok(codes)
        })
        .await
    }

    /// Removes the second factor.
    ///
    /// # Errors
    /// [`ServerError::BadCredentials`], [`ServerError::Delayed`]; [`ServerError::Forbidden`]: the role needs it;
    /// [`ServerError::WeakPassword`]: the password is too short alone; or it could not be sealed.
    pub async fn remove_totp(
        &self,
        log: &Log,
        id: &str,
        password: &Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<(), ServerError> {
        let (accounts, log, id, password) = (self.clone(), log.clone(), id.to_owned(), password.clone());
        self.carried(async move {
            let account = accounts.confirm(&log, &id, &password, address, now).await?;
            if accounts.0.settings.second_factor.contains(&account.user.role) {
                return Err(ServerError::Forbidden(format!("the role {} needs a second factor", account.user.role)));
            }
            let mut credential = account.credential.clone().ok_or(ServerError::Unauthorized)?;
            if credential.short {
                let reason = "it is good only beside a second factor: choose a longer one first".to_owned();
                return Err(ServerError::WeakPassword(reason));
            }
            let _held = accounts.0.changing.lock().await;
            accounts.check_unchanged(&id, &account)?;
            (credential.totp, credential.recovery, credential.changed) = (None, Vec::new(), now);
            let changed = account.with(Some(credential));
            let mut change = Change::new(&log, &By::from(&id, address));
            change.account(&id, Some(&changed), "the second factor was removed");
            change.commit().await?;
            accounts.0.users.put(&id, Some(changed));
            Ok(())
        })
        .await
    }

    /// Makes sure that somebody who is logged in knows the password too: a session alone changes nothing of it.
    async fn confirm(
        &self,
        log: &Log,
        id: &str,
        password: &Secret,
        address: IpAddr,
        now: Micros,
    ) -> Result<Arc<Account>, ServerError> {
        let attempt = self.begin_attempt(id, address.to_canonical(), now)?;
        let account = self.0.users.get(id).ok_or(ServerError::Unauthorized)?;
        match self.is_password(account.credential.as_ref(), password).await {
            Ok(true) => {
                self.0.delays.undo(&attempt);
                Ok(account)
            }
            Ok(false) => {
                let mut change = Change::new(log, &By::from(id, address));
                let reason = "a wrong password where the present one is asked for";
                change.note("login", serde_json::json!({"status": "failed", "reason": reason}));
                change.commit().await?;
                Err(ServerError::BadCredentials)
            }
            Err(error) => {
                self.0.delays.undo(&attempt);
                Err(error)
            }
        }
    }

    fn check_unchanged(&self, id: &str, account: &Arc<Account>) -> Result<(), ServerError> {
        let same = self.0.users.get(id).is_some_and(|now| Arc::ptr_eq(&now, account));
        if same { Ok(()) } else { Err(ServerError::StateConflict(format!("the user {id}"))) }
    }

    /// What is kept of a new password that is good enough.
    async fn new_credential(
        &self,
        id: &str,
        account: Option<&Account>,
        password: Secret,
        now: Micros,
    ) -> Result<Credential, ServerError> {
        let with_factor = account.is_some_and(|account| account.user.totp);
        let known = self.0.users.get(id);
        let name = known.as_ref().map(|known| words(id, &known.user));
        password::check(
            password.expose(),
            with_factor,
            name.as_ref().map_or([id].as_slice(), |words| words.as_slice()),
        )?;
        let before = account.and_then(|account| account.credential.clone());
        self.hashing(move || Credential::with_password(before.as_ref(), password.expose(), now)).await?
    }

    /// Ends a user's sessions but one, as a part of a change; gives their public names.
    pub(super) fn end_sessions(
        &self,
        change: &mut Change<'_>,
        user: &str,
        but: Option<&str>,
        now: Micros,
    ) -> Vec<String> {
        let all = self.0.sessions.of(user, now).into_iter().map(|(id, _)| id);
        let ended: Vec<String> = all.filter(|id| Some(id.as_str()) != but).collect();
        ended.iter().for_each(|id| change.write(sessions::write(id, None)));
        ended
    }
}
