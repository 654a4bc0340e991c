//! Two servers on one database: one has the log, the other one answers questions, waits, and takes the log over.

use std::{path::PathBuf, process::Command, sync::atomic::Ordering, time::Instant};

use serde_json::Value;

use crate::{
    common::{Place, Server, http::Client, load::Shared, run_within, sceau, text, until},
    database::Database,
    log::{LONG, Load, Log, random},
};

/// A further server of a log, with a key directory of its own.
struct Second {
    log: Log,
    /// The first key of its chain.
    pin: String,
}

impl Second {
    /// Copies what has to be copied, and no epoch key.
    fn of(first: &Log) -> Self {
        let log = Log { place: Place::new(), uri: first.uri.clone(), public: first.public.clone() };
        let keys = log.place.keys();
        let made = Command::new("mkdir").args(["-m", "0700"]).arg(&keys).status().unwrap();
        assert!(made.success());
        for name in ["origin", "log.key", "mac.key", "accounts.key", "format"] {
            std::fs::copy(first.place.keys().join(name), keys.join(name)).unwrap();
        }
        let told = prepare(&keys).with(0).json();
        assert_eq!(told["origin"], "test.example/log");
        Self { log, pin: told["first_epoch_key"].as_str().unwrap().to_owned() }
    }

    fn serve(&self) -> Server {
        serve(&self.log)
    }
}

fn prepare(keys: &PathBuf) -> crate::common::Said {
    run_within(sceau().args(["keys", "standby", "--json", "--key-dir"]).arg(keys), LONG)
}

/// Starts a server that waits.
fn serve(log: &Log) -> Server {
    let server = log.place.serve_as(log.serving().arg("--standby"));
    assert!(server.said.iter().any(|line| line.starts_with("standby for test.example/log")), "{:?}", server.said);
    server
}

/// Verifies with the keys of one of them, and the pins of both: everything is sealed under one or the other.
fn verify(log: &Log, first: &str, second: &str) {
    let report = log.run(&["verify", "--json", "--pin", first, "--pin", second]).with(0).json();
    assert_eq!((&report["sealed"]["younger"], &report["sealed"]["unproven"]), (&0.into(), &Value::Null), "{report}");
    let told = report["notes"].as_array().unwrap().iter().any(|note| note.to_string().contains("took the log over"));
    assert!(told, "{report}");
}

/// The status of a path, and what the body says of it.
fn ask(url: &str, path: &str) -> (u16, Vec<u8>) {
    let answer = Client::connect(url).unwrap().get(path).unwrap();
    (answer.status, answer.body)
}

fn is_ready(url: &str) -> bool {
    ask(url, "/readyz").0 == 200
}

fn acknowledged(shared: &Shared, more: u64) {
    let wanted = shared.kept.load(Ordering::Relaxed) + more;
    until("acknowledged requests", || shared.kept.load(Ordering::Relaxed) >= wanted);
}

#[test]
fn the_second_server_takes_over_when_the_first_is_killed() {
    let Some(database) = Database::start("a take-over on MongoDB") else { return };
    let first = Log::new(&database);
    let second = Second::of(&first);
    let (mut load, mut random) = (Load::default(), random());
    let one = first.serve();
    load.during(&one, &mut random, |shared| acknowledged(shared, 40));
    let two = second.serve();
    for path in ["/api/v1/events", "/api/v1/events/0/proof", "/api/v1/integrity", "/log/checkpoint"] {
        until("a checkpoint", || ask(&two.url, path).0 != 409);
        assert_eq!(ask(&two.url, path).0, 200, "{path}");
    }
    let refused = Client::connect(&two.url).unwrap().send("POST", "/api/v1/events", &[], b"{}").unwrap();
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("standby")), "{refused:?}");
    assert!(refused.header("retry-after").is_some() && ask(&two.url, "/readyz").0 == 503);
    load.during(&one, &mut random, |shared| {
        acknowledged(shared, 40);
        one.signal("KILL");
    });
    let killed = Instant::now();
    until("the take-over", || is_ready(&two.url));
    eprintln!("taken over {:.1} s after the kill", killed.elapsed().as_secs_f64());
    load.check(&two);
    load.during(&two, &mut random, |shared| acknowledged(shared, 40));
    let late = run_within(&mut first.serving(), LONG).with(1);
    assert!(late.err.contains("another server has this log"), "{late:?}");
    let one = serve(&first);
    assert!(!is_ready(&one.url));
    load.check(&two);
    let asked = Instant::now();
    two.stop();
    until("the take-over", || is_ready(&one.url));
    eprintln!("taken over {:.1} s after the other one was asked to stop", asked.elapsed().as_secs_f64());
    load.check(&one);
    load.during(&one, &mut random, |shared| acknowledged(shared, 40));
    load.check(&one);
    one.stop();
    for log in [&first, &second.log] {
        verify(log, first.pin(), &second.pin);
    }
}

