//! Saved analyses: questions over the whole log that are asked again and again.

use sceau_event::{Keyword, Micros};
use sceau_store::query::Query;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::ServerError,
    reader::{Filtered, Reader},
};

/// The most rows of an answer.
const MAX_ROWS: usize = 10_000;

/// A question with a name: occurrences per interval and value of a field, as far as there are more than so many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Analysis {
    pub id: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// The query, in the search bar's language.
    pub q: &'static str,
    /// Seconds; intervals begin at multiples of it.
    pub interval_seconds: i64,
    /// The field that is counted by.
    pub by: &'static str,
    /// Only what has more occurrences is told.
    pub more_than: u64,
}

/// The shipped ones. The first is the query of the product's original specification.
const ANALYSES: [(Analysis, Keyword); 3] = [
    (
        Analysis {
            id: "failures-per-address-10m",
            title: "More than 5 failures of one address in a 10-minute bucket",
            description: "Tumbling buckets of the clock (00:00, 00:10 …), as in the original MongoDB aggregation; the rule of \
                          brute force itself looks at any 10 minutes.",
            q: "event.outcome:failure",
            interval_seconds: 600,
            by: "source.ip",
            more_than: 5,
        },
        Keyword::SourceIp,
    ),
    (
        Analysis {
            id: "failures-per-user-10m",
            title: "More than 5 failures of one user in a 10-minute bucket",
            description: "The same by user.",
            q: "event.outcome:failure",
            interval_seconds: 600,
            by: "user.name",
            more_than: 5,
        },
        Keyword::UserName,
    ),
    (
        Analysis {
            id: "failures-per-host-1h",
            title: "More than 20 failures on one host in an hour",
            description: "Hosts that are attacked from many addresses at once.",
            q: "event.outcome:failure",
            interval_seconds: 3_600,
            by: "host.name",
            more_than: 20,
        },
        Keyword::HostName,
    ),
];

/// All of them.
pub(crate) fn analyses() -> impl Iterator<Item = &'static Analysis> {
    ANALYSES.iter().map(|(analysis, _)| analysis)
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnalysisRow)]
pub(crate) struct Row {
    #[schema(format = DateTime)]
    pub start: String,
    pub value: String,
    /// Entries, and occurrences: a message that says that it was repeated counts as often as it says.
    pub count: u64,
    pub occurrences: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnalysisAnswer)]
pub(crate) struct AnalysisView {
    #[serde(flatten)]
    #[schema(value_type = Analysis)]
    pub analysis: &'static Analysis,
    /// The greatest counts first, ties by time and value.
    pub rows: Vec<Row>,
    /// Whether there were more rows.
    pub cut: bool,
}

/// Asks one.
///
/// # Errors
/// There is none of that name, the times can't be understood, or the store can't answer in time.
pub(crate) async fn run(reader: &Reader, id: &str, filtered: Filtered) -> Result<AnalysisView, ServerError> {
    let absent = || ServerError::NotFound(format!("analysis {id}"));
    let (analysis, by) = ANALYSES.iter().find(|(analysis, _)| analysis.id == id).ok_or_else(absent)?;
    let query: Query = reader.query(&Filtered { q: Some(analysis.q.to_owned()), ..filtered })?;
    let (interval, field) = (analysis.interval_seconds * 1_000_000, sceau_event::Field::Keyword(*by));
    let found = reader.store().histogram(&query, interval, Some(&field), reader.query_time()).await?;
    let mut rows: Vec<_> = found
        .rows
        .into_iter()
        .filter(|row| row.counts.occurrences > analysis.more_than)
        .filter_map(|row| row.by.map(|value| (row.start, value, row.counts)))
        .collect();
    rows.sort_unstable_by(|a, b| b.2.occurrences.cmp(&a.2.occurrences).then_with(|| (a.0, &a.1).cmp(&(b.0, &b.1))));
    let cut = rows.len() > MAX_ROWS;
    rows.truncate(MAX_ROWS);
    let row = |(start, value, counts): (i64, String, sceau_store::Counts)| Row {
        start: Micros(start).max(Micros::FIRST).to_string(),
        value,
        count: counts.entries,
        occurrences: counts.occurrences,
    };
    Ok(AnalysisView { analysis, rows: rows.into_iter().map(row).collect(), cut })
}
