//! Who may write: one owner at a time, for a limited time by the server's clock.
//!
//! A take-over raises the fence in the head document, in the same transaction that writes the lease. Every other
//! transaction asks for the fence that it knows, so whoever lost the lease can't commit any more, however late he learns
//! of it. Somebody else's lease has ended once its document was seen unchanged for as long as the lease lasts, by the
//! monotonic clock of whoever looks: no clock of another machine matters, and none of the members of the replica set, which
//! may be apart when the primary changes. `until` is for people, and for who only asks.
//!
//! The document names the session of its owner's transactions too: a server that was killed in the middle of one leaves the
//! head document locked, for a minute if nobody ends that session.

use std::time::Duration;

use mongodb::{
    ClientSession,
    bson::{DateTime, Document, doc, oid::ObjectId},
};

use tokio::time::Instant;

use super::{
    Mongo,
    connect::hello,
    head::{self, HeadNote},
    names,
    transaction::Writer,
};
use crate::error::{CommitError, StoreError};

/// The document's key.
const KEY: &str = "lease";
/// How long it is tried again where somebody else is changing the documents. If the session of a server that was killed within
/// a transaction could not be ended (it was another user's), the database gives the transaction up after a minute.
const PATIENCE: Duration = Duration::from_secs(75);
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(250);

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
    /// How long it still runs, by the server's clock or for whoever wants to take it; zero: it has ended or was released.
    pub left: Duration,
}

/// Somebody else's lease as it was last seen, and since when it has been so.
pub type Seen = Option<(Document, Instant)>;

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

impl LeaseNote {
    fn of(document: &Document, now: DateTime) -> Self {
        let until = document.get_datetime("until").map_or(0, |until| until.timestamp_millis());
        let left = until.saturating_sub(now.timestamp_millis());
        Self {
            owner: document.get_str("owner").unwrap_or_default().to_owned(),
            fence: document.get_i64("fence").unwrap_or_default(),
            left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
        }
    }

    /// The same for somebody who wants to take it, and may have seen it before.
    fn of_another(document: &Document, seen: &mut Seen) -> Self {
        let since = match seen {
            Some((before, since)) if before == document => *since,
            _ => seen.insert((document.clone(), Instant::now())).1,
        };
        let ttl = Duration::from_millis(document.get_i64("ttl").map_or(0, |ttl| u64::try_from(ttl).unwrap_or(0)));
        Self { left: ttl.saturating_sub(since.elapsed()), ..Self::of(document, DateTime::MIN) }
    }
}

impl Mongo {
    /// Takes the lease if it is free, has ended, or is this owner's already; raises the fence, which this store's
    /// transactions ask for from then on.
    ///
    /// # Errors
    /// Somebody else holds it, or the database can't be reached: then it may have been taken all the same, and asking
    /// again gives it.
    pub async fn take_lease(&self, owner: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        let mut writer = self.inner.writer().await.map_err(CommitError::into_store)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let now = self.server_time().await?;
            let found = self.lease_document().await?;
            if let Some(found) = &found {
                let note = LeaseNote::of_another(found, &mut writer.seen);
                if note.owner != owner && !note.left.is_zero() {
                    return Err(LeaseError::Held(note));
                }
                let session = found.get_document("session").ok().filter(|session| *session != writer.session.id());
                if let Some(session) = session {
                    // Anew with each attempt: what a killed server had sent can begin a transaction after the first time.
                    self.inner.end_session(session).await;
                }
            }
            let head = self.inner.timed_store(HeadNote::read(&self.inner.writing)).await?;
            let fence = head.fence.saturating_add(1);
            let lease = doc! {
                "_id": KEY, "owner": owner, "fence": fence, "until": end(now, ttl), "ttl": millis(ttl),
                "session": writer.session.id(),
            };
            let turn = ObjectId::new();
            if self.take_over(&mut writer, found.as_ref(), &head, (lease, turn)).await? {
                (writer.fence, writer.turn) = (Some(fence), turn);
                tracing::info!(owner, fence, "the lease is ours");
                return Ok(Lease { owner: owner.to_owned(), fence, ttl });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(StoreError::Unavailable("the lease is being taken by somebody else".into()).into())
    }

    /// Prolongs it: it then runs for `ttl` from before this call.
    ///
    /// # Errors
    /// It was taken over; nothing more is written through this store then.
    pub async fn renew_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        let now = self.server_time().await?;
        self.change_lease(lease, now, lease.ttl).await
    }

