//! `State` on SQLite: small documents in one table.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    Embedded, blocking,
    db::{number, odd_blob, odd_expiry, odd_integer, odd_text},
};
use crate::{
    error::{CommitError, StoreError},
    traits::{Document, Expect, State, StateWrite},
};

/// The wall clock, microseconds since the epoch; only for expiry and age, never for anything that is sealed.
pub fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// A document; a value that somebody made no JSON is read as the text it is, so that it is compared and found wrong.
fn document(row: &rusqlite::Row<'_>) -> rusqlite::Result<Document> {
    let text = odd_text(row, 1)?;
    let value = serde_json::from_str(&text).unwrap_or_else(|_| serde_json::Value::String(text.clone()));
    let (key, version) = (odd_text(row, 0)?, odd_integer(row, 2)?);
    Ok(Document { key, value, text, version, expires: odd_expiry(row, 3)?, mac: odd_blob(row, 4)? })
}

/// A document that has not expired at `now`.
fn get(connection: &Connection, collection: &str, key: &str, now: i64) -> Result<Option<Document>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT key, value, version, expires, mac FROM state
             WHERE collection = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)",
        )?
        .query_row(params![collection, key, now], document)
        .optional()?)
}

/// A page of a collection. A key that somebody made no text, and that no page could follow, is none of them: only
/// [`audit`] sees it.
fn list(connection: &Connection, collection: &str, after: &str, limit: usize) -> Result<Vec<Document>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value, version, expires, mac FROM state
         WHERE collection = ?1 AND key > ?2 AND key < x'' ORDER BY key LIMIT ?3",
    )?;
    let rows = statement.query_map(params![collection, after, number(limit as u64)], document)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A page of everything.
fn audit(connection: &Connection, after: (&str, &str), limit: usize) -> Result<Vec<(String, Document)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value, version, expires, mac, collection FROM state
         WHERE (collection, key) > (?1, ?2) ORDER BY collection, key LIMIT ?3",
    )?;
    let rows = statement
        .query_map(params![after.0, after.1, number(limit as u64)], |row| Ok((odd_text(row, 5)?, document(row)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes one document if what it expects holds.
pub fn put_state(transaction: &Transaction<'_>, write: &StateWrite, now: i64) -> Result<(), CommitError> {
    let found = get(transaction, &write.collection, &write.key, now)?;
    let holds = match write.expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found.as_ref().is_some_and(|document| document.version == version),
    };
    if !holds {
        return Err(CommitError::StateConflict { collection: write.collection.clone(), key: write.key.clone() });
    }
    let version = found.map_or(0, |document| document.version) + 1;
    let key = params![write.collection, write.key];
    match &write.text() {
        None => transaction.execute("DELETE FROM state WHERE collection = ?1 AND key = ?2", key),
        Some(text) => transaction.execute(
            "INSERT OR REPLACE INTO state (collection, key, value, version, expires, mac)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![write.collection, write.key, text, number(version), write.expires, write.mac],
        ),
    }
    .map_err(StoreError::from)?;
    Ok(())
}

fn count(connection: &Connection, collection: &str, now: i64) -> Result<u64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT count(*) FROM state WHERE collection = ?1 AND (expires IS NULL OR expires > ?2)")?;
    let count: i64 = statement.query_row(params![collection, now], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Forgets what has expired.
fn purge(transaction: &Transaction<'_>, now: i64) -> Result<u64, StoreError> {
    Ok(transaction.execute("DELETE FROM state WHERE expires IS NOT NULL AND expires <= ?1", [now])? as u64)
}

#[async_trait]
impl State for Embedded {
    async fn get(&self, collection: &str, key: &str, now: i64) -> Result<Option<Document>, StoreError> {
        let (inner, collection, key) = (self.inner.clone(), collection.to_owned(), key.to_owned());
        blocking(move || inner.db.read(|connection| get(connection, &collection, &key, now))).await
    }

    async fn list(&self, collection: &str, after: &str, limit: usize) -> Result<Vec<Document>, StoreError> {
        let (inner, collection, after) = (self.inner.clone(), collection.to_owned(), after.to_owned());
        blocking(move || inner.db.read(|connection| list(connection, &collection, &after, limit))).await
    }

    async fn audit_state(&self, after: (&str, &str), limit: usize) -> Result<Vec<(String, Document)>, StoreError> {
        let (inner, after) = (self.inner.clone(), (after.0.to_owned(), after.1.to_owned()));
        blocking(move || inner.db.read(|connection| audit(connection, (&after.0, &after.1), limit))).await
    }

    async fn count_documents(&self, collection: &str, now: i64) -> Result<u64, StoreError> {
        let (inner, collection) = (self.inner.clone(), collection.to_owned());
        blocking(move || inner.db.read(|connection| count(connection, &collection, now))).await
    }

    async fn write(&self, writes: Vec<StateWrite>) -> Result<(), CommitError> {
        let inner = self.inner.clone();
        let work = move || {
            inner.db.write(
                |transaction| writes.iter().try_for_each(|write| put_state(transaction, write, now_micros())),
                |()| (),
            )
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))?
    }

    async fn purge(&self, now: i64) -> Result<u64, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.db.write(|transaction| purge(transaction, now), |_| ())).await
    }
}
