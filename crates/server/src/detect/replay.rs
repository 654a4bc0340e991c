//! Replays: rules on what is in the log already, in the order in which it came, so that the same entries under the same
//! rules give the same findings.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sceau_detect::{Detector, Finding, Limits, RuleSet};
use sceau_event::Micros;
use sceau_store::{
    Store, StoreError,
    query::{Filter, Order, Page, Query},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Set, desk::suppresses, settings::Excepted};
use crate::{
    api::schemas::FoundSchema,
    entries,
    error::ServerError,
    reader::{Filtered, Reader},
};

/// Replays that are remembered, and that may run at one moment.
const REMEMBERED: usize = 6;
const AT_ONCE: usize = 2;
/// Findings that are told; more are counted.
const MAX_FINDINGS: usize = 10_000;
/// Entries read at once.
const STEP: usize = 8_192;
/// So many hits are fetched by a search and put in order; for more the whole log is read.
const MAX_HITS: u64 = 200_000;
/// How long a page of the search may take.
const PAGE_TIME: Duration = Duration::from_secs(120);

/// What to judge, and by what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Entries with an event time from here…
    pub from: Option<i64>,
    /// …to before here, microseconds.
    pub to: Option<i64>,
    /// Further conditions, which the store answers.
    pub filter: Option<Filter>,
    /// Only this rule's findings.
    pub rule: Option<String>,
    /// The exceptions that count, instead of those that are set.
    pub exceptions: Option<Vec<Excepted>>,
    /// Findings are counted that this one would keep from opening an alert.
    pub suppression: Option<Excepted>,
}

impl Asked {
    /// What people ask for. Without a query the store has nothing to answer but times.
    pub fn of(reader: &Reader, filtered: &Filtered, rule: Option<String>) -> Result<Self, ServerError> {
        let query = reader.query(filtered)?;
        let filter = filtered.q.is_some().then_some(query.filter);
        Ok(Self { from: query.from, to: query.to, filter, rule, ..Self::default() })
    }
}

/// A replay, at work or over.
#[derive(Debug)]
pub(crate) struct Replay {
    id: String,
    rule: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    done: AtomicU64,
    total: AtomicU64,
    judged: AtomicU64,
    cancel: AtomicBool,
    end: Mutex<Option<Result<Found, String>>>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Found {
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// How many there were, told or not.
    pub count: u64,
    /// How many of them the suppression fits that was asked about.
    pub suppressed: u64,
}

/// A replay as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Replay)]
pub(crate) struct ReplayView {
    id: String,
    state: &'static str,
    rule: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Entries read, of how many.
    done: u64,
    total: u64,
    /// Entries that were in range.
    judged: u64,
    error: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = FoundSchema)]
    found: Option<Found>,
}

impl ReplayView {
    /// What it is asked for by.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Replay {
    fn new(asked: &Asked) -> Result<Self, ServerError> {
        Ok(Self {
            id: crate::hex(crate::keydir::random::<8>()?.as_slice()),
            rule: asked.rule.clone(),
            from: asked.from,
            to: asked.to,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            cancel: AtomicBool::new(false),
            end: Mutex::new(None),
        })
    }

    pub fn view(&self) -> ReplayView {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = |time: Option<i64>| time.map(|time| Micros(time).to_string());
        let (state, error) = match &end {
            None => ("running", None),
            Some(Ok(_)) => ("done", None),
            Some(Err(_)) if self.cancel.load(Ordering::Relaxed) => ("cancelled", None),
            Some(Err(error)) => ("failed", Some(error.clone())),
        };
        ReplayView {
            id: self.id.clone(),
            state,
            rule: self.rule.clone(),
            from: text(self.from),
            to: text(self.to),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            judged: self.judged.load(Ordering::Relaxed),
            error,
            found: end.and_then(Result::ok),
        }
    }

