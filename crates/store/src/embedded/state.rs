//! `State` on SQLite.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::{Embedded, blocking, db};
use crate::{
    error::{CommitError, StoreError},
    traits::{Document, State, StateWrite},
};

/// The wall clock, microseconds since the epoch; only for expiry and age, never for anything that is sealed.
pub fn now_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

#[async_trait]
impl State for Embedded {
    async fn get(&self, collection: &str, key: &str, now: i64) -> Result<Option<Document>, StoreError> {
        let (inner, collection, key) = (self.inner.clone(), collection.to_owned(), key.to_owned());
        blocking(move || inner.db.read(|connection| db::get(connection, &collection, &key, now))).await
    }

    async fn list(&self, collection: &str, after: &str, limit: usize) -> Result<Vec<Document>, StoreError> {
        let (inner, collection, after) = (self.inner.clone(), collection.to_owned(), after.to_owned());
        blocking(move || inner.db.read(|connection| db::list(connection, &collection, &after, limit))).await
    }

    async fn write(&self, writes: Vec<StateWrite>) -> Result<(), CommitError> {
        let inner = self.inner.clone();
        let work = move || {
            inner.db.write(
                |transaction| writes.iter().try_for_each(|write| db::put_state(transaction, write, now_micros())),
                |()| (),
            )
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))?
    }

    async fn purge(&self, now: i64) -> Result<u64, StoreError> {
        let inner = self.inner.clone();
        blocking(move || inner.db.write(|transaction| db::purge(transaction, now), |_| ())).await
    }
}
