//! Tokens: what programs ask with. Only hashes are kept, in the state and in the audit entries that explain it.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sceau_event::{Micros, SourceId};
use sceau_store::{Document, Expect, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{network::Network, role::Role};
use crate::{
    config::Secret,
    error::ServerError,
    guard::{self, StateChange},
    hex,
    keydir::{KeyDir, random},
};

/// The collection of the state that holds tokens.
pub const COLLECTION: &str = "tokens";
/// The collection that says when each was used last. It decides nothing.
pub(super) const USES: &str = "token_use";
const PREFIX: &str = "sceau_";
/// The least characters of a token that somebody chose.
const MIN_CHOSEN: usize = 16;
/// The longest token that is looked at.
const MAX_LENGTH: usize = 512;
const MAX_TOKENS: usize = 10_000;
/// The most sources and networks that a token is limited to, each.
const MAX_LIMITS: usize = 100;

/// What a new token shall be.
#[derive(Clone, Debug)]
pub struct TokenSpec {
    /// What it is for, in words.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it stops to be valid; never, if absent.
    pub expires: Option<Micros>,
    /// The sources that it may send as; any, if there are none.
    pub sources: Vec<String>,
    /// The networks that it may come from (`192.0.2.0/24`, `2001:db8::1`); any, if there are none.
    pub addresses: Vec<String>,
}

impl TokenSpec {
    /// An administrator's, without limits.
    #[must_use]
    pub fn administrator(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Administrator,
            expires: None,
            sources: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Makes sure that it can be made as it is.
    ///
    /// # Errors
    /// [`ServerError::Parameter`] names what can't be used.
    pub fn check(&self, now: Micros) -> Result<(), ServerError> {
        super::check_name(&self.name)?;
        if self.expires.is_some_and(|expires| expires <= now) {
            return Err(ServerError::parameter("expires", "is over already"));
        }
        for (name, list) in [("sources", &self.sources), ("addresses", &self.addresses)] {
            if list.len() > MAX_LIMITS {
                return Err(ServerError::parameter(name, format!("may be {MAX_LIMITS}")));
            }
        }
        for source in &self.sources {
            let source = SourceId::parse(source).map_err(|error| ServerError::parameter("sources", error))?;
            if source.is_internal() {
                return Err(ServerError::parameter("sources", format!("{} is the product's own", source.as_str())));
            }
        }
        self.addresses.iter().try_for_each(|address| address.parse::<Network>().map(drop))
    }
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(super) hash: String,
    pub name: String,
    pub role: Role,
    pub created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Micros>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Network>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Micros>,
}

/// A token as it is looked up.
#[derive(Clone, Debug)]
pub(super) struct Token {
    hash: [u8; 32],
    pub kept: Kept,
    /// The sources that it may send as, if it is limited.
    pub sources: Option<Arc<[String]>>,
}

impl Token {
    fn of(kept: Kept) -> Option<Self> {
        let hash = parse_hash(&kept.hash)?;
        let sources = (!kept.sources.is_empty()).then(|| Arc::from(kept.sources.as_slice()));
        Some(Self { hash, kept, sources })
    }

    /// Whether it is valid now, whoever has it.
    fn holds(&self, now: Micros) -> bool {
        self.kept.revoked.is_none() && self.kept.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it may come from there.
    fn may_come_from(&self, address: IpAddr) -> bool {
        self.kept.addresses.is_empty() || self.kept.addresses.iter().any(|network| network.has(address))
    }
}

/// When and from where a token was used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub used: Micros,
    pub address: IpAddr,
}

/// A new token: what its owner gets, and what is kept.
#[derive(Debug)]
pub struct NewToken {
    /// What its owner sends.
    pub secret: Secret,
    /// Its public name.
    pub id: String,
    /// What is kept of it.
    pub value: Value,
}

impl NewToken {
    /// A random administrator's token.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random(now: Micros) -> Result<Self, ServerError> {
        Self::of(&TokenSpec::administrator("admin"), None, now)
    }

    /// A random token.
    ///
    /// # Errors
    /// It can't be as it is wanted, or the system gives no random numbers.
    pub fn of(spec: &TokenSpec, by: Option<&str>, now: Micros) -> Result<Self, ServerError> {
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?.as_slice()));
        Self::made(Secret::new(secret), spec, by, now)
    }

    /// An administrator's token that somebody chose.
    ///
    /// # Errors
    /// It is too short, too long, or can't be sent in a header.
    pub fn chosen(secret: Secret, now: Micros) -> Result<Self, ServerError> {
        let text = secret.expose();
        let sendable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(MIN_CHOSEN..=MAX_LENGTH).contains(&text.len()) || !sendable {
            return Err(ServerError::Config(format!(
                "SCEAU_BOOTSTRAP_TOKEN must be {MIN_CHOSEN} to {MAX_LENGTH} visible ASCII characters"
            )));
        }
        Self::made(secret, &TokenSpec::administrator("admin"), None, now)
    }

    fn made(secret: Secret, spec: &TokenSpec, by: Option<&str>, now: Micros) -> Result<Self, ServerError> {
        spec.check(now)?;
        let hash = hex(&Sha256::digest(secret.expose().as_bytes()));
        let id = id(secret.expose(), &hash);
        let kept = Kept {
            hash,
            name: spec.name.clone(),
            role: spec.role,
            created: now.to_string(),
            created_by: by.map(str::to_owned),
            expires: spec.expires,
            sources: spec.sources.clone(),
            addresses: spec.addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>()?,
            revoked: None,
        };
        Ok(Self { secret, id, value: json!(kept) })
    }
}

