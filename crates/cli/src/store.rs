//! Where a log lies, as the command line and the environment say it, and the password of a database.

use std::{convert::Infallible, env, ffi::OsString, fmt, path::PathBuf, str::FromStr};

use clap::Args;
use sceau_server::{Place, Secret};
use sceau_store::mongo::{self, MongoOptions, MongoUri};

use crate::{error::CliError, target::read_text};

/// Where a log is if nobody says so.
pub const DATA_DIR: &str = "./sceau-data";

/// The URI of a database, which may hold a password and is therefore never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl FromStr for Uri {
    // What is wrong with it is said later: clap would show it.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl Uri {
    /// The database that it names; none if it is no such URI, but maybe a directory.
    fn database(&self) -> Option<MongoUri> {
        MongoUri::new(self.0.as_str())
    }

    /// Whether there is a password in it.
    pub fn has_password(&self) -> bool {
        self.database().is_some_and(|uri| uri.has_password())
    }
}

/// What may be user and password in a URI, and where they begin.
fn user_info(text: &str) -> Option<(usize, &str)> {
    let start = text.find("://")? + 3;
    let rest = text.get(start..)?;
    // The last @: in a password that is not encoded as it should be, anything may stand, and too much is hidden rather
    // than too little.
    let end = rest.rfind('@')?;
    rest.get(..end).map(|info| (start, info))
}

