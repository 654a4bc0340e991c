use super::*;
use crate::testing::Cluster;

#[tokio::test]
async fn a_server_that_waits_knows_everybody_and_changes_nothing() {
    let cluster = Cluster::new().await;
    let (config, _) = cluster.join("second");
    let log = cluster.log(&cluster.fixture.config, &cluster.store()).await.unwrap();
    let settings = AccountsConfig::default();
    let accounts = Accounts::of(&log, &settings).await.unwrap();
    let link = accounts.first_link(&log, log.now()).await.unwrap().unwrap();
    let password = secret(PASSWORD);
    accounts.setup(&log, &link.secret, "admin", &password, home(), log.now()).await.unwrap();
    let credentials = || Credentials { user: "admin".into(), password: password.clone(), code: None };
    let first = accounts.login(&log, credentials(), home(), "", log.now()).await.unwrap();
    let begun = accounts.begin_totp(&log, "admin", &password, home(), log.now()).await.unwrap();
    let totp = totp_rs::Totp::from_url(begun.uri.expose()).unwrap();
    let code_now = |now: Micros| totp.generate(u64::try_from(now.0 / 1_000_000).unwrap()).to_string();
    accounts.confirm_totp(&log, "admin", &secret(&code_now(log.now())), home(), log.now()).await.unwrap();

    let there = cluster.store();
    let standby = cluster.standby(&config, &there);
    let app = standby.app().await.unwrap();
    let seen = |accounts: &Accounts, access: &Secret| {
        accounts.authenticate(Presented::Bearer(access.expose()), home(), log.now())
    };
    assert_eq!(seen(&app.accounts, &first.access).unwrap().role, Role::Administrator);
    // It follows what changes.
    let token = accounts.create_token(&log, &By::local("t"), TokenSpec::administrator("t"), log.now()).await.unwrap();
    accounts.logout(&log, "admin", &first.session, home()).await.unwrap();
    let keys = crate::KeyDir::open(&config.key_dir, None).unwrap();
    app.accounts.follow(&*there, &keys, log.now()).await.unwrap();
    assert!(seen(&app.accounts, &first.access).is_none() && seen(&app.accounts, &token.secret).is_some());
    assert!(app.log().is_err(), "there is nothing that a change could be sealed in");
    log.close().await.unwrap();

    // Having the log, it checks codes by the key that was copied.
    assert!(standby.try_once(&app).await.unwrap());
    let second = app.log().unwrap().clone();
    let later = Micros(second.now().0 + 2 * MINUTE);
    let with_code = Credentials { code: Some(secret(&code_now(later))), ..credentials() };
    let in_again = app.accounts.login(&second, with_code, home(), "", later).await.unwrap();
    assert!(app.accounts.authenticate(Presented::Bearer(in_again.access.expose()), home(), later).is_some());
    second.close().await.unwrap();
}

#[tokio::test]
async fn a_copy_without_the_accounts_key_is_refused() {
    let cluster = Cluster::new().await;
    let (config, _) = cluster.join("second");
    std::fs::remove_file(config.key_dir.join("accounts.key")).unwrap();
    let refused = crate::join(&config.key_dir).unwrap_err().to_string();
    assert!(refused.contains("accounts.key"), "{refused}");
}
