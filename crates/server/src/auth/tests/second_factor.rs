use super::*;
use crate::auth::totp;

/// What an authenticator shows.
fn shown(uri: &Secret, now: Micros) -> String {
    let totp = totp_rs::Totp::from_url(uri.expose()).unwrap();
    totp.generate(u64::try_from(now.0 / 1_000_000).unwrap()).to_string()
}

impl Desk {
    /// Sets a second factor; what an authenticator needs, and the recovery codes.
    async fn set_factor(&self, user: &str, password: &str) -> (Secret, Vec<Secret>) {
        let (log, now) = (&self.log, self.now());
        let begun = self.accounts.begin_totp(log, user, &secret(password), home(), now).await.unwrap();
        let code = secret(&shown(&begun.uri, now));
        let codes = self.accounts.confirm_totp(log, user, &code, home(), now).await.unwrap();
        (begun.uri, codes)
    }
}

#[tokio::test]
async fn a_code_is_needed_and_good_once() {
    let mut desk = Desk::with_admin().await;
    let (uri, recovery) = desk.set_factor("admin", PASSWORD).await;
    assert!(desk.accounts.user("admin").unwrap().second_factor);
    assert_eq!(code(desk.login_with("admin", PASSWORD, None).await), "second_factor_required");
    assert_eq!(code(desk.login_with("admin", OTHER, None).await), "bad_credentials", "the password comes first");
    let first = shown(&uri, desk.now());
    assert_eq!(
        code(desk.login_with("admin", PASSWORD, Some(&first)).await),
        "bad_credentials",
        "it was used to set it"
    );
    desk.pass(MINUTE);
    let second = shown(&uri, desk.now());
    desk.login_with("admin", PASSWORD, Some(&format!(" {second} "))).await.unwrap();
    assert_eq!(desk.last().await["second_factor"], "code");
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some(&second)).await), "bad_credentials");
    // Not after a restart either.
    let mut desk = desk.restart().await;
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some(&second)).await), "bad_credentials");
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some("000000")).await), "bad_credentials");
    desk.pass(20 * MINUTE);
    // A recovery code, once.
    desk.login_with("admin", PASSWORD, Some(recovery[4].expose())).await.unwrap();
    assert_eq!(desk.accounts.user("admin").unwrap().recovery_codes, 9);
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some(recovery[4].expose())).await), "bad_credentials");
    let desk = desk.restart().await;
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some(recovery[4].expose())).await), "bad_credentials");
    desk.login_with("admin", PASSWORD, Some(recovery[5].expose())).await.unwrap();
    let text = serde_json::to_string(&desk.sealed().await).unwrap();
    for hidden in recovery.iter().map(|code| totp::recovery_hash(code.expose())) {
        assert!(!text.contains(&hidden));
    }
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn two_uses_at_once_of_one_code_let_one_in() {
    let mut desk = Desk::with_admin().await;
    let (uri, _) = desk.set_factor("admin", PASSWORD).await;
    desk.pass(MINUTE);
    let now = shown(&uri, desk.now());
    let (one, other) =
        tokio::join!(desk.login_with("admin", PASSWORD, Some(&now)), desk.login_with("admin", PASSWORD, Some(&now)));
    assert!(one.is_ok() != other.is_ok());
}

