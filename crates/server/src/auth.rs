//! Tokens: who may ask. Only hashes are kept, in the state and in the audit entries that explain it.

use std::{collections::HashMap, sync::RwLock};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sceau_event::Micros;
use sceau_store::{Document, Store, StoreError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    audit_entry::AuditEntry,
    config::Secret,
    entries,
    error::ServerError,
    guard, hex,
    keydir::{KeyDir, random},
};

/// The collection of the state that holds tokens.
pub const COLLECTION: &str = "tokens";
const PREFIX: &str = "sceau_";
/// The least characters of a token that somebody chose.
const MIN_CHOSEN: usize = 16;
/// The longest token that is looked at.
const MAX_LENGTH: usize = 512;
const MAX_TOKENS: usize = 10_000;

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
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?.as_slice()));
        Ok(Self::made(Secret::new(secret), now))
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
        Ok(Self::made(secret, now))
    }

    fn made(secret: Secret, now: Micros) -> Self {
        let hash = hex(&Sha256::digest(secret.expose().as_bytes()));
        let id = id(secret.expose(), &hash);
        let value = json!({"hash": hash, "name": "admin", "role": "admin", "created": now.to_string()});
        Self { secret, id, value }
    }
}

/// A token's public name: the start of a random one; of one that somebody chose, only the start of its hash.
fn id(token: &str, hash: &str) -> String {
    let random = token.strip_prefix(PREFIX).filter(|rest| rest.len() == 43);
    random.and_then(|rest| rest.get(..8)).or(hash.get(..8)).unwrap_or_default().to_owned()
}

/// Whether an entry of `sceau.audit` ever made or changed a token. It reads the entries themselves, not their columns, up
/// to the first such one, which a log has near its beginning.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn ever_made(store: &dyn Store) -> Result<bool, StoreError> {
    const PAGE: usize = 8_192;
    let (mut next, size) = (store.kept_from().await?.0, store.head().await?.size.0);
    while next < size {
        let rows = entries::kept(store, next, size, PAGE).await?;
        if rows.entries.iter().any(|entry| may_be_audit(entry) && changes_token(entry)) {
            return Ok(true);
        }
        next = entries::behind(&rows);
    }
    Ok(false)
}

/// Whether the beginning of an envelope names the source; parsing every entry of a large log would take minutes.
fn may_be_audit(entry: &[u8]) -> bool {
    const SOURCE: &[u8] = b"\"source\":\"sceau.audit\"";
    entry.get(..96).unwrap_or(entry).windows(SOURCE.len()).any(|bytes| bytes == SOURCE)
}

/// Whatever it says of the token: more than a change must not be overlooked.
fn changes_token(entry: &[u8]) -> bool {
    AuditEntry::names(entry, COLLECTION)
}

