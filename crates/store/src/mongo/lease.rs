//! Who may write: one owner at a time, for a limited time by the server's clock.
//!
//! A take-over raises the fence in the head document, in the same transaction that writes the lease. Every other
//! transaction asks for the fence that it knows, so whoever lost the lease can't commit any more, however late he learns
//! of it. Times are the server's (`localTime` of its hello), so that the clocks of the owners don't matter.

use std::time::Duration;

use crate::error::StoreError;

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub owner: String,
    /// Grows with each take-over.
    pub fence: i64,
    /// For how long, counted from *before* the call that gave it.
    pub ttl: Duration,
}

/// The lease as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseNote {
    /// Who holds it, or held it last.
    pub owner: String,
    /// The fence of that take-over.
    pub fence: i64,
    /// How long it still runs by the server's clock; zero: it has ended or was released.
    pub left: Duration,
}

/// A lease that was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("{} holds the lease for another {} s", .0.owner, .0.left.as_secs())]
    Held(LeaseNote),
    /// It was taken over: nothing more is written through this store.
    #[error("the lease was taken over by {}", .0.owner)]
    Lost(LeaseNote),
    /// The database did not answer as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

// impl Mongo {
//     /// Takes the lease if it is free, has ended, or is this owner's already; raises the fence, which this store's
//     /// commits use from then on.
//     pub async fn take_lease(&self, owner: &str, ttl: Duration) -> Result<Lease, LeaseError>;
//     /// Prolongs it; the same lease, `ttl` from now.
//     pub async fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError>;
//     /// Lets it end now, so that another owner needs not wait.
//     pub async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError>;
//     /// Who holds it.
//     pub async fn lease(&self) -> Result<Option<LeaseNote>, StoreError>;
// }
