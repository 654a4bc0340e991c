//! `sceau serve`.

use std::{
    io::{IsTerminal as _, Write as _},
    net::TcpListener,
    path::PathBuf,
};

use clap::Args;
use sceau_event::Micros;
use sceau_server::{Config, InitReport, NewToken, Ready, Sandbox};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use toml::Value;

use crate::{
    Outcome,
    error::CliError,
    keys,
    logging::{self, LogFormat},
    notify,
    output::stdout,
    qr,
    settings::{Options, Told, table},
    store::{self, StoreArgs},
};

/// Options of `sceau serve`. What is left out is looked up in the environment, then in `sceau.toml`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sceau serve
  sceau serve --config /etc/sceau/sceau.toml
  sceau serve --data-dir /var/lib/sceau --key-dir /etc/sceau/keys --listen 127.0.0.1:8080 --log-format json
  sceau serve --listen 0.0.0.0:8443 --tls-cert fullchain.pem --tls-key privkey.pem
  sceau serve --store 'mongodb://sceau@db.example.org/sceau?replicaSet=rs0' --store-password-file password.txt
The first start makes the log and its keys, and prints an admin token and a link for the first administrator once. SIGTERM and SIGINT stop the server after
it has acknowledged what it took; SIGHUP reads the certificate again. Limits and rates are set in sceau.toml or the
environment: `sceau config show` lists every setting.")]
pub struct ServeArgs {
    /// The file of settings; ./sceau.toml or /etc/sceau/sceau.toml if left out and there [env: SCEAU_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the log is, or shall be; ./sceau-data if left out [env: SCEAU_DATA_DIR].
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    data_dir: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Where its keys are; keep them off the disk and the backups of the log itself; ./sceau-keys if left out
    /// [env: SCEAU_KEY_DIR].
    #[arg(long, value_name = "DIR")]
    key_dir: Option<String>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// First start: the log's name, fixed for ever, e.g. logs.example.org/main; drawn at random if left out.
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// A directory of further parsers (*.yml).
    #[arg(long, value_name = "DIR")]
    parsers: Option<String>,
    /// A directory of further detection rules (Sigma, *.yml, read through all folders), and in its folder `mappings` of
    /// field mappings; changes are seen within seconds [env: SCEAU_RULES].
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// Look for nothing: no rules, no findings, no alerts.
    #[arg(long, conflicts_with = "rules")]
    no_detection: bool,
    /// How many entries make a segment of a data directory, a multiple of 256; an eighth more may wait in memory
    /// [default: 262144].
    #[arg(long, value_name = "N")]
    segment_entries: Option<String>,
    /// How many seconds after its first entry an epoch is sealed, 1 to 3600 [default: 60].
    #[arg(long, value_name = "SECONDS")]
    seal_after: Option<String>,
    /// Offer TLS with this certificate (PEM), followed by those that lead to its authority; read again when it changes.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Offer TLS with a certificate that the server makes once, keeps in the key directory, and prints the fingerprint of.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    tls_self_signed: bool,
    /// A name or address that the self-signed certificate is for; may be given several times. What this machine is called if
    /// left out.
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// Allow plain HTTP on an address that other machines reach: tokens and logs then travel in the clear.
    #[arg(long)]
    insecure_http: bool,
    /// A proxy in front of this server, or a network of them (10.0.0.0/8), whose word on a client's address is believed; may
    /// be given several times.
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<String>,
    /// Which header the trusted proxies write: x-forwarded-for or forwarded [default: x-forwarded-for].
    #[arg(long, value_name = "NAME")]
    forwarded_header: Option<String>,
    /// Delete entries that were received more than so many days ago, in whole segments; proofs of them still hold
    /// [env: SCEAU_RETAIN_DAYS].
    #[arg(long, value_name = "DAYS")]
    retain_days: Option<String>,
    /// Delete the oldest segments while all together are larger, e.g. 200G [env: SCEAU_RETAIN_BYTES].
    #[arg(long, value_name = "SIZE")]
    retain_bytes: Option<String>,
    /// Refuse events while the data directory's disk has less free; 512M, or 5 % of a small disk but at least 64M, if
    /// left out [env: SCEAU_MIN_FREE].
    #[arg(long, value_name = "SIZE")]
    min_free: Option<String>,
    /// Wait while another server has the log: answer questions, and take it over when that one is gone. Needs a database, and
    /// a key directory that `sceau keys standby` has completed.
    #[arg(long)]
    standby: bool,
    /// How often the running log verifies what was added: 30m, 1h … or `never` [default: 1h].
    #[arg(long, value_name = "TIME")]
    verify_every: Option<String>,
    /// How often it verifies everything again; the first time after a start it does so too [default: 1d].
    #[arg(long, value_name = "TIME")]
    verify_all_every: Option<String>,
    /// How much of one processor that may take, in percent [default: 20].
    #[arg(long, value_name = "PERCENT")]
    verify_share: Option<String>,
    /// Do without the kernel's sandbox (Landlock), which otherwise keeps the server to its own directories.
    #[arg(long)]
    no_landlock: bool,
    /// How log lines look [default: text].
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, or a filter as in RUST_LOG, which wins over it [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ServeArgs {
    /// What was given, by the settings' names.
    fn options(&self) -> Options {
        let texts = [
            ("store.data_dir", &self.data_dir),
            ("keys.dir", &self.key_dir),
            ("server.listen", &self.listen),
            ("server.origin", &self.origin),
            ("ingest.parsers", &self.parsers),
            ("detection.rules", &self.rules),
            ("store.segment_entries", &self.segment_entries),
            ("keys.seal_after", &self.seal_after),
            ("tls.cert", &self.tls_cert),
            ("tls.key", &self.tls_key),
            ("server.forwarded_header", &self.forwarded_header),
            ("retention.days", &self.retain_days),
            ("retention.bytes", &self.retain_bytes),
            ("store.min_free", &self.min_free),
            ("verify.every", &self.verify_every),
            ("verify.all_every", &self.verify_all_every),
            ("verify.share", &self.verify_share),
            ("log.level", &self.log_level),
        ];
        let switches = [
            ("detection.enabled", self.no_detection, false),
            ("tls.self_signed", self.tls_self_signed, true),
            ("server.insecure_http", self.insecure_http, true),
            ("server.standby", self.standby, true),
            ("server.landlock", self.no_landlock, false),
        ];
        let lists = [("server.trusted_proxies", &self.trusted_proxy), ("tls.names", &self.tls_name)];
        let mut options: Options =
            texts.into_iter().filter_map(|(key, text)| Some((key, Value::from(text.clone()?)))).collect();
        options.extend(
            switches.into_iter().filter(|(_, is_given, _)| *is_given).map(|(key, _, to)| (key, Value::from(to))),
        );
        let list = |items: &[String]| items.iter().map(|item| Value::from(item.as_str())).collect();
        options.extend(
            lists
                .into_iter()
                .filter(|(_, items)| !items.is_empty())
                .map(|(key, items)| (key, Value::Array(list(items)))),
        );
        options.extend(self.store.options());
        options.extend(self.log_format.map(|format| ("log.format", Value::from(format.word()))));
        options
    }
}

/// Runs `sceau serve`. The sandbox holds the thread that asks for it and what that starts, so nothing else may run yet.
pub fn run(args: ServeArgs) -> Result<Outcome, CliError> {
    let told = Told::read(args.options(), args.config.as_deref(), store::variable)?;
    logging::for_server(told.settings.log_format, &told.settings.log_level)?;
    if let Some(path) = &told.file {
        tracing::info!(path = %path.display(), "settings are read from this file");
    }
    warn_of_variables();
    let config = told.config()?;
    check(&config)?;
    if !config.standby {
        // Told before the server begins: what a first start made is not told a second time if it fails on its way. And the
        // directories must be there before the sandbox is closed around them.
        let report = runtime()?.block_on(sceau_server::init(&config))?;
        closed(introduce(&report));
    }
    if told.settings.landlock {
        confine(&config)?;
    }
    runtime()?.block_on(serve(config))
}

fn runtime() -> Result<Runtime, CliError> {
    Builder::new_multi_thread().enable_all().build().map_err(CliError::io("starting the threads"))
}

async fn serve(config: Config) -> Result<Outcome, CliError> {
    let stop = stop()?;
    sceau_server::serve(config, stop, |ready| {
        closed(announce(&ready));
        notify::tell(notify::READY);
    })
    .await?;
    Ok(Outcome::Done)
}

/// Confines this process and says how far that holds.
fn confine(config: &Config) -> Result<(), CliError> {
    match sceau_server::confine(config)? {
        Sandbox::Whole => tracing::info!("Landlock holds this server to its own directories and files"),
        Sandbox::Partial => tracing::info!("Landlock holds this server, as far as this kernel knows its rights"),
        Sandbox::Absent => {
            tracing::warn!("this kernel has no Landlock: nothing but its user's rights holds this server")
        }
    }
    Ok(())
}

/// A variable that looks as if it were for us and is none is told: what it should have set is not set.
fn warn_of_variables() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("SCEAU_")) {
        if let Some(nearest) = table::unknown_variable(&name) {
            tracing::warn!("the variable {name} is not known{nearest}");
        }
    }
}

