//! Somebody who can write the database, and has no key.

use sceau_store::{Document, Expect, StateWrite};
use serde_json::json;

use super::*;
use crate::Reader;

/// What an attacker writes: a document as it shall be.
struct Forged<'a> {
    collection: &'a str,
    key: &'a str,
    value: Option<Value>,
    mac: Option<Vec<u8>>,
    expires: Option<i64>,
}

/// An administrator, an analyst, and a token that may only send; the log is closed.
async fn filled() -> (Fixture, Secret) {
    let desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    desk.login("bob").await;
    let spec = TokenSpec { role: Role::Ingest, ..TokenSpec::administrator("sender") };
    let token = desk.accounts.create_token(&desk.log, &desk.by(), spec, desk.now()).await.unwrap().secret;
    desk.log.close().await.unwrap();
    let Desk { fixture, log, accounts, .. } = desk;
    drop((log, accounts));
    assert!(report(&fixture).await.ok);
    (fixture, token)
}

async fn stored(fixture: &Fixture, collection: &str, key: &str) -> Document {
    let reader = Reader::open(&fixture.config).await.unwrap();
    let all = reader.store().list(collection, "", 100).await.unwrap();
    reader.close().await.unwrap();
    all.into_iter().find(|document| key.is_empty() || document.key == key).unwrap()
}

async fn write(fixture: &Fixture, forged: Vec<Forged<'_>>) {
    let reader = Reader::open(&fixture.config).await.unwrap();
    let write = |it: Forged<'_>| StateWrite {
        collection: it.collection.into(),
        key: it.key.into(),
        value: it.value,
        expect: Expect::Any,
        expires: it.expires,
        mac: it.mac,
    };
    reader.store().write(forged.into_iter().map(write).collect()).await.unwrap();
    reader.close().await.unwrap();
}

/// Makes sure that `verify` names the document, with the keys and without.
async fn is_named(fixture: &Fixture, name: &str) {
    let told = report(fixture).await;
    assert!(!told.ok && told.to_string().contains(name), "{name}: {told}");
}

async fn started(fixture: &Fixture) -> (Log, Accounts, u64) {
    let log = fixture.log().await;
    let (accounts, forged) =
        Accounts::load(&**log.reader().store(), log.keys(), &AccountsConfig::default(), log.now()).await.unwrap();
    (log, accounts, forged)
}

async fn login(log: &Log, accounts: &Accounts, user: &str, password: &str) -> Result<LoggedIn, ServerError> {
    accounts.take_over(log).unwrap();
    let credentials = Credentials { user: user.into(), password: secret(password), code: None };
    accounts.login(log, credentials, home(), "", log.now()).await
}

#[tokio::test]
async fn an_inserted_administrator_is_nobody_and_named() {
    for with_mac in [false, true] {
        let (fixture, _) = filled().await;
        let admin = stored(&fixture, "users", "admin").await;
        let credential = stored(&fixture, "credentials", "admin").await;
        let mac = |document: &Document| document.mac.clone().filter(|_| with_mac);
        write(
            &fixture,
            vec![
                Forged {
                    collection: "users",
                    key: "mallory",
                    value: Some(admin.value.clone()),
                    mac: mac(&admin),
                    expires: None,
                },
                Forged {
                    collection: "credentials",
                    key: "mallory",
                    value: Some(credential.value.clone()),
                    mac: mac(&credential),
                    expires: None,
                },
            ],
        )
        .await;
        is_named(&fixture, "users/mallory").await;
        let (log, accounts, forged) = started(&fixture).await;
        assert!(forged > 0 && accounts.user("mallory").is_err());
        assert_eq!(code(login(&log, &accounts, "mallory", PASSWORD).await), "bad_credentials");
        login(&log, &accounts, "admin", PASSWORD).await.unwrap();
    }
}

#[tokio::test]
async fn a_changed_role_makes_nobody_more_and_is_named() {
    let (fixture, _) = filled().await;
    let mut bob = stored(&fixture, "users", "bob").await;
    bob.value["role"] = json!("administrator");
    let (value, mac) = (Some(bob.value), bob.mac);
    write(&fixture, vec![Forged { collection: "users", key: "bob", value, mac, expires: None }]).await;
    is_named(&fixture, "users/bob is not what this entry set").await;
    let (log, accounts, forged) = started(&fixture).await;
    assert!(forged > 0);
    assert_eq!(code(login(&log, &accounts, "bob", PASSWORD).await), "bad_credentials", "he is not believed at all");
}