#[tokio::test]
async fn codes_can_not_be_tried_for_ever() {
    let desk = Desk::with_admin().await;
    desk.set_factor("admin", PASSWORD).await;
    let mut tried = 0;
    for n in 0..50 {
        match desk.login_with("admin", PASSWORD, Some(&format!("{n:06}"))).await {
            Err(ServerError::Delayed(_)) => {}
            other => {
                assert_eq!(code(other), "bad_credentials");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 5);
}

#[tokio::test]
async fn a_session_alone_changes_neither_password_nor_factor() {
    let mut desk = Desk::with_admin().await;
    let (log, now) = (desk.log.clone(), desk.now());
    let wrong = secret(OTHER);
    assert_eq!(code(desk.accounts.begin_totp(&log, "admin", &wrong, home(), now).await), "bad_credentials");
    assert_eq!(
        code(desk.accounts.confirm_totp(&log, "admin", &secret("123456"), home(), now).await),
        "bad_credentials"
    );
    let (uri, _) = desk.set_factor("admin", PASSWORD).await;
    assert_eq!(code(desk.accounts.begin_totp(&log, "admin", &secret(PASSWORD), home(), now).await), "exists");
    assert_eq!(code(desk.accounts.remove_totp(&log, "admin", &wrong, home(), now).await), "bad_credentials");
    desk.pass(MINUTE);
    let stays = desk.login_with("admin", PASSWORD, Some(&shown(&uri, desk.now()))).await.unwrap();
    desk.pass(MINUTE);
    let goes = desk.login_with("admin", PASSWORD, Some(&shown(&uri, desk.now()))).await.unwrap();
    let change = |before: &'static str, after: &'static str| {
        let (accounts, log, session, now) = (desk.accounts.clone(), log.clone(), stays.session.clone(), desk.now());
        async move {
            let passwords = (&secret(before), &secret(after));
            accounts.change_password(&log, ("admin", Some(session.as_str())), passwords, home(), now).await
        }
    };
    assert_eq!(code(change(OTHER, PASSWORD).await), "bad_credentials");
    assert_eq!(code(change(PASSWORD, "admin123").await), "weak_password");
    // Beside a second factor it may be short; then that can't go.
    change(PASSWORD, "tr7#kQ9x").await.unwrap();
    assert!(desk.caller(&stays.access).is_some() && desk.caller(&goes.access).is_none());
    let short = secret("tr7#kQ9x");
    assert_eq!(code(desk.accounts.remove_totp(&log, "admin", &short, home(), desk.now()).await), "weak_password");
    change("tr7#kQ9x", OTHER).await.unwrap();
    desk.accounts.remove_totp(&log, "admin", &secret(OTHER), home(), desk.now()).await.unwrap();
    desk.login_with("admin", OTHER, None).await.unwrap();
    drop(log);
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn a_role_can_need_a_second_factor() {
    let settings = AccountsConfig { second_factor: [Role::Administrator].into() };
    let mut desk = Desk::with(settings).await;
    let link = desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().unwrap();
    desk.set_up(&link.secret, "admin", PASSWORD).await.unwrap();
    let first = desk.login("admin").await;
    assert!(first.unfinished);
    let caller = desk.caller(&first.access).unwrap();
    assert!(
        caller.may(Permission::OwnAccount) && !caller.may(Permission::Read) && !caller.may(Permission::ManageUsers)
    );
    let (uri, _) = desk.set_factor("admin", PASSWORD).await;
    assert!(desk.caller(&first.access).unwrap().may(Permission::ManageUsers), "at once");
    let refused = desk.accounts.remove_totp(&desk.log, "admin", &secret(PASSWORD), home(), desk.now()).await;
    assert_eq!(code(refused), "forbidden");
    desk.pass(MINUTE);
    assert!(!desk.login_with("admin", PASSWORD, Some(&shown(&uri, desk.now()))).await.unwrap().unfinished);
}

#[tokio::test]
async fn without_its_key_a_second_factor_opens_nothing_but_recovery_does() {
    let mut desk = Desk::with_admin().await;
    let (uri, recovery) = desk.set_factor("admin", PASSWORD).await;
    let stored = desk.log.reader().store().get("credentials", "admin", 0).await.unwrap().unwrap();
    let base32 = totp_rs::Totp::from_url(uri.expose()).unwrap().secret().to_base32();
    assert!(!stored.text.contains(&base32), "{}", stored.text);
    std::fs::remove_file(desk.fixture.config.key_dir.join("accounts.key")).unwrap();
    desk.pass(MINUTE);
    let desk = desk.restart().await;
    assert_eq!(code(desk.login_with("admin", PASSWORD, Some(&shown(&uri, desk.now()))).await), "bad_credentials");
    desk.login_with("admin", PASSWORD, Some(recovery[0].expose())).await.unwrap();
}
