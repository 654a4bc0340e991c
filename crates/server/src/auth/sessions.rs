//! Sessions: families of refresh tokens, of which only the newest is good.
//!
//! A refresh token is `srt_<family>.<generation>.<secret>`. The secret is 32 random bytes, of which only the newest's
//! hash is kept, and a tag under a key of the key directory. By the tag an old token is known to have been ours, so that its
//! use, which only a copy can make, ends the family; nobody can end one with a token that he made up.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sceau_event::Micros;
use sceau_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    config::Secret,
    error::ServerError,
    guard::StateChange,
    hex,
    keydir::{AccountsKey, random},
};

/// The collection of the state that holds sessions.
pub(super) const COLLECTION: &str = "sessions";
const PREFIX: &str = "srt_";
/// How long a session that is not used goes on, in microseconds.
const IDLE: i64 = 12 * 3_600 * 1_000_000;
/// How long any session goes on.
const LONGEST: i64 = 7 * 24 * 3_600 * 1_000_000;
/// The most sessions of one user; the least recently used one goes.
pub(super) const MAX_OF_USER: usize = 20;
/// The most sessions at all.
const MAX: usize = 50_000;
/// The most characters of a client's name.
const MAX_AGENT: usize = 200;
/// The longest refresh token that is looked at.
const MAX_LENGTH: usize = 256;

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whose it is.
    pub user: String,
    /// When it began.
    pub created: Micros,
    /// When it was used last.
    pub used: Micros,
    /// From where that was.
    pub address: IpAddr,
    /// What the client says it is.
    pub agent: String,
    /// How often it was refreshed.
    generation: u64,
    /// The hash of the present secret.
    hash: String,
}

/// What a refresh token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// The present one of this session.
    Good(String, Session),
    /// One of ours that was replaced already: there are two copies.
    Reused(String, Session),
    /// None of ours.
    Unknown,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(RwLock<HashMap<String, Session>>);

impl Session {
    /// When it ends if nobody uses it.
    pub fn expires(&self) -> Micros {
        Micros(self.used.0.saturating_add(IDLE).min(self.created.0.saturating_add(LONGEST)))
    }

    /// A new one, with its number and its first refresh token.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(
        key: &AccountsKey,
        user: &str,
        address: IpAddr,
        agent: &str,
        now: Micros,
    ) -> Result<(String, Self, Secret), ServerError> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(random::<12>()?.as_slice());
        let session = Self {
            user: user.to_owned(),
            created: now,
            used: now,
            address: address.to_canonical(),
            agent: agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect(),
            generation: 0,
            hash: String::new(),
        };
        let (session, token) = session.with_token(key, &id, 0)?;
        Ok((id, session, token))
    }

    /// The same with the next refresh token.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn next(
        &self,
        key: &AccountsKey,
        id: &str,
        address: IpAddr,
        agent: &str,
        now: Micros,
    ) -> Result<(Self, Secret), ServerError> {
        let mut session = self.clone();
        session.used = now.max(self.used);
        session.address = address.to_canonical();
        session.agent = agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT).collect();
        session.with_token(key, id, self.generation.saturating_add(1))
    }

    fn with_token(mut self, key: &AccountsKey, id: &str, generation: u64) -> Result<(Self, Secret), ServerError> {
        let mut secret = random::<32>()?.to_vec();
        let tag = key.tag(&tagged(id, generation, &secret));
        secret.extend_from_slice(&tag);
        self.generation = generation;
        self.hash = hex(&Sha256::digest(&secret));
        let token = format!("{PREFIX}{id}.{generation}.{}", BASE64_URL_SAFE_NO_PAD.encode(&secret));
        Ok((self, Secret::new(token)))
    }
}

/// What the tag in a refresh token is of.
fn tagged(id: &str, generation: u64, secret: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", generation.to_string().as_bytes(), b".", secret].concat()
}

/// The document of a session; `None` ends it.
pub(super) fn write(id: &str, session: Option<&Session>) -> StateChange {
    StateChange {
        collection: COLLECTION.into(),
        key: id.to_owned(),
        value: session.map(|session| json!(session)),
        expect: Expect::Any,
        expires: session.map(|session| session.expires().0),
    }
}

impl Sessions {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Session>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds these, which are the log's own, and no others.
    pub fn become_those_of(&self, documents: &[Document], now: Micros) {
        let mut sessions = HashMap::new();
        for document in documents {
            match serde_json::from_value::<Session>(document.value.clone()) {
                Ok(session) if session.expires() > now && sessions.len() < MAX => {
                    sessions.insert(document.key.clone(), session);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, session = document.key, "a session can't be read"),
            }
        }
        *self.map() = sessions;
    }

    /// A session that goes on.
    pub fn get(&self, id: &str, now: Micros) -> Option<Session> {
        self.read().get(id).filter(|session| session.expires() > now).cloned()
    }

    /// Holds a session that is durable.
    pub fn put(&self, id: String, session: Session) {
        self.map().insert(id, session);
    }

    /// Forgets sessions that have ended.
    pub fn end(&self, ids: &[String]) {
        let mut map = self.map();
        for id in ids {
            map.remove(id);
        }
    }

    /// Forgets those whose time is over.
    pub fn tidy(&self, now: Micros) {
        self.map().retain(|_, session| session.expires() > now);
    }