    /// Lets it end now, so that another owner needs not wait.
    ///
    /// # Errors
    /// It was taken over already, or the database can't be reached.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), LeaseError> {
        let now = self.server_time().await?;
        self.change_lease(lease, now, Duration::ZERO).await
    }

    /// Who holds it, or held it last.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn lease(&self) -> Result<Option<LeaseNote>, StoreError> {
        let now = self.server_time().await?;
        Ok(self.lease_document().await?.map(|found| LeaseNote::of(&found, now)))
    }

    async fn server_time(&self) -> Result<DateTime, StoreError> {
        let hello = self.inner.timed(hello(&self.inner.writing)).await?;
        hello.get_datetime("localTime").copied().map_err(|_| StoreError::Mongo("the server tells no time".into()))
    }

    async fn lease_document(&self) -> Result<Option<Document>, StoreError> {
        let leases = self.inner.writing.collection::<Document>(names::LEASE);
        self.inner.timed(async { leases.find_one(doc! { "_id": KEY }).await }).await
    }

    async fn change_lease(&self, lease: &Lease, now: DateTime, ttl: Duration) -> Result<(), LeaseError> {
        let leases = self.inner.writing.collection::<Document>(names::LEASE);
        let own = doc! { "_id": KEY, "owner": &lease.owner, "fence": lease.fence };
        let change = doc! { "$set": { "until": end(now, ttl), "ttl": millis(ttl) } };
        let changed = self.inner.timed(async { leases.update_one(own, change).await }).await?;
        if changed.matched_count == 1 {
            return Ok(());
        }
        let gone = LeaseNote { owner: "nobody".into(), fence: 0, left: Duration::ZERO };
        let note = self.lease().await?.unwrap_or(gone);
        self.inner.stop(format!("the lease was taken over by {}", note.owner));
        Err(LeaseError::Lost(note))
    }

    /// Writes the lease and raises the fence in one transaction. `false`: one of the documents is not as it was seen.
    async fn take_over(
        &self,
        writer: &mut Writer,
        seen: Option<&Document>,
        head: &HeadNote,
        lease: (Document, ObjectId),
    ) -> Result<bool, StoreError> {
        let taken = self.inner.timed(async {
            writer.begin().await?;
            let written = self.write_over(&mut writer.session, seen, head, lease).await?;
            if written {
                // An end that was not answered is an error: whoever asks again finds himself the owner, or not.
                writer.commit().await?;
            }
            Ok(written)
        });
        let taken = taken.await;
        if !matches!(taken, Ok(true)) {
            writer.abort(self.inner.options.limits.connect).await;
        }
        match taken {
            Err(StoreError::Conflict(_)) => Ok(false),
            other => other,
        }
    }

    async fn write_over(
        &self,
        session: &mut ClientSession,
        seen: Option<&Document>,
        head: &HeadNote,
        (lease, turn): (Document, ObjectId),
    ) -> mongodb::error::Result<bool> {
        let database = &self.inner.writing;
        let fence = lease.get_i64("fence").unwrap_or_default();
        let set = doc! { "fence": fence, "by": ObjectId::new(), "turn": turn };
        let heads = database.collection::<Document>(names::HEAD);
        let filter = doc! { "_id": head::KEY, "fence": head.fence };
        if heads.update_one(filter, doc! { "$set": set }).session(&mut *session).await?.matched_count != 1 {
            return Ok(false);
        }
        let leases = database.collection::<Document>(names::LEASE);
        match seen {
            Some(seen) => Ok(leases.replace_one(seen.clone(), lease).session(session).await?.matched_count == 1),
            None => leases.insert_one(lease).session(session).await.map(|_| true),
        }
    }
}

fn end(now: DateTime, ttl: Duration) -> DateTime {
    DateTime::from_millis(now.timestamp_millis().saturating_add(millis(ttl)))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
