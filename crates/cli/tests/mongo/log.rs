//! A log in a database, and load on it of which every event is known.

use std::{
    process::Command,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;

use crate::{
    common::{
        Place, Said, Server,
        http::Client,
        load::{self, Fate, Random, Request, Shared},
        run_within, sceau, until,
    },
    database::{ADMIN, Database, PASSWORD, uri},
    proxy::Proxy,
};

/// Connections at once.
const CONNECTIONS: u64 = 3;
/// How long a command may take.
pub const LONG: Duration = Duration::from_secs(120);

/// A log whose entries are in a database, and whose keys are in a directory.
pub struct Log {
    pub place: Place,
    pub uri: String,
    /// What `init` said.
    pub public: Value,
}

impl Log {
    /// Makes one.
    pub fn new(database: &Database) -> Self {
        let mut log = Self::nowhere(database);
        log.init();
        log
    }

    /// None yet.
    pub fn nowhere(database: &Database) -> Self {
        Self { place: Place::new(), uri: database.uri(ADMIN), public: Value::Null }
    }

    /// Makes it.
    pub fn init(&mut self) {
        self.public = self.run(&["init", "--origin", "test.example/log", "--json"]).with(0).json();
    }

    /// From now on, servers and commands reach the database through a proxy.
    pub fn go_through(&mut self, proxy: &Proxy) {
        self.uri = uri(ADMIN, proxy.address());
    }

    /// The first epoch's public key.
    pub fn pin(&self) -> &str {
        self.public["first_epoch_key"].as_str().unwrap()
    }

    /// A command on the log.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.keyless(args);
        command.env("SCEAU_KEY_DIR", self.place.keys());
        command
    }

    /// The same without the key directory.
    pub fn keyless(&self, args: &[&str]) -> Command {
        let mut command = sceau();
        command.args(args).env("SCEAU_STORE", &self.uri).env("SCEAU_STORE_PASSWORD", PASSWORD);
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        run_within(&mut self.command(args), LONG)
    }

    /// The command that starts a server.
    pub fn serving(&self) -> Command {
        let mut serve = self.place.serving_nothing("127.0.0.1:0");
        serve.env("SCEAU_STORE", &self.uri).env("SCEAU_STORE_PASSWORD", PASSWORD);
        serve
    }

    pub fn serve(&self) -> Server {
        self.place.serve_as(&mut self.serving())
    }

    /// The same with detection.
    pub fn detect(&self) -> Server {
        let mut serve = self.place.detecting_somewhere("127.0.0.1:0");
        serve.env("SCEAU_STORE", &self.uri).env("SCEAU_STORE_PASSWORD", PASSWORD);
        self.place.serve_as(&mut serve)
    }

    /// Verifies with everything that is at hand; it must be good.
    pub fn verify(&self) {
        self.run(&["verify", "--json", "--pin", self.pin()]).with(0);
    }
}

/// Requests of which every event is known, and the log as it was when it was last looked at.
#[derive(Default)]
pub struct Load {
    sent: Vec<Request>,
    entries: Vec<String>,
    pub shared: Arc<Shared>,
}

impl Load {
    /// Loads a server while something is done to it.
    pub fn during(&mut self, server: &Server, random: &mut Random, work: impl FnOnce(&Shared)) {
        self.shared.stop.store(false, Ordering::Relaxed);
        let clients: Vec<JoinHandle<Vec<Request>>> = (0..CONNECTIONS)
            .map(|_| {
                let (url, shared, mut random) = (server.url.clone(), self.shared.clone(), Random(random.next()));
                std::thread::spawn(move || {
                    let mut sent = Vec::new();
                    // Whoever is refused may have to connect anew.
                    while !shared.stop.load(Ordering::Relaxed) {
                        sent.extend(load::drive(&url, Random(random.next()), &shared));
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    sent
                })
            })
            .collect();
        work(&self.shared);
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in clients {
            self.sent.extend(client.join().unwrap());
        }
    }

    /// One request of its own; what was answered, or that nothing was.
    pub fn send(&mut self, client: &mut Client, count: u64, keyed: bool) -> std::io::Result<u16> {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed);
        let mut request = Request::new(number, count, 60, keyed);
        let answer = request.send(client);
        self.sent.push(request);
        answer.map(|answer| answer.status)
    }

    /// What was acknowledged is there, in its place, once; the rest as a whole or not at all. Requests with a key of which
    /// nobody knows what became are sent again until they are kept.
    pub fn check(&mut self, server: &Server) {
        let mut client = Client::connect(&server.url).unwrap();
        for request in self.sent.iter_mut().filter(|request| request.keyed && request.fate == Fate::Unknown) {
            until("an answer to a repeated request", || {
                let answer = request.send(&mut client).unwrap();
                if answer.status != 200 {
                    eprintln!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
                }
                answer.status == 200
            });
        }
        let entries = load::entries(&mut client, 0);
        let known = self.entries.len();
        assert!(entries.get(..known).is_some_and(|found| found == self.entries), "what was there before has changed");
        load::check(&self.sent, &entries, known);
        (self.sent, self.entries) = (Vec::new(), entries);
    }

    /// How many entries there were at the last check.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What whoever comes while the database is away is told: nothing of it was kept, and when to come again.
pub fn is_away(url: &str) -> bool {
    let mut client = Client::connect(url).unwrap();
    // Who came before the server knew waits with it, until the outcome of what was under way is known.
    client.give_up_after(Duration::from_secs(2));
    let Ok(answer) = client.send("POST", "/api/v1/events", &[], b"{\"probe\":1}") else { return false };
    if answer.status == 200 {
        return false;
    }
    assert_eq!(answer.status, 503, "{answer:?}");
    let code = answer.json()["code"].clone();
    assert!(code == "store_unavailable" || code == "overloaded", "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u64>().unwrap() > 0), "{answer:?}");
    code == "store_unavailable"
}

/// How often something is done: `SCEAU_TORTURE_ROUNDS`, or this.
pub fn rounds(default: u64) -> u64 {
    std::env::var("SCEAU_TORTURE_ROUNDS").map_or(default, |text| text.parse().unwrap())
}

/// Choices that can be repeated by `SCEAU_TORTURE_SEED`.
pub fn random() -> Random {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() & 0xFFFF_FFFF;
    let seed = std::env::var("SCEAU_TORTURE_SEED").map_or(now, |text| text.parse().unwrap());
    eprintln!("SCEAU_TORTURE_SEED={seed}");
    Random(u64::try_from(seed).unwrap())
}
