//! New files in the place of lost ones.

use std::path::Path;

use sceau_ledger::{EpochKey, FILE_SIZE, Head, LedgerError, LogKey, Lost, MacKey, MacKeys, Slot, decode, encode};
use zeroize::Zeroizing;

use super::{
    EPOCH_KEY, FORMAT, HEADS, Heads, KeyDir, LOG_KEY, LOG_KEY_NEXT, MAC_KEY, ORIGIN, create_file, format_of, heads,
    lines,
    next::destroy,
    paths::{check_apart, check_directory, check_file, create_directory, sync_directory},
    random, text,
};
use crate::error::ServerError;

/// Says that lost files are being replaced: the index of the entry that will say so, and the words for what was lost.
pub const REPLACING: &str = "replacing";

/// A replacement that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacing {
    /// The entry that says so, once it is there.
    pub index: u64,
    /// What was lost.
    pub lost: Vec<Lost>,
}

impl Replacing {
    pub(super) fn to_line(&self) -> String {
        let words: Vec<&str> = self.lost.iter().map(|lost| lost.word()).collect();
        format!("{} {}\n", self.index, words.join(" "))
    }

    fn read(path: &Path) -> Result<Option<Self>, ServerError> {
        if !path.join(REPLACING).exists() {
            return Ok(None);
        }
        let line = text(path, REPLACING)?;
        let mut words = line.split(' ');
        let all = [Lost::Log, Lost::Mac, Lost::Epoch, Lost::Heads];
        let index = words.next().and_then(|word| word.parse().ok());
        let lost: Option<Vec<Lost>> = words.map(|word| all.into_iter().find(|lost| lost.word() == word)).collect();
        match (index, lost) {
            (Some(index), Some(lost)) => Ok(Some(Self { index, lost })),
            _ => Err(ServerError::KeyDir { path: path.join(REPLACING), reason: "can't be understood".into() }),
        }
    }
}

/// What is left of a key directory.
pub(crate) struct Left {
    pub log: Option<LogKey>,
    /// A log key that a rotation has prepared.
    pub next_log: Option<LogKey>,
    pub mac: Option<MacKeys>,
    /// The epoch keys, the oldest first; none if the file is lost.
    pub slots: Option<Vec<Slot>>,
    /// The newest head noted, if that file is there; it may hold none yet.
    pub heads: Option<Option<Head>>,
    pub replacing: Option<Replacing>,
}

impl Left {
    /// Looks at what is there. A file that can't be read as what it is counts as lost.
    ///
    /// # Errors
    /// The directory can't be used, or a newer version wrote it.
    pub fn look(path: &Path, data_dir: Option<&Path>) -> Result<Self, ServerError> {
        check_apart(path, data_dir)?;
        let mut left = Self { log: None, next_log: None, mac: None, slots: None, heads: None, replacing: None };
        if path.symlink_metadata().is_err() {
            return Ok(left);
        }
        check_directory(path)?;
        // What a newer version wrote is not lost, only unreadable here.
        format_of(path)?;
        left.replacing = Replacing::read(path)?;
        let there = |name: &str| -> Result<bool, ServerError> {
            let file = path.join(name);
            if file.symlink_metadata().is_err() {
                return Ok(false);
            }
            check_file(&file).map(|()| true)
        };
        if there(LOG_KEY)? {
            left.log = LogKey::from_secret(&text(path, LOG_KEY).unwrap_or_default()).ok();
        }
        if there(LOG_KEY_NEXT)? {
            left.next_log = LogKey::from_secret(&text(path, LOG_KEY_NEXT).unwrap_or_default()).ok();
        }
        if there(MAC_KEY)? {
            left.mac = MacKeys::from_text(&lines(path, MAC_KEY).unwrap_or_default()).ok();
        }
        if there(EPOCH_KEY)? {
            let file = path.join(EPOCH_KEY);
            let bytes = std::fs::read(&file).map_err(ServerError::io(format!("reading {}", file.display())))?;
            left.slots = match decode(&Zeroizing::new(bytes)) {
                Err(error @ LedgerError::KeyFileVersion { .. }) => {
                    return Err(ServerError::KeyDir { path: file, reason: error.to_string() });
                }
                slots => slots.ok(),
            };
        }
        if there(HEADS)? {
            left.heads = Heads::open(&path.join(HEADS))?.map(|heads| heads.newest());
        }
        Ok(left)
    }
}

