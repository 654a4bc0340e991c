//! `sceau serve`.

use std::{
    io::{IsTerminal as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args, value_parser};
use sceau_event::Micros;
use sceau_server::{Config, DetectionConfig, InitReport, NewToken, Ready, Retention, Schedule, Secret};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Outcome,
    error::CliError,
    keys,
    logging::{self, LogFormat},
    output::stdout,
    qr,
    store::{DATA_DIR, StoreArgs},
};

/// Options of `sceau serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau serve
  sceau serve --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --listen 127.0.0.1:8080 --log-format json
  sceau serve --store 'mongodb://sceau@db.example.org/sceau?replicaSet=rs0' --store-password-file password.txt
The first start makes the log and its keys, and prints an admin token and a link for the first administrator once. SIGTERM and SIGINT stop the server after
it has acknowledged what it took.")]
pub struct ServeArgs {
    /// Where the log is, or shall be; ./sceau-data if left out [env: SCEAU_DATA_DIR].
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Where its keys are; keep them off the disk and the backups of the log itself [env: SCEAU_KEY_DIR].
    #[arg(long, env = "SCEAU_KEY_DIR", default_value = "./sceau-keys", value_name = "DIR", hide_env = true)]
    key_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// First start: the log's name, fixed for ever, e.g. logs.example.org/main; drawn at random if left out.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A directory of further parsers (*.yml).
    #[arg(long, value_name = "DIR")]
    parsers: Option<PathBuf>,
    /// A directory of further detection rules (Sigma, *.yml, read through all folders), and in its folder `mappings` of
    /// field mappings; changes are seen within seconds [env: SCEAU_RULES].
    #[arg(long, env = "SCEAU_RULES", value_name = "DIR", hide_env = true)]
    rules: Option<PathBuf>,
    /// Look for nothing: no rules, no findings, no alerts.
    #[arg(long, conflicts_with = "rules")]
    no_detection: bool,
    /// How many entries make a segment of a data directory, a multiple of 256; an eighth more may wait in memory.
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = entries)]
    segment_entries: usize,
    /// How many seconds after its first entry an epoch is sealed, 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..=3600))]
    seal_after: u64,
    /// Allow plain HTTP on an address that other machines reach: tokens and logs then travel in the clear.
    #[arg(long)]
    insecure_http: bool,
    /// Delete entries that were received more than so many days ago, in whole segments; proofs of them still hold
    /// [env: SCEAU_RETAIN_DAYS].
    #[arg(long, env = "SCEAU_RETAIN_DAYS", value_name = "DAYS", hide_env = true, value_parser = value_parser!(u32).range(1..))]
    retain_days: Option<u32>,
    /// Delete the oldest segments while all together are larger, e.g. 200G [env: SCEAU_RETAIN_BYTES].
    #[arg(long, env = "SCEAU_RETAIN_BYTES", value_name = "SIZE", hide_env = true, value_parser = size)]
    retain_bytes: Option<u64>,
    /// Refuse events while the data directory's disk has less free; 512M, or 5 % of a small disk but at least 64M, if
    /// left out [env: SCEAU_MIN_FREE].
    #[arg(long, env = "SCEAU_MIN_FREE", value_name = "SIZE", hide_env = true, value_parser = size)]
    min_free: Option<u64>,
    /// Wait while another server has the log: answer questions, and take it over when that one is gone. Needs a database, and
    /// a key directory that `sceau keys standby` has completed.
    #[arg(long)]
    standby: bool,
    /// How often the running log verifies what was added: 30m, 1h … or `never`.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    verify_every: Every,
    /// How often it verifies everything again; the first time after a start it does so too.
    #[arg(long, default_value = "1d", value_name = "TIME", value_parser = duration)]
    verify_all_every: Duration,
    /// How much of one processor that may take, in percent.
    #[arg(long, default_value_t = 20, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    verify_share: u32,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter as in RUST_LOG, which wins over it.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

/// How often something is done, if ever.
#[derive(Clone, Copy, Debug)]
struct Every(Option<Duration>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" { Ok(Self(None)) } else { duration(text).map(|time| Self(Some(time))) }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    sceau_server::duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    sceau_server::size(text).map_err(|error| error.to_string())
}

