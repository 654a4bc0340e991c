//! The commands as people use them, on a server and on a directory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read as _, Write as _};

use common::{Place, Said, numbered, run, sceau, text};
use serde_json::json;

const EVENTS: &str = concat!(
    "{\"timestamp\":\"2026-11-21T08:00:00Z\",\"ip\":\"10.0.0.7\",\"user\":\"alice\",\"action\":\"login\",\"status\":\"failed\"}\n",
    "{\"timestamp\":\"2026-11-21T08:01:00Z\",\"ip\":\"10.0.0.7\",\"user\":\"alice\",\"action\":\"login\",\"status\":\"failed\"}\n",
    "{\"timestamp\":\"2026-11-21T08:20:00Z\",\"ip\":\"10.0.0.8\",\"user\":\"bob\",\"action\":\"login\",\"status\":\"success\",\"n\":9007199254740993}\n",
);

#[test]
fn help_has_examples() {
    let help = run(sceau().arg("--help")).with(0);
    assert!(help.out.contains("Exit codes"), "{}", help.out);
    let commands = [
        "serve",
        "init",
        "import",
        "search",
        "count",
        "top",
        "histogram",
        "verify",
        "export",
        "proof",
        "checkpoint",
        "keys",
        "token",
        "user",
        "rebuild",
        "migrate",
        "rules",
        "alerts",
    ];
    for command in commands {
        assert!(help.out.contains(&format!("  {command} ")), "{command}");
        let own = run(sceau().args([command, "--help"])).with(0);
        assert!(own.out.contains("Example"), "{command}");
    }
    assert!(run(sceau().arg("--version")).with(0).out.starts_with("sceau "));
}