/// Forgets when a token was used.
pub(super) fn forget_use(id: &str) -> StateChange {
    StateChange { collection: USES.into(), key: id.to_owned(), value: None, expect: Expect::Any, expires: None }
}

/// A token's public name: the start of a random one; of one that somebody chose, only the start of its hash.
fn id(token: &str, hash: &str) -> String {
    let random = token.strip_prefix(PREFIX).filter(|rest| rest.len() == 43);
    random.and_then(|rest| rest.get(..8)).or(hash.get(..8)).unwrap_or_default().to_owned()
}

/// All tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    all: RwLock<BTreeMap<String, Arc<Token>>>,
    uses: Mutex<HashMap<String, (Use, bool)>>,
    /// Those that somebody else put into the database.
    forged: u64,
}

impl Tokens {
    /// Reads all tokens. One without a right MAC is not valid: it is logged and counted.
    ///
    /// # Errors
    /// The store can't be read, or what it holds is no token.
    pub async fn load(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let mut tokens = Self::default();
        let mut after = String::new();
        loop {
            let page = store.list(COLLECTION, &after, 500).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for document in page {
                match guard::check(keys, COLLECTION, &document) {
                    Ok(()) => tokens.insert(&document)?,
                    Err(_) => tokens.forged += 1,
                }
            }
            if tokens.len() > MAX_TOKENS {
                return Err(StoreError::Damaged(format!("more than {MAX_TOKENS} tokens")).into());
            }
        }
        let (uses, _) = super::own_documents(store, keys, USES).await?;
        let uses = uses.into_iter().filter_map(|it| Some((it.key, (serde_json::from_value(it.value).ok()?, false))));
        tokens.uses = Mutex::new(uses.collect());
        Ok(tokens)
    }