/// The tokens that are valid, in memory.
#[derive(Debug, Default)]
pub struct Tokens {
    hashes: RwLock<HashMap<String, [u8; 32]>>,
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
            let Some(last) = page.last() else { return Ok(tokens) };
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
    }

    fn insert(&self, document: &Document) -> Result<(), ServerError> {
        let hash = document.value.get("hash").and_then(Value::as_str).and_then(parse_hash);
        let hash = hash.ok_or_else(|| StoreError::Damaged(format!("the token {} has no hash", document.key)))?;
        self.add(document.key.clone(), hash);
        Ok(())
    }

    fn add(&self, id: String, hash: [u8; 32]) {
        self.hashes.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, hash);
    }

    /// Makes a new token valid, once it is durable.
    pub fn accept(&self, token: &NewToken) {
        self.add(token.id.clone(), Sha256::digest(token.secret.expose().as_bytes()).into());
    }

    /// Makes sure that one more can be loaded again.
    ///
    /// # Errors
    /// [`ServerError::Config`].
    pub(crate) fn check_room(&self) -> Result<(), ServerError> {
        let full = || ServerError::Config(format!("the log has {MAX_TOKENS} tokens, and can't have more"));
        (self.len() < MAX_TOKENS).then_some(()).ok_or_else(full)
    }

    /// Those of `newer` are valid from now on, and no others.
    pub(crate) fn become_those_of(&self, newer: Self) {
        let newer = newer.hashes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        *self.hashes.write().unwrap_or_else(std::sync::PoisonError::into_inner) = newer;
    }

    /// How many were found that are not this log's.
    pub fn forged(&self) -> u64 {
        self.forged
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.read().unwrap_or_else(std::sync::PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose token it is.
    pub fn check(&self, token: &str) -> Option<String> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let id = id(token, &hex(&hash));
        let known = self.hashes.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).copied()?;
        bool::from(known.ct_eq(&hash)).then_some(id)
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
    use bytes::Bytes;

    use super::*;
    use crate::{Format, IngestRequest, Log, testing::Fixture};

    /// Whether a token was ever made, by reading every entry whole and all at once.
    async fn plainly_ever_made(store: &dyn Store) -> bool {
        let rows = store.entries(store.kept_from().await.unwrap(), usize::MAX).await.unwrap();
        rows.entries.iter().any(|entry| {
            let entry: Value = serde_json::from_slice(entry).unwrap();
            entry["source"] == "sceau.audit" && entry["data"]["collection"] == "tokens"
        })
    }

    async fn agree(log: &Log, wanted: bool) {
        let store = log.reader().store();
        assert_eq!((ever_made(&**store).await.unwrap(), plainly_ever_made(&**store).await), (wanted, wanted));
    }

    async fn send(log: &Log, source: &str, lines: &str) {
        let request = IngestRequest { format: Format::Ndjson, source: source.into(), ..IngestRequest::default() };
        log.ingest(Bytes::from(lines.to_owned()), &request).await.unwrap();
    }

    #[tokio::test]
    async fn whether_a_token_was_ever_made_is_found_as_by_reading_everything() {
        let fixture = Fixture::new().await;
        let log = fixture.log().await;
        agree(&log, false).await;
        let change = json!({"action": "state_change", "collection": "tokens", "key": "k", "value": {"role": "admin"}});
        let imitation = json!({"source": "sceau.audit", "data": change, "z": 1});
        let sent = format!("{change}\n{imitation}\n{{\"source\":\"sceau.audit\",\"collection\":\"tokens\"}}\n");
        for source in ["a", "http", &"long".repeat(12)] {
            send(&log, source, &sent).await;
        }
        log.record_state_change("settings", "tokens", Some(json!({"collection": "tokens"})), "tokens").await.unwrap();
        agree(&log, false).await;
        // More than are read at once.
        send(&log, "http", &"{\"n\":1}\n".repeat(8_300)).await;
        agree(&log, false).await;
        let token = log.new_admin_token("test").await.unwrap();
        agree(&log, true).await;
        log.record_state_change(COLLECTION, &token.id, None, "test").await.unwrap();
        agree(&log, true).await;
        log.close().await.unwrap();
    }

    /// An entry of an older or newer version, or one that was written by hand.
    #[test]
    fn an_entry_about_tokens_counts_whatever_else_it_says() {
        let counts = |source: &str, data: &str| {
            let received = "2026-11-22T08:00:00.000000Z";
            let entry =
                format!(r#"{{"v":1,"received":"{received}","source":"{source}","meta":{{}},"data":{{{data}}}}}"#);
            may_be_audit(entry.as_bytes()) && changes_token(entry.as_bytes())
        };
        for data in [
            r#""action":"state_change","collection":"tokens","key":"k","value":{"role":"admin"}"#,
            r#""action":"state_change","collection":"tokens","value":{"role":"admin"}"#,
            r#""action":"state_change","collection":"tokens","key":"k","carried":"12""#,
            r#""collection":"tokens""#,
        ] {
            assert!(counts("sceau.audit", data), "{data}");
            assert!(!counts("http", data) && !counts("sceau.audit", &data.replace("tokens", "token")), "{data}");
        }
    }

    fn insert(tokens: &Tokens, new: &NewToken) {
        let (key, value, text) = (new.id.clone(), new.value.clone(), new.value.to_string());
        let document = Document { key, value, text, version: 1, expires: None, mac: None };
        tokens.insert(&document).unwrap();
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
