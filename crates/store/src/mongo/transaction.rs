//! Writing: one transaction at a time, and its outcome always known.
//!
//! Every transaction first updates the head document: it compares the fence, and leaves a number of its own there, its
//! turn. So all transactions come one after the other, a stale writer's never happens, and after a connection that was
//! lost at the wrong moment the head document tells whether the transaction happened. Before it is asked, the fence is
//! raised: a transaction that has not happened by then never will, since it would have to change the same document. That
//! it has not happened is proven by the turn before it, which is still there; one that nobody here knows proves nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mongodb::{
    ClientSession,
    bson::{Document, doc, oid::ObjectId},
    error::Error,
    options::ReadConcern,
};
use sceau_ledger::Head;
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

use super::{
    Inner,
    head::{self, HeadNote},
    lease::Seen,
    names,
    step::{Step, StepError},
    trouble,
};
use crate::{
    error::{CommitError, StoreError},
    traits::CommitLimits,
};

/// How often a transaction is tried that met another one.
const ATTEMPTS: u32 = 8;
/// The first pause between attempts; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(5);
/// The longest pause while the database can't be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the one writer of this process knows.
#[derive(Debug)]
pub struct Writer {
    /// The fence that its transactions ask for. It comes with the lease: whoever has none writes nothing.
    pub fence: Option<i64>,
    /// The last transaction that happened under this fence.
    pub turn: ObjectId,
    /// The session of all its transactions: one that was left open ends when the next one of the same session begins, and
    /// whoever takes over can have the session ended, as its name is in the lease.
    pub session: ClientSession,
    /// The lease of somebody else.
    pub seen: Seen,
    /// A transaction was begun and not ended, as far as the driver knows.
    begun: bool,
}

impl Writer {
    /// One that has no lease.
    pub fn new(session: ClientSession) -> Self {
        Self { fence: None, turn: ObjectId::new(), session, seen: None, begun: false }
    }

    /// Begins a transaction.
    pub async fn begin(&mut self) -> Result<(), Error> {
        if self.begun {
            // Whoever waited for it went away in the middle.
            let _ = self.session.abort_transaction().await;
        }
        self.begun = true;
        self.session.start_transaction().read_concern(ReadConcern::snapshot()).await
    }

    /// Ends what was begun and is not to happen. If that can't be said now, the next one says it.
    pub async fn abort(&mut self, limit: Duration) {
        let _ = timeout(limit, self.session.abort_transaction()).await;
        self.begun = false;
    }

    /// Says that the transaction is to happen; again, if it was said before.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.begun = false;
        self.session.commit_transaction().await
    }
}

/// What becomes durable in one step, or not at all.
#[derive(Debug, Default)]
pub struct Turn {
    /// The head that is expected, and that follows.
    pub heads: Option<(Head, Head)>,
    /// What is written.
    pub steps: Vec<Step>,
    /// How much of what is limited it holds, if it holds entries or nothing but state: documents count as entries.
    pub load: Option<CommitLimits>,
}

/// A transaction that did not end well.
enum Trouble {
    /// Nothing was written, and for a reason that trying again does not change.
    Refused(CommitError),
    /// Nothing was written; it met another transaction, or the connection was lost.
    Again(Error),
    /// Nothing was written; the server ended it, although it met no other.
    Ended(Error),
    /// Nothing was written; the database does not answer.
    Away(String),
    /// Nobody knows yet.
    Unknown(String),
}

impl Inner {
    /// Runs a transaction; gives how many documents it deleted. It is carried through even if the caller goes away.
    pub async fn transact(self: &Arc<Self>, turn: Turn) -> Result<u64, CommitError> {
        let mut writer = self.writer().await?;
        let inner = self.clone();
        let running = tokio::spawn(async move { inner.carry_out(&mut writer, &turn).await });
        running.await.map_err(|error| StoreError::Internal(error.to_string()))?
    }

    /// Waits until it is one's turn to write.
    pub async fn writer(&self) -> Result<OwnedMutexGuard<Writer>, CommitError> {
        if self.options.inspect {
            return Err(StoreError::Stopped("the store was opened to look at it only".into()).into());
        }
        let away = || CommitError::Unavailable("the outcome of an earlier write is still being asked for".into());
        if self.unsettled.load(Ordering::Acquire) {
            return Err(away());
        }
        let waited = timeout(self.options.limits.patience, self.writer.clone().lock_owned()).await;
        self.check()?;
        waited.map_err(|_| away())
    }

