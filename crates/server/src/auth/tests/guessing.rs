use super::*;

fn from(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

#[tokio::test]
async fn known_and_unknown_users_are_answered_alike() {
    let desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    desk.accounts
        .change_user(
            &desk.log,
            &desk.by(),
            "bob",
            UserChange { disabled: Some(true), ..UserChange::default() },
            desk.now(),
        )
        .await
        .unwrap();
    let wrong =
        [("admin", OTHER), ("nobody", PASSWORD), ("", ""), ("bob", PASSWORD), ("../etc/passwd", "x"), ("admin", "")];
    for (n, (user, password)) in wrong.into_iter().enumerate() {
        let refused = desk.login_from(user, password, None, from(n as u32)).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (401, "bad_credentials"), "{user}");
        assert_eq!(refused.public_detail(), "User, password or code are wrong.");
    }
    let long = "x".repeat(1 << 20);
    assert_eq!(code(desk.login_from("admin", &long, None, from(99)).await), "bad_credentials");
    let sealed = desk.sealed().await;
    let failed: Vec<_> = sealed.iter().filter(|event| event["status"] == "failed").collect();
    assert_eq!(failed.len(), 7);
    assert_eq!((&failed[0]["user"], &failed[0]["ip"]), (&"admin".into(), &"10.0.0.0".into()));
    // What was typed instead of a name may be a password.
    assert!(failed[1]["user"] == "(unknown)" && !serde_json::to_string(&sealed).unwrap().contains("nobody"));
}

#[tokio::test]
async fn ten_thousand_attempts_from_a_hundred_addresses_lock_nobody_out() {
    let mut desk = Desk::with_admin().await;
    desk.login("admin").await;
    let entries = desk.sealed().await.len();
    let (mut tried, mut delayed) = (0, 0);
    for round in 0..100 {
        for n in 0..100 {
            let attempt = desk.login_from("admin", OTHER, None, from(n)).await.unwrap_err();
            match attempt.code() {
                "delayed" => delayed += 1,
                "bad_credentials" => tried += 1,
                other => panic!("{other}"),
            }
        }
        desk.pass(MINUTE / 60);
        if round % 10 == 0 {
            desk.login("admin").await;
        }
    }
    assert_eq!(tried + delayed, 10_000);
    // The account's delay lets hardly any through, of those each address has few.
    assert!(tried < 200, "{tried}");
    desk.accounts.seal_delayed(&desk.log).await;
    let sealed = desk.sealed().await;
    assert!(sealed.len() < entries + tried + 10 + 101, "delayed ones are sealed together: {}", sealed.len());
    let counted: u64 = sealed.iter().filter_map(|event| event["event"]["count"].as_u64()).sum();
    assert_eq!(counted, delayed as u64);
    // From elsewhere the user waits a minute of peace, then gets in.
    let elsewhere = ip("203.0.113.5");
    let refused = desk.login_from("admin", PASSWORD, None, elsewhere).await;
    if let Err(ServerError::Delayed(seconds)) = refused {
        assert!(seconds <= 60);
        desk.pass(i64::from(seconds) * 1_000_000);
        desk.login_from("admin", PASSWORD, None, elsewhere).await.unwrap();
    }
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn known_addresses_are_known_after_a_restart() {
    let desk = Desk::with_admin().await;
    desk.login("admin").await;
    let desk = desk.restart().await;
    for n in 0..12 {
        let _ = desk.login_from("admin", OTHER, None, from(n)).await;
    }
    let stranger = desk.login_from("admin", PASSWORD, None, from(50)).await.unwrap_err();
    assert_eq!((stranger.status(), stranger.code()), (429, "delayed"));
    assert!(crate::Problem::from(&stranger).retry_after.is_some());
    desk.login("admin").await;
}

#[tokio::test]
async fn log_ins_that_wait_are_bounded() {
    let desk = Desk::with_admin().await;
    let held = desk.accounts.0.waiting.clone().try_acquire_many_owned((HASHING + WAITING) as u32).unwrap();
    let refused = desk.login_with("admin", PASSWORD, None).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (503, "login_busy"));
    drop(held);
    for _ in 0..10 {
        desk.login("admin").await;
    }
}

#[tokio::test]
async fn what_can_not_be_sealed_does_not_happen() {
    use crate::testing::Failure;
    let fixture = Fixture::new().await;
    let (log, store) = fixture.failing().await;
    let accounts = Accounts::of(&log, &AccountsConfig::default()).await.unwrap();
    let link = accounts.first_link(&log, log.now()).await.unwrap().unwrap();
    accounts.setup(&log, &link.secret, "admin", &secret(PASSWORD), home(), log.now()).await.unwrap();
    let by = By::local("test");
    let token = accounts.create_token(&log, &by, TokenSpec::administrator("t"), log.now()).await.unwrap();
    store.go_away(true);
    let demoted = UserChange { name: Some("Other".into()), ..UserChange::default() };
    assert!(accounts.change_user(&log, &by, "admin", demoted, log.now()).await.is_err());
    assert!(accounts.create_user(&log, &by, "bob", "Bob", Role::Auditor, log.now()).await.is_err());
    assert!(accounts.revoke_token(&log, &by, &token.id, log.now()).await.is_err());
    let credentials = Credentials { user: "admin".into(), password: secret(PASSWORD), code: None };
    assert!(accounts.login(&log, credentials, home(), "", log.now()).await.is_err());
    assert_eq!(accounts.user("admin").unwrap().name, "admin");
    assert_eq!(accounts.list_users("", 10).len(), 1);
    assert!(accounts.list_sessions("admin", log.now()).is_empty());
    // Who was let in before goes on.
    assert!(accounts.authenticate(Presented::Bearer(token.secret.expose()), home(), log.now()).is_some());
    let _ = Failure::None;
}
