use super::*;

#[tokio::test]
async fn the_first_link_makes_the_first_administrator_once() {
    let desk = Desk::new().await;
    let link = desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().unwrap();
    assert!(desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().is_none(), "there is one");
    assert_eq!(desk.set_up(&link.secret, "Alice", PASSWORD).await.unwrap(), "alice");
    let user = desk.accounts.user("alice").unwrap();
    assert!(user.role == Role::Administrator && user.ready && !user.second_factor);
    assert_eq!(code(desk.set_up(&link.secret, "mallory", PASSWORD).await), "link_invalid");
    assert!(desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().is_none(), "there is a user");
    let alice = desk.login("alice").await;
    assert!(desk.caller(&alice.access).unwrap().may(Permission::ManageUsers));
    let sealed = desk.sealed().await;
    let text = serde_json::to_string(&sealed).unwrap();
    assert!(!text.contains(link.secret.expose()) && !text.contains(PASSWORD) && !text.contains("argon2"), "{text}");
    assert_eq!(sealed.iter().filter(|event| event["collection"] == "setup" && event["value"].is_null()).count(), 1);
    let desk = desk.restart().await;
    assert!(desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().is_none());
    desk.login("alice").await;
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn links_end_and_are_for_whom_they_were_made() {
    let mut desk = Desk::with_admin().await;
    let new = |id: &'static str| {
        let (accounts, log, by, now) = (desk.accounts.clone(), desk.log.clone(), desk.by(), desk.now());
        async move { accounts.create_user(&log, &by, id, "Somebody", Role::Auditor, now).await }
    };
    let bob = new("bob").await.unwrap();
    assert_eq!(code(new("bob").await), "exists");
    assert_eq!(code(new("Bob").await), "bad_parameter");
    assert_eq!(code(desk.set_up(&bob.secret, "carol", PASSWORD).await), "bad_parameter");
    assert_eq!(code(desk.set_up(&bob.secret, "bob", "short").await), "weak_password");
    assert_eq!(code(desk.set_up(&bob.secret, "bob", "bob somebody 2026-11-28").await), "weak_password");
    assert_eq!(code(desk.set_up(&secret("setup_x"), "bob", PASSWORD).await), "link_invalid");
    assert_eq!(code(desk.login_with("bob", PASSWORD, None).await), "bad_credentials", "no password yet");
    desk.pass(24 * 60 * MINUTE);
    assert_eq!(code(desk.set_up(&bob.secret, "bob", PASSWORD).await), "link_invalid");
    let again = desk.accounts.reset_user(&desk.log, &desk.by(), "bob", false, desk.now()).await.unwrap();
    desk.set_up(&again.secret, "bob", PASSWORD).await.unwrap();
    assert_eq!(desk.login("bob").await.role, Role::Auditor);
    assert_eq!(code(desk.set_up(&again.secret, "bob", OTHER).await), "link_invalid");
    let report = desk.verified().await;
    assert!(report.ok, "{report}");
}

#[tokio::test]
async fn of_two_who_use_a_link_at_once_one_comes_first() {
    let desk = Desk::new().await;
    let link = desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().unwrap();
    let (one, other) =
        tokio::join!(desk.set_up(&link.secret, "alice", PASSWORD), desk.set_up(&link.secret, "mallory", OTHER));
    assert!(one.is_ok() != other.is_ok());
    assert_eq!(desk.accounts.list_users("", 10).len(), 1);
}
