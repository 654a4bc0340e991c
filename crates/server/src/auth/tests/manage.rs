use super::*;

#[tokio::test]
async fn the_last_administrator_stays() {
    let desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    let (accounts, log, by, now) = (&desk.accounts, &desk.log, desk.by(), desk.now());
    let demote = UserChange { role: Some(Role::Auditor), ..UserChange::default() };
    let disable = UserChange { disabled: Some(true), ..UserChange::default() };
    assert_eq!(code(accounts.change_user(log, &by, "admin", demote.clone(), now).await), "last_administrator");
    assert_eq!(code(accounts.change_user(log, &by, "admin", disable.clone(), now).await), "last_administrator");
    assert_eq!(code(accounts.delete_user(log, &by, "admin", now).await), "last_administrator");
    assert_eq!(code(accounts.reset_user(log, &by, "admin", false, now).await), "last_administrator");
    let promote = UserChange { role: Some(Role::Administrator), ..UserChange::default() };
    accounts.change_user(log, &by, "bob", promote, now).await.unwrap();
    // Of two who take each other's place at once, one stays.
    let (one, other) = tokio::join!(
        accounts.change_user(log, &by, "admin", demote.clone(), now),
        accounts.change_user(log, &by, "bob", disable, now)
    );
    assert!(one.is_ok() != other.is_ok());
    let administrators =
        accounts.list_users("", 10).into_iter().filter(|it| it.role == Role::Administrator && !it.disabled);
    assert_eq!(administrators.count(), 1);
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn whoever_has_the_keys_may_reset_even_the_last_administrator() {
    let desk = Desk::with_admin().await;
    let before = desk.login("admin").await;
    let link = desk.accounts.reset_user(&desk.log, &By::local("operator"), "admin", true, desk.now()).await.unwrap();
    assert!(desk.caller(&before.access).is_none());
    assert_eq!(code(desk.login_with("admin", PASSWORD, None).await), "bad_credentials");
    let desk = desk.restart().await;
    assert_eq!(code(desk.login_with("admin", PASSWORD, None).await), "bad_credentials");
    desk.set_up(&link.secret, "admin", OTHER).await.unwrap();
    desk.login_with("admin", OTHER, None).await.unwrap();
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn a_removed_user_leaves_nothing_behind() {
    let desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    let bob = desk.login("bob").await;
    desk.accounts.delete_user(&desk.log, &desk.by(), "bob", desk.now()).await.unwrap();
    assert!(desk.caller(&bob.access).is_none());
    assert_eq!(code(desk.accounts.delete_user(&desk.log, &desk.by(), "bob", desk.now()).await), "not_found");
    assert_eq!(code(desk.login_with("bob", PASSWORD, None).await), "bad_credentials");
    let store = desk.log.reader().store().clone();
    for collection in ["users", "credentials", "logins"] {
        assert!(store.get(collection, "bob", 0).await.unwrap().is_none(), "{collection}");
    }
    drop(store);
    // Another of that name begins anew.
    desk.user("bob", Role::Auditor).await;
    assert_eq!(desk.login("bob").await.role, Role::Auditor);
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    let desk = Desk::with_admin().await;
    let (accounts, log, by, now) = (&desk.accounts, &desk.log, desk.by(), desk.now());
    for n in 0..5 {
        accounts.create_user(log, &by, &format!("u{n}"), "Some One", Role::Analyst, now).await.unwrap();
    }
    let ids = |after: &str| accounts.list_users(after, 3).into_iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(
        (ids(""), ids("u1"), ids("u4")),
        (vec!["admin".into(), "u0".into(), "u1".into()], vec!["u2".into(), "u3".into(), "u4".into()], vec![])
    );
    for (id, name, role) in [
        ("x", "", Role::Analyst),
        ("x", "a\u{0}", Role::Analyst),
        ("x y", "x", Role::Analyst),
        ("x", "x", Role::Ingest),
    ] {
        assert_eq!(code(accounts.create_user(log, &by, id, name, role, now).await), "bad_parameter");
    }
    let nothing = accounts.change_user(log, &by, "u0", UserChange::default(), now).await;
    assert_eq!(code(nothing), "bad_body");
    assert_eq!(code(accounts.user("nobody")), "not_found");
}

#[tokio::test]
async fn tokens_are_made_used_and_revoked_at_once() {
    let desk = Desk::with_admin().await;
    let spec = TokenSpec {
        name: "web servers".into(),
        role: Role::Ingest,
        expires: Some(Micros(desk.now + 60 * MINUTE)),
        sources: vec!["nginx".into()],
        addresses: vec!["192.0.2.0/24".into()],
    };
    let (log, by) = (desk.log.clone(), desk.by());
    let token = desk.accounts.create_token(&log, &by, spec, desk.now()).await.unwrap();
    let find = |desk: &Desk, from: &str| {
        desk.accounts.authenticate(Presented::Bearer(token.secret.expose()), ip(from), desk.now())
    };
    let caller = find(&desk, "192.0.2.77").unwrap();
    assert_eq!((caller.kind, caller.role, &caller.id), (CallerKind::Token, Role::Ingest, &token.id));
    assert!(caller.may(Permission::Ingest) && !caller.may(Permission::Read) && caller.user().is_err());
    caller.check_source("nginx").unwrap();
    assert_eq!(caller.check_source("sshd").unwrap_err().code(), "forbidden");
    assert!(find(&desk, "198.51.100.1").is_none());
    let in_cookie = desk.accounts.authenticate(Presented::Cookie(token.secret.expose()), home(), desk.now());
    assert!(in_cookie.is_none(), "a cookie holds no token");
    // When it was used is written down, now and then.
    desk.accounts.tidy(&log, desk.now()).await.unwrap();
    drop(log);
    let mut desk = desk.restart().await;
    let log = desk.log.clone();
    let listed = desk.accounts.list_tokens("", 10);
    assert_eq!((listed.len(), listed[0].last_address), (1, Some(ip("192.0.2.77"))));
    assert_eq!(
        (listed[0].created_by.as_deref(), listed[0].addresses.as_slice()),
        (Some("admin"), ["192.0.2.0/24".to_owned()].as_slice())
    );
    assert!(!serde_json::to_string(&desk.sealed().await).unwrap().contains(token.secret.expose()));
    desk.accounts.revoke_token(&log, &by, &token.id, desk.now()).await.unwrap();
    assert!(find(&desk, "192.0.2.77").is_none() && !desk.accounts.still_holds(&caller, desk.now()));
    assert!(desk.accounts.list_tokens("", 10)[0].revoked.is_some());
    let forever = TokenSpec::administrator("short-lived");
    let brief = TokenSpec { expires: Some(Micros(desk.now + MINUTE)), ..forever };
    let brief = desk.accounts.create_token(&log, &by, brief, desk.now()).await.unwrap();
    assert!(desk.caller(&brief.secret).unwrap().may(Permission::ManageKeys));
    assert!(!desk.caller(&brief.secret).unwrap().may(Permission::OwnAccount), "it has no account");
    desk.pass(MINUTE);
    assert!(desk.caller(&brief.secret).is_none());
    desk.accounts.revoke_token(&log, &by, &token.id, desk.now()).await.unwrap();
    assert_eq!(desk.accounts.list_tokens("", 10).len(), 1, "a revoked one can be removed");
    assert_eq!(code(desk.accounts.revoke_token(&log, &by, &token.id, desk.now()).await), "not_found");
    drop(log);
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn keys_are_public_and_change_with_each_start() {
    let desk = Desk::with_admin().await;
    assert_eq!(desk.accounts.jwks(), serde_json::json!({"keys": []}), "none before the first log-in");
    desk.login("admin").await;
    let first = desk.accounts.jwks()["keys"][0].clone();
    assert_eq!((&first["kty"], &first["crv"], &first["alg"]), (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into()));
    assert!(first.get("d").is_none());
    let desk = desk.restart().await;
    desk.login("admin").await;
    assert_eq!(desk.accounts.jwks()["keys"].as_array().unwrap().len(), 2);
}
