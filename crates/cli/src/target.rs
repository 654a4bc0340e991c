//! Which log a command works on: a running server's, or one in a directory that no server holds.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Args;
use sceau_ledger::VerifierKey;
use sceau_server::{Config, Log, Reader, Secret};

use crate::{backend::Backend, client::Client, error::CliError};

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
    /// The data directory of a log that no server holds [env: SCEAU_DATA_DIR].
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub data_dir: Option<PathBuf>,
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
        self.resolve_with(|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn resolve_with(&self, variable: impl Fn(&str) -> Option<OsString>) -> Result<Target, CliError> {
        let mut url = self.url.clone();
        let mut data_dir = self.data_dir.clone();
        if url.is_none() && data_dir.is_none() {
            url = variable("SCEAU_URL").map(|value| value.to_string_lossy().into_owned());
            data_dir = variable("SCEAU_DATA_DIR").map(PathBuf::from);
        }
        match (url, data_dir) {
            (Some(_), Some(_)) => Err(CliError::Usage(
                "both SCEAU_URL and SCEAU_DATA_DIR are set; say which log is meant with --url or --data-dir".into(),
            )),
            (Some(url), None) => Ok(Target::Remote(Client::new(&url, self.token(variable)?)?)),
            (None, Some(data_dir)) => {
                let key_dir = self.key_dir.clone().or_else(|| variable("SCEAU_KEY_DIR").map(PathBuf::from));
                let known = key_dir.is_some();
                let mut config = Config::new(data_dir, key_dir.unwrap_or_default());
                config.parsers.clone_from(&self.parsers);
                Ok(Target::Local(Box::new(config), known))
            }
            (None, None) => Err(CliError::Usage(
                "which log? Give --url (or SCEAU_URL) for a running server, or --data-dir (or SCEAU_DATA_DIR) for a \
                 directory that no server holds"
                    .into(),
            )),
        }
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

/// Opens a log in a directory, to be written.
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
                assert_eq!((config.data_dir, config.key_dir, known), ("/e".into(), "/k".into(), true));
            }
            Target::Remote(_) => panic!("remote"),
        }
        assert!(matches!(resolve(TargetArgs::default(), &both), Err(CliError::Usage(_))));
        assert!(matches!(resolve(TargetArgs::default(), &[]), Err(CliError::Usage(_))));
        assert!(matches!(resolve(TargetArgs::default(), &both[..1]), Ok(Target::Remote(_))));
    }
}