    fn is_running(&self) -> bool {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Stops it.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// The last replays.
#[derive(Debug, Default)]
pub(crate) struct Replays(Mutex<VecDeque<Arc<Replay>>>);

impl Replays {
    /// Begins one.
    ///
    /// # Errors
    /// There is no such rule, or too many run.
    pub fn start(&self, reader: &Reader, rules: Rules, asked: Asked) -> Result<Arc<Replay>, ServerError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().filter(|replay| replay.is_running()).count() >= AT_ONCE {
            return Err(ServerError::Busy);
        }
        let replay = Arc::new(Replay::new(&asked)?);
        kept.push_back(replay.clone());
        if kept.len() > REMEMBERED
            && let Some(over) = kept.iter().position(|replay| !replay.is_running())
        {
            kept.remove(over);
        }
        let (working, reader) = (replay.clone(), reader.clone());
        tokio::spawn(async move {
            let inner = working.clone();
            let ran = tokio::spawn(async move { run(&reader, rules, asked, &inner).await }).await;
            let end = match ran {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a replay did not come to its end");
                    Err(error.public_detail())
                }
                Err(error) => {
                    tracing::error!(%error, "a replay ended unexpectedly");
                    Err("it ended unexpectedly; the server's own log says more".to_owned())
                }
            };
            *working.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        });
        Ok(replay)
    }

    /// One of the last.
    pub fn get(&self, id: &str) -> Option<Arc<Replay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|replay| replay.id == id).cloned()
    }

    /// Stops all.
    pub fn cancel_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|replay| replay.cancel());
    }
}

/// The rules of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub files: Arc<super::rules::Files>,
    pub set: Set,
}

impl Rules {
    /// The rules as they count for what is asked: only the one, and with the exceptions that were given.
    fn load(&self, asked: &Asked) -> Result<(RuleSet, i64), ServerError> {
        let mut set = self.set.clone();
        if let Some(exceptions) = &asked.exceptions {
            set.exceptions =
                exceptions.iter().enumerate().map(|(n, excepted)| (n.to_string(), excepted.clone())).collect();
        }
        let settings = set.settings();
        let only = asked.rule.as_deref();
        let rules = RuleSet::load_only(&self.files.rules, &self.files.mappings, &settings, only);
        let rules = rules.map_err(super::refused)?;
        match only.filter(|wanted| !rules.has(wanted)) {
            Some(wanted) => Err(ServerError::NotFound(format!("rule {wanted}"))),
            None => Ok((rules, settings.lateness)),
        }
    }
}

/// Shows the entries to a detector of its own.
async fn run(reader: &Reader, rules: Rules, asked: Asked, replay: &Arc<Replay>) -> Result<Found, ServerError> {
    let loading = asked.clone();
    let loaded = tokio::task::spawn_blocking(move || rules.load(&loading)).await;
    let (rules, lateness) = loaded.map_err(|error| ServerError::Internal(error.to_string()))??;
    let mut judge = Judge {
        detector: Detector::new(Arc::new(rules), Limits::default(), lateness),
        found: Found::default(),
        asked: asked.clone(),
    };
    let store = reader.store();
    let query =
        Query { from: asked.from, to: asked.to, filter: asked.filter.clone().unwrap_or(Filter::All), internal: true };
    let matching = store.count(&query, PAGE_TIME).await?.entries;
    let size = store.head().await?.size.0;
    if asked.filter.is_some() || matching <= MAX_HITS && matching < size / 2 {
        if matching > MAX_HITS {
            let text =
                format!("{matching} entries match, more than the {MAX_HITS} that can be put in order: narrow it");
            return Err(ServerError::parameter("q", text));
        }
        replay.total.store(matching, Ordering::Relaxed);
        let mut hits = hits(&**store, &query, replay).await?;
        hits.sort_unstable();
        let mut rest = hits.as_slice();
        while let Some(first) = rest.first() {
            // What lies close together is read at once.
            let near = rest.partition_point(|index| index - first < STEP as u64);
            let (chunk, behind) = rest.split_at(near);
            judge = judge.step(reader, picked(&**store, chunk).await?, replay).await?;
            rest = behind;
        }
        return Ok(judge.found);
    }
    let mut next = store.kept_from().await?.0;
    replay.total.store(size.saturating_sub(next), Ordering::Relaxed);
    while next < size {
        let rows = entries::kept(&**store, next, size, STEP).await?;
        next = entries::behind(&rows);
        let entries: Vec<_> = (rows.first.0..).zip(rows.entries).collect();
        replay.done.fetch_add(entries.len() as u64, Ordering::Relaxed);
        judge = judge.step(reader, entries, replay).await?;
    }
    Ok(judge.found)
}

