//! Where a log lies: a directory of its own, or a database. Everything else opens stores through here alone.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sceau_event::Deriver;
use sceau_store::{
    Store, StoreError,
    embedded::{Embedded, Options},
    mongo::{Mongo, MongoOptions},
};

use crate::{config::Config, error::ServerError};

/// Where a log lies. It is shown without any password.
#[derive(Clone, Debug)]
pub enum Place {
    /// The embedded store in a directory.
    Directory(PathBuf),
    /// A MongoDB database.
    Mongo(Box<MongoOptions>),
}

impl From<PathBuf> for Place {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

impl From<MongoOptions> for Place {
    fn from(options: MongoOptions) -> Self {
        Self::Mongo(Box::new(options))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Mongo(options) => options.uri.fmt(f),
        }
    }
}

impl Place {
    /// The data directory, which the key directory must be apart from; none where a database server has the data.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Mongo(_) => None,
        }
    }

    /// What kind of place it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "data directory",
            Self::Mongo(_) => "database",
        }
    }

    /// Whether a log is there.
    ///
    /// # Errors
    /// The database can't be asked.
    pub async fn exists(&self) -> Result<bool, StoreError> {
        match self {
            Self::Directory(path) => Ok(Embedded::exists(path)),
            Self::Mongo(options) => Mongo::exists(options).await,
        }
    }

    /// Makes an empty log there.
    ///
    /// # Errors
    /// One is there already, or nothing can be written.
    pub async fn create(&self) -> Result<(), StoreError> {
        match self {
            Self::Directory(path) => Embedded::create(path),
            Self::Mongo(options) => Mongo::create(options).await,
        }
    }

    /// Opens the log; `options` are those of the embedded store.
    ///
    /// # Errors
    /// Somebody holds it, none is there, or it can't be read.
    pub(crate) async fn open_with(
        &self,
        deriver: Arc<Deriver>,
        options: Options,
    ) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Directory(path) => Arc::new(Embedded::open(path, deriver, options).await?),
            Self::Mongo(options) => Arc::new(Mongo::open(deriver, MongoOptions::clone(options)).await?),
        })
    }

    /// Opens the log with the sizes that everybody but a server uses.
    ///
    /// # Errors
    /// As for [`Place::open_with`].
    pub(crate) async fn open(&self, deriver: Arc<Deriver>) -> Result<Arc<dyn Store>, StoreError> {
        self.open_with(deriver, Options::default()).await
    }

    /// Refuses a database that a server writes to. A directory says so itself when it is opened.
    ///
    /// # Errors
    /// [`ServerError::Config`] names the server; the database can't be asked.
    pub(crate) async fn check_free(&self, deriver: Arc<Deriver>) -> Result<(), ServerError> {
        let Self::Mongo(options) = self else { return Ok(()) };
        let store = Mongo::open(deriver, MongoOptions::clone(options)).await?;
        match store.lease().await?.filter(|lease| !lease.left.is_zero()) {
            None => Ok(()),
            Some(lease) => Err(ServerError::Config(format!(
                "the server {} writes to {self}: stop it first (one that was killed is waited for another {} s)",
                lease.owner,
                lease.left.as_secs() + 1
            ))),
        }
    }

    /// Opens the log only to look at it, damaged as it may be; nothing is written. Says too whether a server writes to it
    /// meanwhile, which can only be in a database.
    ///
    /// # Errors
    /// As for [`Place::open_with`].
    pub(crate) async fn inspect(&self, deriver: Arc<Deriver>) -> Result<(Arc<dyn Store>, bool), StoreError> {
        Ok(match self {
            Self::Directory(path) => {
                let inspect = Options { inspect: true, ..Options::default() };
                (Arc::new(Embedded::open(path, deriver, inspect).await?), false)
            }
            Self::Mongo(options) => {
                let inspect = MongoOptions { inspect: true, ..MongoOptions::clone(options) };
                let store = Mongo::open(deriver, inspect).await?;
                let lease = store.lease().await?;
                (Arc::new(store), lease.is_some_and(|lease| !lease.left.is_zero()))
            }
        })
    }
}

/// Refuses settings that only the embedded store has, rather than to pass over them.
///
/// # Errors
/// [`ServerError::Parameter`] names the setting.
pub(crate) fn check_settings(config: &Config) -> Result<(), ServerError> {
    if config.place.directory().is_some() {
        return Ok(());
    }
    let settings = [
        (config.segment_entries != Options::default().segment_entries, "segment-entries", "a database has no segments"),
        (config.min_free.is_some(), "min-free", "the server doesn't see the database's disk: watch it where it is"),
    ];
    match settings.iter().find(|(is_set, ..)| *is_set) {
        Some((_, name, why)) => Err(ServerError::parameter(
            name,
            format!("is only for a data directory ({why}); leave it out with --store"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sceau_store::mongo::MongoUri;

    use super::*;

    #[test]
    fn what_only_a_directory_has_is_refused_by_name() {
        let options = MongoOptions::new(MongoUri::new("mongodb://127.0.0.1:1/sceau").unwrap());
        let config = || Config::at(options.clone(), "/keys");
        check_settings(&config()).unwrap();
        let refused = |name: &str, change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            let error = check_settings(&config).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.code(), "bad_parameter");
            config.place = PathBuf::from("/data").into();
            check_settings(&config).unwrap();
        };
        refused("segment-entries", |config| config.segment_entries = 512);
        refused("min-free", |config| config.min_free = Some(1));
    }
}
