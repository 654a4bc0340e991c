//! What clients see, as JSON: over HTTP and from the command line alike.

use sceau_event::{Deriver, Keyword, Micros, Number, Record};
use sceau_store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::ServerError;

/// An entry with what is understood of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Its place in the log.
    pub index: u64,
    /// The record: ECS names, flat; times in RFC 3339; a list where a name has several values. The event's own fields
    /// `@timestamp`, `received` and `source` are `data.@timestamp` and so on.
    #[schema(value_type = Object)]
    pub record: Map<String, Value>,
    /// The entry, exactly as sealed.
    pub entry: String,
    /// Its leaf in hexadecimal; where a single event was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_hash: Option<String>,
}

impl EventView {
    /// Derives the record of a stored entry.
    ///
    /// # Errors
    /// The bytes are no entry.
    pub fn new(deriver: &Deriver, index: u64, entry: Vec<u8>) -> Result<Self, ServerError> {
        let damaged = |detail: String| StoreError::Entry { index, detail };
        let record = deriver.derive(&entry).map_err(|error| damaged(error.to_string()))?;
        let record = self::record(&record);
        let entry = String::from_utf8(entry).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { index, record, entry, leaf_hash: None })
    }

    /// When a stored entry was received, microseconds since the epoch.
    ///
    /// # Errors
    /// The bytes are no entry.
    pub(crate) fn received(deriver: &Deriver, index: u64, entry: &[u8]) -> Result<i64, ServerError> {
        let record = deriver.derive(entry);
        Ok(record.map_err(|error| StoreError::Entry { index, detail: error.to_string() })?.received.0)
    }

    /// An entry whose record is known already.
    ///
    /// # Errors
    /// The bytes are no entry.
    pub(crate) fn known(record: &Record<'_>, index: u64, entry: &[u8]) -> Result<Self, ServerError> {
        let text = std::str::from_utf8(entry);
        let text = text.map_err(|error| StoreError::Entry { index, detail: error.to_string() })?;
        Ok(Self { index, record: self::record(record), entry: text.to_owned(), leaf_hash: None })
    }
}

/// The names in a record that speak of the envelope and of the record's time, not of the event.
const OURS: [&str; 3] = ["@timestamp", "received", "source"];