#[test]
fn a_server_that_was_halted_past_its_lease_writes_nothing_more() {
    let Some(database) = Database::start("a halted server on MongoDB") else { return };
    let first = Log::new(&database);
    let second = Second::of(&first);
    let (mut load, mut random) = (Load::default(), random());
    let one = first.serve();
    let two = second.serve();
    load.during(&one, &mut random, |shared| {
        acknowledged(shared, 40);
        one.signal("STOP");
        until("the take-over", || is_ready(&two.url));
        one.signal("CONT");
        until("the end of its accepting", || {
            let (status, body) = ask(&one.url, "/readyz");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            status == 503 && body["code"] == "store_failed"
        });
        let (_, body) = ask(&one.url, "/readyz");
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["cause"], "lease");
    });
    load.check(&two);
    load.during(&two, &mut random, |shared| acknowledged(shared, 40));
    assert_eq!(ask(&one.url, "/api/v1/events").0, 200, "it answers questions on");
    assert!(!one.end().success(), "it could not seal what it had");
    load.check(&two);
    two.stop();
    verify(&second.log, first.pin(), &second.pin);
}

#[test]
fn keys_are_not_shared_by_two_servers() {
    let Some(database) = Database::start("copied epoch keys on MongoDB") else { return };
    let first = Log::new(&database);
    let server = first.serve();
    server.stop();
    let copy = Log { place: Place::new(), uri: first.uri.clone(), public: first.public.clone() };
    crate::common::copy::copy_directory(&first.place.keys(), &copy.place.keys());
    let refused = prepare(&copy.place.keys()).with(1);
    assert!(refused.err.contains("epoch.key"), "{refused:?}");
    let one = first.serve();
    let other = run_within(first.serving().arg("--standby"), LONG).with(1);
    assert!(other.err.contains("another process uses it"), "{other:?}");
    one.stop();
    // By now the copy is an old one.
    let old = run_within(&mut copy.serving(), LONG).with(1);
    assert!(old.err.contains("old copy"), "{old:?}");
    let directory = run_within(sceau().args(["serve", "--standby", "--data-dir", &text(&copy.place.data())]), LONG);
    assert!(directory.with(1).err.contains("--store mongodb://"));
}

#[test]
fn the_keys_of_a_server_that_waits_are_not_replaced() {
    let Some(database) = Database::start("replacing the keys of a waiting server on MongoDB") else { return };
    let first = Log::new(&database);
    let second = Second::of(&first);
    let replace = ["keys", "replace", "--i-have-lost-the-keys"];
    let key = || std::fs::read(second.log.place.keys().join("epoch.key")).unwrap();
    let before = key();
    first.serve().stop();
    let refused = second.log.run(&replace).with(1);
    assert!(refused.err.contains("--standby") && refused.err.contains("not lost"), "{refused:?}");
    assert_eq!(key(), before);
    // It takes over with that key.
    let server = second.log.serve();
    until("the take-over", || is_ready(&server.url));
    server.stop();
    let refused = first.run(&replace).with(1);
    assert!(refused.err.contains("not lost"), "{refused:?}");
    verify(&second.log, first.pin(), &second.pin);
}