/// A text in which nothing is left of the passwords that URIs in it hold.
pub fn redact(text: &str) -> String {
    let redacted = |word: &str| match user_info(word) {
        Some((start, info)) if info.contains(':') => {
            let user = info.split(':').next().unwrap_or_default();
            let (before, after) = (word.get(..start), word.get(start + info.len()..));
            format!("{}{user}:***{}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        _ => word.to_owned(),
    };
    text.split_inclusive(char::is_whitespace).map(redacted).collect()
}

/// A database that holds a log.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The MongoDB database that holds the log, e.g. mongodb://sceau@db.example.org/sceau?replicaSet=rs0
    /// [env: SCEAU_STORE].
    #[arg(long, value_name = "URI")]
    pub store: Option<Uri>,
    /// A file that holds the password for --store (or set SCEAU_STORE_PASSWORD).
    #[arg(long, value_name = "FILE")]
    pub store_password_file: Option<PathBuf>,
}

/// A variable of the environment that is set to something.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

impl StoreArgs {
    /// What was given, by the settings' names.
    pub fn options(&self) -> Vec<(&'static str, toml::Value)> {
        let uri = self.store.as_ref().map(|uri| ("store.uri", toml::Value::from(uri.0.as_str())));
        let file = self.store_password_file.as_ref();
        let file = file.map(|path| ("store.password_file", toml::Value::from(path.to_string_lossy().into_owned())));
        uri.into_iter().chain(file).collect()
    }

    /// The place that `--store` names, or that `SCEAU_STORE` does where `asks_environment` says so.
    pub fn place(
        &self,
        asks_environment: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Place>, CliError> {
        let named = asks_environment.then(|| variable("SCEAU_STORE")).flatten();
        let from_environment = named.map(|value| Uri(value.to_string_lossy().into_owned()));
        let (uri, option) = match (&self.store, from_environment) {
            (Some(uri), _) => (uri.clone(), "--store"),
            (None, Some(uri)) => (uri, "SCEAU_STORE"),
            (None, None) if self.store_password_file.is_some() => {
                return Err(CliError::Usage(
                    "--store-password-file is the password for --store, which is missing".into(),
                ));
            }
            (None, None) => return Ok(None),
        };
        if self.store.is_some() {
            warn_of_password(&uri, option);
        }
        let password = password(&uri, self.store_password_file.as_ref(), variable)?;
        database(&uri, password, option).map(Some)
    }

    /// The place that `--store`, `SCEAU_STORE`, `data_dir` or `SCEAU_DATA_DIR` names; options win over the environment.
    pub fn place_or(&self, data_dir: Option<&PathBuf>, default: &str) -> Result<Place, CliError> {
        if let Some(dir) = data_dir {
            if self.store.is_some() {
                return Err(CliError::Usage("a log is either in --store or in --data-dir: give one of them".into()));
            }
            return Ok(Place::Directory(dir.clone()));
        }
        if self.store.is_none() && variable("SCEAU_STORE").is_some() && variable("SCEAU_DATA_DIR").is_some() {
            return Err(CliError::Usage(
                "both SCEAU_STORE and SCEAU_DATA_DIR are set; say which log is meant with --store or --data-dir".into(),
            ));
        }
        if let Some(place) = self.place(true, variable)? {
            return Ok(place);
        }
        Ok(Place::Directory(variable("SCEAU_DATA_DIR").map_or_else(|| PathBuf::from(default), PathBuf::from)))
    }
}

/// The place that an option's value names: a database by its URI, else a directory.
pub fn place(text: &Uri, option: &str, password_file: Option<&PathBuf>) -> Result<Place, CliError> {
    if text.database().is_none() {
        return Ok(Place::Directory(PathBuf::from(&text.0)));
    }
    warn_of_password(text, option);
    database(text, password(text, password_file, variable)?, option)
}

/// The options of a database that is named by its URI alone.
pub fn options(text: &Uri, option: &str, password_file: Option<&PathBuf>) -> Result<MongoOptions, CliError> {
    warn_of_password(text, option);
    parse(text, password(text, password_file, variable)?, option)
}

fn password(
    uri: &Uri,
    file: Option<&PathBuf>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Secret>, CliError> {
    if let Some(path) = file {
        let text = Secret::new(read_text(path)?);
        // An editor's line feed at the end is none of the password; anything else may be.
        return Ok(Some(Secret::new(text.expose().trim_end_matches(['\r', '\n']).to_owned())));
    }
    // The environment's is for whoever gives none: a URI that has one is whole.
    if uri.has_password() {
        return Ok(None);
    }
    match variable("SCEAU_STORE_PASSWORD").map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(Secret::new(text))),
        Some(Err(_)) => Err(CliError::Usage("SCEAU_STORE_PASSWORD is not UTF-8".into())),
    }
}

/// The database that a URI names.
pub fn database(uri: &Uri, password: Option<Secret>, option: &str) -> Result<Place, CliError> {
    parse(uri, password, option).map(Place::from)
}

fn parse(uri: &Uri, password: Option<Secret>, option: &str) -> Result<MongoOptions, CliError> {
    let Some(uri) = uri.database() else {
        return Err(CliError::Usage(format!(
            "{option}: this is no MongoDB URI; it begins with mongodb:// or mongodb+srv://, e.g. \
             mongodb://sceau@db.example.org/sceau?replicaSet=rs0 (a directory is given with --data-dir)"
        )));
    };
    let password = password.map(|password| mongo::Secret::new(password.expose()));
    Ok(MongoOptions { password, ..MongoOptions::new(uri) })
}

/// Other users of the machine see command lines.
pub fn warn_of_password(uri: &Uri, option: &str) {
    if uri.has_password() {
        eprintln!(
            "sceau: warning: the password in {option} can be read in the machine's list of processes; leave it out of the \
             URI and give --store-password-file FILE or set SCEAU_STORE_PASSWORD"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        for (text, shown) in [
            ("mongodb://sceau:hidden@host/db?x=y", "mongodb://sceau:***@host/db?x=y"),
            ("mongodb://sceau:hid@den@host", "mongodb://sceau:***@host"),
            ("mongodb://sceau@host/db", "mongodb://sceau@host/db"),
            ("mongodb://host/db", "mongodb://host/db"),
            ("unexpected 'mongodb+srv://a:hidden@h/d' found", "unexpected 'mongodb+srv://a:***@h/d' found"),
        ] {
            assert_eq!(redact(text), shown);
        }
        let args = StoreArgs { store: Some("mongodb://sceau:hidden@host".parse().unwrap()), ..StoreArgs::default() };
        assert!(!format!("{args:?}").contains("hidden"));
    }

    #[test]
    fn the_password_comes_from_the_file_the_uri_or_the_environment() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " from file\n").unwrap();
        let variable = |name: &str| (name == "SCEAU_STORE_PASSWORD").then(|| OsString::from("from environment"));
        let given = |uri: &str, file: Option<&PathBuf>| {
            let found = password(&uri.parse().unwrap(), file, variable).unwrap();
            found.map(|secret| secret.expose().to_owned())
        };
        let path = file.path().to_owned();
        assert_eq!(given("mongodb://a@h", Some(&path)).as_deref(), Some(" from file"));
        assert_eq!(given("mongodb://a@h", None).as_deref(), Some("from environment"));
        assert_eq!(given("mongodb://a:b@h", None), None);
    }

    #[test]
    fn what_is_no_uri_is_told_what_to_do() {
        let args = StoreArgs { store: Some("/var/lib/sceau".parse().unwrap()), ..StoreArgs::default() };
        let refused = args.place(false, |_| None).unwrap_err();
        assert!(refused.code() == 2 && refused.to_string().contains("--data-dir"), "{refused}");
        let lone = StoreArgs { store_password_file: Some("p".into()), ..StoreArgs::default() };
        assert!(lone.place(true, |_| None).is_err());
    }
}
