//! Logging in, going on, and logging out.

use std::{net::IpAddr, sync::Arc};

use sceau_event::Micros;
use serde_json::json;

use super::{
    Accounts, By, Role,
    change::Change,
    delay::Attempt,
    places,
    sessions::{self, MAX_OF_USER, Presented, Session},
    totp,
    users::{Account, Credential, User},
};
use crate::{config::Secret, error::ServerError, log::Log};

/// The longest name that failures are counted of.
const MAX_COUNTED: usize = 64;

/// What somebody logs in with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user's name for log-ins.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// A code of the second factor, or a recovery code.
    pub code: Option<Secret>,
}

/// What a log-in gives.
#[derive(Debug)]
pub struct LoggedIn {
    /// The user's name for log-ins.
    pub user: String,
    /// What he may do.
    pub role: Role,
    /// The session's public name.
    pub session: String,
    /// The access token.
    pub access: Secret,
    /// When that expires.
    pub access_expires: Micros,
    /// The refresh token; good once.
    pub refresh: Secret,
    /// When that expires.
    pub refresh_expires: Micros,
    /// Whether the role needs a second factor that is not set yet: nothing else can be done before.
    pub unfinished: bool,
}

/// How somebody showed the second factor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Factor {
    /// None is set.
    None,
    /// By the code of that step.
    Timed(u64),
    Recovery,
}

/// A log-in that is under way.
struct Login<'a> {
    accounts: &'a Accounts,
    log: &'a Log,
    id: String,
    address: IpAddr,
    agent: String,
    now: Micros,
}

impl Accounts {
    /// Lets somebody in.
    ///
    /// # Errors
    /// [`ServerError::BadCredentials`], [`ServerError::SecondFactorRequired`], [`ServerError::Delayed`],
    /// [`ServerError::LoginBusy`]; or it could not be sealed.
    pub async fn login(
        &self,
        log: &Log,
        credentials: Credentials,
        address: IpAddr,
        agent: &str,
        now: Micros,
    ) -> Result<LoggedIn, ServerError> {
        let (accounts, log, agent) = (self.clone(), log.clone(), agent.to_owned());
        self.carried(async move {
            let (id, address) = (credentials.user.trim().to_ascii_lowercase(), address.to_canonical());
            let login = Login { accounts: &accounts, log: &log, id, address, agent, now };
            login.run(&credentials).await
        })
        .await
    }

    /// Goes on with a session; its refresh token is replaced.
    ///
    /// # Errors
    /// [`ServerError::Unauthorized`]: it is none, or it was used before, which ends the session; or it could not be written.
    pub async fn refresh(
        &self,
        log: &Log,
        token: &Secret,
        address: IpAddr,
        agent: &str,
        now: Micros,
    ) -> Result<LoggedIn, ServerError> {
        let key = self.key()?;
        if self.0.sessions.look(&key, token.expose(), now) == Presented::Unknown {
            return Err(ServerError::Unauthorized);
        }
        let (accounts, log, token, agent) = (self.clone(), log.clone(), token.clone(), agent.to_owned());
        self.carried(async move { accounts.go_on(&log, &token, address.to_canonical(), &agent, now).await }).await
    }

    async fn go_on(
        &self,
        log: &Log,
        token: &Secret,
        address: IpAddr,
        agent: &str,
        now: Micros,
    ) -> Result<LoggedIn, ServerError> {
        let key = self.key()?;
        let _held = self.0.changing.lock().await;
        let (id, session) = match self.0.sessions.look(&key, token.expose(), now) {
            Presented::Good(id, session) => (id, session),
            Presented::Reused(id, session) => {
                let mut change = Change::new(log, &By::from(&session.user, address));
                let message = "an old refresh token was used again, so somebody has a copy: the session was ended";
                change.note("session_reuse", json!({"status": "failed", "session": id, "message": message}));
                change.write(sessions::write(&id, None));
                change.commit().await?;
                self.0.sessions.end(&[id]);
                return Err(ServerError::Unauthorized);
            }
            Presented::Unknown => return Err(ServerError::Unauthorized),
        };
        let account = self.0.users.get(&session.user);
        let account = account.filter(|account| !account.user.disabled && account.credential.is_some());
        let account = account.ok_or(ServerError::Unauthorized)?;
        self.ensure_key(log, now).await?;
        let (next, refresh) = session.next(&key, &id, address, agent, now)?;
        log.write_state(vec![sessions::write(&id, Some(&next))]).await?;
        self.0.sessions.put(id.clone(), next.clone());
        self.logged_in(&account.user, id, &next, refresh, now)
    }

