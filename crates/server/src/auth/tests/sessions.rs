use super::*;

#[tokio::test]
async fn a_session_goes_on_ends_and_is_sealed() {
    let mut desk = Desk::with_admin().await;
    let first = desk.login("admin").await;
    let told = desk.last().await;
    assert_eq!((&told["action"], &told["status"]), (&"login".into(), &"success".into()), "{told}");
    assert_eq!(
        (&told["user"], &told["ip"], &told["session"]),
        (&"admin".into(), &"192.0.2.10".into(), &first.session.as_str().into())
    );
    let caller = desk.caller(&first.access).unwrap();
    assert_eq!(
        (caller.kind, caller.id.as_str(), caller.session.as_deref()),
        (CallerKind::User, "admin", Some(&*first.session))
    );
    let cookie = |desk: &Desk, text: &Secret| {
        desk.accounts.authenticate(Presented::Cookie(text.expose()), home(), desk.now()).map(|caller| caller.by_cookie)
    };
    assert_eq!(cookie(&desk, &first.access), Some(true));
    desk.pass(15 * MINUTE);
    assert!(desk.caller(&first.access).is_none());
    let entries = desk.sealed().await.len();
    let second = desk.accounts.refresh(&desk.log, &first.refresh, home(), "test/2", desk.now()).await.unwrap();
    assert_eq!((desk.sealed().await.len(), &second.session), (entries, &first.session), "going on is no entry");
    assert!(desk.caller(&second.access).is_some());
    let listed = desk.accounts.list_sessions("admin", desk.now());
    assert_eq!((listed.len(), listed[0].agent.as_str()), (1, "test/2"));
    // It outlives a restart, though keys for access tokens don't.
    let desk = desk.restart().await;
    assert!(desk.caller(&second.access).is_some(), "the public key is in the state");
    let third = desk.accounts.refresh(&desk.log, &second.refresh, home(), "test/3", desk.now()).await.unwrap();
    desk.accounts.logout(&desk.log, "admin", &third.session, home()).await.unwrap();
    assert!(desk.caller(&third.access).is_none() && !desk.accounts.still_holds(&caller, desk.now()));
    assert_eq!(code(desk.accounts.refresh(&desk.log, &third.refresh, home(), "", desk.now()).await), "unauthorized");
    assert_eq!(desk.last().await["action"], "logout");
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn a_copied_refresh_token_ends_the_session_for_both() {
    let desk = Desk::with_admin().await;
    let first = desk.login("admin").await;
    let refresh = |token: Secret, from: &'static str| {
        let (accounts, log, now) = (desk.accounts.clone(), desk.log.clone(), desk.now());
        async move { accounts.refresh(&log, &token, ip(from), "", now).await }
    };
    let thief = refresh(first.refresh.clone(), "198.51.100.1").await.unwrap();
    assert_eq!(code(refresh(first.refresh, "192.0.2.10").await), "unauthorized");
    let told = desk.last().await;
    assert_eq!(
        (&told["action"], &told["status"], &told["user"]),
        (&"session_reuse".into(), &"failed".into(), &"admin".into())
    );
    assert_eq!(code(refresh(thief.refresh, "198.51.100.1").await), "unauthorized");
    assert!(desk.caller(&thief.access).is_none());
    assert!(desk.accounts.list_sessions("admin", desk.now()).is_empty());
    let desk = desk.restart().await;
    assert!(desk.accounts.list_sessions("admin", desk.now()).is_empty());
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn two_uses_at_once_of_one_refresh_token_are_a_copy_too() {
    let desk = Desk::with_admin().await;
    let first = desk.login("admin").await;
    let refresh = || desk.accounts.refresh(&desk.log, &first.refresh, home(), "", desk.now());
    let (one, other) = tokio::join!(refresh(), refresh());
    assert!(one.is_ok() != other.is_ok());
    assert!(desk.accounts.list_sessions("admin", desk.now()).is_empty());
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_whose_they_are() {
    let mut desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    let mut bobs = Vec::new();
    for _ in 0..3 {
        desk.pass(MINUTE);
        bobs.push(desk.login("bob").await);
    }
    let admin = desk.login("admin").await;
    let (log, now, by) = (&desk.log, desk.now(), desk.by());
    let end = |id: &str, of: Option<&str>| {
        let (accounts, id, of) = (desk.accounts.clone(), id.to_owned(), of.map(str::to_owned));
        let by = by.clone();
        async move { accounts.revoke_session(log, &by, &id, of.as_deref(), now).await }
    };
    assert_eq!(code(end(&admin.session, Some("bob")).await), "not_found", "somebody else's");
    end(&bobs[0].session, Some("bob")).await.unwrap();
    assert_eq!(code(end(&bobs[0].session, None).await), "not_found");
    end(&bobs[1].session, None).await.unwrap();
    assert!(desk.caller(&bobs[0].access).is_none() && desk.caller(&bobs[1].access).is_none());
    assert!(desk.caller(&bobs[2].access).is_some());
    assert_eq!(desk.accounts.revoke_sessions(log, &by, "bob", None, now).await.unwrap(), 1);
    assert_eq!(desk.accounts.revoke_sessions(log, &by, "bob", None, now).await.unwrap(), 0);
    assert!(desk.caller(&bobs[2].access).is_none() && desk.caller(&admin.access).is_some());
    // The oldest go when there are too many.
    for _ in 0..25 {
        desk.pass(MINUTE);
        desk.login("bob").await;
    }
    assert_eq!(desk.accounts.list_sessions("bob", desk.now()).len(), 20);
}

#[tokio::test]
async fn what_changes_about_a_user_holds_at_once() {
    let desk = Desk::with_admin().await;
    desk.user("bob", Role::Analyst).await;
    let bob = desk.login("bob").await;
    let change = |wanted: UserChange| {
        let (accounts, log, by, now) = (desk.accounts.clone(), desk.log.clone(), desk.by(), desk.now());
        async move { accounts.change_user(&log, &by, "bob", wanted, now).await }
    };
    let before = desk.caller(&bob.access).unwrap();
    assert!(before.may(Permission::ChangeRules) && desk.accounts.still_holds(&before, desk.now()));
    change(UserChange { role: Some(Role::Auditor), ..UserChange::default() }).await.unwrap();
    let after = desk.caller(&bob.access).unwrap();
    assert!(!after.may(Permission::ChangeRules) && after.may(Permission::Export));
    assert_eq!(after.check(Permission::ManageUsers).unwrap_err().code(), "forbidden");
    assert!(!desk.accounts.still_holds(&before, desk.now()) && desk.accounts.still_holds(&after, desk.now()));
    let told = desk.last().await;
    assert_eq!(
        (&told["user"], &told["ip"], &told["value"]["role"]),
        (&"admin".into(), &"192.0.2.10".into(), &"auditor".into())
    );
    assert!(told["message"].as_str().unwrap().contains("role from analyst to auditor"), "{told}");
    change(UserChange { disabled: Some(true), ..UserChange::default() }).await.unwrap();
    assert!(desk.caller(&bob.access).is_none());
    assert_eq!(code(desk.login_with("bob", PASSWORD, None).await), "bad_credentials");
    change(UserChange { disabled: Some(false), ..UserChange::default() }).await.unwrap();
    assert!(desk.caller(&bob.access).is_none(), "the session has ended");
    desk.login("bob").await;
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}