fn record(record: &Record<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("@timestamp".to_owned(), record.time.to_string().into());
    map.insert("received".to_owned(), record.received.to_string().into());
    map.insert("source".to_owned(), record.source.as_ref().into());
    for keyword in Keyword::ALL {
        if let Some(value) = record.keyword(keyword) {
            map.insert(keyword.name().to_owned(), value.into());
        }
    }
    for number in Number::ALL {
        if let Some(value) = record.number(number) {
            map.insert(number.name().to_owned(), value.into());
        }
    }
    for (name, value) in &record.fields {
        let value = Value::from(value.as_ref());
        // What the client says must not be taken for what the server says.
        let shown = if OURS.contains(&name.as_ref()) { format!("data.{name}") } else { name.to_string() };
        match map.get_mut(&shown) {
            None => drop(map.insert(shown, value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    map
}

/// A page of a search.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = EventPage)]
pub struct SearchPage {
    /// In the order that was asked for.
    pub events: Vec<EventView>,
    /// Where the next page begins; none at the end.
    pub next_cursor: Option<String>,
}

/// Events per interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Histogram)]
pub struct HistogramView {
    /// The interval, as it can be asked for.
    pub interval: String,
    /// By start, then by value; intervals without events are left out.
    pub buckets: Vec<Bucket>,
}

/// One bar of a histogram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bucket {
    /// The interval's start, RFC 3339.
    #[schema(format = DateTime)]
    pub start: String,
    /// The value of the field that the histogram is split by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Entries.
    pub count: u64,
    /// Occurrences: an entry that stands for five counts five.
    pub occurrences: u64,
}

/// The most frequent values of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Top)]
pub struct TopView {
    /// The field, as asked for.
    pub field: String,
    /// By occurrences downwards.
    pub values: Vec<TopValue>,
    /// How many different values there are in all.
    pub distinct: u64,
}

/// One of the most frequent values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopValue {
    /// The value as text.
    pub value: String,
    /// Entries.
    pub count: u64,
    /// Occurrences.
    pub occurrences: u64,
}

/// How many events match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Count)]
pub struct CountView {
    /// Entries.
    pub count: u64,
    /// Occurrences.
    pub occurrences: u64,
}

/// The proof that an entry is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Proof)]
pub struct ProofView {
    /// The entry's index.
    pub index: u64,
    /// Its leaf in hexadecimal.
    pub leaf_hash: String,
    /// The size of the tree that the proof leads to.
    pub tree_size: u64,
    /// That tree's root in hexadecimal.
    pub root_hash: String,
    /// The Merkle audit path from the leaf's sibling up, in base64.
    pub proof: Vec<String>,
    /// The signed checkpoint of that tree.
    pub checkpoint: String,
    /// The entry, exactly as sealed; none if retention deleted it.
    pub entry: Option<String>,
}

impl ProofView {
    /// The same as C2SP `tlog-proof` text, without the entry.
    pub fn to_tlog(&self) -> String {
        let hashes: Vec<[u8; 32]> = self
            .proof
            .iter()
            .filter_map(|hash| hash.parse::<sceau_ledger::RootHash>().ok().map(|hash| hash.0))
            .collect();
        sceau_ledger::tlog_proof(sceau_ledger::Index(self.index), &hashes, &self.checkpoint)
    }
}

/// A head as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Head)]
pub struct HeadView {
    /// How many entries.
    pub tree_size: u64,
    /// The root in hexadecimal.
    pub root_hash: String,
}

impl From<&sceau_ledger::Head> for HeadView {
    fn from(head: &sceau_ledger::Head) -> Self {
        Self { tree_size: head.size.0, root_hash: crate::hex(&head.root.0) }
    }
}

/// How well the log is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Integrity)]
pub struct IntegrityView {
    /// The committed head.
    pub head: HeadView,
    /// The first entry that is kept; those before it were deleted by retention.
    pub first_index: u64,
    /// The log's name.
    pub origin: String,
    /// Checks its first checkpoints.
    pub verifier_key: String,
    /// Checks its seals, from the first on.
    pub first_epoch_key: String,
    /// All keys that check its checkpoints, the oldest first.
    pub verifier_keys: Vec<LogKeyView>,
    /// Its chains of seals; more than one if keys were lost.
    pub chains: Vec<ChainView>,
    /// The statements that introduced later keys.
    pub key_changes: Vec<KeyChangeView>,
    /// The newest signed checkpoint.
    pub checkpoint: Option<String>,
    /// The last seal.
    pub last_seal: Option<SealView>,
    /// The last verification, if one ran in this process.
    #[schema(value_type = Option<crate::jobs::JobView>)]
    pub last_verification: Option<Value>,
    /// `ok`, or why nothing more is accepted.
    pub writing: String,
}

/// A log key as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LogKey)]
pub struct LogKeyView {
    /// The key.
    pub verifier_key: String,
    /// It checks checkpoints of more entries than this; 0 for the first.
    pub above: u64,
}

impl From<(u64, &sceau_ledger::VerifierKey)> for LogKeyView {
    fn from((above, key): (u64, &sceau_ledger::VerifierKey)) -> Self {
        Self { verifier_key: key.to_string(), above }
    }
}

/// A chain of seals as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Chain)]
pub struct ChainView {
    /// Its first epoch.
    pub epoch: u64,
    /// That epoch's public key: what an auditor pins.
    pub first_epoch_key: String,
    /// The entry that says that it begins; none for the log's first chain.
    pub index: Option<u64>,
    /// Whether another server took the log over here; else keys were lost.
    pub taken_over: bool,
    /// Whether that server had the log before, so that its own earlier chain goes on and there is nothing to pin.
    pub goes_on: bool,
}

impl ChainView {
    /// All chains of a log that `first` was the first to write.
    pub(crate) fn all(history: &sceau_ledger::KeyHistory, first: sceau_ledger::WriterId) -> Vec<Self> {
        let mut writers = std::collections::BTreeSet::new();
        let view = |chain: &sceau_ledger::ChainStart| Self {
            epoch: chain.epoch,
            first_epoch_key: chain.key.to_string(),
            index: chain.index,
            taken_over: chain.taken_over,
            goes_on: !writers.insert(chain.writer.unwrap_or(first)),
        };
        history.chains().iter().map(view).collect()
    }
}

/// A statement about keys as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = KeyChange)]
pub struct KeyChangeView {
    /// The entry that holds it.
    pub index: u64,
    /// What was lost; nothing in a rotation.
    pub lost: Vec<String>,
    /// The signed statement.
    pub note: String,
}

impl From<&sceau_ledger::SignedKeyChange> for KeyChangeView {
    fn from(change: &sceau_ledger::SignedKeyChange) -> Self {
        let lost = change.body().lost.iter().map(|lost| lost.word().to_owned()).collect();
        Self { index: change.body().index, lost, note: change.text().to_owned() }
    }
}

/// A seal as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Seal)]
pub struct SealView {
    /// The epoch that it closed.
    pub epoch: u64,
    /// How many entries it and those before it cover.
    pub tree_size: u64,
    /// When, RFC 3339.
    #[schema(format = DateTime)]
    pub time: String,
    /// The seal itself.
    pub text: String,
}

impl From<&sceau_ledger::Seal> for SealView {
    fn from(seal: &sceau_ledger::Seal) -> Self {
        let body = seal.body();
        Self {
            epoch: body.epoch,
            tree_size: body.head.size.0,
            time: Micros(body.time_micros).to_string(),
            text: seal.text().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sceau_event::{Framer, Meta, SourceId};

    use super::*;

    #[test]
    fn a_record_is_flat_and_keeps_digits() {
        let deriver = Deriver::builtin();
        let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
        let mut entry = Vec::new();
        let event = br#"{"user":"alice","status":"failed","labels":{"id":9007199254740993},"n":["a","b","c"]}"#;
        deriver.push_json(&framer, event, &mut entry).unwrap();
        let view = EventView::new(&deriver, 7, entry.clone()).unwrap();
        assert_eq!(view.record["user.name"], "alice");
        assert_eq!(view.record["event.outcome"], "failure");
        assert_eq!(view.record["labels.id"], "9007199254740993");
        assert_eq!(view.record["n"], serde_json::json!(["a", "b", "c"]));
        assert_eq!(view.record["received"], "2026-11-22T08:00:00.000000Z");
        assert_eq!(view.entry.as_bytes(), entry);
        assert!(EventView::new(&deriver, 7, b"{}".to_vec()).is_err());
    }

    #[test]
    fn what_a_client_says_is_not_taken_for_what_the_server_says() {
        let deriver = Deriver::builtin();
        let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
        let mut entry = Vec::new();
        let event = br#"{"received":"yesterday","source":["a","b"],"x":1}"#;
        deriver.push_json(&framer, event, &mut entry).unwrap();
        let record = EventView::new(&deriver, 0, entry).unwrap().record;
        assert_eq!((&record["received"], &record["source"]), (&"2026-11-22T08:00:00.000000Z".into(), &"vpn".into()));
        assert_eq!(record["data.received"], "yesterday");
        assert_eq!(record["data.source"], serde_json::json!(["a", "b"]));
    }
}
