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
    Place, Server,
    http::Client,
    load::{self, Fate, Random, Request, Shared},
    run, sceau, text, until,
};

/// Rounds that one log goes through.
const ROUNDS_OF_A_LOG: u64 = 10;
/// Connections at once.
const CONNECTIONS: u64 = 4;
/// The longest that a server is loaded.
const LONGEST: Duration = Duration::from_secs(1);
/// Lines of the file that is imported all the while.
const LINES: usize = 12_000;

/// A log that is killed again and again.
struct Victim {
    place: Place,
    pin: String,
    import: PathBuf,
    /// The requests since the last check.
    sent: Vec<Request>,
    /// Requests before that, of those that have an idempotency key.
    keyed: Vec<Request>,
    /// The log as it was at the last check.
    entries: Vec<String>,
    shared: Arc<Shared>,
    /// Checkpoints that were published before some kill.
    published: Vec<String>,
    kept: usize,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        let lines: String =
            (0..LINES).map(|n| format!("{{\"line\":{n},\"text\":\"imported while it burns\"}}\n")).collect();
        let import = place.file("import.ndjson", lines);
        let (sent, keyed, entries, published) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { place, pin, import, sent, keyed, entries, shared: Arc::default(), published, kept: 0 }
    }

    /// Small segments and short epochs, so that a kill falls into these, too.
    fn serving(&self) -> Command {
        let mut serve = self.place.serving("127.0.0.1:0");
        serve.args(["--segment-entries", "1024", "--seal-after", "1"]);
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
        let (by_count, kept, time) = (random.below(2) == 0, random.below(300), random.below(600));
        let begun = Instant::now();
        if by_count {
            let reached = || self.shared.kept.load(Ordering::Relaxed) >= before + kept;
            while !reached() && begun.elapsed() < LONGEST {
                std::thread::sleep(Duration::from_micros(500));
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
        let text = |answer: common::http::Answer| String::from_utf8(answer.body).unwrap();
        self.published.extend(checkpoint.ok().filter(|answer| answer.status == 200).map(text));
    }

    /// Whether everything is as it was acknowledged, and what is repeated isn't doubled.
    fn check(&mut self, server: &Server, random: &mut Random) {
        let mut client = Client::connect(&server.url).unwrap();
        let mut entries = load::entries(&mut client, 0);
        let known = self.entries.len();
        assert!(entries.get(..known).is_some_and(|found| found == self.entries), "what was there before has changed");
        let there = load::check(&self.sent, &entries, known);
        imported(&entries, false);
        let mut repeated = Vec::new();
        for mut request in std::mem::take(&mut self.sent).into_iter().filter(|request| request.keyed) {
            let unanswered = request.fate == Fate::Unknown;
            if let Some(&first) = there.get(&request.number) {
                request.fate = Fate::Kept(first);
            }
            if unanswered || random.below(16) == 0 {
                repeated.extend(repeat(&mut client, &mut request));
            }
            if let Fate::Kept(_) = request.fate {
                self.keyed.push(request);
            }
        }
        for _ in 0..self.keyed.len().min(5) {
            let old = random.below(self.keyed.len() as u64);
            assert!(repeat(&mut client, &mut self.keyed[usize::try_from(old).unwrap()]).is_none());
        }
        // What was sealed now are the repeated requests that were not there, and nothing else.
        let before = entries.len();
        entries.extend(load::entries(&mut client, before as u64));
        load::check(&repeated, &entries, before);
        self.kept += entries.len() - known;
        self.entries = entries;
    }

    /// Verifies the directory, with everything that an auditor may have.
    fn verify(&self) {
        let mut verify = sceau();
        verify.args(["verify", "--json", "--pin", &self.pin]);
        for (number, checkpoint) in self.published.iter().rev().step_by(3).enumerate() {
            let path = self.place.file(&format!("checkpoint-{number}"), checkpoint);
            verify.arg("--since-checkpoint").arg(path);
        }
        verify.arg("--data-dir").arg(self.place.data()).arg("--key-dir").arg(self.place.keys());
        run(&mut verify).with(0);
    }
}

/// Sends a request with an idempotency key again. Gives it back if it was kept only now.
fn repeat(client: &mut Client, request: &mut Request) -> Option<Request> {
    let before = request.fate;
    let mut answer = request.send(client).unwrap();
    until("room in the tail", || {
        if answer.status == 503 {
            answer = request.send(client).unwrap();
        }
        answer.status != 503
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let replayed = answer.header("idempotent-replay").is_some();
    assert_eq!(replayed, matches!(before, Fate::Kept(_)), "{before:?} {request:?}");
    if replayed {
        assert_eq!(before, request.fate, "a repeated request got another place");
    }
    (!replayed).then(|| request.clone())
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
    let begun = Instant::now();
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
    let segments = std::fs::read_dir(victim.place.data().join("segments")).unwrap().count();
    let (kept, published) = (victim.kept, victim.published.len());
    eprintln!("{rounds} kills: {kept} entries, {segments} segments, {published} checkpoints in {:?}", begun.elapsed());
    assert!(segments > 0 && kept > LINES && published > 0);
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

#[test]
fn a_log_can_be_made_whenever_the_first_attempt_was_killed() {
    for step in 0..16 {
        let place = Place::new();
        let mut init = sceau();
        init.args(["init", "--origin", "test.example/log", "--data-dir"]).arg(place.data());
        let mut child = init.arg("--key-dir").arg(place.keys()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(3 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
        place.serve().stop();
        place.run(&["verify", "--pin", &pin]).with(0);
    }
}
