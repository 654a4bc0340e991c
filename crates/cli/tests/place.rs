//! Where a log is, as the command line says it, and a log that moves from one directory to another.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Place, Said, numbered, run, sceau, text};

const HIDDEN: &str = "hush-7F3kQx-do-not-tell";

fn hidden(said: Said) -> Said {
    assert!(!said.err.contains(HIDDEN) && !said.out.contains(HIDDEN), "{said:?}");
    said
}

#[test]
fn a_password_is_shown_nowhere_and_not_wanted_on_the_command_line() {
    let uri = format!("mongodb://sceau:{HIDDEN}@127.0.0.1:1/logs?serverSelectionTimeoutMS=100&replicaSet=rs0");
    // In the place of something else.
    let said = hidden(run(sceau().args(["verify", &uri])).with(2));
    assert!(said.err.contains("mongodb://sceau:***@127.0.0.1:1/logs"), "{said:?}");
    hidden(run(sceau().args(["keys", "--stare", &uri])).with(2));
    let said = hidden(run(sceau().args(["count", "--store", &uri])).with(1));
    assert!(said.err.contains("--store-password-file") && said.err.contains("list of processes"), "{said:?}");
    assert!(said.err.contains("127.0.0.1:1"), "{said:?}");
    let place = Place::new();
    for command in ["init", "serve"] {
        let mut command = place.command(&[command, "--store", &uri]);
        hidden(run(command.env_remove("SCEAU_DATA_DIR")).with(1));
    }
    let said = hidden(place.run(&["migrate", "--from", &text(&place.data()), "--to", &uri]).with(1));
    assert!(said.err.contains("warning"), "{said:?}");
    // In the environment nobody else reads it.
    let said = hidden(run(sceau().args(["count", "--verbose"]).env("SCEAU_STORE", &uri)).with(1));
    assert!(!said.err.contains("warning"), "{said:?}");
    let mut command = sceau();
    command.args(["count", "--store", "mongodb://sceau@127.0.0.1:1/?serverSelectionTimeoutMS=100"]);
    hidden(run(command.env("SCEAU_STORE_PASSWORD", HIDDEN)).with(1));
}

/// A password for a user that the URI does not name is told as a mistake; one that is set to nothing is none.
#[test]
fn a_password_that_is_set_to_nothing_is_not_given() {
    let uri = "mongodb://127.0.0.1:1/logs?serverSelectionTimeoutMS=100&replicaSet=rs0";
    let place = Place::new();
    place.init();
    let data = text(&place.data());
    let commands: [&[&str]; 10] = [
        &["serve", "--listen", "127.0.0.1:0", "--store", uri],
        &["serve", "--standby", "--listen", "127.0.0.1:0", "--store", uri],
        &["init", "--store", uri],
        &["verify", "--store", uri],
        &["count", "--store", uri],
        &["keys", "rotate", "log", "--store", uri],
        &["mongo", "init", "--store", uri],
        &["mongo", "init", "--admin-store", uri],
        &["migrate", "--from", &data, "--to", uri],
        &["migrate", "--from", uri, "--to", "elsewhere"],
    ];
    for args in commands {
        let with = |password: &str| {
            let mut command = place.command(args);
            run(command.env_remove("SCEAU_DATA_DIR").env("SCEAU_STORE_PASSWORD", password)).with(1)
        };
        let names_no_user = "names no user";
        assert!(with(HIDDEN).err.contains(names_no_user), "{args:?}");
        let said = with("");
        assert!(!said.err.contains(names_no_user) && said.err.contains("127.0.0.1:1"), "{said:?}");
    }
}

#[test]
fn a_log_is_in_one_place() {
    let uri = "mongodb://127.0.0.1:1/logs";
    let place = Place::new();
    let data = text(&place.data());
    for command in ["serve", "init", "verify", "count"] {
        run(sceau().args([command, "--store", uri, "--data-dir", &data])).with(2);
        let mut both = sceau();
        both.args([command]).env("SCEAU_STORE", uri).env("SCEAU_DATA_DIR", &data);
        let said = run(&mut both).with(2);
        assert!(said.err.contains("SCEAU_STORE") && said.err.contains("--data-dir"), "{said:?}");
    }
    run(sceau().args(["count", "--store", uri, "--url", "http://127.0.0.1:1"])).with(2);
    let said = run(sceau().args(["count", "--store", &data])).with(2);
    assert!(said.err.contains("mongodb://"), "{said:?}");
    for only in [["--segment-entries", "512"], ["--min-free", "1M"]] {
        let mut serve = place.command(&["serve", "--store", uri]);
        let said = run(serve.args(only).env_remove("SCEAU_DATA_DIR")).with(2);
        assert!(said.err.contains(only[0].trim_start_matches('-')), "{said:?}");
    }
}

#[test]
fn roles_are_printed_for_mongosh() {
    let said = run(sceau().args(["mongo", "init", "--store", "mongodb://127.0.0.1:1/logs", "--print"])).with(0);
    assert!(said.out.contains("\"logs\"") && said.out.contains("sceau_server"), "{said:?}");
    run(sceau().args(["mongo", "init"])).with(2);
}

#[test]
fn a_log_moves_from_a_directory_to_another() {
    let place = Place::new();
    let facts = place.init();
    let lines = text(&place.file("lines", numbered(3_000)));
    place.run(&["import", &lines]).with(0);
    place.run(&["token"]).with(0);
    let kept = text(&place.file("kept", place.run(&["checkpoint"]).with(0).out));
    let before = place.run(&["export"]).with(0).out;
    let (from, to) = (text(&place.data()), text(&place.root.join("moved")));
    let moving = || place.run(&["migrate", "--from", &from, "--to", &to, "--json"]);
    let moved = moving().with(0).json();
    assert_eq!(moved["entries"], 3_001, "{moved}");
    assert!(moving().with(0).json()["was_complete"].as_bool().unwrap());
    let there = |args: &[&str]| {
        let mut command = place.command(args);
        run(command.env("SCEAU_DATA_DIR", &to))
    };
    assert_eq!(there(&["export"]).with(0).out, before);
    let pin = facts["first_epoch_key"].as_str().unwrap();
    there(&["verify", "--pin", pin, "--since-checkpoint", &kept]).with(0);
    // An import that was whole sends nothing; one more line makes the source an older copy.
    let again = there(&["import", &lines, "--json"]).with(0);
    assert!(again.out.contains("\"accepted\":0"), "{again:?}");
    there(&["token"]).with(0);
    let said = place.run(&["token"]).with(1);
    assert!(said.err.contains("rollback"), "{said:?}");
    let said = moving().with(1);
    assert!(said.err.contains("rollback"), "{said:?}");
    let other = Place::new();
    other.init();
    let said = place.run(&["migrate", "--from", &to, "--to", &text(&other.data())]).with(1);
    assert!(said.err.contains("holds a log already"), "{said:?}");
}
