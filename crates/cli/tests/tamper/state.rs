//! The state: tokens, import positions, idempotency keys.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::{
    edit::sql,
    victim::{Victim, at, clean, database, listed, whole, without_keys},
};

const SECRET: &str = "sceau_evil_0123456789abcdef0123456789abcdef";

/// The entry of `sceau.audit` that set a token.
fn explained_by(victim: &Victim, key: &str) -> u64 {
    let entries = crate::forge::entries(&victim.copy().data(), victim.facts.size);
    let told = |entry: &Vec<u8>| {
        let text = String::from_utf8_lossy(entry);
        text.contains("state_change") && text.contains(key)
    };
    entries.iter().position(told).unwrap() as u64
}

/// The key of the token that was made last.
fn token(data: &Path) -> String {
    let query = "SELECT key FROM state WHERE collection = 'tokens' ORDER BY value DESC LIMIT 1";
    database(data).query_row(query, [], |row| row.get(0)).unwrap()
}

fn evil_token() -> String {
    let hash: String = Sha256::digest(SECRET.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "INSERT INTO state SELECT 'tokens', '{}', replace(value, substr(value, instr(value, '\"hash\":\"') + 8, 64), '{hash}'),
         1, NULL, mac FROM state WHERE collection = 'tokens' LIMIT 1",
        "evil0000"
    )
}

#[test]
fn tokens_are_named_with_the_mac_key_and_without() {
    let victim = Victim::get();
    let key = token(&victim.copy().data());
    let index = explained_by(&victim, &key);
    let own = format!("collection = 'tokens' AND key = '{key}'");
    for (what, statement, with_key, without) in [
        ("an administrator added", evil_token(), vec![whole("state"); 2], whole("state")),
        (
            "one renamed",
            format!("UPDATE state SET value = replace(value, 'admin', 'mallory') WHERE {own}"),
            vec![at("state", index), whole("state")],
            at("state", index),
        ),
        ("one removed", format!("DELETE FROM state WHERE {own}"), vec![at("state", index)], at("state", index)),
        (
            "one under another key",
            format!("UPDATE state SET key = 'other' WHERE {own}"),
            vec![at("state", index), whole("state"), whole("state")],
            at("state", index),
        ),
    ] {
        let copy = victim.copy();
        sql(&copy.data(), &statement);
        victim.names(what, &copy, &with_key);
        let bare = without_keys(&copy, &["--json"]).with(4);
        assert!(listed(&bare).contains(&without), "{what}: {bare:#?}");
    }
    victim.named("a code removed", &[whole("state")], |data| {
        sql(data, &format!("UPDATE state SET mac = NULL WHERE {own}"))
    });
    victim.named("one that lasts longer", &[whole("state")], |data| {
        sql(data, &format!("UPDATE state SET expires = 4000000000000000 WHERE {own}"));
    });
}

#[test]
fn positions_and_idempotency_keys_are_named_with_the_mac_key() {
    let victim = Victim::get();
    let import = "collection = 'imports' AND key = (SELECT min(key) FROM state WHERE collection = 'imports')";
    for (what, kind, statement) in [
        ("a position moved", "position", format!("UPDATE state SET value = replace(value, '\"offset\":', '\"offset\":1') WHERE {import}")),
        ("a position without a code", "position", format!("UPDATE state SET mac = NULL WHERE {import}")),
        ("a position added", "position", "INSERT INTO state SELECT collection, 'other', value, version, expires, mac FROM state WHERE collection = 'imports' LIMIT 1".to_owned()),
        ("an answer kept for a key", "state", "UPDATE state SET value = replace(value, '1', '2') WHERE collection = 'idempotency'".to_owned()),
        ("a key that never expires", "state", "UPDATE state SET expires = NULL WHERE collection = 'idempotency'".to_owned()),
    ] {
        let copy = victim.copy();
        sql(&copy.data(), &statement);
        victim.names(what, &copy, &[whole(kind)]);
        let bare = without_keys(&copy, &["--pin", &victim.facts.pin]).with(0);
        let unproven = "the MAC key was not given, so import positions and idempotency keys are unproven";
        assert!(bare.out.contains(unproven), "{what}: {}", bare.out);
    }
    let two = [whole("position"), whole("position")];
    victim.named("two positions exchanged", &two, |data| {
        let keys = "(SELECT min(key) FROM state WHERE collection = 'imports')";
        let others = "(SELECT max(key) FROM state WHERE collection = 'imports')";
        sql(
            data,
            &format!(
                "UPDATE state SET key = '!aside' WHERE collection = 'imports' AND key = {keys};
                 UPDATE state SET key = 'zzz' WHERE collection = 'imports' AND key = {others};
                 UPDATE state SET key = 'first' WHERE collection = 'imports' AND key = 'zzz'"
            ),
        );
    });
}

/// `docs/trust.md` says so: what is gone doubles entries at worst, and an old document has its old right code.
#[test]
fn what_no_guard_covers_is_known() {
    let victim = Victim::get();
    let copy = victim.copy();
    sql(&copy.data(), "DELETE FROM state WHERE collection NOT IN ('tokens', 'setup')");
    clean(&copy, &["--pin", &victim.facts.pin, "--since-checkpoint", &victim.late()]);
}

/// Users of a log that was made for this: the shared one has none.
#[test]
fn users_that_somebody_else_wrote_are_named() {
    let made = || {
        let place = crate::common::Place::new();
        place.init();
        for (user, role) in [("alice", "administrator"), ("bob", "analyst")] {
            place.run(&["user", "add", user, "--role", role]).with(0);
        }
        place.run(&["verify"]).with(0);
        place
    };
    let insert = "INSERT INTO state SELECT collection, 'mallory', value, 1, NULL, mac FROM state WHERE collection = 'users' AND key = 'alice'";
    let bob = "collection = 'users' AND key = 'bob'";
    for (what, statement, named) in [
        ("an administrator put in", insert.to_owned(), "users/mallory"),
        (
            "a role changed",
            format!("UPDATE state SET value = replace(value, 'analyst', 'administrator') WHERE {bob}"),
            "users/bob is not what this entry set",
        ),
        (
            "a link for somebody else",
            "UPDATE state SET value = replace(value, '\"bob\"', '\"alice\"') WHERE collection = 'setup' AND value LIKE '%\"bob\"%'"
                .to_owned(),
            "setup/",
        ),
        ("a user removed", format!("DELETE FROM state WHERE {bob}"), "users/bob is missing"),
    ] {
        let place = made();
        sql(&place.data(), &statement);
        let said = place.run(&["verify"]).with(4);
        assert!(said.out.contains(named), "{what}: {said:#?}");
        // Nor is it believed.
        let listed = place.run(&["user", "list"]).with(0).out;
        let believed = listed.contains("mallory") || listed.lines().any(|line| line.starts_with("bob") && line.contains("administrator"));
        assert!(!believed, "{what}: {listed}");
    }
}

#[test]
fn a_token_that_somebody_else_wrote_opens_nothing() {
    let victim = Victim::get();
    let copy = victim.copy();
    sql(&copy.data(), &evil_token());
    let server = copy.serve();
    let mut evil = server.command(&["count", ""]);
    let said = crate::common::run(evil.env("SCEAU_TOKEN", SECRET));
    assert_ne!(said.code, 0, "{said:#?}");
    server.run(&["count", "zebra"]).with(0);
    let said = server.run(&["verify"]).with(4);
    assert!(said.out.contains("tokens/evil0000"), "{said:#?}");
    server.kill();
}
