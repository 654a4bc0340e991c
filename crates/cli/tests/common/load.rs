//! Load whose every event is known, and the check that a log holds just what it acknowledged.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use super::http::{Answer, Client};

/// SplitMix64: small, and the same from the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Acknowledged, with its first index.
    Kept(u64),
    /// Answered in a way that says that nothing of it was kept.
    Refused,
    /// Not answered, or so that nobody knows.
    Unknown,
}

/// A request with its events, which are made of its number alone.
#[derive(Clone, Debug)]
pub struct Request {
    pub number: u64,
    pub count: u64,
    /// Bytes of text in each event.
    pub size: usize,
    /// Whether it has an idempotency key.
    pub keyed: bool,
    pub fate: Fate,
}

impl Request {
    pub fn new(number: u64, count: u64, size: usize, keyed: bool) -> Self {
        Self { number, count, size, keyed, fate: Fate::Unknown }
    }

    /// An event's exact bytes.
    pub fn event(&self, n: u64) -> String {
        let mut random = Random(self.number << 20 | n);
        let mut text = String::with_capacity(self.size + 16);
        while text.len() < self.size {
            text += &format!("{:016x}", random.next());
        }
        format!("{{\"request\":{},\"n\":{n},\"user\":\"user{}\",\"text\":\"{text}\"}}", self.number, n % 7)
    }

    pub fn body(&self) -> String {
        let events: Vec<String> = (0..self.count).map(|n| self.event(n)).collect();
        events.join("\n")
    }

    /// Sends it and notes what came of it. An error means that the connection is gone.
    pub fn send(&mut self, client: &mut Client) -> std::io::Result<Answer> {
        let key = format!("request-{}", self.number);
        let kind = if self.count == 1 { "application/json" } else { "application/x-ndjson" };
        let mut headers = vec![("Content-Type", kind)];
        if self.keyed {
            headers.push(("Idempotency-Key", &key));
        }
        let answer = client.send("POST", "/api/v1/events", &headers, self.body().as_bytes())?;
        self.fate = match answer.status {
            200 => {
                let said = answer.json();
                assert_eq!((&said["accepted"], &said["rejected"]), (&self.count.into(), &0.into()), "{said}");
                Fate::Kept(said["first_index"].as_u64().unwrap())
            }
            503 if answer.json()["code"] == "store_failed" => Fate::Unknown,
            _ => Fate::Refused,
        };
        Ok(answer)
    }
}

/// What several connections share.
#[derive(Default)]
pub struct Shared {
    pub number: AtomicU64,
    pub kept: AtomicU64,
    pub stop: AtomicBool,
    /// How the server's disk is: [`DISK_THERE`], [`DISK_GOING`] or [`DISK_GONE`].
    pub disk: AtomicU8,
}

/// What is acknowledged is on the disk.
pub const DISK_THERE: u8 = 0;
/// The disk is being taken away. Linux 6.18 tells some of those that wait for an XFS file system's `fdatasync` in that
/// very moment that all is well, and then their bytes are gone; a program of twenty lines shows it in 7 of 100 runs. So
/// who was acknowledged in it is as if he had no answer.
pub const DISK_GOING: u8 = 1;
/// Nothing can be acknowledged any more.
pub const DISK_GONE: u8 = 2;

/// Sends requests of all sizes over one connection until it is told to stop or the connection is gone.
pub fn drive(url: &str, mut random: Random, shared: &Shared) -> Vec<Request> {
    let mut sent = Vec::new();
    let Ok(mut client) = Client::connect(url) else { return sent };
    while !shared.stop.load(Ordering::Relaxed) {
        let count = match random.below(32) {
            0..22 => 1,
            22..31 => 2 + random.below(120),
            _ => 256 + random.below(1_000),
        };
        let size = 20 + usize::try_from(random.below(200)).unwrap();
        let keyed = random.below(3) == 0;
        let mut request = Request::new(shared.number.fetch_add(1, Ordering::Relaxed), count, size, keyed);
        let disk = shared.disk.load(Ordering::SeqCst);
        let answer = request.send(&mut client);
        if let Fate::Kept(_) = request.fate {
            assert_ne!(disk, DISK_GONE, "{request:?} was acknowledged without a disk");
            if shared.disk.load(Ordering::SeqCst) == DISK_THERE {
                shared.kept.fetch_add(1, Ordering::Relaxed);
            } else {
                request.fate = Fate::Unknown;
            }
        }
        sent.push(request);
        match answer {
            Err(_) => break,
            Ok(answer) if answer.status != 200 => std::thread::sleep(std::time::Duration::from_millis(5)),
            Ok(_) => {}
        }
    }
    sent
}

/// All entries of a server from an index on, byte for byte.
pub fn entries(client: &mut Client, from: u64) -> Vec<String> {
    let mut entries = Vec::new();
    loop {
        let next = from + entries.len() as u64;
        let page = client.get(&format!("/api/v1/entries?from={next}&limit=1000")).unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        let page = String::from_utf8(page.body).unwrap();
        let before = entries.len();
        entries.extend(page.lines().map(str::to_owned));
        if entries.len() == before {
            return entries;
        }
    }
}

/// The event in an entry, if it is one of a [`Request`]: its number, its place there, its bytes.
fn event(entry: &str) -> Option<(u64, u64, &str)> {
    let (_, data) = entry.split_once("\"data\":")?;
    let data = data.strip_suffix('}')?;
    let (number, rest) = data.strip_prefix("{\"request\":")?.split_once(",\"n\":")?;
    Some((number.parse().ok()?, rest.split_once(',')?.0.parse().ok()?, data))
}

/// Makes sure that the log holds what was acknowledged where it was acknowledged, nothing of what was refused, all or
/// nothing of the rest, and nothing twice; looks from an index on, and at the requests that can have entries there.
/// Gives the numbers of unanswered requests that are there, with their first index.
pub fn check(requests: &[Request], entries: &[String], from: usize) -> HashMap<u64, u64> {
    let mut found: HashMap<u64, Vec<u64>> = HashMap::new();
    let known: HashMap<u64, &Request> = requests.iter().map(|request| (request.number, request)).collect();
    for (index, entry) in entries.iter().enumerate().skip(from) {
        let Some((number, n, data)) = event(entry) else { continue };
        let request = known.get(&number).unwrap_or_else(|| panic!("nobody sent what is at {index}: {entry}"));
        let places = found.entry(number).or_default();
        assert_eq!(n, places.len() as u64, "entry {index} is not the next of {request:?}");
        assert_eq!(data, request.event(n), "entry {index} was changed");
        places.push(index as u64);
    }
    let mut unanswered = HashMap::new();
    for request in requests {
        let places = found.remove(&request.number).unwrap_or_default();
        if let Some(&first) = places.first() {
            assert_eq!(places, (first..first + request.count).collect::<Vec<_>>(), "{request:?} is torn");
        }
        match request.fate {
            Fate::Kept(first) => assert_eq!(places.first(), Some(&first), "{request:?} was acknowledged"),
            Fate::Refused => assert!(places.is_empty(), "{request:?} is there"),
            Fate::Unknown => unanswered.extend(places.first().map(|&first| (request.number, first))),
        }
    }
    unanswered
}