    async fn carry_out(&self, writer: &mut Writer, turn: &Turn) -> Result<u64, CommitError> {
        let without = || StoreError::Stopped("the lease was not taken, and without it nothing is written".into());
        let fence = writer.fence.ok_or_else(without)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            let id = ObjectId::new();
            let error = match self.attempt(writer, fence, id, turn).await {
                Ok(deleted) => {
                    writer.turn = id;
                    turn.load.inspect(|_| self.size.fitted());
                    return Ok(deleted);
                }
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Away(text)) => return Err(CommitError::Unavailable(text)),
                Err(Trouble::Unknown(text)) => {
                    // Deletions are told by count only where all went well; whoever deletes looks again.
                    return self.settle(writer, fence, id, &text).await.map(|()| 0);
                }
                Err(Trouble::Ended(error)) if self.size.ended(turn.load) => {
                    return Err(CommitError::TooLarge(trouble::text(&error)));
                }
                Err(Trouble::Again(error) | Trouble::Ended(error)) => error,
            };
            if attempt >= ATTEMPTS || trouble::away(&error) && attempt > 1 {
                return Err(CommitError::Unavailable(trouble::text(&error)));
            }
            tracing::debug!(error = trouble::text(&error), attempt, "a transaction is tried again");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(StoreError::Internal("a transaction was tried for ever".into()).into())
    }

    async fn attempt(&self, writer: &mut Writer, fence: i64, id: ObjectId, turn: &Turn) -> Result<u64, Trouble> {
        let limit = self.options.limits.operation;
        let silent = format!("no answer within {} s", limit.as_secs());
        match timeout(limit, writer.begin()).await {
            Ok(begun) => begun.map_err(|error| self.judge(error, turn))?,
            Err(_) => return Err(Trouble::Away(silent)),
        }
        // What has the head document meets no other transaction.
        let mut behind = false;
        let written = timeout(limit, self.write(&mut writer.session, fence, (id, turn), &mut behind)).await;
        let deleted = match written {
            Ok(Ok(deleted)) => deleted,
            failed => {
                writer.abort(self.options.limits.connect).await;
                return Err(match failed {
                    Ok(Err(StepError::Refused(error))) => Trouble::Refused(error),
                    Ok(Err(StepError::Moved)) => self.moved(fence, turn).await,
                    Ok(Err(StepError::Driver(error))) if behind && trouble::ended(&error) => Trouble::Ended(error),
                    Ok(Err(StepError::Driver(error))) => self.judge(error, turn),
                    _ => {
                        if behind {
                            self.size.ended(turn.load);
                        }
                        Trouble::Away(silent)
                    }
                });
            }
        };
        match timeout(limit, writer.commit()).await {
            Ok(Ok(())) => Ok(deleted),
            Ok(Err(error)) => {
                if trouble::ended(&error) {
                    self.size.ended(turn.load);
                }
                Err(Trouble::Unknown(trouble::text(&error)))
            }
            Err(_) => Err(Trouble::Unknown(silent)),
        }
    }

    async fn write(
        &self,
        session: &mut ClientSession,
        fence: i64,
        (id, turn): (ObjectId, &Turn),
        behind: &mut bool,
    ) -> Result<u64, StepError> {
        if !head::take(&self.writing, session, fence, id, turn.heads).await? {
            return Err(StepError::Moved);
        }
        *behind = true;
        let mut deleted = 0;
        for step in &turn.steps {
            deleted += step.run(&self.writing, session).await?;
        }
        Ok(deleted)
    }

    /// What an error before the end of a transaction means. Nothing was written in any case.
    fn judge(&self, error: Error, turn: &Turn) -> Trouble {
        if trouble::hopeless(&error) {
            return Trouble::Refused(StoreError::Mongo(trouble::text(&error)).into());
        }
        if trouble::forbidden(&error) {
            let refused = StoreError::Forbidden { what: "a write".into(), detail: trouble::text(&error) };
            return Trouble::Refused(refused.into());
        }
        if trouble::too_large(&error) {
            let text = trouble::text(&error);
            let less = self.size.refused(turn.load);
            return if less { Trouble::Refused(CommitError::TooLarge(text)) } else { Trouble::Away(text) };
        }
        if trouble::transient(&error) || trouble::away(&error) {
            return Trouble::Again(error);
        }
        // A full disk, for one: somebody may mend it.
        Trouble::Away(trouble::text(&error))
    }

    /// The head document was not as expected: why?
    async fn moved(&self, fence: i64, turn: &Turn) -> Trouble {
        let read = timeout(self.options.limits.operation, HeadNote::read(&self.writing)).await;
        let found = match read {
            Ok(Ok(found)) => found,
            Ok(Err(StoreError::Unavailable(text))) => return Trouble::Away(text),
            Ok(Err(error)) => return Trouble::Refused(error.into()),
            Err(_) => return Trouble::Away("no answer".into()),
        };
        if found.fence > fence {
            return Trouble::Refused(self.fenced_out(found.fence, fence));
        }
        if found.fence < fence {
            // A member that has not seen yet that it is the primary no more.
            return Trouble::Away("the head document is not up to date where it was read".into());
        }
        match turn.heads {
            Some((expected, _)) if expected != found.head => {
                tracing::error!(%expected, found = %found.head, "the head in the database is not the one that was committed last");
                Trouble::Refused(CommitError::HeadMoved { actual: found.head })
            }
            // It was changed between the two looks, or not yet readable: another look tells.
            _ => Trouble::Away("the head document is being changed by somebody else".into()),
        }
    }

    fn fenced_out(&self, found: i64, own: i64) -> CommitError {
        self.stop(format!("another server has taken over (its fence is {found}, ours is {own})"));
        self.check().err().map_or_else(|| StoreError::Internal("not stopped".into()).into(), Into::into)
    }

    /// Finds out what became of a transaction whose end was not answered.
    pub async fn settle(&self, writer: &mut Writer, fence: i64, id: ObjectId, reason: &str) -> Result<(), CommitError> {
        tracing::warn!(reason, "the outcome of a transaction is unknown; asking until it is known");
        self.unsettled.store(true, Ordering::Release);
        let deadline = Instant::now() + self.options.limits.outcome;
        let by = ObjectId::new();
        let mut pause = PAUSE;
        let limit = self.options.limits.operation;
        loop {
            // Said again, an end that never arrived arrives now.
            if matches!(timeout(limit, writer.commit()).await, Ok(Ok(()))) {
                self.unsettled.store(false, Ordering::Release);
                writer.turn = id;
                return Ok(());
            }
            self.end_session(writer.session.id()).await;
            let asked = timeout(limit, self.raise(fence, by)).await;
            match asked {
                Ok(Ok(Some(found))) => {
                    self.unsettled.store(false, Ordering::Release);
                    return self.settled(writer, &found, (id, by), reason);
                }
                Ok(Err(error)) if !matches!(error, StoreError::Unavailable(_)) => {
                    tracing::warn!(%error, "asking for the outcome of a transaction failed");
                }
                _ => {}
            }
            if Instant::now() >= deadline {
                self.stop(format!("whether a transaction happened could not be found out in time: {reason}"));
                self.unsettled.store(false, Ordering::Release);
                self.check()?;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// A transaction whose end never arrived holds the head document until the server gives it up, after a minute. A session
    /// can be ended by the user who began it.
    pub async fn end_session(&self, session: &Document) {
        let command = doc! { "killSessions": [session] };
        let ended = timeout(self.options.limits.operation, self.writing.run_command(command)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(error = trouble::text(&error), "the transaction ends by itself later");
        }
    }

    fn settled(
        &self,
        writer: &mut Writer,
        found: &HeadNote,
        (id, by): (ObjectId, ObjectId),
        reason: &str,
    ) -> Result<(), CommitError> {
        let happened = found.turn == id;
        tracing::info!(happened, "the outcome of the transaction is known");
        if found.by != by {
            // The successor may have written since: what the head says of our transaction is no proof that it did not
            // happen, and nothing more is written from here anyway.
            let fenced = self.fenced_out(found.fence, writer.fence.unwrap_or_default());
            return if happened { Ok(()) } else { Err(fenced) };
        }
        if !happened && found.turn != writer.turn {
            self.stop("somebody else has written to the log under this server's fence".into());
            self.check()?;
        }
        writer.fence = Some(found.fence);
        writer.turn = found.turn;
        if happened { Ok(()) } else { Err(CommitError::Unavailable(reason.to_owned())) }
    }

    /// Raises the fence, if it is still the expected one, and reads what a majority holds then. `None`: neither the old
    /// fence nor a new one can be relied on yet.
    async fn raise(&self, fence: i64, by: ObjectId) -> Result<Option<HeadNote>, StoreError> {
        let heads = self.writing.collection::<Document>(names::HEAD);
        let filter = doc! { "_id": head::KEY, "fence": fence };
        heads.update_one(filter, doc! { "$inc": { "fence": 1_i64 }, "$set": { "by": by } }).await?;
        let found = HeadNote::read(&self.writing).await?;
        // A smaller one is an old answer.
        Ok((found.fence > fence).then_some(found))
    }
}
