//! `Search` on MongoDB.

use std::time::Duration;

use async_trait::async_trait;
use sceau_event::Field;

use super::Mongo;
use crate::{
    error::StoreError,
    query::{Page, Query},
    traits::{Counts, Histogram, Hits, Search, TopTable},
};

fn absent<T>() -> Result<T, StoreError> {
    Err(StoreError::Internal("this branch has no search".into()))
}

#[async_trait]
impl Search for Mongo {
    async fn search(&self, _: &Query, _: &Page, _: Duration) -> Result<Hits, StoreError> {
        absent()
    }

    async fn histogram(&self, _: &Query, _: i64, _: Option<&Field>, _: Duration) -> Result<Histogram, StoreError> {
        absent()
    }

    async fn top(&self, _: &Query, _: &Field, _: usize, _: Duration) -> Result<TopTable, StoreError> {
        absent()
    }

    async fn count(&self, _: &Query, _: Duration) -> Result<Counts, StoreError> {
        absent()
    }
}