    /// Ends the session of somebody who wants that.
    ///
    /// # Errors
    /// It could not be sealed.
    pub async fn logout(&self, log: &Log, user: &str, session: &str, address: IpAddr) -> Result<(), ServerError> {
        let (accounts, log, by, session) = (self.clone(), log.clone(), By::from(user, address), session.to_owned());
        self.carried(async move {
            let _held = accounts.0.changing.lock().await;
            let mut change = Change::new(&log, &by);
            change.note("logout", json!({"status": "success", "session": session}));
            change.write(sessions::write(&session, None));
            change.commit().await?;
            accounts.0.sessions.end(&[session]);
            Ok(())
        })
        .await
    }

    /// Whether a user's role needs a second factor that is not set.
    pub(super) fn lacks_factor(&self, user: &User) -> bool {
        !user.totp && self.0.settings.second_factor.contains(&user.role)
    }

    fn logged_in(
        &self,
        user: &User,
        session: String,
        kept: &Session,
        refresh: Secret,
        now: Micros,
    ) -> Result<LoggedIn, ServerError> {
        let (access, access_expires) = self.0.signer.sign(&kept.user, &session, now)?;
        Ok(LoggedIn {
            user: kept.user.clone(),
            role: user.role,
            session,
            access,
            access_expires,
            refresh,
            refresh_expires: kept.expires(),
            unfinished: self.lacks_factor(user),
        })
    }

    /// Lets an attempt at a password begin, or counts it among those that have to wait.
    pub(super) fn begin_attempt(&self, user: &str, address: IpAddr, now: Micros) -> Result<Attempt, ServerError> {
        let known = self.0.places.knows(user, address, now);
        let counted: String = user.chars().take(MAX_COUNTED).collect();
        self.0.delays.begin(address, &counted, known, now).map_err(|seconds| {
            self.0.delayed.note(address);
            ServerError::Delayed(seconds)
        })
    }

    /// How a code shows the second factor; `None`: not at all.
    fn factor(&self, id: &str, credential: &Credential, code: &str, now: Micros) -> Option<Factor> {
        if !totp::is_timed(code) {
            return totp::find_recovery(&credential.recovery, code).map(|_| Factor::Recovery);
        }
        let key = self.key().ok()?;
        let secret = key.open(id, credential.totp.as_deref()?);
        if secret.is_none() {
            tracing::error!(user = id, "the second factor can't be read with accounts.key, so no code fits");
        }
        let step = totp::step(&secret?, code, now)?;
        self.0.places.is_fresh(id, step).then_some(Factor::Timed(step))
    }
}