/// The indexes of all entries that a query finds.
async fn hits(store: &dyn Store, query: &Query, replay: &Replay) -> Result<Vec<u64>, ServerError> {
    let (mut hits, mut after) = (Vec::new(), None);
    loop {
        if replay.cancel.load(Ordering::Relaxed) {
            return Err(ServerError::Cancelled);
        }
        let page = Page { order: Order::Oldest, limit: Page::MAX, after };
        let found = store.search(query, &page, PAGE_TIME).await?;
        replay.done.fetch_add(found.hits.len() as u64, Ordering::Relaxed);
        hits.extend(found.hits.into_iter().map(|hit| hit.index.0));
        after = found.next;
        if hits.len() as u64 > 2 * MAX_HITS {
            // Too many have come since they were counted.
            return Err(ServerError::parameter("q", "more and more entries match: say until when"));
        }
        if after.is_none() {
            return Ok(hits);
        }
    }
}

/// Entries of indexes that lie close together.
async fn picked(store: &dyn Store, indexes: &[u64]) -> Result<Vec<(u64, Vec<u8>)>, ServerError> {
    let (Some(first), Some(last)) = (indexes.first(), indexes.last()) else { return Ok(Vec::new()) };
    let mut found = Vec::with_capacity(indexes.len());
    let mut next = *first;
    while next <= *last {
        let rows = entries::kept(store, next, last.saturating_add(1), STEP).await?;
        next = entries::behind(&rows);
        let entries = (rows.first.0..).zip(rows.entries);
        found.extend(entries.filter(|(index, _)| indexes.binary_search(index).is_ok()));
    }
    Ok(found)
}

struct Judge {
    detector: Detector,
    found: Found,
    asked: Asked,
}

impl Judge {
    /// Judges entries, on a thread for that.
    async fn step(
        mut self,
        reader: &Reader,
        entries: Vec<(u64, Vec<u8>)>,
        replay: &Arc<Replay>,
    ) -> Result<Self, ServerError> {
        if replay.cancel.load(Ordering::Relaxed) {
            return Err(ServerError::Cancelled);
        }
        let (deriver, replay) = (reader.deriver().clone(), replay.clone());
        let work = move || {
            let mut findings = Vec::new();
            let mut derive = deriver.replay();
            for (index, entry) in &entries {
                let damaged =
                    |error: sceau_event::EntryError| StoreError::Entry { index: *index, detail: error.to_string() };
                let record = derive.derive(entry).map_err(damaged)?;
                let time = record.time.0;
                if self.asked.from.is_none_or(|from| time >= from) && self.asked.to.is_none_or(|to| time < to) {
                    replay.judged.fetch_add(1, Ordering::Relaxed);
                    self.detector.push(*index, &record, &mut findings);
                }
            }
            for finding in findings {
                if self.asked.rule.as_ref().is_none_or(|rule| *rule == finding.rule) {
                    self.found.count += 1;
                    let fits = |excepted| suppresses(excepted, &finding, finding.last);
                    self.found.suppressed += u64::from(self.asked.suppression.as_ref().is_some_and(fits));
                    if self.found.findings.len() < MAX_FINDINGS {
                        self.found.findings.push(finding);
                    }
                }
            }
            Ok(self)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Internal(error.to_string()))?
    }
}

/// What to replay, in the words of people.
#[derive(Clone, Debug, Default)]
pub struct ReplayParams {
    /// Which entries.
    pub filtered: Filtered,
    /// Only this rule's findings.
    pub rule: Option<String>,
}

/// Replays rules on a log that no server holds; the answer is the JSON that the API gives at the end. The settings are those that
/// the log's state holds, without a look at their MACs, since the keys may be elsewhere.
///
/// # Errors
/// The rules or the log can't be read, or what is asked for can't be understood.
pub async fn replay_log(
    reader: &Reader,
    directory: Option<&std::path::Path>,
    params: ReplayParams,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<String, ServerError> {
    let rules =
        Rules { files: Arc::new(super::rules::read(directory)?), set: Set::load_unchecked(&**reader.store()).await? };
    let asked = Asked::of(reader, &params.filtered, params.rule)?;
    let replay = Arc::new(Replay::new(&asked)?);
    let running = run(reader, rules, asked, &replay);
    tokio::pin!(running);
    let found = loop {
        tokio::select! {
            found = &mut running => break found?,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                progress(replay.done.load(Ordering::Relaxed), replay.total.load(Ordering::Relaxed));
            }
        }
    };
    *replay.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(found));
    serde_json::to_string(&replay.view()).map_err(|error| ServerError::Internal(error.to_string()))
}
