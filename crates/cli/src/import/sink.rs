//! Where batches go: a running server, or a log in a directory.

use std::time::Duration;

use sceau_server::{Format, ImportMove, ImportPosition, IngestRequest, LineError, Log, Refusals, ServerError};
use sceau_store::StoreError;
use serde::Deserialize;

use super::{batch::Batch, input::Kind, patience::Patience};
use crate::{
    client::{Client, Problem},
    error::CliError,
};

/// A log that takes events.
pub enum Sink {
    /// Through a running server.
    Remote(Client),
    /// Directly.
    Local(Log),
}

/// What is said about the events of an import besides themselves.
#[derive(Clone, Debug)]
pub struct About {
    /// The source that they get.
    pub source: String,
    /// The parser for their lines.
    pub parser: Option<String>,
    /// The zone of times that don't say theirs.
    pub zone: Option<String>,
    /// What the input holds.
    pub kind: Kind,
    /// The import's name, if it can be resumed.
    pub id: Option<String>,
}

/// What came of a batch that was dealt with.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// Events that were kept.
    pub accepted: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// Those one by one, with their line in the body.
    pub errors: Vec<LineError>,
}

impl From<Refusals> for Answer {
    fn from(refusals: Refusals) -> Self {
        Self { accepted: 0, rejected: refusals.rejected, errors: refusals.errors }
    }
}

/// What came of a batch.
#[derive(Clone, Debug)]
pub enum Sent {
    /// It was dealt with.
    Kept(Answer),
    /// The import is elsewhere: an earlier try arrived after all, or somebody else imports the same file.
    Elsewhere(ImportPosition),
    /// It was not taken, and the wait for that was interrupted.
    Stopped,
}

/// What came of one try.
enum Tried {
    Sent(Sent),
    Later { after: Option<Duration>, why: String },
}

impl Sink {
    /// How far an import has come, with the same patience; `None` if the wait for the answer was interrupted.
    pub async fn position(
        &self,
        id: &str,
        mut patience: Patience<'_>,
    ) -> Result<Option<Option<ImportPosition>>, CliError> {
        loop {
            match self.try_position(id).await {
                Err(error) if patience.endless() && passes(&error) => {
                    if !patience.pause(None, &error.to_string()).await? {
                        return Ok(None);
                    }
                }
                known => return known.map(Some),
            }
        }
    }

