//! The parts of a transaction.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use mongodb::{
    ClientSession, Database,
    bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, deserialize_from_bson, doc, rawdoc},
    error::{CommandError, Error, ErrorKind},
};

use super::{
    names,
    state::{self, state_id},
    trouble,
};
use crate::{
    error::{CommitError, StoreError},
    traits::{Document as StateDocument, Expect, StateWrite},
};

/// One part.
#[derive(Debug)]
pub enum Step {
    /// New documents, as the commands that insert them.
    Insert(Vec<RawDocumentBuf>),
    /// Documents that take the place of those with the same `_id`.
    Replace(&'static str, Vec<Document>),
    /// Small documents, each if what it expects holds at a moment (microseconds since the epoch).
    State(Vec<StateWrite>, i64),
    /// All documents that match.
    Delete(&'static str, Document),
    /// A text that is never changed.
    Fix(Fixed),
}

/// A text under a key, written once; the same again is no error.
#[derive(Debug)]
pub struct Fixed {
    pub collection: &'static str,
    pub id: Bson,
    /// The field that holds the text.
    pub field: &'static str,
    pub text: String,
    /// What it is, for the error.
    pub what: String,
}

/// A part that failed; the transaction has to end.
#[derive(Debug)]
pub enum StepError {
    /// The head document is not as expected.
    Moved,
    /// For a reason of the product.
    Refused(CommitError),
    /// The driver or server failed.
    Driver(Error),
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<CommitError> for StepError {
    fn from(error: CommitError) -> Self {
        Self::Refused(error)
    }
}

impl Step {
    /// Writes; gives how many documents were deleted.
    pub async fn run(&self, database: &Database, session: &mut ClientSession) -> Result<u64, StepError> {
        match self {
            Self::Insert(commands) => {
                for command in commands {
                    insert(database, session, command).await?;
                }
            }
            Self::Replace(collection, documents) => {
                let replacements = documents.iter().map(|document| {
                    let id = document.get(names::ID).cloned().unwrap_or(Bson::Null);
                    doc! { "q": { "_id": id }, "u": document.clone(), "upsert": true }
                });
                update(database, session, collection, replacements.collect()).await?;
            }
            Self::State(writes, now) => write_state(database, session, writes, *now).await?,
            Self::Delete(collection, filter) => {
                let collection = database.collection::<Document>(collection);
                return Ok(collection.delete_many(filter.clone()).session(session).await?.deleted_count);
            }
            Self::Fix(fixed) => fixed.write(database, session).await?,
        }
        Ok(0)
    }
}

async fn insert(database: &Database, session: &mut ClientSession, command: &RawDocumentBuf) -> Result<(), StepError> {
    match write(database, session, command.clone()).await {
        Err(error) if trouble::duplicate(&error) => {
            let collection = command.get_str("insert").unwrap_or_default();
            let detail =
                format!("{collection} holds a document already where the next one belongs: {}", trouble::text(&error));
            Err(CommitError::from(StoreError::Damaged(detail)).into())
        }
        other => Ok(other?),
    }
}

/// Runs a command that writes. What it says of single documents the driver reads in its own commands only.
async fn write(database: &Database, session: &mut ClientSession, command: RawDocumentBuf) -> Result<(), Error> {
    let answer = database.run_raw_command(command).session(session).await?;
    match answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        None => Ok(()),
        Some(error) => {
            let error: CommandError = deserialize_from_bson(error.clone())?;
            Err(ErrorKind::Command(error).into())
        }
    }
}

/// Bytes of updates in one command, which is itself a document.
const UPDATE_BYTES: usize = 8 << 20;

/// Many updates in few messages.
async fn update(
    database: &Database,
    session: &mut ClientSession,
    collection: &str,
    updates: Vec<Document>,
) -> Result<(), StepError> {
    let (mut pending, mut bytes) = (RawArrayBuf::new(), 0);
    for update in updates {
        let update = RawDocumentBuf::try_from(&update).map_err(Error::from)?;
        if bytes > 0 && bytes + update.as_bytes().len() > UPDATE_BYTES {
            send_updates(database, session, collection, std::mem::take(&mut pending)).await?;
            bytes = 0;
        }
        bytes += update.as_bytes().len();
        pending.push(update);
    }
    if bytes > 0 { send_updates(database, session, collection, pending).await } else { Ok(()) }
}

async fn send_updates(
    database: &Database,
    session: &mut ClientSession,
    collection: &str,
    updates: RawArrayBuf,
) -> Result<(), StepError> {
    Ok(write(database, session, rawdoc! { "update": collection, "updates": updates }).await?)
}

async fn write_state(
    database: &Database,
    session: &mut ClientSession,
    writes: &[StateWrite],
    now: i64,
) -> Result<(), StepError> {
    if writes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Bson> = writes.iter().map(|write| state_id(&write.collection, &write.key).into()).collect();
    let collection = database.collection::<Document>(names::STATE);
    let mut found = collection.find(doc! { "_id": { "$in": ids } }).session(&mut *session).await?;
    let mut known: HashMap<(String, String), StateDocument> = HashMap::new();
    let mut cursor = found.stream(session);
    while let Some(document) = cursor.try_next().await? {
        let (collection, document) = state::read(&document);
        if document.expires.is_none_or(|expires| expires > now) {
            known.insert((collection, document.key.clone()), document);
        }
    }
    drop(cursor);
    let mut last: HashMap<(String, String), Option<Document>> = HashMap::new();
    let mut order = Vec::new();
    for write in writes {
        let name = (write.collection.clone(), write.key.clone());
        let version = next_version(write, known.get(&name))?;
        let document = state::document(write, version);
        match &document {
            Some(document) => drop(known.insert(name.clone(), state::read(document).1)),
            None => drop(known.remove(&name)),
        }
        if last.insert(name.clone(), document).is_none() {
            order.push(name);
        }
    }
    let (kept, removed): (Vec<_>, Vec<_>) = order
        .into_iter()
        .map(|name| (state_id(&name.0, &name.1), last.remove(&name).flatten()))
        .partition(|(_, to)| to.is_some());
    let replaced =
        kept.into_iter().map(|(id, to)| doc! { "q": { "_id": id }, "u": to.unwrap_or_default(), "upsert": true });
    update(database, session, names::STATE, replaced.collect()).await?;
    if !removed.is_empty() {
        let ids: Vec<Bson> = removed.into_iter().map(|(id, _)| id.into()).collect();
        collection.delete_many(doc! { "_id": { "$in": ids } }).session(session).await?;
    }
    Ok(())
}

fn next_version(write: &StateWrite, found: Option<&StateDocument>) -> Result<u64, CommitError> {
    let holds = match write.expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found.is_some_and(|document| document.version == version),
    };
    if holds {
        return Ok(found.map_or(0, |document| document.version) + 1);
    }
    Err(CommitError::StateConflict { collection: write.collection.clone(), key: write.key.clone() })
}

impl Fixed {
    async fn write(&self, database: &Database, session: &mut ClientSession) -> Result<(), StepError> {
        let collection = database.collection::<Document>(self.collection);
        let found = collection.find_one(doc! { "_id": self.id.clone() }).session(&mut *session).await?;
        match found {
            None => {
                let document = doc! { "_id": self.id.clone(), self.field: &self.text };
                collection.insert_one(document).session(session).await?;
                Ok(())
            }
            Some(found) if found.get_str(self.field).is_ok_and(|text| text == self.text) => Ok(()),
            Some(_) => Err(CommitError::from(StoreError::Exists(self.what.clone())).into()),
        }
    }
}
