//! The detector's windows in the state, in parts, with the index that they belong to.
//!
//! Invariant: the document that names a generation of parts is written after all of them, so what it names is whole.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sceau_store::{Expect, Store, StoreError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::ServerError,
    guard::{self, StateChange},
    keydir::KeyDir,
    log::Log,
    sequencer::AppendOptions,
};

/// The collection of the state that holds them.
pub(crate) const COLLECTION: &str = "detector";
const POSITION: &str = "position";
const SNAPSHOT: &str = "snapshot";
/// Bytes of a part before it is written as text.
const PART: usize = 512 << 10;
/// Parts written in one step, at most.
const STEP: usize = 8;
/// The most bytes that are unpacked.
const MAX: usize = 1 << 30;

/// What is known of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// The hash of the rules under which they are.
    #[serde(default)]
    rules: String,
    generation: u64,
    index: u64,
    parts: usize,
}

/// Where the detector goes on.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The windows, and the index of the first entry that is not in them.
    pub windows: Option<(u64, Vec<u8>)>,
    /// The hash of the rules under which these are.
    pub rules: String,
    /// Findings of entries before this are sealed.
    pub sealed: u64,
    generation: u64,
}

impl Place {
    /// Reads where the detector was. What can't be used is left out: the windows are made again from the log, and findings
    /// that are sealed are known by their ids.
    pub async fn load(store: &dyn Store, keys: &KeyDir) -> Result<Self, ServerError> {
        let sealed = document::<Value>(store, keys, POSITION).await?;
        let sealed = sealed.and_then(|value| value.get("index").and_then(Value::as_u64)).unwrap_or(0);
        let Some(header) = document::<Header>(store, keys, SNAPSHOT).await? else {
            return Ok(Self { sealed, ..Self::default() });
        };
        let windows = parts(store, keys, &header).await?;
        if windows.is_none() {
            tracing::error!("the detector's windows can't be read; they are made again from the log");
        }
        let sealed = sealed.max(windows.as_ref().map_or(0, |_| header.index));
        let Header { rules, generation, index, .. } = header;
        Ok(Self { windows: windows.map(|windows| (index, windows)), rules, sealed, generation })
    }

    /// Keeps the windows, packed, as they are before the entry `index` under these rules.
    pub async fn save(&mut self, log: &Log, index: u64, rules: &str, packed: &[u8]) -> Result<(), ServerError> {
        let (part, together) = sizes(log.reader().store().commit_limits().bytes);
        let chunks: Vec<&[u8]> = packed.chunks(part).collect();
        let generation = self.generation + 1;
        for (step, chunks) in chunks.chunks(together).enumerate() {
            let part = |(number, chunk): (usize, &&[u8])| {
                let data = json!({"data": BASE64_STANDARD.encode(chunk)});
                change(part_key(generation, step * together + number), Some(data))
            };
            write(log, chunks.iter().enumerate().map(part).collect()).await?;
        }
        let header = Header { rules: rules.to_owned(), generation, index, parts: chunks.len() };
        let header = serde_json::to_value(&header).map_err(|error| ServerError::Internal(error.to_string()))?;
        // Kept while sealed entries are read again, the windows are behind what is sealed: that stays where it is.
        write(log, vec![change(SNAPSHOT.into(), Some(header)), position(index.max(self.sealed))]).await?;
        let old = self.generation;
        self.generation = generation;
        // What a crash left over of former ones goes too.
        let mut gone = Vec::new();
        let mut after = "windows-".to_owned();
        loop {
            let page = log.reader().store().list(COLLECTION, &after, 100).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            gone.extend(page.into_iter().map(|document| document.key).filter(|key| is_of_other(key, generation)));
        }
        tracing::debug!(old, generation, parts = chunks.len(), bytes = packed.len(), "the detector's windows are kept");
        for keys in gone.chunks(STEP) {
            write(log, keys.iter().map(|key| change(key.clone(), None)).collect()).await?;
        }
        Ok(())
    }
}

/// How large a part is, and how many are written in one step, where a commit holds so many bytes. As text a part is larger by
/// a third, and a document has more than its text.
fn sizes(commit: usize) -> (usize, usize) {
    let part = PART.min(commit / 2).max(1);
    (part, (commit / (part * 3 / 2)).clamp(1, STEP))
}

/// The windows as [`Place::save`] takes them.
pub(super) fn pack(windows: &[u8]) -> Result<Vec<u8>, ServerError> {
    zstd::bulk::compress(windows, 1).map_err(ServerError::io("packing the detector's windows"))
}

fn part_key(generation: u64, number: usize) -> String {
    format!("windows-{generation:020}/{number:06}")
}