/// The value of `--segment-entries`.
fn entries(text: &str) -> Result<usize, String> {
    let wanted = || "must be a multiple of 256, from 256 to 1048576".to_owned();
    let entries: usize = text.parse().map_err(|_| wanted())?;
    if (256..=1 << 20).contains(&entries) && entries.is_multiple_of(256) { Ok(entries) } else { Err(wanted()) }
}

/// Runs `sceau serve`.
pub async fn run(args: ServeArgs) -> Result<Outcome, CliError> {
    logging::for_server(args.log_format, &args.log_level)?;
    let place = args.store.place_or(args.data_dir.as_ref(), DATA_DIR)?;
    let mut config = Config::at(place, args.key_dir);
    config.listen = args.listen;
    config.insecure_http = args.insecure_http;
    config.origin = args.origin;
    config.parsers = args.parsers;
    config.detection = DetectionConfig { enabled: !args.no_detection, rules: args.rules };
    let (whole_every, share) = (args.verify_all_every, args.verify_share);
    config.schedule = args.verify_every.0.map(|every| Schedule { every, whole_every, share });
    config.bootstrap_token = std::env::var("SCEAU_BOOTSTRAP_TOKEN").ok().filter(|t| !t.is_empty()).map(Secret::new);
    config.retention = Retention { days: args.retain_days, bytes: args.retain_bytes };
    config.min_free = args.min_free;
    config.segment_entries = args.segment_entries;
    config.seal_after = Duration::from_secs(args.seal_after);
    config.standby = args.standby;
    check(&config)?;
    let stop = stop()?;
    if !config.standby {
        // Told before the server begins: what a first start made is not told a second time if it fails on its way.
        let report = sceau_server::init(&config).await?;
        closed(introduce(&report));
    }
    sceau_server::serve(config, stop, |ready| {
        closed(announce(&ready));
    })
    .await?;
    Ok(Outcome::Done)
}

/// What can be known to fail is refused before keys are made.
fn check(config: &Config) -> Result<(), CliError> {
    let listen = config.listen;
    if !listen.ip().is_loopback() && !config.insecure_http {
        return Err(CliError::Usage(format!(
            "{listen} can be reached by other machines, and tokens and logs would cross the network in the clear: \
             listen on 127.0.0.1 behind a TLS proxy, or allow it with --insecure-http"
        )));
    }
    if let Some(token) = &config.bootstrap_token {
        NewToken::chosen(token.clone(), Micros(0)).map_err(|error| CliError::Usage(error.to_string()))?;
    }
    sceau_server::load_deriver(config)?;
    sceau_server::read_rules(config.detection.rules.as_deref())?;
    // Let go again: the server itself listens only once the log is open.
    TcpListener::bind(listen).map(drop).map_err(CliError::io(format!("listening on {listen}")))
}

/// A closed standard output is no reason to stop a server; that it is ready is in the log too.
fn closed(told: std::io::Result<()>) {
    if let Err(error) = told {
        tracing::warn!(%error, "standard output is closed");
    }
}

/// Ends at the first signal to stop. The handlers are there when this returns, not only once it is awaited.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::io("handling SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::io("handling SIGINT"))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping (SIGTERM)"),
            _ = interrupt.recv() => tracing::info!("stopping (SIGINT)"),
        }
    })
}

fn introduce(report: &InitReport) -> std::io::Result<()> {
    let mut out = stdout();
    if report.created {
        writeln!(out, "made a new log.")?;
    }
    keys::tell(&mut out, report)?;
    out.flush()
}

fn announce(ready: &Ready) -> std::io::Result<()> {
    let mut out = stdout();
    if let Some(token) = &ready.bootstrap_token {
        writeln!(out, "admin token: {}", token.expose())?;
        writeln!(out, "    lets its holder do everything; secret, shown only this once, keep it in a safe place")?;
        writeln!(out, "    (`sceau --url` reads it from SCEAU_TOKEN or --token-file)")?;
    }
    if let Some(setup) = &ready.setup {
        let link = format!("http://{}/setup#{}", ready.addr, setup.expose());
        writeln!(out, "set-up link: {link}")?;
        writeln!(out, "    makes the first administrator; secret, works once and for 24 hours")?;
        if std::io::stdout().is_terminal() {
            out.write_all(qr::drawn(&link).as_bytes())?;
        }
    }
    if ready.standby {
        writeln!(
            out,
            "standby for {}: answers questions, and takes the log over when no other server has it",
            ready.origin
        )?;
    }
    writeln!(out, "listening on http://{}", ready.addr)?;
    out.flush()
}