    fn insert(&self, document: &Document) -> Result<(), ServerError> {
        let damaged = |what| StoreError::Damaged(format!("the token {} {what}", document.key));
        let kept = serde_json::from_value::<Kept>(document.value.clone()).map_err(|_| damaged("can't be read"))?;
        let token = Token::of(kept).ok_or_else(|| damaged("has no hash"))?;
        self.map().insert(document.key.clone(), Arc::new(token));
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Token>>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Token>>> {
        self.all.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Use, bool)>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new token valid, once it is durable.
    pub fn accept(&self, token: &NewToken) {
        self.put(&token.id, &token.value);
    }

    /// Holds what is durable.
    pub(super) fn put(&self, id: &str, value: &Value) {
        if let Some(token) = serde_json::from_value(value.clone()).ok().and_then(Token::of) {
            self.map().insert(id.to_owned(), Arc::new(token));
        }
    }

    /// Forgets a token that was removed.
    pub(super) fn remove(&self, id: &str) {
        self.map().remove(id);
        self.uses().remove(id);
    }

    /// Makes sure that one more can be loaded again.
    ///
    /// # Errors
    /// [`ServerError::TooMany`].
    pub(crate) fn check_room(&self) -> Result<(), ServerError> {
        let full = || ServerError::TooMany(format!("the log has {MAX_TOKENS} tokens, and can't have more"));
        (self.len() < MAX_TOKENS).then_some(()).ok_or_else(full)
    }

    /// Those of `newer` are valid from now on, and no others.
    pub(crate) fn become_those_of(&self, newer: Self) {
        *self.map() = newer.all.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.uses() = newer.uses.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// How many were found that are not this log's.
    pub fn forged(&self) -> u64 {
        self.forged
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose token it is, if it is an administrator's without any limit: for whoever asks for no role, time or address.
    pub fn check(&self, token: &str) -> Option<String> {
        let (id, found) = self.look_up(token)?;
        let kept = &found.kept;
        let unlimited = kept.expires.is_none() && kept.revoked.is_none() && kept.addresses.is_empty();
        (unlimited && kept.role == Role::Administrator && kept.sources.is_empty()).then_some(id)
    }

    /// The token that this is, if it is valid now and may come from there; notes that it was used.
    pub(super) fn find(&self, token: &str, address: IpAddr, now: Micros) -> Option<(String, Arc<Token>)> {
        let (id, found) = self.look_up(token)?;
        if !found.holds(now) || !found.may_come_from(address) {
            return None;
        }
        let last = (Use { used: now, address: address.to_canonical() }, true);
        let mut uses = self.uses();
        match uses.get_mut(&id) {
            Some(before) => *before = last,
            None => drop(uses.insert(id.clone(), last)),
        }
        Some((id, found))
    }

    /// Whether a token that was let in would be once more.
    pub(super) fn still_holds(&self, id: &str, now: Micros) -> bool {
        self.read().get(id).is_some_and(|token| token.holds(now))
    }

    fn look_up(&self, token: &str) -> Option<(String, Arc<Token>)> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let id = id(token, &hex(&hash));
        let known = self.read().get(&id).cloned()?;
        bool::from(known.hash.ct_eq(&hash)).then_some((id, known))
    }

    /// A token as it is kept.
    pub(super) fn get(&self, id: &str) -> Option<Kept> {
        self.read().get(id).map(|token| token.kept.clone())
    }

    /// Up to `limit` of them behind `after`, by public name, with their last use.
    pub(super) fn list(&self, after: &str, limit: usize) -> Vec<(String, Kept, Option<Use>)> {
        let all = self.read();
        let behind = all.iter().filter(|(id, _)| id.as_str() > after).take(limit);
        let uses = self.uses();
        behind.map(|(id, token)| (id.clone(), token.kept.clone(), uses.get(id).map(|(last, _)| *last))).collect()
    }

    /// What makes uses durable that were not yet.
    pub(super) fn take_uses(&self) -> Vec<StateChange> {
        let mut uses = self.uses();
        let fresh =
            uses.iter_mut().filter_map(|(id, (last, fresh))| std::mem::take(fresh).then(|| (id.clone(), *last)));
        let write = |(key, last): (String, Use)| StateChange {
            collection: USES.into(),
            key,
            value: Some(json!(last)),
            expect: Expect::Any,
            expires: None,
        };
        fresh.map(write).collect()
    }
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(tokens: &Tokens, new: &NewToken) {
        let (key, value, text) = (new.id.clone(), new.value.clone(), new.value.to_string());
        let document = Document { key, value, text, version: 1, expires: None, mac: None };
        tokens.insert(&document).unwrap();
    }

    const HERE: &str = "192.0.2.1";

    /// Whether it is let in from there at that time.
    fn opens(tokens: &Tokens, secret: &Secret, from: &str, now: i64) -> bool {
        tokens.find(secret.expose(), from.parse().unwrap(), Micros(now)).is_some()
    }

    #[test]
    fn limits_hold() {
        let tokens = Tokens::default();
        let spec = TokenSpec {
            name: "web servers".into(),
            role: Role::Ingest,
            expires: Some(Micros(100)),
            sources: vec!["nginx".into()],
            addresses: vec!["192.0.2.0/24".into(), "2001:db8::1".into()],
        };
        let new = NewToken::of(&spec, Some("alice"), Micros(0)).unwrap();
        insert(&tokens, &new);
        for (from, now, good) in [
            (HERE, 0, true),
            (HERE, 99, true),
            (HERE, 100, false),
            ("::ffff:192.0.2.77", 0, true),
            ("2001:db8::1", 0, true),
            ("2001:db8::2", 0, false),
            ("198.51.100.1", 0, false),
        ] {
            assert_eq!(opens(&tokens, &new.secret, from, now), good, "{from} {now}");
        }
        let (id, found) = tokens.find(new.secret.expose(), HERE.parse().unwrap(), Micros(7)).unwrap();
        assert_eq!(
            (id.as_str(), found.kept.role, found.kept.created_by.as_deref()),
            (&*new.id, Role::Ingest, Some("alice"))
        );
        assert_eq!(found.sources.as_deref(), Some(["nginx".to_owned()].as_slice()));
        assert_eq!(tokens.check(new.secret.expose()), None, "no administrator's");
        let mut value = new.value.clone();
        value["revoked"] = json!(Micros(8));
        tokens.put(&new.id, &value);
        assert!(!opens(&tokens, &new.secret, HERE, 9) && !tokens.still_holds(&new.id, Micros(9)));
        let listed = tokens.list("", 10);
        assert_eq!(listed[0].2, Some(Use { used: Micros(7), address: HERE.parse().unwrap() }));
        assert_eq!((tokens.take_uses().len(), tokens.take_uses().len()), (1, 0), "written once");
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let good = || TokenSpec::administrator("x");
        for wrong in [
            TokenSpec { name: String::new(), ..good() },
            TokenSpec { name: "a\nb".into(), ..good() },
            TokenSpec { name: "x".repeat(300), ..good() },
            TokenSpec { expires: Some(Micros(5)), ..good() },
            TokenSpec { sources: vec!["sceau.audit".into()], ..good() },
            TokenSpec { sources: vec!["no source!".into()], ..good() },
            TokenSpec { sources: vec!["a".into(); 101], ..good() },
            TokenSpec { addresses: vec!["192.0.2.0/33".into()], ..good() },
            TokenSpec { addresses: vec!["here".into()], ..good() },
        ] {
            assert!(matches!(NewToken::of(&wrong, None, Micros(5)), Err(ServerError::Parameter { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn tokens_of_the_first_versions_are_administrators() {
        let tokens = Tokens::default();
        let new = NewToken::random(Micros(0)).unwrap();
        let value =
            json!({"hash": new.value["hash"], "name": "admin", "role": "admin", "created": "2026-11-22T08:00:00Z"});
        tokens.put(&new.id, &value);
        assert_eq!(tokens.get(&new.id).unwrap().role, Role::Administrator);
        assert_eq!(tokens.check(new.secret.expose()), Some(new.id));
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let tokens = Tokens::default();
        let random = NewToken::random(Micros(0)).unwrap();
        let chosen = NewToken::chosen(Secret::new("correct-horse-battery".into()), Micros(0)).unwrap();
        insert(&tokens, &random);
        insert(&tokens, &chosen);
        assert_eq!(tokens.check(random.secret.expose()).as_deref(), Some(random.id.as_str()));
        assert_eq!(tokens.check("correct-horse-battery").as_deref(), Some(chosen.id.as_str()));
        let other = format!("{}x", random.secret.expose());
        for wrong in ["", "x", "correct-horse-batterz", &other, &random.secret.expose()[..20], &"a".repeat(600)] {
            assert_eq!(tokens.check(wrong), None, "{wrong}");
        }
        assert!(random.secret.expose().starts_with("sceau_") && random.secret.expose().len() == 49);
        assert!(random.secret.expose().contains(&random.id));
        assert!(!"correct-horse-battery".contains(&chosen.id));
    }

    #[test]
    fn what_is_kept_does_not_hold_the_secret() {
        let new = NewToken::random(Micros(0)).unwrap();
        assert!(!new.value.to_string().contains(&new.secret.expose()[14..]));
        assert!(!format!("{new:?}").contains(&new.secret.expose()[14..]));
        assert!(NewToken::chosen(Secret::new("short".into()), Micros(0)).is_err());
        assert!(NewToken::chosen(Secret::new("with a space in it".into()), Micros(0)).is_err());
    }

    #[test]
    fn headers() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for wrong in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
    }
}
