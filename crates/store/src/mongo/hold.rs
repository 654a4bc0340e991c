//! The lease as a server asks for it: see [`super::lease`].

use std::{sync::PoisonError, time::Duration};

use async_trait::async_trait;

use super::{
    Mongo,
    lease::{Lease, LeaseError, LeaseNote},
};
use crate::{
    error::StoreError,
    traits::{self, Acquired, Holder},
};

impl Mongo {
    /// Our own, as it was taken.
    fn held(&self) -> Option<Lease> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl traits::Lease for Mongo {
    async fn acquire(&self, owner: &str, time: Duration) -> Result<Acquired, StoreError> {
        match self.take_lease(owner, time).await {
            Ok(lease) => {
                *self.inner.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                Ok(Acquired::Ours)
            }
            Err(LeaseError::Held(LeaseNote { owner, left, .. }) | LeaseError::Lost(LeaseNote { owner, left, .. })) => {
                Ok(Acquired::Held(Holder { owner, left }))
            }
            Err(LeaseError::Store(error)) => Err(error),
        }
    }

    async fn renew(&self, time: Duration) -> Result<bool, StoreError> {
        let Some(lease) = self.held() else { return Ok(false) };
        match self.renew_lease(&Lease { ttl: time, ..lease }).await {
            Ok(()) => Ok(true),
            Err(LeaseError::Held(_) | LeaseError::Lost(_)) => Ok(false),
            Err(LeaseError::Store(error)) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), StoreError> {
        let lease = self.inner.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        match lease {
            None => Ok(()),
            Some(lease) => match self.release_lease(&lease).await {
                Err(LeaseError::Store(error)) => Err(error),
                _ => Ok(()),
            },
        }
    }
}
