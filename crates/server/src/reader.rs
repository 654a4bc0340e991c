//! Questions to the log: the same for HTTP and for the command line on a log that no server holds.

use std::{sync::Arc, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sceau_event::{Deriver, Field, Micros, field, parse_query_time};
use sceau_ledger::{Index, leaf_hash};
use sceau_store::{
    CommitError, EntryRows, Store, StoreError,
    query::{self, Cursor, Order, Page, Query},
};

use crate::{
    clock::Clock,
    config::Config,
    detect::Desk,
    epochs,
    error::ServerError,
    guard, hex, history,
    imports::{self, ImportPosition},
    init,
    interval::Interval,
    keydir::KeyDir,
    lease::{self, Owner},
    log::{check_head, restore_bundle},
    prover, publisher,
    views::{
        Bucket, ChainView, CountView, EventView, HistogramView, IntegrityView, KeyChangeView, LogKeyView, ProofView,
        SealView, SearchPage, TopValue, TopView,
    },
};

/// The most bytes of entries that are read at once for an answer.
const MAX_ANSWER: usize = 16 << 20;
/// The most hits of a page.
pub const MAX_HITS: usize = 1_000;
/// Events before the year 2000 or later than tomorrow have no say in how wide a histogram's bars are by default.
const EARLIEST: i64 = 946_684_800_000_000;
const DAY: i64 = 86_400_000_000;
/// The most rows of a top list.
pub const MAX_TOP: usize = 1_000;
/// The most entries of one page of an export.
pub const MAX_ENTRIES: usize = 10_000;

/// Which events: the members that all questions share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// The search text; everything if absent.
    pub q: Option<String>,
    /// Earliest event time, inclusive.
    pub from: Option<String>,
    /// Latest event time, exclusive.
    pub to: Option<String>,
}

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchParams {
    /// Which events.
    pub filtered: Filtered,
    /// Which end first.
    pub order: Order,
    /// How many; 100 if absent.
    pub limit: Option<usize>,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramParams {
    /// Which events.
    pub filtered: Filtered,
    /// `10s`, `5m`, `1h`, `1d`…; chosen so that there are at most a hundred if absent.
    pub interval: Option<String>,
    /// A field to split by.
    pub by: Option<String>,
}

/// A list of the most frequent values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopParams {
    /// Which events.
    pub filtered: Filtered,
    /// The field.
    pub field: String,
    /// How many; 10 if absent.
    pub limit: Option<usize>,
}

/// Reads parsers from files; the built-in ones are always there.
///
/// # Errors
/// The directory can't be read, or a parser in it can't be used.
pub fn load_deriver(config: &Config) -> Result<Arc<Deriver>, ServerError> {
    let Some(directory) = &config.parsers else { return Ok(Arc::new(Deriver::builtin())) };
    let failed = || |error| ServerError::parameter("parsers", format!("reading {}: {error}", directory.display()));
    let mut files = Vec::new();
    for file in std::fs::read_dir(directory).map_err(failed())? {
        let path = file.map_err(failed())?.path();
        if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            let text = std::fs::read_to_string(&path).map_err(failed())?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    let deriver = Deriver::with_parsers(&files).map_err(|error| ServerError::parameter("parsers", error))?;
    Ok(Arc::new(deriver))
}

/// What was made again, each as far as it could be.
#[derive(Debug)]
pub struct Rebuilt {
    /// How many records.
    pub records: Result<u64, ServerError>,
    /// How many alerts there are; `None` where no keys were given.
    pub alerts: Option<Result<u64, ServerError>>,
}

/// Answers questions; clones share the store.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    deriver: Arc<Deriver>,
    clock: Arc<Clock>,
    query_time: Duration,
    /// What the state's documents are checked by, where the log's keys are at hand.
    keys: Option<Arc<KeyDir>>,
}

impl Reader {
    /// Opens a log that no server holds. No keys are needed.
    ///
    /// # Errors
    /// It is held, there is none, or it can't be read.
    pub async fn open(config: &Config) -> Result<Self, ServerError> {
        let deriver = load_deriver(config)?;
        let store = config.place.open(deriver.clone()).await?;
        Ok(Self::new(store, deriver, Arc::new(Clock::new(Micros(0))), config.limits.query_time))
    }

