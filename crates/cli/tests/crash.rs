//! SIGKILL at any moment: what was acknowledged is there, with its index and its bytes; the rest is there as a whole or
//! not at all; and the log verifies.
//!
//! `SCEAU_TORTURE_ROUNDS` says how often (50), `SCEAU_TORTURE_SEED` repeats a run's choices (threads and the disk add
//! theirs).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{
    LIMIT, Place, Server,
    http::Client,
    load::{self, Fate, Random, Request, Shared},
    run, sceau, text, until,
};

/// Rounds that one log goes through.
const ROUNDS_OF_A_LOG: u64 = 10;
/// Connections at once.
const CONNECTIONS: u64 = 4;
/// Lines of the file that is imported all the while.
const LINES: usize = 20_000;

/// A log that is killed again and again.
struct Victim {
    place: Place,
    pin: String,
    import: PathBuf,
    sent: Vec<Request>,
    shared: Arc<Shared>,
    /// Checkpoints that were published before some kill.
    kept: Vec<String>,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        let lines: String =
            (0..LINES).map(|n| format!("{{\"line\":{n},\"text\":\"imported while it burns\"}}\n")).collect();
        let import = place.file("import.ndjson", lines);
        Self { place, pin, import, sent: Vec::new(), shared: Arc::default(), kept: Vec::new() }
    }

    /// Small segments and short epochs, so that a kill falls into these, too.
    fn serving(&self) -> Command {
        let mut serve = self.place.serving("127.0.0.1:0");
        serve.args(["--segment-entries", "2048", "--seal-after", "1"]);
        serve
    }

    fn import(&self, server: &Server) -> Child {
        let mut import = server.command(&["import", &text(&self.import), "--source", "file"]);
        import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Kills a server while it starts.
    fn kill_start(&self, random: &mut Random) {
        let mut child = self.serving().stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(150)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Loads a server and kills it at a random moment.
    fn kill_load(&mut self, server: Server, random: &mut Random) {
        self.shared.stop.store(false, Ordering::Relaxed);
        let before = self.shared.kept.load(Ordering::Relaxed);
        let mut import = self.import(&server);
        let clients: Vec<JoinHandle<Vec<Request>>> = (0..CONNECTIONS)
            .map(|_| {
                let (url, shared, random) = (server.url.clone(), self.shared.clone(), Random(random.next()));
                std::thread::spawn(move || load::drive(&url, random, &shared))
            })
            .collect();
        let (by_count, kept, time) = (random.below(2) == 0, random.below(400), random.below(700));
        let begun = Instant::now();
        if by_count {
            let reached = || self.shared.kept.load(Ordering::Relaxed) >= before + kept;
            while !reached() && begun.elapsed() < LIMIT {
                std::hint::spin_loop();
            }
        } else {
            std::thread::sleep(Duration::from_millis(time));
        }
        let checkpoint = Client::connect(&server.url).and_then(|mut client| client.get("/log/checkpoint"));
        server.kill();
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in clients {
            self.sent.extend(client.join().unwrap());
        }
        import.kill().unwrap();
        import.wait().unwrap();
        self.kept.extend(
            checkpoint.ok().filter(|answer| answer.status == 200).map(|answer| String::from_utf8(answer.body).unwrap()),
        );
    }

    /// Whether everything is as it was acknowledged, and what was repeated isn't doubled.
    fn check(&mut self, server: &Server, random: &mut Random) {
        let mut client = Client::connect(&server.url).unwrap();
        let mut entries = load::entries(&mut client, 0);
        let there = load::check(&self.sent, &entries);
        imported(&entries, false);
        for request in &mut self.sent {
            let unanswered = request.fate == Fate::Unknown;
            if !request.keyed || !unanswered && random.below(16) > 0 {
                continue;
            }
            let before = request.fate;
            let mut answer = request.send(&mut client).unwrap();
            until("room in the tail", || {
                if answer.status == 503 {
                    answer = request.send(&mut client).unwrap();
                }
                answer.status != 503
            });
            assert_eq!(answer.status, 200, "{answer:?}");
            let replayed = answer.header("idempotent-replay").is_some();
            let known = matches!(before, Fate::Kept(_)) || there.contains(&request.number);
            assert_eq!(replayed, known, "{before:?} {request:?}");
            if let Fate::Kept(_) = before {
                assert_eq!(before, request.fate, "a repeated request got another place");
            }
        }
        entries.extend(load::entries(&mut client, entries.len() as u64));
        load::check(&self.sent, &entries);
        // Nobody will ask for these again.
        for request in self.sent.iter_mut().filter(|request| request.fate == Fate::Unknown) {
            if let Some(first) = first_index(&entries, request) {
                request.fate = Fate::Kept(first);
            } else {
                request.fate = Fate::Refused;
            }
        }
    }

    /// Verifies the directory, with everything that an auditor may have.
    fn verify(&self) {
        let mut verify = sceau();
        verify.args(["verify", "--json", "--pin", &self.pin]);
        for (number, checkpoint) in self.kept.iter().rev().step_by(3).enumerate() {
            let path = self.place.file(&format!("checkpoint-{number}"), checkpoint);
            verify.arg("--since-checkpoint").arg(path);
        }
        verify.arg("--data-dir").arg(self.place.data()).arg("--key-dir").arg(self.place.keys());
        run(&mut verify).with(0);
    }
}

fn first_index(entries: &[String], request: &Request) -> Option<u64> {
    let begins = format!("\"data\":{{\"request\":{},\"n\":0,", request.number);
    entries.iter().position(|entry| entry.contains(&begins)).map(|index| index as u64)
}

/// Whether the lines of the file are there in order, each once; all of them, if the import has ended.
fn imported(entries: &[String], ended: bool) {
    let lines = entries.iter().filter_map(|entry| {
        let (_, data) = entry.split_once("\"data\":{\"line\":")?;
        data.split_once(',')?.0.parse::<usize>().ok()
    });
    let mut next = 0;
    for line in lines {
        assert_eq!(line, next, "the import goes on elsewhere than it stopped");
        next += 1;
    }
    assert!(!ended || next == LINES, "{next} lines of {LINES} are there");
}

/// One log through some rounds.
fn torture(rounds: u64, random: &mut Random) {
    let mut victim = Victim::new();
    for round in 0..rounds {
        if random.below(4) == 0 {
            victim.kill_start(random);
        }
        let server = victim.place.serve_as(&mut victim.serving());
        victim.check(&server, random);
        victim.kill_load(server, random);
        if round % 5 == 4 {
            victim.verify();
        }
    }
    let server = victim.place.serve_as(&mut victim.serving());
    victim.check(&server, random);
    server.run(&["import", &text(&victim.import), "--source", "file"]).with(0);
    imported(&load::entries(&mut Client::connect(&server.url).unwrap(), 0), true);
    server.stop();
    victim.verify();
    let kept = victim.sent.iter().filter(|request| matches!(request.fate, Fate::Kept(_))).count();
    let segments = std::fs::read_dir(victim.place.data().join("segments")).unwrap().count();
    eprintln!("{rounds} kills: {} requests, {kept} of them there, {segments} segments", victim.sent.len());
    assert!(segments > 0 && kept > 0);
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("SCEAU_TORTURE_ROUNDS").unwrap_or(50);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let seed = number("SCEAU_TORTURE_SEED").unwrap_or(u64::try_from(now & 0xFFFF_FFFF).unwrap());
    eprintln!("{rounds} rounds, SCEAU_TORTURE_SEED={seed}");
    let mut random = Random(seed);
    let mut left = rounds;
    while left > 0 {
        let now = left.min(ROUNDS_OF_A_LOG);
        torture(now, &mut random);
        left -= now;
    }
}
