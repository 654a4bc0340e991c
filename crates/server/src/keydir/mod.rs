//! The key directory: everything that must not be found together with the data.
//!
//! Invariant: it is never inside the data directory nor the other way round, nobody but its owner can read it, and a
//! file in it is either whole or not there (the epoch key and the heads are overwritten in place, in slots that can't
//! tear each other).

mod accounts;
mod heads;
mod next;
mod paths;
mod replace;

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use sceau_ledger::{EpochKey, FILE_SIZE, Head, LogKey, MacKey, MacKeys, Slot, decode, encode, wiped};
use zeroize::Zeroizing;

use crate::error::ServerError;
pub use accounts::ACCOUNTS_KEY;
pub(crate) use accounts::AccountsKey;
pub use heads::Heads;
use next::Live;
pub use next::{LOG_KEY_NEXT, LOG_KEY_OLD, MAC_KEY_NEXT};
pub(crate) use paths::check_apart;
use paths::{check_directory, check_file, create_directory, sync_directory};
pub(crate) use replace::{Drawn, Left, Replacing};

/// The most bytes of a file of text that are read: room for some 10,000 MAC keys.
const MAX_TEXT: u64 = 1 << 20;
/// The file of the log's signing key.
pub const LOG_KEY: &str = "log.key";
/// The file of the MAC key.
pub const MAC_KEY: &str = "mac.key";
/// The file of the epoch keys.
pub const EPOCH_KEY: &str = "epoch.key";
/// The file of the newest committed heads.
pub const HEADS: &str = "heads";
/// The file of the log's origin.
pub const ORIGIN: &str = "origin";
/// The file of the directory's format. It is missing in a directory of format 1. From format 2 on every document of the
/// state has a MAC.
pub const FORMAT: &str = "format";
/// The newest format that is known.
const KNOWN_FORMAT: u64 = 2;
/// The files that are there only while a key is being replaced.
const PASSING: [&str; 4] = [LOG_KEY_NEXT, LOG_KEY_OLD, MAC_KEY_NEXT, replace::REPLACING];
/// The files in the order in which they are made: none is made before those in front of it are durable.
const ORDER: [&str; 5] = [ORIGIN, LOG_KEY, MAC_KEY, EPOCH_KEY, HEADS];

/// An open key directory.
#[derive(Debug)]
pub struct KeyDir {
    path: PathBuf,
    origin: String,
    live: RwLock<Live>,
    epoch_file: File,
    heads: Mutex<Heads>,
    format: AtomicU64,
}

impl KeyDir {
    /// Makes the directory, or goes on where an earlier attempt stopped. Existing keys are never replaced.
    ///
    /// # Errors
    /// [`ServerError::KeyDir`] names the file and what is wrong with it.
    pub fn create(path: &Path, data_dir: Option<&Path>, origin: &str) -> Result<Self, ServerError> {
        check_apart(path, data_dir)?;
        create_directory(path)?;
        check_directory(path)?;
        for name in ORDER {
            let file = path.join(name);
            if !file.exists() {
                create_file(path, name, &fresh(name, origin)?)?;
            }
        }
        if !path.join(FORMAT).exists() {
            create_file(path, FORMAT, format!("{KNOWN_FORMAT}\n").as_bytes())?;
        }
        if !path.join(ACCOUNTS_KEY).exists() {
            accounts::create(path)?;
        }
        // An earlier attempt may have ended between a file's renaming and this.
        sync_directory(path)?;
        Self::open(path, data_dir)
    }