/// The keys that were drawn in the place of lost ones.
pub(crate) struct Drawn {
    pub log: Option<LogKey>,
    pub mac: Option<(u64, MacKey)>,
    pub epoch: Option<EpochKey>,
}

impl Drawn {
    /// Draws what is lost: a MAC key that counts from bundle `bundle` on, the key of epoch `epoch`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(lost: &[Lost], origin: &str, bundle: u64, epoch: u64) -> Result<Self, ServerError> {
        let is_lost = |what| lost.contains(&what);
        Ok(Self {
            log: if is_lost(Lost::Log) { Some(LogKey::from_seed(origin, &*random::<32>()?)?) } else { None },
            mac: if is_lost(Lost::Mac) { Some((bundle, MacKey::from_bytes(*random::<32>()?))) } else { None },
            epoch: if is_lost(Lost::Epoch) { Some(EpochKey::from_seed(epoch, &*random::<32>()?)) } else { None },
        })
    }

    /// Makes the files durable, after the note that they are being made. What lay in their place is overwritten.
    ///
    /// # Errors
    /// A file can't be written; doing it again is harmless.
    pub fn write(&self, path: &Path, origin: &str, replacing: &Replacing) -> Result<(), ServerError> {
        create_directory(path)?;
        check_directory(path)?;
        create_file(path, REPLACING, replacing.to_line().as_bytes())?;
        let line = |text: &str| Zeroizing::new(format!("{text}\n").into_bytes());
        let put = |name: &str, content: &[u8]| -> Result<(), ServerError> {
            destroy(path, name)?;
            create_file(path, name, content)
        };
        put(ORIGIN, &line(origin))?;
        if let Some(key) = &self.log {
            put(LOG_KEY, &line(&key.to_secret()))?;
        }
        if let Some((bundle, key)) = &self.mac {
            // The state's documents have MACs of a key that is gone: the next start gives them new ones, once.
            let format = path.join(FORMAT);
            if format.exists() {
                std::fs::remove_file(&format).map_err(ServerError::io(format!("removing {}", format.display())))?;
                sync_directory(path)?;
            }
            put(MAC_KEY, MacKeys::new(*bundle, key.clone()).to_text().as_bytes())?;
        }
        if let Some(key) = &self.epoch {
            let mut bytes = Zeroizing::new(vec![0; FILE_SIZE]);
            if let Some(place) = bytes.get_mut(..sceau_ledger::SLOT_SIZE) {
                place.copy_from_slice(encode(&Slot::first(key)).as_slice());
            }
            put(EPOCH_KEY, &bytes)?;
        }
        if replacing.lost.contains(&Lost::Heads) {
            put(HEADS, &[0; heads::SIZE])?;
        }
        Ok(())
    }
}

impl KeyDir {
    /// The replacement of lost files that was begun and of which nobody has said yet that it is complete.
    ///
    /// # Errors
    /// The note of it can't be read.
    pub(crate) fn replacing(&self) -> Result<Option<Replacing>, ServerError> {
        Replacing::read(self.path())
    }

    /// Says that the replacement is complete.
    ///
    /// # Errors
    /// The directory can't be written.
    pub(crate) fn replaced(&self) -> Result<(), ServerError> {
        let path = self.path().join(REPLACING);
        if path.exists() {
            std::fs::remove_file(&path).map_err(ServerError::io(format!("removing {}", path.display())))?;
            sync_directory(self.path())?;
        }
        Ok(())
    }
}
