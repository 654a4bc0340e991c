//! How many idempotency keys the store remembers.

use sceau_store::{Store, StoreError};

use super::IDEMPOTENCY;

/// How often they are counted again while there seem to be too many, in microseconds.
const RECOUNT: i64 = 60 * 1_000_000;

/// An upper bound of the live idempotency keys: those that expire are noticed only when they are counted again.
pub(super) struct LiveKeys {
    limit: u64,
    /// As counted, and what was added since; `None` before the first count.
    bound: Option<u64>,
    counted: i64,
}

impl LiveKeys {
    pub fn new(limit: u64) -> Self {
        Self { limit, bound: None, counted: i64::MIN }
    }

    /// Makes sure that one more may be remembered; gives the limit if not.
    pub async fn check(&mut self, store: &dyn Store, now: i64) -> Result<Result<(), u64>, StoreError> {
        let is_full = self.bound.is_none_or(|bound| bound >= self.limit);
        if is_full && now.saturating_sub(self.counted) >= RECOUNT {
            self.bound = Some(store.count_documents(IDEMPOTENCY, now).await?);
            self.counted = now;
        }
        Ok(if self.bound.is_some_and(|bound| bound < self.limit) { Ok(()) } else { Err(self.limit) })
    }

    /// One more will be, if its commit succeeds.
    pub fn added(&mut self) {
        self.bound = self.bound.map(|bound| bound.saturating_add(1));
    }
}