    /// A user's sessions, the last used first.
    pub fn of(&self, user: &str, now: Micros) -> Vec<(String, Session)> {
        let going_on = |(_, session): &(&String, &Session)| session.user == user && session.expires() > now;
        let mut found: Vec<_> =
            self.read().iter().filter(going_on).map(|(id, session)| (id.clone(), session.clone())).collect();
        found.sort_by(|(one, a), (other, b)| b.used.cmp(&a.used).then_with(|| one.cmp(other)));
        found
    }

    /// Whether there is room for another.
    pub fn is_full(&self) -> bool {
        self.read().len() >= MAX
    }

    /// What a refresh token is.
    pub fn look(&self, key: &AccountsKey, token: &str, now: Micros) -> Presented {
        let Some((id, generation, secret)) = parse(token) else { return Presented::Unknown };
        let Some(session) = self.get(id, now) else { return Presented::Unknown };
        let (Some(random), Some(tag)) = (secret.get(..32), secret.get(32..)) else { return Presented::Unknown };
        // Without the tag, whoever writes the database could have put a session there of which he knows the secret.
        if !bool::from(key.tag(&tagged(id, generation, random)).as_slice().ct_eq(tag)) {
            return Presented::Unknown;
        }
        let hash = hex(&Sha256::digest(&secret));
        if generation == session.generation && bool::from(hash.as_bytes().ct_eq(session.hash.as_bytes())) {
            return Presented::Good(id.to_owned(), session);
        }
        if generation < session.generation {
            return Presented::Reused(id.to_owned(), session);
        }
        Presented::Unknown
    }
}

fn parse(token: &str) -> Option<(&str, u64, Vec<u8>)> {
    let rest = token.strip_prefix(PREFIX).filter(|rest| rest.len() <= MAX_LENGTH)?;
    let mut parts = rest.split('.');
    let (id, generation, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let generation = generation.parse().ok().filter(|number: &u64| number.to_string() == generation)?;
    let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?;
    parts.next().is_none().then_some((id, generation, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    const NOW: Micros = Micros(1_795_000_000_000_000);
    const HOUR: i64 = 3_600_000_000;

    fn here() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    async fn key() -> AccountsKey {
        let fixture = Fixture::new().await;
        let keys = crate::KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
        keys.accounts_key().unwrap().unwrap()
    }

    fn later(hours: i64) -> Micros {
        Micros(NOW.0 + hours * HOUR)
    }

    #[tokio::test]
    async fn only_the_newest_token_is_good_and_an_old_one_is_known() {
        let (key, sessions) = (key().await, Sessions::default());
        let (id, session, first) = Session::new(&key, "alice", here(), "curl/8\u{7}", NOW).unwrap();
        assert_eq!(session.agent, "curl/8");
        sessions.put(id.clone(), session.clone());
        assert_eq!(sessions.look(&key, first.expose(), NOW), Presented::Good(id.clone(), session.clone()));
        let (next, second) = session.next(&key, &id, here(), "curl/9", later(1)).unwrap();
        sessions.put(id.clone(), next.clone());
        assert_eq!(sessions.look(&key, second.expose(), later(1)), Presented::Good(id.clone(), next.clone()));
        assert_eq!(sessions.look(&key, first.expose(), later(1)), Presented::Reused(id.clone(), next.clone()));
        let (third, _) = next.next(&key, &id, here(), "curl/9", later(2)).unwrap();
        sessions.put(id.clone(), third.clone());
        for old in [&first, &second] {
            assert_eq!(sessions.look(&key, old.expose(), later(2)), Presented::Reused(id.clone(), third.clone()));
        }
    }

    #[tokio::test]
    async fn what_somebody_made_up_is_nothing() {
        let (key, sessions) = (key().await, Sessions::default());
        let (id, session, token) = Session::new(&key, "alice", here(), "", NOW).unwrap();
        let (session, _) = session.next(&key, &id, here(), "", NOW).unwrap();
        sessions.put(id.clone(), session);
        let secret = token.expose().rsplit('.').next().unwrap();
        let random = BASE64_URL_SAFE_NO_PAD.encode([9; 48]);
        for made_up in [
            format!("srt_{id}.0.{random}"),
            format!("srt_{id}.1.{random}"),
            format!("srt_{id}.1.{secret}"),
            format!("srt_{id}.2.{secret}"),
            format!("srt_{id}.00.{secret}"),
            format!("srt_{id}.+0.{secret}"),
            format!("srt_{id}.0.{secret}.x"),
            format!("srt_{id}.0."),
            format!("srt_other.0.{secret}"),
            token.expose()[4..].to_owned(),
            String::new(),
            "srt_".repeat(100),
        ] {
            assert_eq!(sessions.look(&key, &made_up, NOW), Presented::Unknown, "{made_up}");
        }
        assert!(matches!(sessions.look(&key, token.expose(), NOW), Presented::Reused(..)));
    }

    #[tokio::test]
    async fn sessions_end_by_themselves() {
        let (key, sessions) = (key().await, Sessions::default());
        let (id, mut session, _) = Session::new(&key, "alice", here(), "", NOW).unwrap();
        sessions.put(id.clone(), session.clone());
        assert!(sessions.get(&id, Micros(later(12).0 - 1)).is_some() && sessions.get(&id, later(12)).is_none());
        for hour in (6..168).step_by(6) {
            session = session.next(&key, &id, here(), "", later(hour)).unwrap().0;
        }
        assert_eq!(session.expires(), later(168), "however often it is used");
        sessions.put(id.clone(), session);
        assert_eq!(sessions.of("alice", later(167)).len(), 1);
        assert!(sessions.of("alice", later(168)).is_empty() && sessions.of("bob", NOW).is_empty());
        sessions.tidy(later(168));
        assert!(sessions.read().is_empty());
    }
}
