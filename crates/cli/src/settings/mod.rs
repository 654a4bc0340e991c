//! What the server is told: by options, by the environment, by `sceau.toml`, or by nobody, in this order.

mod file;
mod forms;
mod place;
pub mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sceau_server::{
    Config, DetectionConfig, ForwardedHeader, Limits, Place, Proxies, Rates, Retention, Schedule, Secret, TlsSource,
};
use toml::Value;

pub use self::file::SettingsFile;
use self::table::{SETTINGS, Setting, setting};
use crate::{error::CliError, logging::LogFormat, store::DATA_DIR, store::Uri, target::read_text};

/// Where the keys are if nobody says so.
const KEY_DIR: &str = "./sceau-keys";

/// Every setting, with a value.
#[derive(Clone, Debug)]
pub struct Settings {
    listen: SocketAddr,
    insecure_http: bool,
    trusted_proxies: Vec<String>,
    forwarded_header: ForwardedHeader,
    standby: bool,
    origin: Option<String>,
    bootstrap_token: Option<Secret>,
    bootstrap_token_file: Option<PathBuf>,
    /// Whether the server confines itself.
    pub landlock: bool,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_self_signed: bool,
    tls_names: Vec<String>,
    data_dir: PathBuf,
    uri: Option<Uri>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    segment_entries: usize,
    min_free: Option<u64>,
    key_dir: PathBuf,
    seal_after: Duration,
    parsers: Option<PathBuf>,
    limits: Limits,
    rates: Rates,
    detection: bool,
    rules: Option<PathBuf>,
    retain_days: Option<u32>,
    retain_bytes: Option<u64>,
    verify_every: Option<Duration>,
    verify_all_every: Duration,
    verify_share: u32,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
}

impl Default for Settings {
    fn default() -> Self {
        let config = Config::new(DATA_DIR, KEY_DIR);
        let schedule = Schedule::default();
        Self {
            listen: config.listen,
            insecure_http: false,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            standby: false,
            origin: None,
            bootstrap_token: None,
            bootstrap_token_file: None,
            landlock: true,
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            tls_names: Vec::new(),
            data_dir: PathBuf::from(DATA_DIR),
            uri: None,
            password: None,
            password_file: None,
            segment_entries: config.segment_entries,
            min_free: None,
            key_dir: config.key_dir,
            seal_after: config.seal_after,
            parsers: None,
            limits: config.limits,
            rates: config.rates,
            detection: true,
            rules: None,
            retain_days: None,
            retain_bytes: None,
            verify_every: Some(schedule.every),
            verify_all_every: schedule.whole_every,
            verify_share: schedule.share,
            log_format: LogFormat::default(),
            log_level: "info".to_owned(),
        }
    }
}

/// Who said what a setting is. What comes later counts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Nobody.
    Default,
    /// The file.
    File,
    /// The environment.
    Environment,
    /// An option.
    Option,
}

/// Where exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the file, on this line.
    File(PathBuf, usize),
    /// In this variable.
    Environment(String),
    /// By this option.
    Option(&'static str),
}

impl Origin {
    fn rank(&self) -> Rank {
        match self {
            Self::Default => Rank::Default,
            Self::File(..) => Rank::File,
            Self::Environment(_) => Rank::Environment,
            Self::Option(_) => Rank::Option,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Option(option) => f.write_str(option),
        }
    }
}

