//! Who may ask: users with their sessions, and tokens of programs. [`Accounts`] is all that the API calls.
//!
//! Invariant: what changes who may do what is sealed as an entry of `sceau.audit`, in the same commit as the documents of
//! the state, before it takes effect in memory. Changes are made one after another, each on a task of its own, so that a
//! client that goes away leaves none half done.

mod caller;
mod change;
mod delay;
mod ever;
mod jwt;
mod login;
mod manage;
mod network;
mod own;
mod password;
mod places;
mod role;
mod sessions;
mod setup;
#[cfg(test)]
mod tests;
mod tokens;
mod totp;
mod upkeep;
pub(crate) mod users;
mod views;

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use sceau_event::Micros;
use sceau_store::{Document, Store};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use crate::{
    api::refused::RefusedLogins,
    config::{AccountsConfig, Secret},
    error::ServerError,
    guard,
    keydir::{AccountsKey, KeyDir},
    log::Log,
};
pub use caller::{Caller, CallerKind, Presented};
pub use change::By;
pub(crate) use ever::ever_made;
pub use login::{Credentials, LoggedIn};
pub use manage::UserChange;
pub use own::Enrolment;
pub use role::{Permission, Role};
pub(crate) use setup::COLLECTION as SETUP;
pub use setup::NewLink;
pub(crate) use tokens::bearer;
pub use tokens::{COLLECTION, NewToken, TokenSpec, Tokens};
pub(crate) use upkeep::run as keep_up;
pub use views::{SessionView, TokenView, UserView};

/// Passwords that are hashed at once: each takes 19 MiB and a processor.
const HASHING: usize = 2;
/// Log-ins that may wait for that; more are refused.
const WAITING: usize = 64;
/// Log-ins and changes that may be under way.
const PENDING: usize = 256;
/// The most characters of a name that is shown.
const MAX_NAME: usize = 128;
/// Documents read at once.
const PAGE: usize = 500;

/// The collections that let people in for a while, and that nothing else vouches for than their MACs.
pub(crate) const TRANSIENT: [&str; 2] = [sessions::COLLECTION, jwt::COLLECTION];

/// Users, sessions, tokens and links of a log; clones share them.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    settings: AccountsConfig,
    users: users::Users,
    tokens: Tokens,
    sessions: sessions::Sessions,
    links: setup::Links,
    places: places::Places,
    signer: jwt::Signer,
    delays: delay::Delays,
    enrolments: own::Enrolments,
    /// Log-ins that had to wait, to be sealed together.
    delayed: RefusedLogins,
    /// `None` on a server that waits and has no copy of it.
    key: RwLock<Option<Arc<AccountsKey>>>,
    /// Held by whoever changes something.
    changing: Mutex<()>,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Places for what is under way.
    pending: Arc<Semaphore>,
}

/// What the state holds of all this.
struct Held {
    users: users::Read,
    tokens: Tokens,
    sessions: Vec<Document>,
    links: Vec<Document>,
    places: Vec<Document>,
    keys: Vec<Document>,
    forged: u64,
}

/// The documents of a collection that are this log's own, and how many are not.
async fn own_documents(
    store: &dyn Store,
    keys: &KeyDir,
    collection: &str,
) -> Result<(Vec<Document>, u64), ServerError> {
    let (mut own, mut forged, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = store.list(collection, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((own, forged)) };
        after.clone_from(&last.key);
        for document in page {
            match guard::check(keys, collection, &document) {
                Ok(()) => own.push(document),
                Err(_) => forged += 1,
            }
        }
    }
}

impl Held {
    async fn read(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let (people, forged) = own_documents(store, keys, users::COLLECTION).await?;
        let (credentials, _) = own_documents(store, keys, users::CREDENTIALS).await?;
        let (links, forged_links) = own_documents(store, keys, SETUP).await?;
        let users = users::Read::of(&people, &credentials);
        let tokens = Tokens::load(store, keys).await?;
        Ok(Self {
            forged: forged.saturating_add(users.forged).saturating_add(forged_links).saturating_add(tokens.forged()),
            users,
            tokens,
            sessions: own_documents(store, keys, sessions::COLLECTION).await?.0,
            links,
            places: own_documents(store, keys, places::COLLECTION).await?.0,
            keys: own_documents(store, keys, jwt::COLLECTION).await?.0,
        })
    }
}