#[tokio::test]
async fn an_exchanged_credential_opens_nothing_and_is_named() {
    // Another user's, with its own MAC; and an older one of the same user, whose MAC holds.
    let (fixture, _) = filled().await;
    let bobs = stored(&fixture, "credentials", "bob").await;
    let admins = stored(&fixture, "credentials", "admin").await;
    let put = |value: &Document, mac: &Document| Forged {
        collection: "credentials",
        key: "admin",
        value: Some(value.value.clone()),
        mac: mac.mac.clone(),
        expires: None,
    };
    write(&fixture, vec![put(&bobs, &bobs)]).await;
    is_named(&fixture, "credentials/admin").await;
    {
        let (log, accounts, forged) = started(&fixture).await;
        assert!(forged > 0);
        assert_eq!(code(login(&log, &accounts, "admin", PASSWORD).await), "bad_credentials");
        log.close().await.unwrap();
    }
    write(&fixture, vec![put(&admins, &admins)]).await;
    {
        let (log, accounts, forged) = started(&fixture).await;
        assert_eq!(forged, 0);
        accounts
            .change_password(&log, ("admin", None), (&secret(PASSWORD), &secret(OTHER)), home(), log.now())
            .await
            .unwrap();
        log.close().await.unwrap();
    }
    assert!(report(&fixture).await.ok);
    write(&fixture, vec![put(&admins, &admins)]).await;
    let told = report(&fixture).await;
    let faults = &told.verdict.faults;
    assert!(
        !told.ok && faults.iter().all(|fault| fault.detail.contains("credentials/admin is not what the log says")),
        "{told}"
    );
    let (log, accounts, forged) = started(&fixture).await;
    assert_eq!(forged, 1);
    assert_eq!(code(login(&log, &accounts, "admin", PASSWORD).await), "bad_credentials", "the old password is gone");
    assert_eq!(code(login(&log, &accounts, "admin", OTHER).await), "bad_credentials");
}

#[tokio::test]
async fn a_widened_token_is_none_and_named() {
    let (fixture, token) = filled().await;
    let mut kept = stored(&fixture, "tokens", "").await;
    kept.value["role"] = json!("administrator");
    let key = kept.key.clone();
    let (value, mac) = (Some(kept.value), kept.mac);
    write(&fixture, vec![Forged { collection: "tokens", key: &key, value, mac, expires: None }]).await;
    is_named(&fixture, &format!("tokens/{key} is not what this entry set")).await;
    let (log, accounts, forged) = started(&fixture).await;
    assert!(forged > 0);
    assert!(accounts.authenticate(Presented::Bearer(token.expose()), home(), log.now()).is_none());
}

#[tokio::test]
async fn links_sessions_and_signing_keys_that_somebody_put_there_are_none() {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
    let (fixture, _) = filled().await;
    let session = stored(&fixture, "sessions", "").await;
    let link = json!({"hash": "00".repeat(32), "user": null, "role": "administrator", "created": "2026-11-28T00:00:00Z",
        "created_by": "system", "expires": "2036-11-28T00:00:00Z"});
    let x = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
    let key = json!({"x": x, "created": "2026-11-28T00:00:00Z", "expires": "2036-11-28T00:00:00Z"});
    let forged = |collection: &'static str, value: Value, mac: Option<Vec<u8>>, expires: Option<i64>| Forged {
        collection,
        key: "evil",
        value: Some(value),
        mac,
        expires,
    };
    let write_all = || {
        vec![
            forged("setup", link.clone(), session.mac.clone(), None),
            forged("sessions", session.value.clone(), session.mac.clone(), session.expires),
            forged("signing_keys", key.clone(), None, Some(i64::MAX)),
        ]
    };
    write(&fixture, write_all()).await;
    for name in ["setup/evil", "sessions/evil", "signing_keys/evil"] {
        is_named(&fixture, name).await;
    }
    let look = |accounts: &Accounts, log: &Log| {
        let sessions = accounts.list_sessions("bob", log.now());
        (sessions.iter().any(|session| session.id == "evil"), accounts.jwks().to_string().contains("evil"))
    };
    {
        let (log, accounts, forged) = started(&fixture).await;
        assert_eq!((forged, look(&accounts, &log)), (1, (false, false)));
        log.close().await.unwrap();
    }
    // Nor when the log gives MACs to documents that have none, after its MAC key was lost.
    std::fs::remove_file(fixture.config.key_dir.join("format")).unwrap();
    let (log, accounts, _) = started(&fixture).await;
    assert_eq!(look(&accounts, &log), (false, false));
    let store = log.reader().store();
    assert!(store.get("signing_keys", "evil", 0).await.unwrap().is_none(), "it is gone");
    assert!(store.get("sessions", "evil", 0).await.unwrap().is_none());
    login(&log, &accounts, "admin", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn removed_users_and_credentials_are_missed() {
    let (fixture, _) = filled().await;
    let gone = |collection: &'static str| Forged { collection, key: "admin", value: None, mac: None, expires: None };
    write(&fixture, vec![gone("credentials")]).await;
    is_named(&fixture, "credentials/admin is missing").await;
    write(&fixture, vec![gone("users")]).await;
    is_named(&fixture, "users/admin is missing although this entry set it").await;
    let (log, accounts, _) = started(&fixture).await;
    assert_eq!(code(login(&log, &accounts, "admin", PASSWORD).await), "bad_credentials");
    accounts.take_over(&log).unwrap();
    assert!(accounts.first_link(&log, log.now()).await.unwrap().is_none());
    log.close().await.unwrap();
    drop((log, accounts));
    write(&fixture, vec![Forged { key: "bob", ..gone("users") }]).await;
    let (log, accounts, _) = started(&fixture).await;
    assert!(accounts.list_users("", 10).is_empty());
    assert!(accounts.first_link(&log, log.now()).await.unwrap().is_none(), "nobody is handed a link for that");
}