fn is_of_other(key: &str, generation: u64) -> bool {
    key.starts_with("windows-") && !key.starts_with(&format!("windows-{generation:020}/"))
}

fn change(key: String, value: Option<Value>) -> StateChange {
    StateChange { collection: COLLECTION.into(), key, value, expect: Expect::Any, expires: None }
}

/// Says that the findings of entries before `index` are sealed.
pub(super) fn position(index: u64) -> StateChange {
    change(POSITION.into(), Some(json!({"index": index})))
}

/// Makes changes of the state durable that belong to no entry.
pub(super) async fn write(log: &Log, writes: Vec<StateChange>) -> Result<(), ServerError> {
    let empty = sceau_store::BatchBuilder::new(log.reader().deriver().clone());
    let empty = empty.finish().map_err(|error| ServerError::Internal(error.to_string()))?;
    log.append(empty, AppendOptions { writes, wait: true, ..AppendOptions::default() }).await.map(|_| ())
}

/// A document of the collection; one that somebody else wrote counts as absent.
async fn document<T: DeserializeOwned>(store: &dyn Store, keys: &KeyDir, key: &str) -> Result<Option<T>, StoreError> {
    let Some(document) = store.get(COLLECTION, key, 0).await? else { return Ok(None) };
    if guard::check(keys, COLLECTION, &document).is_err() {
        return Ok(None);
    }
    Ok(serde_json::from_value(document.value).ok())
}

async fn parts(store: &dyn Store, keys: &KeyDir, header: &Header) -> Result<Option<Vec<u8>>, StoreError> {
    let mut packed = Vec::new();
    for number in 0..header.parts {
        let part = document::<Value>(store, keys, &part_key(header.generation, number)).await?;
        let data = part.as_ref().and_then(|part| part.get("data")).and_then(Value::as_str);
        let Some(data) = data.and_then(|data| BASE64_STANDARD.decode(data).ok()) else { return Ok(None) };
        packed.extend(data);
        if packed.len() > MAX {
            return Ok(None);
        }
    }
    let mut windows = Vec::new();
    let Ok(decoder) = zstd::Decoder::new(packed.as_slice()) else { return Ok(None) };
    let mut limited = std::io::Read::take(decoder, MAX as u64);
    Ok(std::io::Read::read_to_end(&mut limited, &mut windows).is_ok().then_some(windows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[test]
    fn a_step_fits_into_a_commit() {
        assert_eq!(sizes(usize::MAX), (PART, STEP));
        for commit in [96 << 10, 192 << 10, 1 << 20, 3 << 20, 6 << 20] {
            let (part, together) = sizes(commit);
            assert!(part.div_ceil(3) * 4 * together < commit, "{commit}: {part}, {together}");
        }
    }

    async fn load(log: &Log) -> Place {
        Place::load(&**log.reader().store(), log.keys()).await.unwrap()
    }

    #[tokio::test]
    async fn windows_come_back_whole_and_old_ones_go() {
        let fixture = Fixture::new().await;
        let log = fixture.log().await;
        let mut place = load(&log).await;
        assert!(place.windows.is_none() && place.sealed == 0);
        // Random bytes don't shrink: several parts in several steps.
        let mut seed = 1u64;
        let mut random = |len: usize| {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u8::try_from(seed >> 56).unwrap()
            };
            (0..len).map(|_| next()).collect::<Vec<u8>>()
        };
        for (index, len) in [(5, 0), (7, 100), (9, 10 * PART), (11, 3)] {
            let windows = random(len);
            place.save(&log, index, "hash", &pack(&windows).unwrap()).await.unwrap();
            let found = load(&log).await;
            assert_eq!((found.windows, found.sealed, found.rules.as_str()), (Some((index, windows)), index, "hash"));
        }
        let left = log.reader().store().list(COLLECTION, "", 1_000).await.unwrap();
        assert_eq!(left.len(), 3, "{:?}", left.iter().map(|document| &document.key).collect::<Vec<_>>());
        place.sealed = 15;
        place.save(&log, 12, "hash", &pack(b"w").unwrap()).await.unwrap();
        let found = load(&log).await;
        assert_eq!((found.windows.map(|(index, _)| index), found.sealed), (Some(12), 15));
        let left = log.reader().store().list(COLLECTION, "", 1_000).await.unwrap();
        // A missing part: made again from the log, and what was sealed is known.
        let part = left.iter().find(|document| document.key.starts_with("windows-")).unwrap().key.clone();
        write(&log, vec![change(part, None), position(20)]).await.unwrap();
        let found = load(&log).await;
        assert_eq!((found.windows, found.sealed), (None, 20));
        assert_eq!(log.head().borrow().size.0, 0);
        log.close().await.unwrap();
    }
}