    /// Completes a directory for a further server of a log: it holds copies of the log's keys, and gets epoch keys of its
    /// own. Existing files are never replaced.
    ///
    /// # Errors
    /// [`ServerError::KeyDir`] if a copy is missing, or the epoch key was copied too.
    pub(crate) fn join(path: &Path) -> Result<Self, ServerError> {
        check_directory(path)?;
        for name in [ORIGIN, LOG_KEY, MAC_KEY, FORMAT, ACCOUNTS_KEY] {
            if !path.join(name).exists() {
                let reason =
                    format!("is missing: copy it from the key directory of the server that has the log ({name})");
                return Err(ServerError::KeyDir { path: path.join(name), reason });
            }
        }
        for name in [EPOCH_KEY, HEADS].into_iter().filter(|name| !path.join(name).exists()) {
            create_file(path, name, &fresh(name, "")?)?;
        }
        sync_directory(path)?;
        let keys = Self::open(path, None)?;
        match keys.epoch_slots()?.as_slice() {
            [slot] if slot.is_fresh() => Ok(keys),
            _ => Err(ServerError::KeyDir {
                path: path.join(EPOCH_KEY),
                reason:
                    "has sealed something, or was copied: each server has an epoch key of its own. Remove the copy and \
                         run this again; in the directory of a server that has had the log, leave it"
                        .to_owned(),
            }),
        }
    }

    /// Whether it has the log's keys, as a copy of them has, and no epoch key.
    pub(crate) fn lacks_epoch_key(path: &Path) -> bool {
        path.join(LOG_KEY).exists() && !path.join(EPOCH_KEY).exists()
    }

    /// The origin that an earlier attempt to make the directory has noted.
    ///
    /// # Errors
    /// [`ServerError::KeyDir`] if the note can't be read.
    pub fn noted_origin(path: &Path) -> Result<Option<String>, ServerError> {
        if path.join(ORIGIN).exists() { text(path, ORIGIN).map(|text| Some(text.to_string())) } else { Ok(None) }
    }

    /// Whether every file is there.
    pub fn is_complete(path: &Path) -> bool {
        ORDER.iter().all(|name| path.join(name).exists())
    }

    /// Opens a directory in which every file must be. It must be apart from `data_dir`, where the log lies in one.
    ///
    /// # Errors
    /// [`ServerError::KeyDir`] names the file and what is wrong with it.
    pub fn open(path: &Path, data_dir: Option<&Path>) -> Result<Self, ServerError> {
        check_apart(path, data_dir)?;
        check_directory(path)?;
        let format = format_of(path)?;
        for name in ORDER {
            check_file(&path.join(name))?;
        }
        for name in PASSING.into_iter().chain([ACCOUNTS_KEY]).filter(|name| path.join(name).symlink_metadata().is_ok())
        {
            check_file(&path.join(name))?;
        }
        let broken = |name: &str| {
            let path = path.join(name);
            move |error: sceau_ledger::LedgerError| ServerError::KeyDir { path, reason: error.to_string() }
        };
        let log_key = LogKey::from_secret(&text(path, LOG_KEY)?).map_err(broken(LOG_KEY))?;
        let origin = text(path, ORIGIN)?;
        if origin.as_str() != log_key.origin() {
            let reason = format!("says {:?}, but log.key is the key of {:?}", origin.as_str(), log_key.origin());
            return Err(ServerError::KeyDir { path: path.join(ORIGIN), reason });
        }
        let mac = MacKeys::from_text(&lines(path, MAC_KEY)?).map_err(broken(MAC_KEY))?;
        // One that is no key was being destroyed when everything stopped: it is made whole or not at all.
        let passing = |name: &str| text(path, name).ok();
        let next_log = passing(LOG_KEY_NEXT).and_then(|text| LogKey::from_secret(&text).ok());
        let next_mac = passing(MAC_KEY_NEXT).and_then(|text| MacKey::from_secret(&text).ok());
        let epoch_file = open_in_place(&path.join(EPOCH_KEY))?;
        let heads = Mutex::new(open_heads(path)?);
        let format = AtomicU64::new(format);
        let live = Live { log: Arc::new(log_key), next_log: next_log.map(Arc::new), mac, next_mac };
        Ok(Self {
            path: path.to_owned(),
            origin: origin.to_string(),
            live: RwLock::new(live),
            epoch_file,
            heads,
            format,
        })
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Signs checkpoints.
    pub fn log_key(&self) -> Arc<LogKey> {
        self.live().log.clone()
    }

    /// A log key that was made durable but is not in the place of the present one yet.
    pub fn next_log_key(&self) -> Option<Arc<LogKey>> {
        self.live().next_log.clone()
    }

    /// Authenticate bundles.
    pub fn mac_keys(&self) -> MacKeys {
        self.live().mac.clone()
    }

    /// A MAC key that was made durable but is not among the others yet.
    pub fn next_mac_key(&self) -> Option<MacKey> {
        self.live().next_mac.clone()
    }

    /// Whether every document of the state has a MAC by now.
    pub fn notes_state(&self) -> bool {
        self.format.load(Ordering::Acquire) >= KNOWN_FORMAT
    }

    /// Notes durably that every document of the state has a MAC.
    ///
    /// # Errors
    /// The note can't be written.
    pub(crate) fn note_state(&self) -> Result<(), ServerError> {
        create_file(&self.path, FORMAT, format!("{KNOWN_FORMAT}\n").as_bytes())?;
        self.format.store(KNOWN_FORMAT, Ordering::Release);
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The epoch keys in the file, the oldest first.
    ///
    /// # Errors
    /// [`ServerError::KeyDir`] if the file is damaged.
    pub fn epoch_slots(&self) -> Result<Vec<Slot>, ServerError> {
        let mut bytes = Zeroizing::new(vec![0; FILE_SIZE + 1]);
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.epoch_file.read_at(rest, read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) => return Err(self.epoch_io("read")(error)),
            }
        }
        decode(bytes.get(..read).unwrap_or_default()).map_err(|error| self.epoch_broken(&error))
    }