    async fn try_position(&self, id: &str) -> Result<Option<ImportPosition>, CliError> {
        match self {
            Self::Local(log) => Ok(log.reader().import_position(id).await?),
            Self::Remote(client) => match client.get_text(&format!("api/v1/imports/{id}"), &[]).await {
                Ok(text) => serde_json::from_str(&text).map(Some).map_err(CliError::json("the import's position")),
                Err(CliError::Refused(problem)) if problem.status == 404 => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Sends a batch, with patience while the log is busy or, if that is endless, away.
    pub async fn send(&self, batch: &Batch, about: &About, mut patience: Patience<'_>) -> Result<Sent, CliError> {
        loop {
            let (after, why) = match self.try_send(batch, about).await {
                Ok(Tried::Sent(sent)) => return Ok(sent),
                Ok(Tried::Later { after, why }) => (after, why),
                Err(error) if patience.endless() && repeatable(&error, about) => (None, error.to_string()),
                Err(error) => return Err(error),
            };
            if !patience.pause(after, &why).await? {
                return Ok(Sent::Stopped);
            }
        }
    }

    async fn try_send(&self, batch: &Batch, about: &About) -> Result<Tried, CliError> {
        let step = about.id.clone().map(|id| ImportMove { id, from: batch.from, to: batch.to.clone() });
        match self {
            Self::Local(log) => local(log, batch, about, step).await,
            Self::Remote(client) => remote(client, batch, about, step).await,
        }
    }

    /// Finishes: a log in a directory gets its last checkpoint and seal.
    pub async fn close(self) -> Result<(), CliError> {
        match self {
            Self::Local(log) => Ok(log.close().await?),
            Self::Remote(_) => Ok(()),
        }
    }
}

/// Whether an error passes once the server is there again.
fn passes(error: &CliError) -> bool {
    match error {
        CliError::Connection { .. } => true,
        CliError::Refused(problem) => matches!(problem.status, 429 | 503),
        _ => false,
    }
}

/// Whether a batch of which nobody knows whether it arrived may be sent again: if its import has a position, or it
/// never left.
fn repeatable(error: &CliError, about: &About) -> bool {
    match error {
        CliError::Connection { source, .. } => about.id.is_some() || source.is_connect(),
        _ => false,
    }
}

async fn local(log: &Log, batch: &Batch, about: &About, import: Option<ImportMove>) -> Result<Tried, CliError> {
    let format = if about.kind == Kind::Text { Format::Text } else { Format::Ndjson };
    let (source, parser, zone) = (about.source.clone(), about.parser.clone(), about.zone.clone());
    let request = IngestRequest { format, source, parser, zone, import, wait: true, ..IngestRequest::default() };
    match log.ingest(batch.body.clone(), &request).await {
        Ok(answer) => {
            let (accepted, rejected, errors) = (answer.accepted, answer.rejected, answer.errors);
            Ok(Tried::Sent(Sent::Kept(Answer { accepted, rejected, errors })))
        }
        Err(ServerError::AllRejected(refusals)) => Ok(Tried::Sent(Sent::Kept(refusals.into()))),
        Err(ServerError::ImportPosition(stored)) => Ok(Tried::Sent(Sent::Elsewhere(stored.unwrap_or_default()))),
        Err(
            error @ (ServerError::Full
            | ServerError::Overloaded
            | ServerError::TooOld
            | ServerError::Store(StoreError::Unavailable(_))),
        ) => Ok(Tried::Later { after: None, why: error.to_string() }),
        Err(error) => Err(error.into()),
    }
}

async fn remote(client: &Client, batch: &Batch, about: &About, import: Option<ImportMove>) -> Result<Tried, CliError> {
    let kind = if about.kind == Kind::Text { "text/plain" } else { "application/x-ndjson" };
    let step = import.as_ref();
    let params = [
        ("source", Some(about.source.clone())),
        ("parser", about.parser.clone()),
        ("zone", about.zone.clone()),
        ("import", step.map(|step| step.id.clone())),
        ("import_from", step.map(|step| step.from.to_string())),
        ("import_to", step.map(|step| step.to.offset.to_string())),
        ("import_lines", step.map(|step| step.to.lines.to_string())),
        ("import_tail", step.map(|step| step.to.tail.clone())),
    ];
    match client.post("api/v1/events", &params, kind, batch.body.clone()).await {
        Ok(text) => {
            let answer = serde_json::from_str(&text).map_err(CliError::json("the answer"))?;
            Ok(Tried::Sent(Sent::Kept(answer)))
        }
        Err(CliError::Refused(problem)) => refused(problem),
        Err(error) => Err(error),
    }
}

fn refused(problem: Box<Problem>) -> Result<Tried, CliError> {
    let members = || serde_json::Value::Object(problem.members.clone());
    match (problem.status, problem.code.as_str()) {
        (409, "import_position") => {
            let position = serde_json::from_value(members()).map_err(CliError::json("the import's position"))?;
            Ok(Tried::Sent(Sent::Elsewhere(position)))
        }
        (400 | 413, _) if problem.members.contains_key("errors") => {
            let refusals: Refusals = serde_json::from_value(members()).map_err(CliError::json("the refusals"))?;
            Ok(Tried::Sent(Sent::Kept(refusals.into())))
        }
        // Nothing helps but a restart, so there is nothing to wait for.
        (503, "store_failed") => Err(CliError::Refused(problem)),
        (429 | 503, _) => {
            let after = problem.retry_after.map(Duration::from_secs);
            Ok(Tried::Later { after, why: problem.to_string() })
        }
        _ => Err(CliError::Refused(problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, retry_after: Option<u64>) -> Box<Problem> {
        Box::new(Problem { retry_after, ..serde_json::from_str(text).unwrap() })
    }

    #[test]
    fn refusals_are_understood() {
        let text =
            r#"{"status":400,"code":"all_rejected","rejected":2,"errors":[{"line":1,"code":"c","message":"m"}]}"#;
        assert!(matches!(
            refused(problem(text, None)),
            Ok(Tried::Sent(Sent::Kept(Answer { accepted: 0, rejected: 2, .. })))
        ));
        let text = r#"{"status":409,"code":"import_position","offset":7,"lines":2,"tail":"ab"}"#;
        match refused(problem(text, None)) {
            Ok(Tried::Sent(Sent::Elsewhere(position))) => assert_eq!((position.offset, position.lines), (7, 2)),
            _ => panic!("not elsewhere"),
        }
        let text = r#"{"status":503,"code":"overloaded","title":"The queue is full"}"#;
        let later = refused(problem(text, Some(3)));
        assert!(matches!(later, Ok(Tried::Later { after: Some(after), .. }) if after == Duration::from_secs(3)));
        assert!(refused(problem(r#"{"status":503,"code":"store_failed"}"#, None)).is_err());
        assert!(refused(problem(r#"{"status":401,"code":"unauthorized"}"#, None)).is_err());
    }
}