    pub(crate) fn new(store: Arc<dyn Store>, deriver: Arc<Deriver>, clock: Arc<Clock>, query_time: Duration) -> Self {
        Self { store, deriver, clock, query_time, keys: None }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> sceau_event::Micros {
        self.clock.now()
    }

    /// Checks the state's documents by these keys from now on.
    pub(crate) fn guarded(self, keys: Arc<KeyDir>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What makes records of entries.
    pub fn deriver(&self) -> &Arc<Deriver> {
        &self.deriver
    }

    /// For a log that no server holds, makes all alerts again from the findings and changes that are sealed, and derives every
    /// stored record again; `progress` is told (entries done, in all). Alerts are written with the log's MAC, so `keys` says where
    /// the keys are; without, alerts stay as they are. What fails of one does not keep the other from being done.
    ///
    /// # Errors
    /// A server writes to it.
    pub async fn rebuild(
        &self,
        keys: Option<&Config>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Rebuilt, ServerError> {
        let work = async {
            let alerts = match keys {
                Some(config) => Some(self.rebuild_alerts(config).await),
                None => None,
            };
            let records = self.store.rebuild(self.deriver.clone(), progress).await.map_err(ServerError::from);
            Ok(Rebuilt { records, alerts })
        };
        lease::during(&self.store, || Owner::command("sceau rebuild"), work).await
    }

    /// Before anything is signed, store and keys are known to fit, as when the log is opened.
    async fn rebuild_alerts(&self, config: &Config) -> Result<u64, ServerError> {
        let keys = KeyDir::open(&config.key_dir, config.place.directory())?;
        init::check_belongs(&keys, &history::read(&*self.store).await?)?;
        let head = check_head(config, &*self.store, &keys).await?.head();
        restore_bundle(&*self.store, &keys, head).await?;
        let macs = keys.mac_keys();
        let write = |changes| async {
            let written = self.store.write(guard::signed(&macs, changes)).await;
            Ok(written.map_err(CommitError::into_store)?)
        };
        Desk::default().rebuild(&*self.store, &keys, || head, write).await
    }

    /// Releases the store.
    ///
    /// # Errors
    /// The store can't finish its work.
    pub async fn close(self) -> Result<(), ServerError> {
        Ok(self.store.close().await?)
    }

    pub(crate) fn query(&self, filtered: &Filtered) -> Result<Query, ServerError> {
        let now = self.clock.now();
        let filter = query::parse(filtered.q.as_deref().unwrap_or_default(), now)
            .map_err(|error| ServerError::QuerySyntax { column: error.column, detail: error.message })?;
        let time = |name: &str, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| parse_query_time(text, now).map(|time| time.0))
                .transpose()
                .map_err(|error| ServerError::parameter(name, error))
        };
        let internal = filter.names_internal();
        Ok(Query { from: time("from", &filtered.from)?, to: time("to", &filtered.to)?, filter, internal })
    }

    /// How long a question may take.
    pub(crate) fn query_time(&self) -> Duration {
        self.query_time
    }

    /// One page of events.
    ///
    /// # Errors
    /// The question can't be understood, takes too long, or the store can't be read.
    pub async fn search(&self, params: &SearchParams) -> Result<SearchPage, ServerError> {
        let query = self.query(&params.filtered)?;
        let limit = limit(params.limit, 100, MAX_HITS)?;
        let after = params.cursor.as_deref().map(str::parse::<Cursor>).transpose();
        let after = after.map_err(|error| ServerError::parameter("cursor", error))?;
        let page = Page { order: params.order, limit, after };
        let found = self.store.search(&query, &page, self.query_time).await?;
        let (mut next, mut last) = (found.next, None);
        let mut events = Vec::with_capacity(found.hits.len());
        let mut bytes = 0;
        for hit in found.hits {
            bytes += hit.entry.len();
            if bytes > MAX_ANSWER {
                // The page ends early; the client goes on from the last hit that it got.
                next = last;
                break;
            }
            last = Some(Cursor { time: hit.time, index: hit.index.0 });
            events.push(EventView::new(&self.deriver, hit.index.0, hit.entry)?);
        }
        Ok(SearchPage { events, next_cursor: next.map(|cursor| cursor.to_string()) })
    }

    /// A single event.
    ///
    /// # Errors
    /// There is none at that index, or the store can't be read.
    pub async fn event(&self, index: u64) -> Result<EventView, ServerError> {
        let entry = self.entry(index).await?;
        let leaf = hex(&leaf_hash(&entry).0);
        let view = EventView::new(&self.deriver, index, entry)?;
        Ok(EventView { leaf_hash: Some(leaf), ..view })
    }

    async fn entry(&self, index: u64) -> Result<Vec<u8>, ServerError> {
        let absent = || ServerError::NotFound(format!("entry {index}"));
        if index >= self.store.head().await?.size.0 {
            return Err(absent());
        }
        let rows = self.store.entries(Index(index), 1).await?;
        rows.entries.into_iter().next().ok_or_else(absent)
    }

    /// Events per interval.
    ///
    /// # Errors
    /// As for [`Reader::search`].
    pub async fn histogram(&self, params: &HistogramParams) -> Result<HistogramView, ServerError> {
        let query = self.query(&params.filtered)?;
        let by = params.by.as_deref().map(|name| named("by", name)).transpose()?;
        let interval = match &params.interval {
            Some(asked) => asked.parse::<Interval>()?,
            None => {
                self.span(&query).await?.map_or_else(Interval::default, |(first, last)| Interval::for_span(first, last))
            }
        };
        let found = self.store.histogram(&query, interval.micros(), by.as_ref(), self.query_time).await?;
        let bucket = |row: sceau_store::HistogramRow| Bucket {
            // The bar of the first week of the year 0 begins before it.
            start: Micros(row.start).max(Micros::FIRST).to_string(),
            by: row.by,
            count: row.counts.entries,
            occurrences: row.counts.occurrences,
        };
        Ok(HistogramView { interval: interval.to_string(), buckets: found.rows.into_iter().map(bucket).collect() })
    }

    /// The times of the first and the last matching event, as far as the query does not say them itself. A few events
    /// with a clock that was wrong don't count, unless there are no others.
    async fn span(&self, query: &Query) -> Result<Option<(i64, i64)>, ServerError> {
        let latest = self.clock.now().0.saturating_add(DAY);
        let (from, to) = (query.from.or(Some(EARLIEST)), query.to.or(Some(latest)));
        let plausible = Query { from, to, ..query.clone() };
        let first = self.edge(&plausible, Order::Oldest).await?;
        match first.zip(self.edge(&plausible, Order::Newest).await?) {
            Some((first, last)) => {
                Ok(Some((query.from.unwrap_or(first), query.to.map_or(last, |to| to.saturating_sub(1)))))
            }
            None => self.whole_span(query).await,
        }
    }

    async fn whole_span(&self, query: &Query) -> Result<Option<(i64, i64)>, ServerError> {
        let first = match query.from {
            Some(from) => Some(from),
            None => self.edge(query, Order::Oldest).await?,
        };
        let last = match query.to {
            Some(to) => Some(to.saturating_sub(1)),
            None => self.edge(query, Order::Newest).await?,
        };
        Ok(first.zip(last).filter(|(first, last)| first <= last))
    }

    async fn edge(&self, query: &Query, order: Order) -> Result<Option<i64>, StoreError> {
        let page = Page { order, limit: 1, after: None };
        let found = self.store.search(query, &page, self.query_time).await?;
        Ok(found.hits.first().map(|hit| hit.time))
    }

    /// The most frequent values of a field.
    ///
    /// # Errors
    /// As for [`Reader::search`].
    pub async fn top(&self, params: &TopParams) -> Result<TopView, ServerError> {
        let query = self.query(&params.filtered)?;
        let rows = limit(params.limit, 10, MAX_TOP)?;
        let found = self.store.top(&query, &named("field", &params.field)?, rows, self.query_time).await?;
        let value = |row: sceau_store::TopRow| TopValue {
            value: row.value,
            count: row.counts.entries,
            occurrences: row.counts.occurrences,
        };
        let values = found.rows.into_iter().map(value).collect();
        Ok(TopView { field: params.field.clone(), values, distinct: found.distinct })
    }

    /// How many events match.
    ///
    /// # Errors
    /// As for [`Reader::search`].
    pub async fn count(&self, filtered: &Filtered) -> Result<CountView, ServerError> {
        let found = self.store.count(&self.query(filtered)?, self.query_time).await?;
        Ok(CountView { count: found.entries, occurrences: found.occurrences })
    }

    /// The proof that an entry is in the tree of the newest checkpoint.
    ///
    /// # Errors
    /// [`ServerError::NotPublished`] if no checkpoint covers it.
    pub async fn proof(&self, index: u64) -> Result<ProofView, ServerError> {
        let history = history::read(&*self.store).await?;
        let published = publisher::newest(&*self.store, history.log()).await?;
        let Some(published) = published.filter(|published| published.head.size.0 > index) else {
            let size = self.store.head().await?.size.0;
            let known = index < size;
            return Err(if known {
                ServerError::NotPublished(index)
            } else {
                ServerError::NotFound(format!("entry {index}"))
            });
        };
        let entry = match self.entry(index).await {
            Err(ServerError::Store(StoreError::Expired { .. })) => None,
            entry => Some(entry?),
        };
        let proof = prover::inclusion(&*self.store, Index(index), published.head.size).await?;
        let leaf = match &entry {
            Some(entry) => leaf_hash(entry),
            // Retention has left it.
            None => prover::leaf(&*self.store, Index(index)).await?,
        };
        // A proof that does not hold must never leave the house.
        sceau_ledger::check_inclusion(Index(index), leaf, &published.head, &proof)
            .map_err(|error| StoreError::Damaged(format!("the proof of entry {index}: {error}")))?;
        Ok(ProofView {
            index,
            leaf_hash: hex(&leaf.0),
            tree_size: published.head.size.0,
            root_hash: hex(&published.head.root.0),
            proof: proof.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect(),
            checkpoint: published.note.to_string(),
            entry: entry.map(|entry| EventView::new(&self.deriver, index, entry)).transpose()?.map(|view| view.entry),
        })
    }

    /// How well the log is sealed, as far as the store alone can tell.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn integrity(&self) -> Result<IntegrityView, ServerError> {
        let seal = epochs::last_seal(&*self.store).await?;
        let history = history::read(&*self.store).await?;
        Ok(IntegrityView {
            head: (&self.store.head().await?).into(),
            first_index: self.store.kept_from().await?.0,
            origin: self.fact("origin").await?,
            verifier_key: self.fact("verifier_key").await?,
            first_epoch_key: self.fact("first_epoch_key").await?,
            verifier_keys: history.log().iter().map(LogKeyView::from).collect(),
            chains: ChainView::all(&history, self.fact("writer").await?.parse()?),
            key_changes: history.changes().iter().map(KeyChangeView::from).collect(),
            checkpoint: self.store.latest_checkpoint().await?,
            last_seal: seal.as_ref().map(SealView::from),
            last_verification: None,
            writing: "ok".to_owned(),
        })
    }