impl Login<'_> {
    async fn run(&self, credentials: &Credentials) -> Result<LoggedIn, ServerError> {
        let accounts = &self.accounts.0;
        let attempt = self.accounts.begin_attempt(&self.id, self.address, self.now)?;
        let account = accounts.users.get(&self.id);
        let kept = account.as_deref().and_then(|account| account.credential.as_ref());
        let right = match self.accounts.is_password(kept, &credentials.password).await {
            Ok(right) => right,
            Err(error) => {
                accounts.delays.undo(&attempt);
                return Err(error);
            }
        };
        let Some(account) = account.clone().filter(|account| right && !account.user.disabled) else {
            return self
                .fail(account.as_deref(), if right { "the user is disabled" } else { "a wrong password" })
                .await;
        };
        if account.user.totp && credentials.code.is_none() {
            accounts.delays.undo(&attempt);
            return Err(ServerError::SecondFactorRequired);
        }
        let _held = accounts.changing.lock().await;
        // What was compared must still be what the user has.
        let unchanged = accounts.users.get(&self.id).is_some_and(|now| Arc::ptr_eq(&now, &account));
        let factor = match &credentials.code {
            Some(code) if account.user.totp => {
                kept_of(&account).and_then(|kept| self.accounts.factor(&self.id, kept, code.expose().trim(), self.now))
            }
            _ => Some(Factor::None),
        };
        match factor.filter(|_| unchanged) {
            None => self.fail(Some(&account), "a wrong code of the second factor").await,
            Some(factor) => {
                let code = credentials.code.as_ref().filter(|_| factor == Factor::Recovery);
                let done = self.succeed(&account, factor, code).await;
                match &done {
                    Ok(_) => accounts.delays.succeeded(&attempt),
                    Err(_) => accounts.delays.undo(&attempt),
                }
                done
            }
        }
    }

    /// Seals a failure. The name of a user that there is not is left out: people type passwords into that field.
    async fn fail(&self, account: Option<&Account>, why: &str) -> Result<LoggedIn, ServerError> {
        let mut change = Change::new(self.log, &By::from(&self.id, self.address));
        let (user, why) = match account {
            Some(_) => (json!(self.id), why),
            None => (json!("(unknown)"), "a user that there is not"),
        };
        change.note("login", json!({"status": "failed", "user": user, "reason": why, "agent": self.agent()}));
        change.commit().await?;
        Err(ServerError::BadCredentials)
    }

    async fn succeed(
        &self,
        account: &Account,
        factor: Factor,
        recovery: Option<&Secret>,
    ) -> Result<LoggedIn, ServerError> {
        let Accounts(accounts) = self.accounts;
        if accounts.sessions.is_full() {
            return Err(ServerError::TooMany("there are too many sessions; end some, or wait".to_owned()));
        }
        self.accounts.ensure_key(self.log, self.now).await?;
        let key = self.accounts.key()?;
        let (id, session, refresh) = Session::new(&key, &self.id, self.address, &self.agent, self.now)?;
        let mut change = Change::new(self.log, &By::from(&self.id, self.address));
        let factor_name = match factor {
            Factor::None => None,
            Factor::Timed(_) => Some("code"),
            Factor::Recovery => Some("recovery code"),
        };
        let told = json!({"status": "success", "session": id, "second_factor": factor_name, "agent": self.agent()});
        change.note("login", told);
        let spent = recovery.and_then(|code| kept_of(account)?.without_recovery(code.expose()));
        let spent = spent.map(|credential| account.with(Some(credential)));
        if let Some(spent) = &spent {
            let left = spent.credential.as_ref().map_or(0, |credential| credential.recovery.len());
            let message = format!("a recovery code was used, {left} are left");
            change.account(&self.id, Some(spent), &message);
        }
        let step = if let Factor::Timed(step) = factor { Some(step) } else { None };
        let place = accounts.places.after(&self.id, self.address, step, self.now);
        change.write(places::write(&self.id, Some(&place)));
        change.write(sessions::write(&id, Some(&session)));
        let oldest = accounts.sessions.of(&self.id, self.now).into_iter().skip(MAX_OF_USER - 1);
        let oldest: Vec<String> = oldest.map(|(id, _)| id).collect();
        oldest.iter().for_each(|id| change.write(sessions::write(id, None)));
        change.commit().await?;
        accounts.sessions.end(&oldest);
        accounts.sessions.put(id.clone(), session.clone());
        accounts.places.put(&self.id, Some(place));
        if let Some(spent) = spent {
            accounts.users.put(&self.id, Some(spent));
        }
        self.accounts.logged_in(&account.user, id, &session, refresh, self.now)
    }

    fn agent(&self) -> Option<String> {
        let agent: String = self.agent.chars().filter(|c| !c.is_control()).take(200).collect();
        Some(agent).filter(|agent| !agent.is_empty())
    }
}

fn kept_of(account: &Account) -> Option<&Credential> {
    account.credential.as_ref()
}
