//! Access tokens: JWTs (RFC 7519, RFC 9068) that the server signs with Ed25519 and that last for a quarter of an hour.
//!
//! Invariant: the private half of a key is in memory only. The public half is durable before anything is signed, so that a
//! restarted server and one that waits can check what this one signed. What a token says of itself (`alg`, `kid`) chooses
//! among the keys in memory and nothing else.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use sceau_event::Micros;
use sceau_store::{Document, Expect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{config::Secret, error::ServerError, guard::StateChange, hex};

/// The collection of the state that holds public keys.
pub(super) const COLLECTION: &str = "signing_keys";
/// How long an access token is good for, in microseconds.
pub(crate) const LIFETIME: i64 = 15 * 60 * 1_000_000;
/// How long a key signs.
const ROTATE: i64 = 24 * 3_600 * 1_000_000;
/// How far the clock of a server that waits may be behind.
const LEEWAY: i64 = 5_000_000;
const AUDIENCE: &str = "sceau";
const TYPE: &str = "at+jwt";
/// The longest token that is looked at.
const MAX_LENGTH: usize = 2_048;
/// The most keys that are held; each start makes one.
const MAX_KEYS: usize = 1_000;

/// What a token says. The role is not in it: it is looked up at each request, so that a change holds at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub sub: String,
    /// The session.
    pub sid: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// A public key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Public {
    /// The base64url of its 32 bytes.
    x: String,
    created: Micros,
    /// When the last token that it signed has expired.
    expires: Micros,
}

/// The key that signs.
struct Present {
    kid: String,
    key: EncodingKey,
    created: Micros,
}

/// A new key: its private half, and the document of its public one.
pub(super) struct Fresh {
    present: Present,
    public: Public,
}

#[derive(Default)]
struct Keys {
    present: Option<Present>,
    known: BTreeMap<String, Public>,
}

/// Signs tokens and checks them.
pub(super) struct Signer {
    issuer: String,
    keys: RwLock<Keys>,
}

impl Fresh {
    /// A key of which nobody knows yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(now: Micros) -> Result<Self, ServerError> {
        let failed = |_| ServerError::Internal("no Ed25519 key can be made".into());
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref())
            .map_err(|_| ServerError::Internal("no Ed25519 key can be made".into()))?;
        let public = pair.public_key().as_ref();
        let kid = hex(Sha256::digest(public).get(..8).unwrap_or_default());
        let key = EncodingKey::from_ed_der(private.as_ref());
        let expires = Micros(now.0.saturating_add(ROTATE + LIFETIME + LEEWAY));
        Ok(Self {
            present: Present { kid, key, created: now },
            public: Public { x: BASE64_URL_SAFE_NO_PAD.encode(public), created: now, expires },
        })
    }

    /// What makes its public half durable.
    pub fn write(&self) -> StateChange {
        StateChange {
            collection: COLLECTION.into(),
            key: self.present.kid.clone(),
            value: Some(json!(self.public)),
            expect: Expect::Any,
            expires: Some(self.public.expires.0),
        }
    }
}

impl Signer {
    /// One that has no key yet, for tokens of this issuer.
    pub fn new(issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), keys: RwLock::default() }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the key that signs is old enough to be followed by another.
    pub fn wants_key(&self, now: Micros) -> bool {
        self.read().present.as_ref().is_none_or(|present| now.0.saturating_sub(present.created.0) >= ROTATE)
    }

    /// Signs with this key from now on; its public half is durable.
    pub fn begin(&self, fresh: Fresh, now: Micros) {
        let mut keys = self.write();
        keys.known.retain(|_, public| public.expires > now);
        keys.known.insert(fresh.present.kid.clone(), fresh.public);
        keys.present = Some(fresh.present);
    }

    /// Knows these public keys, which are the log's own, besides that which signs.
    pub fn know(&self, documents: &[Document], now: Micros) {
        let mut keys = self.write();
        let own = keys.present.as_ref().map(|present| present.kid.clone());
        keys.known.retain(|kid, _| Some(kid) == own.as_ref());
        for document in documents {
            match serde_json::from_value::<Public>(document.value.clone()) {
                Ok(public) if public.expires > now && keys.known.len() < MAX_KEYS => {
                    keys.known.insert(document.key.clone(), public);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, key = document.key, "a signing key can't be read"),
            }
        }
    }

    /// The public keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.read().known.iter().map(|(kid, public)| jwk(kid, &public.x)).collect();
        json!({"keys": keys})
    }

    /// A token for a session, and when it expires.
    ///
    /// # Errors
    /// There is no key yet.
    pub fn sign(&self, user: &str, session: &str, now: Micros) -> Result<(Secret, Micros), ServerError> {
        let keys = self.read();
        let present =
            keys.present.as_ref().ok_or_else(|| ServerError::Internal("there is no key for access tokens".into()))?;
        let seconds = now.0.div_euclid(1_000_000);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.into(),
            sub: user.to_owned(),
            sid: session.to_owned(),
            iat: seconds,
            nbf: seconds,
            exp: seconds + LIFETIME / 1_000_000,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.into());
        header.kid = Some(present.kid.clone());
        let failed = |error| ServerError::Internal(format!("an access token can't be signed: {error}"));
        let token = jsonwebtoken::encode(&header, &claims, &present.key).map_err(failed)?;
        Ok((Secret::new(token), Micros(claims.exp.saturating_mul(1_000_000))))
    }

    /// What a token says, if it is one of ours and good at this moment.
    pub fn check(&self, token: &str, now: Micros) -> Option<Claims> {
        if token.len() > MAX_LENGTH {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        let carries_keys = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
        if header.alg != Algorithm::EdDSA
            || header.typ.as_deref() != Some(TYPE)
            || carries_keys
            || header.crit.is_some()
        {
            return None;
        }
        let keys = self.read();
        let public = keys.known.get(header.kid.as_deref()?).filter(|public| public.expires > now)?;
        let key = DecodingKey::from_ed_components(&public.x).ok()?;
        let mut wanted = Validation::new(Algorithm::EdDSA);
        wanted.set_audience(&[AUDIENCE]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Compared below, with the log's own time.
        wanted.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &wanted).ok()?.claims;
        let at = |seconds: i64| seconds.saturating_mul(1_000_000);
        let early = at(claims.nbf) > now.0.saturating_add(LEEWAY) || at(claims.iat) > now.0.saturating_add(LEEWAY);
        let late = at(claims.exp) <= now.0 || at(claims.exp.saturating_sub(claims.iat)) > LIFETIME;
        (!early && !late).then_some(claims)
    }
}

fn jwk(kid: &str, x: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x})
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
