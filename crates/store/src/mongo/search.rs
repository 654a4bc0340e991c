//! Questions over the documents of `logs`: every one is an aggregation that runs in the server, and what comes back is
//! the answer's rows.
//!
//! Each has a `maxTimeMS`. When nobody waits for the answer any more, the future is dropped: the driver closes the
//! connection on which the server was still at work, at which MongoDB ends the operation, and kills a cursor that was not
//! read to its end. A server that notices neither ends the operation when its time is up.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::{
    Collection, Database,
    bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf},
    error::Error,
    options::{CollectionOptions, ReadConcern},
};
use sceau_event::Field;
use sceau_ledger::Index;

use super::{Mongo, names, query as pipelines, trouble};
use crate::{
    bounds,
    error::StoreError,
    query::{Cursor, Page, Query},
    traits::{Counts, Histogram, HistogramRow, Hit, Hits, Search, TopRow, TopTable},
};

/// Answers questions from one database.
#[derive(Clone, Debug)]
pub struct Questions {
    logs: Collection<RawDocumentBuf>,
}

impl Questions {
    /// Asks the collection `logs` of a database, of which it sees what a majority of the members has.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let options = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
        Self { logs: database.collection_with_options(names::LOGS, options) }
    }

    /// Hands each row of an answer to `each`.
    async fn ask(
        &self,
        pipeline: Vec<Document>,
        limit: Duration,
        mut each: impl FnMut(&RawDocument) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if limit.is_zero() {
            return Err(StoreError::Timeout(0));
        }
        let run = async {
            let aggregation = self.logs.aggregate(pipeline).max_time(server_limit(limit)).batch_size(BATCH);
            // Groups and sorts that don't fit into memory are refused instead of filling the server's disk.
            let mut rows = aggregation.allow_disk_use(false).await.map_err(|error| failure(error, limit))?;
            while rows.advance().await.map_err(|error| failure(error, limit))? {
                each(rows.current())?;
            }
            Ok(())
        };
        tokio::time::timeout(limit, run).await.unwrap_or(Err(StoreError::Timeout(limit.as_secs())))
    }
}

/// Rows that the server sends at once; at 16 MB it stops earlier.
const BATCH: u32 = 10_001;

/// The server counts whole milliseconds, and takes none for no limit.
fn server_limit(limit: Duration) -> Duration {
    limit.clamp(Duration::from_millis(1), Duration::from_secs(86_400))
}

/// MaxTimeMSExpired, ExceededTimeLimit.
const LATE: [i32; 2] = [50, 262];
/// ExceededMemoryLimit, QueryExceededMemoryLimitNoDiskUseAllowed, and the older ones of $sort, $group, $facet and of a
/// document that grew too long.
const MEMORY: [i32; 7] = [146, 292, 10_334, 16_819, 16_820, 16_945, 4_031_700];
/// The cursor is gone, with the member that had it or by an administrator: asking again can help.
const CUT: [i32; 3] = [43, 175, 237];

/// What became of a question.
fn failure(error: Error, limit: Duration) -> StoreError {
    let known = trouble::code(&error).and_then(|code| known(code, limit));
    match known {
        Some(StoreError::Unavailable(_)) => StoreError::Unavailable(trouble::text(&error)),
        Some(known) => known,
        None => error.into(),
    }
}

/// What a code says of a question; `None`: no more than of anything else.
fn known(code: i32, limit: Duration) -> Option<StoreError> {
    if LATE.contains(&code) {
        return Some(StoreError::Timeout(limit.as_secs()));
    }
    if MEMORY.contains(&code) {
        return Some(StoreError::Memory);
    }
    CUT.contains(&code).then(|| StoreError::Unavailable(String::new()))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("MongoDB answered without {what}"))
}

fn whole(row: &RawDocument, name: &str) -> Result<i64, StoreError> {
    match row.get(name).ok().flatten() {
        Some(RawBsonRef::Int64(number)) => Ok(number),
        Some(RawBsonRef::Int32(number)) => Ok(number.into()),
        _ => Err(damaged(name)),
    }
}

fn counts(row: &RawDocument) -> Result<Counts, StoreError> {
    let number = |name| whole(row, name).map(i64::unsigned_abs);
    Ok(Counts { entries: number("e")?, occurrences: number("o")? })
}

