//! The key under which the secrets of second factors lie in the state, and by which refresh tokens are known as ours.
//!
//! A directory that a version before accounts made has none; it is made at the next start. It is not one of the log's keys:
//! nothing that was sealed depends on it.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{KeyDir, create_file, paths::check_file, random, text};
use crate::{error::ServerError, hex};

/// The file of the accounts' key.
pub const ACCOUNTS_KEY: &str = "accounts.key";
const PREFIX: &str = "PRIVATE+ACCOUNTS+";
/// What a sealed text begins with: the version of its form.
const SEALED: u8 = 1;
const NONCE: usize = 12;

/// The accounts' key.
pub(crate) struct AccountsKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for AccountsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountsKey(***)")
    }
}

/// Makes the file.
pub(super) fn create(directory: &std::path::Path) -> Result<(), ServerError> {
    let key = AccountsKey(random::<32>()?);
    create_file(directory, ACCOUNTS_KEY, format!("{}\n", key.to_line().as_str()).as_bytes())
}

impl KeyDir {
    /// The accounts' key, if the directory has one.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    pub(crate) fn accounts_key(&self) -> Result<Option<AccountsKey>, ServerError> {
        let path = self.path().join(ACCOUNTS_KEY);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        check_file(&path)?;
        let line = text(self.path(), ACCOUNTS_KEY)?;
        let reason = "is damaged: restore it from your backup".to_owned();
        AccountsKey::from_line(&line).map(Some).ok_or(ServerError::KeyDir { path, reason })
    }

    /// The same, made if it is missing; and whether it was.
    ///
    /// # Errors
    /// The same, or it can't be made.
    pub(crate) fn accounts_key_or_new(&self) -> Result<(AccountsKey, bool), ServerError> {
        if let Some(key) = self.accounts_key()? {
            return Ok((key, false));
        }
        create(self.path())?;
        let missing = || ServerError::KeyDir { path: self.path().join(ACCOUNTS_KEY), reason: "is gone".into() };
        Ok((self.accounts_key()?.ok_or_else(missing)?, true))
    }
}

impl AccountsKey {
    /// The first four bytes of a hash of it: by which a damaged file is known.
    fn id(&self) -> String {
        let hash = Sha256::new().chain_update(b"sceau.accounts-key.v1\n").chain_update(self.0.as_slice()).finalize();
        hex(hash.get(..4).unwrap_or_default())
    }

    fn to_line(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(self.0.as_slice()));
        Zeroizing::new(format!("{PREFIX}{}+{}", self.id(), encoded.as_str()))
    }

    fn from_line(line: &str) -> Option<Self> {
        let (id, secret) = line.strip_prefix(PREFIX)?.split_once('+')?;
        let secret = Zeroizing::new(BASE64_STANDARD.decode(secret).ok()?);
        let key = Self(Zeroizing::new(secret.as_slice().try_into().ok()?));
        (key.id() == id).then_some(key)
    }

    /// Encrypts what belongs to `owner`, and to nobody else.
    ///
    /// # Errors
    /// The cipher does not work.
    pub fn seal(&self, owner: &str, plain: &[u8]) -> Result<String, ServerError> {
        let failed = |_| ServerError::Internal("AES-256-GCM does not work".into());
        let key = RandomizedNonceKey::new(&AES_256_GCM, self.derived(b"totp").as_slice()).map_err(failed)?;
        let mut bytes = Zeroizing::new(plain.to_vec());
        let nonce = key.seal_in_place_append_tag(Aad::from(owner), &mut *bytes).map_err(failed)?;
        let mut sealed = vec![SEALED];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&bytes);
        Ok(BASE64_STANDARD.encode(sealed))
    }

    /// What [`AccountsKey::seal`] took; `None` if it was sealed for somebody else, under another key, or altered.
    pub fn open(&self, owner: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = BASE64_STANDARD.decode(sealed).ok()?;
        let (_, rest) = sealed.split_first().filter(|(version, _)| **version == SEALED)?;
        let (nonce, rest) = rest.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, self.derived(b"totp").as_slice()).ok()?;
        let mut bytes = Zeroizing::new(rest.to_vec());
        let plain = key.open_in_place(nonce, Aad::from(owner), &mut bytes).ok()?.len();
        bytes.truncate(plain);
        Some(bytes)
    }

    /// A tag by which a text is known again as one that we made.
    pub fn tag(&self, text: &[u8]) -> [u8; 16] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.derived(b"refresh").as_slice());
        let mut tag = [0; 16];
        tag.iter_mut().zip(hmac::sign(&key, text).as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    /// A key of its own for each use.
    fn derived(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"sceau.accounts-key.v1\n");
        context.update(purpose);
        let mut derived = Zeroizing::new([0; 32]);
        derived.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[test]
    fn what_is_sealed_opens_for_its_owner_alone() {
        let (key, other) = (AccountsKey(Zeroizing::new([7; 32])), AccountsKey(Zeroizing::new([8; 32])));
        let sealed = key.seal("alice", b"a secret").unwrap();
        assert_eq!(key.open("alice", &sealed).unwrap().as_slice(), b"a secret");
        assert_ne!(sealed, key.seal("alice", b"a secret").unwrap(), "each has a nonce of its own");
        assert!(key.open("bob", &sealed).is_none() && other.open("alice", &sealed).is_none());
        let bytes = BASE64_STANDARD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(key.open("alice", &BASE64_STANDARD.encode(&altered)).is_none(), "byte {at}");
            assert!(key.open("alice", &BASE64_STANDARD.encode(&bytes[..at])).is_none(), "{at} bytes");
        }
        assert!(key.open("alice", "").is_none() && key.open("alice", "?").is_none());
    }

    #[test]
    fn a_line_is_read_back_and_a_damaged_one_is_not() {
        let key = AccountsKey(Zeroizing::new([7; 32]));
        let line = key.to_line();
        assert_eq!(AccountsKey::from_line(&line).unwrap().0, key.0);
        for broken in ["", "x", &line[1..], &line.replace('+', ""), &line.replace("BwcH", "BwcI")] {
            assert!(AccountsKey::from_line(broken).is_none(), "{broken}");
        }
        assert_eq!(format!("{key:?}"), "AccountsKey(***)");
        assert_ne!(key.tag(b"a"), key.tag(b"b"));
    }

    #[tokio::test]
    async fn it_is_made_for_nobody_else_and_where_it_is_missing() {
        use std::os::unix::fs::PermissionsExt as _;
        let fixture = Fixture::new().await;
        let path = fixture.config.key_dir.join(ACCOUNTS_KEY);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let open = || KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
        let tag = open().accounts_key().unwrap().unwrap().tag(b"x");
        let (again, made) = open().accounts_key_or_new().unwrap();
        assert!(!made && again.tag(b"x") == tag);
        std::fs::remove_file(&path).unwrap();
        assert!(open().accounts_key().unwrap().is_none());
        let (other, made) = open().accounts_key_or_new().unwrap();
        assert!(made && other.tag(b"x") != tag);
        std::fs::write(&path, "PRIVATE+ACCOUNTS+00000000+AAAA\n").unwrap();
        assert!(matches!(open().accounts_key(), Err(ServerError::KeyDir { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).is_err());
    }
}