/// What can be known to fail is refused before keys are made.
pub fn check(config: &Config) -> Result<(), CliError> {
    examine(config)?;
    let listen = config.listen;
    // Let go again: the server itself listens only once the log is open.
    TcpListener::bind(listen).map(drop).map_err(CliError::io(format!("listening on {listen}")))
}

/// What can be said of settings without doing anything.
pub fn examine(config: &Config) -> Result<(), CliError> {
    let usage = |error: sceau_server::ServerError| CliError::Usage(error.to_string());
    sceau_server::check_exposure(config).map_err(usage)?;
    sceau_server::check_tls(config).map_err(usage)?;
    if let Some(token) = &config.bootstrap_token {
        NewToken::chosen(token.clone(), Micros(0)).map_err(usage)?;
    }
    sceau_server::load_deriver(config)?;
    sceau_server::read_rules(config.detection.rules.as_deref())?;
    Ok(())
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
        notify::tell(notify::STOPPING);
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
        let scheme = if ready.tls.is_some() { "https" } else { "http" };
        let link = format!("{scheme}://{}/setup#{}", ready.addr, setup.expose());
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
    if let Some(fingerprint) = &ready.tls {
        writeln!(out, "certificate: {fingerprint}")?;
        writeln!(out, "    (`sceau --url https://…` takes it with --tls-fingerprint)")?;
    }
    let scheme = if ready.tls.is_some() { "https" } else { "http" };
    writeln!(out, "listening on {scheme}://{}", ready.addr)?;
    out.flush()
}