    /// Up to `limit` entries from `from`, or from the first that is kept; fewer if they are large.
    ///
    /// # Errors
    /// Retention deleted entry `from`, or the store can't be read.
    pub async fn entries(&self, from: Option<u64>, limit: usize) -> Result<EntryRows, ServerError> {
        const STEP: usize = 256;
        let from = match from {
            Some(from) => from,
            None => self.store.kept_from().await?.0,
        };
        let mut rows = EntryRows { first: Index(from), entries: Vec::new() };
        let mut bytes = 0;
        while rows.entries.len() < limit && bytes < MAX_ANSWER {
            let next = Index(from.saturating_add(rows.entries.len() as u64));
            let step = self.store.entries(next, STEP.min(limit - rows.entries.len())).await?;
            if step.entries.is_empty() {
                break;
            }
            bytes += step.entries.iter().map(Vec::len).sum::<usize>();
            rows.entries.extend(step.entries);
        }
        Ok(rows)
    }

    /// How far an import has come; `None` if it never began.
    ///
    /// # Errors
    /// The name can't be one, or the store can't be read.
    pub async fn import_position(&self, id: &str) -> Result<Option<ImportPosition>, ServerError> {
        imports::check_id("id", id)?;
        let stored = self.store.get(imports::COLLECTION, id, self.clock.now().0).await?;
        if let (Some(keys), Some(stored)) = (&self.keys, &stored) {
            guard::check(keys, imports::COLLECTION, stored)?;
        }
        stored.map(|stored| imports::parse(stored.value)).transpose()
    }

    /// A fact that was fixed when the log was made.
    pub(crate) async fn fact(&self, name: &str) -> Result<String, ServerError> {
        history::fact(&*self.store, name).await
    }
}

fn limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize, ServerError> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        limit => Err(ServerError::parameter("limit", format!("must be 1 to {max}, not {limit}"))),
    }
}

fn named(parameter: &str, name: &str) -> Result<Field, ServerError> {
    if name.is_empty() || name.len() > 256 {
        return Err(ServerError::parameter(parameter, "must be the name of a field, 1 to 256 bytes"));
    }
    Ok(field(name))
}
