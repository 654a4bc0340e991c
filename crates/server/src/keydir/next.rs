//! New keys that are being put in the place of old ones, step by step (`docs/format.md`, "Crash order of every key
//! step").

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard},
};

use sceau_ledger::{LogKey, MacKey, MacKeys};

use super::{KeyDir, LOG_KEY, MAC_KEY, create_file, paths::sync_directory, random};
use crate::error::ServerError;

/// A log key that no entry has named yet.
pub const LOG_KEY_NEXT: &str = "log.key.next";
/// The log key before the present one, about to be overwritten.
pub const LOG_KEY_OLD: &str = "log.key.old";
/// A MAC key that no entry has named yet.
pub const MAC_KEY_NEXT: &str = "mac.key.next";

/// The keys that can be replaced while the directory is open.
#[derive(Debug)]
pub(super) struct Live {
    pub log: Arc<LogKey>,
    pub next_log: Option<Arc<LogKey>>,
    pub mac: MacKeys,
    pub next_mac: Option<MacKey>,
}

impl KeyDir {
    pub(super) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a log key durable beside the present one.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn prepare_log(&self) -> Result<Arc<LogKey>, ServerError> {
        let key = LogKey::from_seed(&self.origin, &*random::<32>()?)?;
        create_file(&self.path, LOG_KEY_NEXT, format!("{}\n", key.to_secret().as_str()).as_bytes())?;
        let key = Arc::new(key);
        self.live_mut().next_log = Some(key.clone());
        Ok(key)
    }

    /// Puts the next log key, which an entry names, in the place of the present one, and destroys that.
    ///
    /// # Errors
    /// A file can't be written; the next start goes on.
    pub fn finish_log(&self) -> Result<(), ServerError> {
        let Some(next) = self.live().next_log.clone() else { return Ok(()) };
        let (present, old) = (self.path.join(LOG_KEY), self.path.join(LOG_KEY_OLD));
        let mut replaced = None;
        if !old.exists() {
            // The key keeps a name until it is overwritten, so that a stop in between does not leave it on the disk.
            match std::fs::hard_link(&present, &old) {
                Ok(()) => sync_directory(&self.path)?,
                // Some file systems have no second names.
                Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                    let file = OpenOptions::new().write(true).open(&present);
                    replaced = Some(file.map_err(failed("opening", &present))?);
                }
                Err(error) => return Err(failed("linking", &old)(error)),
            }
        }
        std::fs::rename(self.path.join(LOG_KEY_NEXT), &present).map_err(failed("renaming", &present))?;
        sync_directory(&self.path)?;
        if let Some(mut file) = replaced {
            overwrite(&mut file).map_err(failed("overwriting the key before", &present))?;
        }
        self.sweep_old()?;
        let mut live = self.live_mut();
        live.log = next;
        live.next_log = None;
        Ok(())
    }

    /// Destroys a log key that was replaced before a stop.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn sweep_old(&self) -> Result<(), ServerError> {
        let old = self.path.join(LOG_KEY_OLD);
        if !old.exists() {
            return Ok(());
        }
        let inode = |path: &Path| std::fs::metadata(path).map(|found| found.ino()).map_err(failed("looking at", path));
        if inode(&old)? == inode(&self.path.join(LOG_KEY))? {
            // Only a second name of the present key.
            std::fs::remove_file(&old).map_err(failed("removing", &old))?;
            return sync_directory(&self.path);
        }
        destroy(&self.path, LOG_KEY_OLD)
    }

    /// Destroys a next log key that no entry names.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn abandon_log(&self) -> Result<(), ServerError> {
        self.live_mut().next_log = None;
        destroy(&self.path, LOG_KEY_NEXT)
    }

    /// Makes a MAC key durable beside the present ones.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn prepare_mac(&self) -> Result<MacKey, ServerError> {
        let key = MacKey::from_bytes(*random::<32>()?);
        create_file(&self.path, MAC_KEY_NEXT, format!("{}\n", key.to_secret().as_str()).as_bytes())?;
        self.live_mut().next_mac = Some(key.clone());
        Ok(key)
    }

    /// Takes a MAC key into use from bundle `bundle` on, in memory.
    pub fn adopt_mac(&self, bundle: u64, key: &MacKey) {
        self.live_mut().mac.add(bundle, key.clone());
    }

    /// Adds the next MAC key, which an entry names, to those in the file.
    ///
    /// # Errors
    /// A file can't be written; the next start goes on.
    pub fn finish_mac(&self, bundle: u64) -> Result<(), ServerError> {
        let Some(next) = self.live().next_mac.clone() else { return Ok(()) };
        self.adopt_mac(bundle, &next);
        let text = self.mac_keys().to_text();
        create_file(&self.path, MAC_KEY, text.as_bytes())?;
        self.abandon_mac()
    }

    /// Destroys the file of the next MAC key.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn abandon_mac(&self) -> Result<(), ServerError> {
        self.live_mut().next_mac = None;
        destroy(&self.path, MAC_KEY_NEXT)
    }
}

/// Overwrites a file, if it is there, durably, before it is removed.
pub(super) fn destroy(directory: &Path, name: &str) -> Result<(), ServerError> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(());
    }
    let mut file = OpenOptions::new().write(true).open(&path).map_err(failed("opening", &path))?;
    overwrite(&mut file).map_err(failed("overwriting", &path))?;
    std::fs::remove_file(&path).map_err(failed("removing", &path))?;
    sync_directory(directory)
}

/// Overwrites a whole file with zeros, durably.
fn overwrite(file: &mut File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    std::io::copy(&mut std::io::repeat(0).take(length), file)?;
    file.sync_all()
}

fn failed(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> ServerError + use<> {
    ServerError::io(format!("{what} {}", path.display()))
}