#[test]
fn usage_errors_are_told() {
    let said = run(sceau().arg("search")).with(2);
    assert!(said.err.contains("--url") && said.err.contains("--data-dir"), "{said:?}");
    run(sceau().args(["search", "--url", "http://127.0.0.1:1", "--data-dir", "x"])).with(2);
    let said = run(sceau().args(["search", "--url", "http://127.0.0.1:1"])).with(1);
    assert!(said.err.contains("is the server running"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    let said = run(sceau().args(["search", "--url", "http://127.0.0.1:1", "--verbose"])).with(1);
    assert!(said.err.contains("caused by"), "{said:?}");
    let place = Place::new();
    let said = place.run(&["search"]).with(1);
    assert!(said.err.contains("no Sceau log"), "{said:?}");
}

#[test]
fn values_that_the_log_can_not_use_are_usage_errors() {
    let place = Place::new();
    place.init();
    let file = text(&place.file("app.json", EVENTS));
    place.run(&["import", &file]).with(0);
    let check = |on: &dyn Fn(&[&str]) -> common::Said| {
        for option in ["--from", "--to"] {
            on(&["count", option, "yesterday-ish"]).with(2);
        }
        for query in ["user:alice AND NOT", "\"", "(", "ip:10.0.0.0/99"] {
            on(&["search", query]).with(2);
        }
        // Nothing is left to send, which does not make them right.
        for [option, value] in [["--source", "sceau.audit"], ["--zone", "Europe/Nowhere"], ["--parser", "nonsense"]] {
            let said = on(&["import", &file, option, value]).with(2);
            assert!(said.err.contains(value) && !said.err.contains(".."), "{said:?}");
        }
        on(&["import", &file, "--source", "no\nsource"]).with(2);
        // A file given by mistake says nothing about the log.
        let said = on(&["verify", "--since-checkpoint", &file]).with(2);
        assert!(said.err.contains("since_checkpoint"), "{said:?}");
        assert!(on(&["import", &file]).with(0).out.contains("0 lines"));
    };
    check(&|args| place.run(args));
    let server = place.serve();
    check(&|args| server.run(args));
    assert_eq!(server.run(&["count", "source:sceau.finding"]).with(0).out.trim(), "0");
    server.stop();
}

#[test]
fn keys_that_are_not_where_they_should_be_are_an_error() {
    let place = Place::new();
    place.init();
    let (data, nowhere) = (text(&place.data()), text(&place.dir.path().join("nowhere")));
    let said = run(sceau().args(["verify", "--data-dir", &data, "--key-dir", &nowhere])).with(2);
    assert!(said.err.contains(&nowhere) && said.out.is_empty(), "{said:?}");
    run(sceau().args(["verify", "--data-dir", &data]).env("SCEAU_KEY_DIR", &nowhere)).with(2);
    let said = run(sceau().args(["verify", "--data-dir", &data])).with(0);
    assert!(said.out.contains("the key directory was not given"), "{said:?}");
}

#[test]
fn a_copy_that_can_not_be_written_is_verified() {
    let place = Place::new();
    place.init();
    let file = text(&place.file("app.json", EVENTS));
    place.run(&["import", &file]).with(0);
    // SQLite can't make its shared memory, as where nobody may write; the administrator may everywhere.
    let shared = place.data().join("sceau.db-shm");
    std::os::unix::fs::symlink("nowhere", shared).unwrap();
    let said = place.run(&["verify"]).with(0);
    assert!(said.out.contains("consistent: all"), "{said:?}");
    // What the file does not hold yet would be passed over.
    std::fs::write(place.data().join("sceau.db-wal"), "x").unwrap();
    let said = place.run(&["verify"]).with(1);
    assert!(said.err.contains("copy the whole directory"), "{said:?}");
}

/// A server that says one thing after the other.
fn scripted(answers: Vec<(u16, &'static str)>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !(request.ends_with(b"}") || request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n")) {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
    url
}

#[test]
fn a_verification_waits_for_another_one() {
    let url = scripted(vec![
        (409, r#"{"status":409,"code":"verify_running","title":"A verification is running","id":"other"}"#),
        (200, r#"{"state":"running","done":1,"total":2,"verdict":null,"error":null}"#),
        (200, r#"{"state":"done","done":2,"total":2,"verdict":null,"error":null}"#),
        (202, r#"{"id":"ours"}"#),
        (200, r#"{"state":"failed","done":2,"total":2,"verdict":null,"error":"as it was told to"}"#),
    ]);
    let said = run(sceau().args(["verify", "--url", &url])).with(1);
    assert!(said.err.contains("another verification is running") && said.err.contains("as it was told to"), "{said:?}");
}

#[test]
fn a_lost_token_is_replaced() {
    let place = Place::new();
    place.init();
    place.serve().stop();
    let said = place.run(&["token", "--name", "alice"]).with(0);
    let token = said.out.trim();
    assert!(token.starts_with("sceau_") && said.out.lines().count() == 1, "{said:?}");
    let server = place.serve();
    run(server.command(&["count"]).env("SCEAU_TOKEN", token)).with(0);
    server.run(&["count"]).with(0);
    assert!(place.run(&["token"]).with(1).err.contains("--url"), "a server holds the directory");
    server.run(&["token"]).with(2);
    server.stop();
    place.run(&["token", "--name", ""]).with(2);
    place.run(&["verify"]).with(0);
    let export = place.run(&["export"]).with(0).out;
    assert!(export.contains("alice") && !export.contains(token));
}

#[test]
fn tokens_can_be_limited() {
    let place = Place::new();
    place.init();
    let make = |more: &[&str]| place.run(&[&["token", "--name", "alice"], more].concat());
    let ingest = make(&["--role", "ingest", "--source", "nginx", "--label", "web", "--expires", "90d"]).with(0);
    let elsewhere = make(&["--address", "198.51.100.0/24"]).with(0);
    for wrong in [
        ["--role", "root"],
        ["--source", "sceau.audit"],
        ["--address", "192.0.2.0/33"],
        ["--expires", "soon"],
        ["--label", ""],
    ] {
        make(&wrong).with(2);
    }
    let server = place.serve();
    let ask = |token: &Said| run(server.command(&["count"]).env("SCEAU_TOKEN", token.out.trim())).with(1).err;
    assert!(ask(&ingest).contains("ingest"), "it may only send");
    assert!(ask(&elsewhere).contains("token"), "not from here");
    server.stop();
    place.run(&["verify"]).with(0);
}

#[test]
fn users_are_made_listed_reset_and_disabled() {
    let place = Place::new();
    place.init();
    let added = place.run(&["user", "add", "alice", "--role", "administrator", "--display-name", "Alice M."]).with(0);
    let secret = added.out.trim().to_owned();
    assert!(
        secret.starts_with("setup_") && added.out.lines().count() == 1 && !added.err.contains(&secret),
        "{added:?}"
    );
    place.run(&["user", "add", "bob", "--role", "auditor", "--name", "operator"]).with(0);
    assert!(place.run(&["user", "add", "bob", "--role", "auditor"]).with(1).err.contains("there already"));
    place.run(&["user", "add", "B b", "--role", "auditor"]).with(2);
    place.run(&["user", "add", "carol", "--role", "ingest"]).with(2);
    let again = place.run(&["user", "reset", "alice"]).with(0);
    assert_ne!(again.out.trim(), secret);
    place.run(&["user", "disable", "bob"]).with(0);
    place.run(&["user", "disable", "nobody"]).with(1);
    let listed = place.run(&["user", "list", "--json"]).with(0).lines();
    let told: Vec<_> = listed
        .iter()
        .map(|user| (user["id"].as_str().unwrap(), user["role"].as_str().unwrap(), user["disabled"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("alice", "administrator", false), ("bob", "auditor", true)]);
    let listed = place.run(&["user", "list"]).with(0).out;
    assert!(listed.contains("Alice M.") && listed.contains("disabled"), "{listed}");
    let server = place.serve();
    assert!(!server.said.iter().any(|line| line.contains("/setup#")), "there are users: {:?}", server.said);
    assert!(place.run(&["user", "list"]).with(1).err.contains("--url"), "a server holds the directory");
    server.run(&["user", "list"]).with(2);
    server.stop();
    place.run(&["verify"]).with(0);
    let export = place.run(&["export"]).with(0).out;
    assert!(export.contains("operator") && !export.contains(&secret) && !export.contains(again.out.trim()));
}

#[test]
fn the_first_start_prints_a_link_for_the_first_administrator_once() {
    let place = Place::new();
    let server = place.serve();
    let link = server.said.iter().find_map(|line| line.strip_prefix("set-up link: ")).expect("a link").to_owned();
    assert!(link.starts_with(&format!("{}/setup#setup_", server.url)), "{link}");
    assert!(!server.said.iter().any(|line| line.contains('\u{2588}')), "no picture in a pipe");
    server.stop();
    let server = place.serve();
    assert!(!server.said.iter().any(|line| line.contains("/setup#")), "{:?}", server.said);
    server.stop();
    assert!(!place.log().contains(link.split('#').nth(1).unwrap()));
}

#[test]
fn a_start_that_must_fail_makes_nothing_and_each_start_tells_the_keys() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = place.run(&["serve", "--listen", &address]).with(1);
    assert!(said.err.contains(&address), "{said:?}");
    place.run(&["serve", "--listen", "0.0.0.0:0"]).with(2);
    run(place.command(&["serve", "--listen", "127.0.0.1:0"]).env("SCEAU_BOOTSTRAP_TOKEN", "short")).with(2);
    for [option, value] in [["--origin", "a b"], ["--parsers", "/nope"]] {
        let said = place.run(&["serve", "--listen", "127.0.0.1:0", option, value]).with(2);
        assert!(said.err.contains(&option[2..]), "{said:?}");
    }
    assert!(!place.data().exists() && !place.keys().exists());
    let facts = place.init();
    for _ in 0..2 {
        let server = place.serve();
        for (name, member) in
            [("origin", "origin"), ("verifier key", "verifier_key"), ("first epoch key", "first_epoch_key")]
        {
            let line = format!("{name}: {}", facts[member].as_str().unwrap());
            assert!(server.said.contains(&line), "{line}: {:?}", server.said);
        }
        server.stop();
    }
}

#[test]
fn init_is_idempotent_and_keys_are_public() {
    let place = Place::new();
    let first = place.init();
    let again = place.init();
    let said = place.run(&["init", "--origin", "other.example/log"]).with(2);
    assert!(said.err.contains("can't be changed"), "{said:?}");
    assert_eq!((&first["created"], &again["created"]), (&json!(true), &json!(false)));
    assert_eq!(first["first_epoch_key"], again["first_epoch_key"]);
    let keys = place.run(&["keys", "--json"]).with(0).json();
    assert_eq!(keys["origin"], "test.example/log");
    assert_eq!(keys["verifier_key"], first["verifier_key"]);
    assert_eq!(keys["epoch_key"], first["first_epoch_key"]);
    let words = place.run(&["keys"]).with(0).out;
    assert!(words.contains("verifier key: test.example/log+"), "{words}");
}

/// Asks the same questions whichever way; `on` runs a command.
fn questions(on: &dyn Fn(&[&str]) -> common::Said) {
    assert_eq!(on(&["count", "status:failed"]).with(0).out.trim(), "2");
    assert_eq!(on(&["count", "status:failed", "--json"]).with(0).json()["count"], 2);
    let found = on(&["search", "--json", "--order", "oldest"]).with(0).lines();
    assert_eq!(found.len(), 3);
    assert_eq!(found[2]["record"]["user.name"], "bob");
    assert!(found[2]["entry"].as_str().unwrap().contains("9007199254740993"));
    let people = on(&["search", "user:bob"]).with(0).out;
    assert!(people.starts_with("2026-11-21T08:20:00") && people.contains("user.name=bob"), "{people}");
    assert_eq!(on(&["search", "--limit", "1"]).with(0).out.lines().count(), 1);
    assert_eq!(on(&["search", "--all", "--from", "2026-11-21T08:00:30Z"]).with(0).out.lines().count(), 2);
    let top = on(&["top", "source.ip", "--json"]).with(0).json();
    assert_eq!((&top["values"][0]["value"], &top["values"][0]["count"]), (&json!("10.0.0.7"), &json!(2)));
    assert!(on(&["top", "source.ip"]).with(0).out.contains("10.0.0.8"));
    let bars = on(&["histogram", "--interval", "10m", "--json"]).with(0).json();
    assert_eq!(bars["buckets"].as_array().unwrap().len(), 2);
    assert!(on(&["histogram", "--by", "user.name"]).with(0).out.contains("alice"));
    let wrong = on(&["search", "user:("]).with(2);
    assert!(wrong.err.contains("column"), "{wrong:?}");
}

#[test]
fn a_server_and_its_directory_answer_alike() {
    let place = Place::new();
    let facts = place.init();
    let server = place.serve();
    assert!(!server.said.iter().any(|line| line.contains(common::TOKEN)), "{:?}", server.said);
    let file = text(&place.file("app.json", EVENTS));
    let said = server.run(&["import", &file]).with(0);
    assert!(said.out.contains("3 lines, 3 accepted, 0 refused"), "{said:?}");
    questions(&|args| server.run(args));
    let locked = place.run(&["search"]).with(1);
    assert!(locked.err.contains("--url"), "{locked:?}");
    assert!(run(sceau().args(["count", "--url", &server.url])).with(1).err.contains("SCEAU_TOKEN"));

    let index = server.run(&["search", "user:bob", "--json"]).with(0).lines()[0]["index"].to_string();
    let vkey = facts["verifier_key"].as_str().unwrap();
    let proof = text(&place.dir.path().join("proof.json"));
    server.run(&["proof", &index, "-o", &proof]).with(0);
    run(sceau().args(["proof", "--check", &proof, "--verifier-key", vkey])).with(0);
    let online = server.run(&["export"]).with(0).out;
    server.run(&["verify", "--pin", facts["first_epoch_key"].as_str().unwrap()]).with(0);
    assert!(server.run(&["verify", "--verifier-key", "other+00000000+AAAA"]).with(2).err.contains("--verifier-key"));
    server.run(&["rebuild"]).with(0);
    server.stop();

    questions(&|args| place.run(args));
    let offline = place.run(&["export"]).with(0).out;
    assert!(offline.starts_with(&online), "an export only ever grows");
    let last = place.run(&["export", "--from-index", "1", "--to-index", "1"]).with(0).out;
    assert_eq!(last.lines().collect::<Vec<_>>(), [offline.lines().nth(1).unwrap()]);
    let tlog = text(&place.file("proof.txt", place.run(&["proof", &index, "--format", "tlog"]).with(0).out));
    let entry = place.run(&["export", "--from-index", &index, "--limit", "1"]).with(0).out;
    let good = text(&place.file("entry.json", &entry));
    let bad = text(&place.file("bad.json", entry.replace("bob", "eve")));
    run(sceau().args(["proof", "--check", &tlog, "--entry", &good, "--verifier-key", vkey])).with(0);
    run(sceau().args(["proof", "--check", &tlog, "--entry", &bad, "--verifier-key", vkey])).with(4);
    assert!(place.run(&["rebuild"]).with(0).out.contains("records"));
    questions(&|args| place.run(args));
}

#[test]
fn a_directory_alone_is_enough() {
    let place = Place::new();
    place.init();
    let file = text(&place.file("app.json", EVENTS));
    let mut keyless = sceau();
    keyless.args(["import", &file, "--data-dir"]).arg(place.data());
    assert!(run(&mut keyless).with(2).err.contains("--key-dir"));
    place.run(&["import", &file]).with(0);
    questions(&|args| place.run(args));
    let said = place.run(&["verify"]).with(0);
    assert!(said.out.contains("no fault was found"), "{said:?}");
}

#[test]
fn verify_says_what_is_unproven_and_names_faults() {
    let place = Place::new();
    let facts = place.init();
    let file = text(&place.file("some.log", numbered(300)));
    place.run(&["import", &file]).with(0);
    let pin = facts["first_epoch_key"].as_str().unwrap().to_owned();
    let kept = text(&place.file("kept.txt", place.run(&["checkpoint"]).with(0).out));
    let pin_file = format!("@{}", text(&place.file("pin.txt", format!("{pin}\n"))));

    let mut keyless = sceau();
    keyless.args(["verify", "--data-dir"]).arg(place.data());
    let said = run(&mut keyless).with(0);
    assert!(said.out.contains("Unproven"), "{said:?}");
    let said = place.run(&["verify", "--pin", &pin_file, "--since-checkpoint", &kept]).with(0);
    assert!(said.out.contains("sealed to entry") && said.out.contains("anchored to entry"), "{said:?}");
    let said = place.run(&["verify", "--pin", &pin, "--json"]).with(0).json();
    assert_eq!((&said["ok"], &said["consistent"]), (&json!(true), &json!(true)));

    let said = place.run(&["verify", "--pin", "nonsense"]).with(2);
    assert!(said.err.contains("--pin") && !said.err.contains("EpochPublic"), "{said:?}");
    place.run(&["verify", "--verifier-key", "nonsense"]).with(2);
    let other = Place::new();
    let stranger = other.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let said = place.run(&["verify", "--pin", &stranger]).with(4);
    assert!(said.out.contains("fault: pin"), "{said:?}");

    let export = text(&place.dir.path().join("entries.ndjson"));
    place.run(&["export", "-o", &export]).with(0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/tamper.py");
    let mut tamper = std::process::Command::new("python3");
    tamper.arg(script).arg(place.data()).args([&export, "numbered line 123 ", "numbered line 124 "]);
    let altered = run(&mut tamper).with(0).out;
    let said = place.run(&["verify", "--pin", &pin]).with(4);
    assert!(said.out.contains(&format!("fault: entry_changed at {}:", altered.trim())), "{said:?}");
    let said = place.run(&["verify", "--json"]).with(4).json();
    assert_eq!(said["ok"], false);
    assert!(said["faults"].as_array().unwrap().iter().any(|fault| fault["kind"] == "entry_changed"), "{said}");
}

#[test]
fn an_export_is_checked_by_ten_lines_of_python() {
    let place = Place::new();
    place.init();
    let file = text(&place.file("some.log", numbered(777)));
    place.run(&["import", &file]).with(0);
    let (export, checkpoint) = (place.dir.path().join("e.ndjson"), place.dir.path().join("c.txt"));
    place.run(&["export", "-o", &text(&export)]).with(0);
    std::fs::write(&checkpoint, place.run(&["checkpoint"]).with(0).out).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify_export.py");
    let check = || run(std::process::Command::new("python3").arg(script).arg(&export).arg(&checkpoint));
    check().with(0);
    let changed = std::fs::read_to_string(&export).unwrap().replacen("line 500 ", "line 501 ", 1);
    std::fs::write(&export, changed).unwrap();
    check().with(1);
}

#[test]
fn a_closed_output_is_no_error() {
    let place = Place::new();
    place.init();
    let file = text(&place.file("some.log", numbered(20_000)));
    place.run(&["import", &file]).with(0);
    let command = format!("'{}' search --all | head -n 1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_sceau"));
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &command]).env("SCEAU_DATA_DIR", place.data());
    let said = run(&mut shell).with(0);
    assert_eq!((said.out.lines().count(), said.err.as_str()), (1, ""));
}
