//! Questions to a log, wherever it is: the answers are the API's JSON in both cases.

use std::fmt::Display;

use sceau_server::{Filtered, HistogramParams, Reader, SearchParams, ServerError, TopParams};
use sceau_store::query::Order;
use serde::Serialize;

use crate::{client::Client, error::CliError};

/// How many entries a server is asked for at once.
const REMOTE_ENTRIES: u64 = 4_096;

/// A log to ask.
pub enum Backend {
    /// Through a running server.
    Remote(Client),
    /// Directly.
    Local(Box<Reader>),
}

impl Backend {
    /// One page of events.
    pub async fn search(&self, params: &SearchParams) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.search(params).await?),
            Self::Remote(client) => {
                let order = match params.order {
                    Order::Newest => "newest",
                    Order::Oldest => "oldest",
                };
                let [q, from, to] = filter(&params.filtered);
                let limit = ("limit", params.limit.map(string));
                let more = [("order", Some(order.to_owned())), ("cursor", params.cursor.clone())];
                client.get_text("api/v1/events", &[q, from, to, limit, more[0].clone(), more[1].clone()]).await
            }
        }
    }

    /// How many events match.
    pub async fn count(&self, filtered: &Filtered) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.count(filtered).await?),
            Self::Remote(client) => client.get_text("api/v1/events/count", &filter(filtered)).await,
        }
    }

    /// A field's most frequent values.
    pub async fn top(&self, params: &TopParams) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.top(params).await?),
            Self::Remote(client) => {
                let [q, from, to] = filter(&params.filtered);
                let field = ("field", Some(params.field.clone()));
                client.get_text("api/v1/events/top", &[q, from, to, field, ("limit", params.limit.map(string))]).await
            }
        }
    }

    /// Events per interval.
    pub async fn histogram(&self, params: &HistogramParams) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.histogram(params).await?),
            Self::Remote(client) => {
                let [q, from, to] = filter(&params.filtered);
                let interval = ("interval", params.interval.clone());
                client.get_text("api/v1/events/histogram", &[q, from, to, interval, ("by", params.by.clone())]).await
            }
        }
    }

    /// The proof of an entry.
    pub async fn proof(&self, index: u64) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.proof(index).await?),
            Self::Remote(client) => client.get_text(&format!("api/v1/events/{index}/proof"), &[]).await,
        }
    }

    /// How well the log is sealed.
    pub async fn integrity(&self) -> Result<String, CliError> {
        match self {
            Self::Local(reader) => text(&reader.integrity().await?),
            Self::Remote(client) => client.get_text("api/v1/integrity", &[]).await,
        }
    }

    /// Some entries from index `from`, byte for byte; none at the log's end, which is at `size`.
    pub async fn entries(&self, from: u64, size: u64) -> Result<Vec<Vec<u8>>, CliError> {
        if from >= size {
            return Ok(Vec::new());
        }
        match self {
            Self::Local(reader) => {
                let limit = usize::try_from(size - from).unwrap_or(usize::MAX).min(4_096);
                Ok(reader.entries(Some(from), limit).await?.entries)
            }
            Self::Remote(client) => {
                let limit = (size - from).min(REMOTE_ENTRIES);
                let params = [("from", Some(from.to_string())), ("limit", Some(limit.to_string()))];
                let mut lines = client.get("api/v1/entries", &params).await?;
                let mut entries = Vec::new();
                while let Some(end) = memchr::memchr(b'\n', &lines) {
                    entries.push(lines.split_to(end + 1).slice(..end).to_vec());
                }
                Ok(entries)
            }
        }
    }

    /// Releases the log.
    pub async fn close(self) -> Result<(), CliError> {
        match self {
            Self::Local(reader) => Ok(reader.close().await?),
            Self::Remote(_) => Ok(()),
        }
    }
}

fn filter(filtered: &Filtered) -> [(&'static str, Option<String>); 3] {
    [("q", filtered.q.clone()), ("from", filtered.from.clone()), ("to", filtered.to.clone())]
}

fn string(value: impl Display) -> String {
    value.to_string()
}

fn text(view: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(view).map_err(|error| CliError::Server(ServerError::Internal(error.to_string())))
}