fn hit(row: &RawDocument) -> Result<Hit, StoreError> {
    let index = whole(row, names::ID)?.unsigned_abs();
    let entry = match row.get(names::ENTRY).ok().flatten() {
        Some(RawBsonRef::String(text)) => text.as_bytes().to_vec(),
        Some(RawBsonRef::Binary(binary)) => binary.bytes.to_vec(),
        _ => return Err(StoreError::Entry { index, detail: "its document holds no entry".into() }),
    };
    Ok(Hit { index: Index(index), time: whole(row, names::TIME_MICROS)?, entry })
}

/// The value that a group is of; none in a document that isn't such a group's.
fn value_of(field: &Field, row: &RawDocument, name: &str) -> Option<String> {
    let value: Bson = row.get(name).ok().flatten()?.try_into().ok()?;
    pipelines::text_of(field, &value)
}

#[async_trait]
impl Search for Questions {
    async fn search(&self, query: &Query, page: &Page, limit: Duration) -> Result<Hits, StoreError> {
        bounds::check_page(page)?;
        let mut hits = Vec::new();
        self.ask(pipelines::page(query, page), limit, |row| {
            hits.push(hit(row)?);
            Ok(())
        })
        .await?;
        let more = hits.len() > page.limit;
        hits.truncate(page.limit);
        let last = hits.last().filter(|_| more);
        let next = last.map(|hit| Cursor { time: hit.time, index: hit.index.0 });
        Ok(Hits { hits, next })
    }

    async fn histogram(
        &self,
        query: &Query,
        interval: i64,
        by: Option<&Field>,
        limit: Duration,
    ) -> Result<Histogram, StoreError> {
        bounds::check_interval(interval)?;
        let mut rows = Vec::new();
        self.ask(pipelines::histogram(query, interval, by), limit, |row| {
            let key = row.get_document(names::ID).map_err(|_| damaged("a bar"))?;
            let value = by.and_then(|field| value_of(field, key, "b"));
            rows.push(HistogramRow { start: whole(key, "s")?, by: value, counts: counts(row)? });
            bounds::check_bars(rows.len())
        })
        .await?;
        rows.sort_by(|a, b| (a.start, &a.by).cmp(&(b.start, &b.by)));
        Ok(Histogram { rows })
    }

    async fn top(&self, query: &Query, field: &Field, rows: usize, limit: Duration) -> Result<TopTable, StoreError> {
        bounds::check_rows(rows)?;
        let mut table = TopTable::default();
        self.ask(pipelines::top(query, field, rows), limit, |row| {
            let value = value_of(field, row, "v").ok_or_else(|| damaged("a value"))?;
            table.rows.push(TopRow { value, counts: counts(row)? });
            table.distinct = whole(row, "n")?.unsigned_abs();
            Ok(())
        })
        .await?;
        Ok(table)
    }

    async fn count(&self, query: &Query, limit: Duration) -> Result<Counts, StoreError> {
        let mut found = Counts::default();
        self.ask(pipelines::count(query), limit, |row| {
            found = counts(row)?;
            Ok(())
        })
        .await?;
        Ok(found)
    }
}

#[async_trait]
impl Search for Mongo {
    async fn search(&self, query: &Query, page: &Page, limit: Duration) -> Result<Hits, StoreError> {
        self.inner.questions.search(query, page, limit).await
    }

    async fn histogram(
        &self,
        query: &Query,
        interval: i64,
        by: Option<&Field>,
        limit: Duration,
    ) -> Result<Histogram, StoreError> {
        self.inner.questions.histogram(query, interval, by, limit).await
    }

    async fn top(&self, query: &Query, field: &Field, rows: usize, limit: Duration) -> Result<TopTable, StoreError> {
        self.inner.questions.top(query, field, rows, limit).await
    }

    async fn count(&self, query: &Query, limit: Duration) -> Result<Counts, StoreError> {
        self.inner.questions.count(query, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_limits_are_told_by_their_codes() {
        let limit = Duration::from_secs(7);
        for code in [50, 262] {
            assert!(matches!(known(code, limit), Some(StoreError::Timeout(7))), "{code}");
        }
        for code in [146, 292, 16_945] {
            assert!(matches!(known(code, limit), Some(StoreError::Memory)), "{code}");
        }
        assert!(matches!(known(43, limit), Some(StoreError::Unavailable(_))));
        assert!(known(2, limit).is_none());
    }
}
