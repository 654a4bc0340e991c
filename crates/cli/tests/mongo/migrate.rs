//! A log that moves from a directory into a database and back.

use std::process::{Command, Stdio};

use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::{
    common::{Place, Said, numbered, run_within, sceau, text, until},
    database::{ADMIN, Database, NAME, PASSWORD},
    log::{LONG, Log},
};

/// A log in a directory, with rotated keys and a token; its public facts.
fn filled(place: &Place, lines: usize) -> Value {
    let facts = place.init();
    let half = text(&place.file("lines", numbered(lines)));
    place.run(&["import", &half]).with(0);
    place.run(&["keys", "rotate", "mac"]).with(0);
    place.run(&["keys", "rotate", "log"]).with(0);
    let rest = text(&place.file("more", numbered(700)));
    place.run(&["import", &rest]).with(0);
    place.run(&["token"]).with(0);
    facts
}

fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = sceau();
    command.args(args).env("SCEAU_KEY_DIR", place.keys()).env("SCEAU_STORE_PASSWORD", PASSWORD);
    command
}

fn run(place: &Place, args: &[&str]) -> Said {
    run_within(&mut command(place, args), LONG)
}

fn moving(place: &Place, from: &str, to: &str) -> Said {
    let said = run(place, &["migrate", "--from", from, "--to", to, "--json"]);
    assert!(!said.err.contains(PASSWORD) && !said.out.contains(PASSWORD), "{said:?}");
    said
}

/// A user who has the server's role and nothing else.
fn prepared(database: &Database) -> String {
    let mut init = sceau();
    init.args(["mongo", "init", "--admin-store", &database.uri(ADMIN)]).env("SCEAU_STORE_PASSWORD", PASSWORD);
    let said = run_within(&mut init, LONG).with(0);
    assert!(said.out.contains("sceau_server"), "{said:?}");
    database.create_user("sceau", vec![doc! { "role": "sceau_server", "db": NAME }]);
    database.uri("sceau")
}

#[test]
fn a_log_moves_into_a_database_and_back() {
    let Some(database) = Database::start("moving a log into MongoDB and back") else { return };
    let place = Place::new();
    let facts = filled(&place, 3_000);
    let kept = text(&place.file("kept", place.run(&["checkpoint"]).with(0).out));
    let before = place.run(&["export"]).with(0).out;
    let (pin, uri) = (facts["first_epoch_key"].as_str().unwrap(), prepared(&database));
    let moved = moving(&place, &text(&place.data()), &uri).with(0).json();
    assert_eq!((&moved["entries"], &moved["resumed_at"]), (&3_703.into(), &0.into()), "{moved}");
    assert!(moved["proven"].as_u64().unwrap() > 3_600, "{moved}");
    assert_eq!(run(&place, &["export", "--store", &uri]).with(0).out, before);
    let verify = ["verify", "--json", "--pin", pin, "--since-checkpoint", &kept];
    let verdict = run(&place, &[&verify[..], &["--store", &uri]].concat()).with(0).json();
    assert_eq!(verdict["consistent"], true, "{verdict}");
    // It goes on there: what was imported is not imported again, what is new is.
    let lines = text(&place.file("lines", numbered(3_010)));
    let said = run(&place, &["import", "--store", &uri, &lines, "--json"]).with(0);
    assert_eq!(said.lines().last().unwrap()["accepted"], 10, "{said:?}");
    let after = run(&place, &["export", "--store", &uri]).with(0).out;
    let stale = moving(&place, &text(&place.data()), &uri).with(1);
    assert!(stale.err.contains("rollback"), "{stale:?}");
    let back = text(&place.root.join("back"));
    let moved = moving(&place, &uri, &back).with(0).json();
    assert_eq!(moved["entries"], 3_713, "{moved}");
    assert_eq!(run(&place, &["export", "--data-dir", &back]).with(0).out, after);
    run(&place, &[&verify[..], &["--data-dir", &back]].concat()).with(0);
    assert!(moving(&place, &uri, &back).with(0).json()["was_complete"].as_bool().unwrap());
}

#[test]
fn a_move_that_is_killed_goes_on() {
    let Some(database) = Database::start("moving a log into MongoDB with an interruption") else { return };
    let place = Place::new();
    let facts = filled(&place, 60_000);
    let uri = prepared(&database);
    let from = text(&place.data());
    let mut moving_on = command(&place, &["migrate", "--from", &from, "--to", &uri]);
    let mut child = moving_on.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let size = || {
        let heads = database.admin().collection::<Document>("sceau_head");
        let head = database.run(async { heads.find_one(doc! {}).await }).unwrap();
        head.map_or(0, |head| head.get_i64("size").unwrap())
    };
    until("the first entries", || size() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    // Nobody can serve half of it.
    let said = run(&place, &["serve", "--store", &uri, "--listen", "127.0.0.1:0"]).with(1);
    assert!(said.err.contains("sceau migrate"), "{said:?}");
    let moved = moving(&place, &from, &uri).with(0).json();
    assert!(moved["resumed_at"].as_u64().unwrap() > 0, "{moved}");
    let pin = facts["first_epoch_key"].as_str().unwrap();
    run(&place, &["verify", "--store", &uri, "--pin", pin]).with(0);
    let there = run(&place, &["export", "--store", &uri]).with(0).out;
    assert_eq!(there, place.run(&["export"]).with(0).out);
}

#[test]
fn a_database_with_another_log_is_refused() {
    let Some(database) = Database::start("moving a log onto another one in MongoDB") else { return };
    let (place, other) = (Place::new(), Place::new());
    filled(&place, 10);
    let uri = database.uri(ADMIN);
    run(&other, &["init", "--store", &uri]).with(0);
    let said = moving(&place, &text(&place.data()), &uri).with(1);
    assert!(said.err.contains("holds a log already"), "{said:?}");
}

#[test]
fn a_log_that_a_server_has_is_not_moved() {
    let Some(database) = Database::start("moving a log out of MongoDB that a server has") else { return };
    let log = Log::new(&database);
    let target = text(&log.place.root.join("target"));
    let migrate = || moving(&log.place, &log.uri, &target);
    let server = log.serve();
    let refused = migrate().with(1);
    assert!(refused.err.contains("stop it first") && !std::path::Path::new(&target).exists(), "{refused:?}");
    server.stop();
    let moved = migrate().with(0).json();
    // Whoever may only read moves it as well, and nothing is written to it.
    prepared(&database);
    database.create_user("backup", vec![doc! { "role": "sceau_backup", "db": NAME }]);
    let lease = || {
        let leases = database.admin().collection::<Document>("sceau_lease");
        database.run(async { leases.find_one(doc! {}).await }).unwrap()
    };
    let before = lease();
    let other = text(&log.place.root.join("other"));
    let again = moving(&log.place, &database.uri("backup"), &other).with(0).json();
    assert_eq!((&again["entries"], &again["root_hash"]), (&moved["entries"], &moved["root_hash"]));
    assert_eq!(lease(), before);
}
