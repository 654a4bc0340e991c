//! Which log a command works on: a running server's, or one that no server holds, in a directory or a database.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;
use sceau_ledger::VerifierKey;
use sceau_server::{Config, Log, Place, Reader, Secret};

use crate::{
    backend::Backend,
    client::{Client, TrustArgs},
    error::CliError,
    store::{self, StoreArgs},
};

/// Where the log is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which log")]
pub struct TargetArgs {
    /// A running server, e.g. http://127.0.0.1:8080 [env: SCEAU_URL].
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file that holds the token for --url (or set SCEAU_TOKEN).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    #[command(flatten)]
    pub trust: TrustArgs,
    /// The data directory of a log that no server holds [env: SCEAU_DATA_DIR].
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "store"])]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The log's key directory [env: SCEAU_KEY_DIR].
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub key_dir: Option<PathBuf>,
    /// A directory of further parsers, as given to `sceau serve`.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub parsers: Option<PathBuf>,
}

/// A log to work on.
#[derive(Debug)]
pub enum Target {
    /// Through a running server.
    Remote(Client),
    /// Directly. Whether the key directory is known.
    Local(Box<Config>, bool),
}

impl TargetArgs {
    /// Finds the log. Options win over the environment.
    pub fn resolve(&self) -> Result<Target, CliError> {
        self.resolve_with(store::variable)
    }

    fn resolve_with(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Target, CliError> {
        let mut url = self.url.clone();
        let mut data_dir = self.data_dir.clone();
        let unsaid = url.is_none() && data_dir.is_none() && self.store.store.is_none();
        if unsaid {
            url = variable("SCEAU_URL").map(|value| value.to_string_lossy().into_owned());
            data_dir = variable("SCEAU_DATA_DIR").map(PathBuf::from);
        }
        let database = self.store.place(unsaid, &variable)?;
        match (url, data_dir.map(Place::Directory), database) {
            (Some(url), None, None) => {
                let trust = self.trust_with(&variable);
                Ok(Target::Remote(Client::new(&url, self.token(variable)?, &trust)?))
            }
            (None, Some(place), None) | (None, None, Some(place)) => {
                let key_dir = self.key_dir.clone().or_else(|| variable("SCEAU_KEY_DIR").map(PathBuf::from));
                let known = key_dir.is_some();
                let mut config = Config::at(place, key_dir.unwrap_or_default());
                config.parsers.clone_from(&self.parsers);
                Ok(Target::Local(Box::new(config), known))
            }
            (None, None, None) => Err(CliError::Usage(
                "which log? Give --url (or SCEAU_URL) for a running server, or --data-dir (or SCEAU_DATA_DIR) for a \
                 directory or --store (or SCEAU_STORE) for a database that no server holds"
                    .into(),
            )),
            _ => Err(CliError::Usage(
                "several of SCEAU_URL, SCEAU_DATA_DIR and SCEAU_STORE are set; say which log is meant with --url, \
                 --data-dir or --store"
                    .into(),
            )),
        }
    }

    /// Whom to believe; an option wins over both variables.
    fn trust_with(&self, variable: impl Fn(&str) -> Option<OsString>) -> TrustArgs {
        let mut trust = self.trust.clone();
        if trust.ca_file.is_none() && trust.tls_fingerprint.is_none() {
            trust.ca_file = variable("SCEAU_CA_FILE").map(PathBuf::from);
            trust.tls_fingerprint = variable("SCEAU_TLS_FINGERPRINT").map(|text| text.to_string_lossy().into_owned());
        }
        trust
    }

    fn token(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Secret>, CliError> {
        let text = match &self.token_file {
            Some(path) => Some(read_text(path)?),
            None => variable("SCEAU_TOKEN").map(|value| value.to_string_lossy().into_owned()),
        };
        Ok(text.map(|text| Secret::new(text.trim().to_owned())))
    }

    /// The log, to be read.
    pub async fn backend(&self) -> Result<Backend, CliError> {
        match self.resolve()? {
            Target::Remote(client) => Ok(Backend::Remote(client)),
            Target::Local(config, _) => Ok(Backend::Local(Box::new(Reader::open(&config).await?))),
        }
    }
}

/// Opens a log that no server holds, to be written.
pub async fn open_log(config: &Config, keys_known: bool) -> Result<Log, CliError> {
    if !keys_known {
        return Err(CliError::Usage(
            "writing seals, so it needs the keys: give --key-dir (or SCEAU_KEY_DIR) too".into(),
        ));
    }
    Ok(Log::open(config).await?)
}

/// A key as given: itself, or @FILE that holds it.
pub fn or_file(text: &str) -> Result<String, CliError> {
    let text = match text.strip_prefix('@') {
        Some(path) => read_text(path.as_ref())?,
        None => text.to_owned(),
    };
    Ok(text.trim().to_owned())
}

/// Reads a verifier key that was given with --verifier-key.
pub fn verifier_key(text: &str) -> Result<VerifierKey, CliError> {
    let text = or_file(text)?;
    text.parse().map_err(|error| {
        CliError::Usage(format!("--verifier-key: {error}; give it as `sceau keys` prints it: NAME+HASH+KEY"))
    })
}

/// Reads a small text file.
pub fn read_text(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(CliError::file("reading", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(args: TargetArgs, variables: &[(&str, &str)]) -> Result<Target, CliError> {
        args.resolve_with(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn options_win_over_the_environment() {
        let both = [("SCEAU_URL", "http://127.0.0.1:1"), ("SCEAU_DATA_DIR", "/d"), ("SCEAU_KEY_DIR", "/k")];
        let url = TargetArgs { url: Some("http://localhost:2".into()), ..TargetArgs::default() };
        assert!(matches!(resolve(url, &both), Ok(Target::Remote(_))));
        let dir = TargetArgs { data_dir: Some("/e".into()), ..TargetArgs::default() };
        match resolve(dir, &both).unwrap() {
            Target::Local(config, known) => {
                assert_eq!(config.place.directory(), Some(Path::new("/e")));
                assert_eq!((config.key_dir, known), ("/k".into(), true));
            }
            Target::Remote(_) => panic!("remote"),
        }
        assert!(matches!(resolve(TargetArgs::default(), &both), Err(CliError::Usage(_))));
        assert!(matches!(resolve(TargetArgs::default(), &[]), Err(CliError::Usage(_))));
        assert!(matches!(resolve(TargetArgs::default(), &both[..1]), Ok(Target::Remote(_))));
    }

    #[test]
    fn a_database_is_a_place_like_a_directory() {
        let variables = [("SCEAU_STORE", "mongodb://sceau:hidden@127.0.0.1:1/logs"), ("SCEAU_DATA_DIR", "/d")];
        let at = |target: Result<Target, CliError>| match target.unwrap() {
            Target::Local(config, false) => config.place.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(resolve(TargetArgs::default(), &variables[..1])), "mongodb://sceau@127.0.0.1:1/logs");
        let stored = || StoreArgs { store: Some("mongodb://127.0.0.1:1".parse().unwrap()), ..StoreArgs::default() };
        let named = TargetArgs { store: stored(), ..TargetArgs::default() };
        assert_eq!(at(resolve(named, &variables)), "mongodb://127.0.0.1:1");
        let both = resolve(TargetArgs::default(), &variables).unwrap_err();
        assert!(both.to_string().contains("SCEAU_STORE"), "{both}");
        let shown = format!("{:?}", resolve(TargetArgs::default(), &variables[..1]).unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