/// What options say, by the settings' names.
pub type Options = Vec<(&'static str, Value)>;

/// The settings that count, and where each was said.
#[derive(Debug)]
pub struct Told {
    /// The settings.
    pub settings: Settings,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Told {
    /// Reads the settings: from the options, the environment, and the file that is named or found.
    pub fn read(
        options: Options,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, CliError> {
        let named = file.map(Path::to_owned).or_else(|| variable("SCEAU_CONFIG").map(PathBuf::from));
        let file = match named {
            Some(path) => Some(SettingsFile::read(&path)?),
            None => SettingsFile::find()?,
        };
        Self::of(options, file, variable)
    }

    /// The same, of a file that was read.
    pub fn of(
        options: Options,
        file: Option<SettingsFile>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, CliError> {
        let mut told = Self { settings: Settings::default(), file: None, origins: BTreeMap::new() };
        if let Some(SettingsFile { path, said }) = file {
            for (key, (value, line)) in said {
                told.set(key, &value, Origin::File(path.clone(), line))?;
            }
            told.file = Some(path);
        }
        for setting in SETTINGS {
            let name = setting.variable();
            if let Some(value) = variable(&name) {
                let value = value.into_string().map_err(|_| CliError::Usage(format!("{name} is not UTF-8")))?;
                told.set(setting.key, &Value::from(value), Origin::Environment(name))?;
            }
        }
        for (key, value) in options {
            let option = setting(key).and_then(|setting| setting.option).unwrap_or(key);
            told.set(key, &value, Origin::Option(option))?;
        }
        if let Some(level) = variable("RUST_LOG") {
            // It is how one sees more of any program, whatever its settings are.
            let origin = Origin::Environment("RUST_LOG".to_owned());
            told.set("log.level", &Value::from(level.to_string_lossy().into_owned()), origin)?;
        }
        Ok(told)
    }

    fn set(&mut self, key: &'static str, value: &Value, origin: Origin) -> Result<(), CliError> {
        let Some(setting) = setting(key) else { return Err(CliError::Failed(format!("{key} is no setting"))) };
        (setting.set)(&mut self.settings, value).map_err(|wanted| match &origin {
            Origin::File(..) => CliError::Usage(format!("{origin}: {key} {wanted}")),
            _ => CliError::Usage(format!("{origin} {wanted}")),
        })?;
        self.origins.insert(key, origin);
        Ok(())
    }

    /// Where a setting was said.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    fn rank(&self, key: &str) -> Rank {
        self.origin(key).rank()
    }

    /// Every setting with its value and where that was said.
    pub fn all(&self) -> impl Iterator<Item = (&'static Setting, Option<Value>, Origin)> {
        SETTINGS.iter().map(|setting| (setting, (setting.show)(&self.settings), self.origin(setting.key)))
    }

    /// What the server is to do.
    pub fn config(&self) -> Result<Config, CliError> {
        let said = &self.settings;
        let mut config = Config::at(self.place()?, &said.key_dir);
        config.listen = said.listen;
        config.insecure_http = said.insecure_http;
        config.tls = self.tls()?;
        config.proxies = Proxies::new(&said.trusted_proxies, said.forwarded_header)
            .map_err(|error| CliError::Usage(format!("{}: {error}", self.where_said("server.trusted_proxies"))))?;
        config.rates = said.rates.clone();
        config.standby = said.standby;
        config.origin.clone_from(&said.origin);
        config.bootstrap_token = self.bootstrap_token()?;
        config.parsers.clone_from(&said.parsers);
        config.segment_entries = said.segment_entries;
        config.min_free = said.min_free;
        config.seal_after = said.seal_after;
        config.limits = said.limits.clone();
        config.detection = DetectionConfig { enabled: said.detection, rules: said.rules.clone() };
        config.retention = Retention { days: said.retain_days, bytes: said.retain_bytes };
        let (whole_every, share) = (said.verify_all_every, said.verify_share);
        config.schedule = said.verify_every.map(|every| Schedule { every, whole_every, share });
        Ok(config)
    }

    /// Names a setting for an error, with the place where it was said.
    fn where_said(&self, key: &str) -> String {
        match self.origin(key) {
            origin @ Origin::File(..) => format!("{origin}: {key}"),
            Origin::Default => key.to_owned(),
            origin => origin.to_string(),
        }
    }

    fn tls(&self) -> Result<Option<TlsSource>, CliError> {
        let said = &self.settings;
        let refused = |what: &str| Err(CliError::Usage(what.to_owned()));
        match (&said.tls_cert, &said.tls_key) {
            (Some(_), Some(_)) if said.tls_self_signed => {
                refused("tls: either a certificate is given (cert, key), or the server makes one (self_signed)")
            }
            (Some(_), Some(_)) if !said.tls_names.is_empty() => {
                refused("tls.names are for a certificate that the server makes (self_signed)")
            }
            (Some(certificate), Some(key)) => {
                Ok(Some(TlsSource::Files { certificate: certificate.clone(), key: key.clone() }))
            }
            (Some(_), None) => refused("tls.key (--tls-key) is missing: the private key of the certificate"),
            (None, Some(_)) => refused("tls.cert (--tls-cert) is missing: the certificate of the key"),
            (None, None) if said.tls_self_signed => Ok(Some(TlsSource::SelfSigned { names: said.tls_names.clone() })),
            (None, None) if !said.tls_names.is_empty() => {
                refused("tls.names are for a certificate that the server makes: say tls.self_signed, too")
            }
            (None, None) => Ok(None),
        }
    }

    fn bootstrap_token(&self) -> Result<Option<Secret>, CliError> {
        self.secret("server.bootstrap_token", &self.settings.bootstrap_token, "server.bootstrap_token_file")
    }

    /// A secret that is in the environment or in a file of its own, whichever was said with more weight.
    fn secret(&self, key: &str, said: &Option<Secret>, file: &str) -> Result<Option<Secret>, CliError> {
        let path = match file {
            "store.password_file" => &self.settings.password_file,
            _ => &self.settings.bootstrap_token_file,
        };
        match path {
            Some(path) if said.is_none() || self.rank(file) >= self.rank(key) => {
                let text = Secret::new(read_text(path)?);
                // An editor's line feed at the end is none of the secret; anything else may be.
                Ok(Some(Secret::new(text.expose().trim_end_matches(['\r', '\n']).to_owned())))
            }
            _ => Ok(said.clone()),
        }
    }

    /// Where the log is.
    pub fn place(&self) -> Result<Place, CliError> {
        place::place(self)
    }
}