    /// Makes a slot durable.
    ///
    /// # Errors
    /// The write or the fsync failed: nobody knows what is in the slot.
    pub fn write_slot(&self, slot: &Slot) -> Result<(), ServerError> {
        self.epoch_file.write_all_at(encode(slot).as_slice(), slot.offset()).map_err(self.epoch_io("write"))?;
        self.epoch_file.sync_all().map_err(self.epoch_io("fsync"))
    }

    /// Overwrites a slot and makes that durable.
    ///
    /// # Errors
    /// The write or the fsync failed: the old key may still be there.
    pub fn wipe_slot(&self, place: u8) -> Result<(), ServerError> {
        let offset = u64::from(place) * sceau_ledger::SLOT_SIZE as u64;
        self.epoch_file.write_all_at(&wiped(), offset).map_err(self.epoch_io("overwrite"))?;
        self.epoch_file.sync_all().map_err(self.epoch_io("fsync"))
    }

    /// Notes a committed head, without fsync: after a power loss the note may be an older one, never a newer.
    ///
    /// # Errors
    /// The write failed.
    pub fn note_head(&self, head: &Head) -> Result<(), ServerError> {
        let mut heads = self.heads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        heads.write(head).map_err(ServerError::io(format!("writing {}", self.path.join(HEADS).display())))
    }

    /// The newest head noted; `None` before the first commit.
    pub fn noted_head(&self) -> Option<Head> {
        self.heads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).newest()
    }

    fn epoch_broken(&self, error: &sceau_ledger::LedgerError) -> ServerError {
        ServerError::KeyDir { path: self.path.join(EPOCH_KEY), reason: error.to_string() }
    }

    fn epoch_io(&self, what: &str) -> impl FnOnce(std::io::Error) -> ServerError {
        ServerError::io(format!("{what} {}", self.path.join(EPOCH_KEY).display()))
    }
}

fn open_heads(path: &Path) -> Result<Heads, ServerError> {
    let path = path.join(HEADS);
    let reason = "both of its notes are damaged, so nothing shows whether the log is an older copy: restore it \
                  from your backup, or give it up with `sceau keys replace`, which verifies the whole log first";
    Heads::open(&path)?.ok_or(ServerError::KeyDir { path, reason: reason.to_owned() })
}

