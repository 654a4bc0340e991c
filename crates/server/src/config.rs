//! Settings, each with a default.

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use sceau_store::embedded::Options;
use zeroize::Zeroizing;

use crate::{
    auth::Role,
    epochs::WITH_ENTRIES,
    error::ServerError,
    net::{Proxies, Rates, TlsSource},
    place::Place,
};

/// A text that must not be shown; wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log lies.
    pub place: Place,
    /// Where its keys lie; never inside a data directory, nor the other way round.
    pub key_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Allows plain HTTP on an address that other machines can reach.
    pub insecure_http: bool,
    /// TLS, if it is offered; then nothing else is.
    pub tls: Option<TlsSource>,
    /// Whose word on a client's address is believed.
    pub proxies: Proxies,
    /// How often one may ask.
    pub rates: Rates,
    /// The log's origin, used when the log is made; drawn at random if absent.
    pub origin: Option<String>,
    /// A directory of further parsers (`*.yml`).
    pub parsers: Option<PathBuf>,
    /// The first administrator's token (`SCEAU_BOOTSTRAP_TOKEN`); drawn at random if absent.
    pub bootstrap_token: Option<Secret>,
    /// When the log verifies itself; never if absent.
    pub schedule: Option<Schedule>,
    /// How long entries are kept; for ever if it says nothing.
    pub retention: Retention,
    /// Bytes that stay free on the file system of a data directory: less, and nothing is taken in. Chosen by its size if
    /// absent.
    pub min_free: Option<u64>,
    /// How many entries make a segment of a data directory, a multiple of 256. An eighth more may wait in the tail.
    pub segment_entries: usize,
    /// How long after its first entry an epoch is sealed, at most an hour.
    pub seal_after: Duration,
    /// Whether to wait for the log while another server has it, and to answer questions meanwhile.
    pub standby: bool,
    /// What is looked for in the log.
    pub detection: DetectionConfig,
    /// What users need.
    pub accounts: AccountsConfig,
    /// How much of everything.
    pub limits: Limits,
}

/// What users need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountsConfig {
    /// The roles that need a second factor: whoever has one of them and has set none can only do that.
    pub second_factor: BTreeSet<Role>,
}

/// How detection runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionConfig {
    /// Whether it runs at all.
    pub enabled: bool,
    /// A directory of further rules (`*.yml`, `*.yaml`, read through all folders) and, in its folder `mappings`, of field
    /// mappings. Looked at every few seconds.
    pub rules: Option<PathBuf>,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self { enabled: true, rules: None }
    }
}

/// How long entries are kept. What is over one of the limits goes, in whole segments from the oldest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days since an entry was received.
    pub days: Option<u32>,
    /// Bytes of all segments.
    pub bytes: Option<u64>,
}

impl Retention {
    /// Whether anything is ever deleted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.days.is_some() || self.bytes.is_some()
    }
}

/// Reads a number of bytes: digits, then nothing or one of `K`, `M`, `G`, `T` (also as `KiB`, `MB` …), always powers of
/// 1024.
///
/// # Errors
/// [`ServerError::Config`] says what would be right.
pub fn size(text: &str) -> Result<u64, ServerError> {
    let wrong = || ServerError::Config(format!("{text:?} is no size; write it as 500M, 20G or in bytes"));
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// When and how fast the running log verifies itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How often what was added is verified.
    pub every: Duration,
    /// How often everything is verified again.
    pub whole_every: Duration,
    /// How much of one processor it may take, in percent.
    pub share: u32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { every: Duration::from_secs(3_600), whole_every: Duration::from_secs(24 * 3_600), share: 20 }
    }
}

impl Config {
    /// The defaults, for a data and a key directory.
    pub fn new(data_dir: impl Into<PathBuf>, key_dir: impl Into<PathBuf>) -> Self {
        Self::at(data_dir.into(), key_dir)
    }

    /// The defaults, for a log wherever it is.
    pub fn at(place: impl Into<Place>, key_dir: impl Into<PathBuf>) -> Self {
        Self {
            place: place.into(),
            key_dir: key_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            insecure_http: false,
            tls: None,
            proxies: Proxies::default(),
            rates: Rates::default(),
            origin: None,
            parsers: None,
            bootstrap_token: None,
            schedule: Some(Schedule::default()),
            retention: Retention::default(),
            min_free: None,
            segment_entries: Options::default().segment_entries,
            seal_after: WITH_ENTRIES,
            standby: false,
            detection: DetectionConfig::default(),
            accounts: AccountsConfig::default(),
            limits: Limits::default(),
        }
    }

    /// The sizes of the embedded store.
    pub(crate) fn store_options(&self) -> Options {
        Options::of_segments(self.segment_entries)
    }
}

/// How much the server takes at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a body as received.
    pub body: usize,
    /// Bytes of a body after inflating.
    pub inflated: usize,
    /// Bytes of all bodies that are being received at one moment.
    pub bodies: usize,
    /// Bytes of entries that wait for the sequencer.
    pub queue: usize,
    /// Idempotency keys that are remembered at one moment.
    pub idempotency_keys: u64,
    /// Bytes of entries in one commit, unless a single request has more.
    pub commit_bytes: usize,
    /// Entries in one commit, unless a single request has more.
    pub commit_entries: usize,
    /// How long the rest of a request that is too large for one commit is tried again while the store can't take it.
    pub rest_time: Duration,
    /// Connections at one moment.
    pub connections: usize,
    /// Queries at one moment.
    pub queries: usize,
    /// Streams (`GET /api/v1/stream`) at one moment.
    pub streams: usize,
    /// Bytes of large answers that clients have not taken yet, at one moment.
    pub answers: usize,
    /// How long a query may take.
    pub query_time: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// How long a request's head may take to arrive, and a connection may be idle.
    pub header_time: Duration,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_time: Duration,
    /// How long open requests may take to end when the server stops.
    pub shutdown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            inflated: 64 << 20,
            bodies: 128 << 20,
            queue: 64 << 20,
            idempotency_keys: 1_000_000,
            commit_bytes: 16 << 20,
            commit_entries: 65_536,
            rest_time: Duration::from_secs(60),
            connections: 1_024,
            queries: 8,
            streams: 32,
            answers: 128 << 20,
            query_time: Duration::from_secs(30),
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_secs(30),
            body_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            shutdown_time: Duration::from_secs(30),
        }
    }
}