impl Accounts {
    /// Reads all of them. What is not this log's own is not used: it is logged and counted.
    ///
    /// # Errors
    /// The store or the key directory can't be read.
    pub(crate) async fn load(
        store: &dyn Store,
        keys: &KeyDir,
        settings: &AccountsConfig,
        now: Micros,
    ) -> Result<(Self, u64), ServerError> {
        let accounts = Self(Arc::new(Inner {
            settings: settings.clone(),
            users: users::Users::default(),
            tokens: Tokens::default(),
            sessions: sessions::Sessions::default(),
            links: setup::Links::default(),
            places: places::Places::default(),
            signer: jwt::Signer::new(keys.origin()),
            delays: delay::Delays::default(),
            enrolments: own::Enrolments::default(),
            delayed: RefusedLogins::default(),
            key: RwLock::new(None),
            changing: Mutex::new(()),
            hashing: Arc::new(Semaphore::new(HASHING)),
            waiting: Arc::new(Semaphore::new(HASHING + WAITING)),
            pending: Arc::new(Semaphore::new(PENDING)),
        }));
        let forged = accounts.follow(store, keys, now).await?;
        Ok((accounts, forged))
    }

    /// Those of a log that this process has.
    ///
    /// # Errors
    /// The store or the key directory can't be read.
    pub async fn of(log: &Log, settings: &AccountsConfig) -> Result<Self, ServerError> {
        let (accounts, _) = Self::load(&**log.reader().store(), log.keys(), settings, log.now()).await?;
        accounts.take_over(log)?;
        Ok(accounts)
    }

    /// Takes what the state holds now: what another server changed. Gives how many documents are not this log's own.
    ///
    /// # Errors
    /// The store or the key directory can't be read.
    pub(crate) async fn follow(&self, store: &dyn Store, keys: &KeyDir, now: Micros) -> Result<u64, ServerError> {
        let held = Held::read(store, keys).await?;
        let inner = &*self.0;
        let key = keys.accounts_key()?.map(Arc::new);
        *inner.key.write().unwrap_or_else(PoisonError::into_inner) = key;
        inner.users.become_those_of(held.users);
        inner.tokens.become_those_of(held.tokens);
        inner.sessions.become_those_of(&held.sessions, now);
        inner.links.become_those_of(&held.links);
        inner.places.become_those_of(&held.places);
        inner.signer.know(&held.keys, now);
        Ok(held.forged)
    }

    /// Can change things from now on, as this server has the log.
    ///
    /// # Errors
    /// The key directory can't be used.
    pub(crate) fn take_over(&self, log: &Log) -> Result<(), ServerError> {
        let (key, made) = log.keys().accounts_key_or_new()?;
        let encrypted = self.0.users.list("", usize::MAX).iter().any(|(_, account)| account.user.totp);
        if made && encrypted {
            tracing::error!(
                "accounts.key was missing and was made anew: the second factors that were set under the one before can't be \
                 checked, only their recovery codes. Put its copy back, or reset these users"
            );
        }
        *self.0.key.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
        Ok(())
    }

    /// Programs' tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// The public keys of access tokens (RFC 7517).
    pub fn jwks(&self) -> Value {
        self.0.signer.jwks()
    }

    fn key(&self) -> Result<Arc<AccountsKey>, ServerError> {
        let key = self.0.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        key.ok_or(ServerError::Standby)
    }

    /// Makes sure that there is a young key for access tokens. Only while nothing else changes.
    async fn ensure_key(&self, log: &Log, now: Micros) -> Result<(), ServerError> {
        if self.0.signer.wants_key(now) {
            let fresh = jwt::Fresh::new(now)?;
            log.write_state(vec![fresh.write()]).await?;
            self.0.signer.begin(fresh, now);
        }
        Ok(())
    }

    /// Does something to its end, whoever still waits for it.
    async fn carried<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ServerError>> + Send + 'static,
    ) -> Result<T, ServerError> {
        // A client that goes away gives its connection up, and its work goes on: so there is a limit of its own.
        let place = self.0.pending.clone().try_acquire_owned().map_err(|_| ServerError::LoginBusy)?;
        let work = async move {
            let _place = place;
            work.await
        };
        tokio::spawn(work).await.map_err(|error| ServerError::Internal(error.to_string()))?
    }

    /// Works with passwords on a thread of its own, so many at once and not more.
    async fn hashing<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ServerError> {
        let waiting = self.0.waiting.clone().try_acquire_owned().map_err(|_| ServerError::LoginBusy)?;
        let turn = self.0.hashing.clone().acquire_owned().await.map_err(|_| ServerError::Closing)?;
        let work = move || {
            let _held = (waiting, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))
    }

    /// Whether it is the password; as much work if there is none to compare with.
    async fn is_password(&self, credential: Option<&users::Credential>, given: &Secret) -> Result<bool, ServerError> {
        let kept = credential.map_or_else(|| password::of_nobody().to_owned(), |it| it.password.clone());
        let given = given.clone();
        let fits = given.expose().len() <= password::MAX_BYTES;
        self.hashing(move || {
            let text = if fits { given.expose() } else { "" };
            password::verify(&kept, text.as_bytes()) && fits
        })
        .await
    }
}

/// Makes sure that a name can be shown.
fn check_name(name: &str) -> Result<(), ServerError> {
    if name.trim().is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(ServerError::parameter(
            "name",
            format!("must be 1 to {MAX_NAME} characters without control characters"),
        ));
    }
    Ok(())
}