/// The directory's format; a newer one is refused before anything else is read.
fn format_of(path: &Path) -> Result<u64, ServerError> {
    if path.join(FORMAT).symlink_metadata().is_err() {
        return Ok(1);
    }
    check_file(&path.join(FORMAT))?;
    let text = text(path, FORMAT)?;
    let refused = |reason: String| ServerError::KeyDir { path: path.join(FORMAT), reason };
    match text.parse::<u64>() {
        Ok(format @ 1..=KNOWN_FORMAT) => Ok(format),
        Ok(format) if format > KNOWN_FORMAT => {
            Err(refused(format!("has format {format}, this version reads up to {KNOWN_FORMAT}; use a newer sceau")))
        }
        _ => Err(refused(format!("is not the number of a format; it should be one line with a {KNOWN_FORMAT}"))),
    }
}

/// 32 bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, ServerError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| ServerError::Internal(format!("the system gives no random numbers: {error}")))?;
    Ok(bytes)
}

/// The first content of a file.
fn fresh(name: &str, origin: &str) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    let line = |text: &str| Zeroizing::new(format!("{text}\n").into_bytes());
    Ok(match name {
        ORIGIN => line(origin),
        LOG_KEY => line(&LogKey::from_seed(origin, &*random::<32>()?)?.to_secret()),
        MAC_KEY => line(&MacKey::from_bytes(*random::<32>()?).to_secret()),
        EPOCH_KEY => {
            let slot = Slot::first(&EpochKey::from_seed(0, &*random::<32>()?));
            let mut bytes = Zeroizing::new(vec![0; FILE_SIZE]);
            if let Some(place) = bytes.get_mut(..sceau_ledger::SLOT_SIZE) {
                place.copy_from_slice(encode(&slot).as_slice());
            }
            bytes
        }
        _ => Zeroizing::new(vec![0; heads::SIZE]),
    })
}

/// Makes a file durable under a temporary name before it gets its own.
fn create_file(directory: &Path, name: &str, content: &[u8]) -> Result<(), ServerError> {
    let temporary = directory.join(format!(".{name}.new"));
    let failed = |what: &str| ServerError::io(format!("{what} {}", temporary.display()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("creating"))?;
    file.write_all(content).map_err(failed("writing"))?;
    file.sync_all().map_err(failed("fsync of"))?;
    std::fs::rename(&temporary, directory.join(name)).map_err(failed("renaming"))?;
    sync_directory(directory)
}

/// Makes a further file of the directory durable, under its name or not at all.
pub(crate) fn keep_file(directory: &Path, name: &str, content: &[u8]) -> Result<(), ServerError> {
    create_file(directory, name, content)
}

/// A further file of the directory, if it is there; nobody but the directory's owner may be able to read it.
pub(crate) fn read_file(directory: &Path, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, ServerError> {
    let path = directory.join(name);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    check_file(&path)?;
    let failed = || ServerError::io(format!("reading {}", path.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(&path).map_err(failed())?.take(MAX_TEXT).read_to_end(&mut bytes).map_err(failed())?;
    Ok(Some(bytes))
}

fn open_in_place(path: &Path) -> Result<File, ServerError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(ServerError::io(format!("opening {}", path.display())))
}

/// The single line of a file.
fn text(directory: &Path, name: &str) -> Result<Zeroizing<String>, ServerError> {
    let text = lines(directory, name)?;
    match text.strip_suffix('\n') {
        Some(line) if !line.contains('\n') => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(ServerError::KeyDir {
            path: directory.join(name),
            reason: "is not one whole line; restore it from your backup".into(),
        }),
    }
}

/// The text of a file.
fn lines(directory: &Path, name: &str) -> Result<Zeroizing<String>, ServerError> {
    let path = directory.join(name);
    let mut text = Zeroizing::new(String::new());
    let file = File::open(&path).map_err(ServerError::io(format!("opening {}", path.display())))?;
    file.take(MAX_TEXT).read_to_string(&mut text).map_err(ServerError::io(format!("reading {}", path.display())))?;
    Ok(text)
}

/// Leaves the note that files are being replaced, as a stop can.
#[cfg(test)]
pub(crate) fn leave_note(path: &Path, replacing: &Replacing) {
    create_file(path, replace::REPLACING, replacing.to_line().as_bytes()).unwrap();
}

#[cfg(test)]
mod tests;
