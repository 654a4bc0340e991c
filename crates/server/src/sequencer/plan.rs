//! What a group of requests will write, request by request, before anything is written.

use std::{
    collections::HashMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sceau_event::Deriver;
use sceau_ledger::MacKey;
use sceau_store::{Batch, BatchBuilder, Expect, StateWrite, Store, StoreError};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    AppendOptions, Appended, IDEMPOTENCY, IDEMPOTENCY_TIME, MAX_AGE, Payload, Request, live::LiveKeys,
    supervise::message,
};
use crate::{
    error::{Refusals, ServerError},
    guard::{self, StateChange},
    imports,
    ingest::Single,
    keydir::KeyDir,
};

/// Room for single events of a group that is made at first.
const SINGLES: usize = 64;

/// A request that the group's commit will answer.
pub(super) struct Taken {
    pub reply: oneshot::Sender<Result<Appended, ServerError>>,
    pub answer: Appended,
    /// Those who asked the same again in the same group.
    pub repeats: Vec<oneshot::Sender<Result<Appended, ServerError>>>,
    room: tokio::sync::OwnedSemaphorePermit,
    options: AppendOptions,
    payload: Payload,
}

impl Taken {
    /// Answers everybody who waits for it.
    pub fn answer(self, result: impl Fn(&Appended) -> Result<Appended, ServerError>) {
        for repeat in self.repeats {
            let answer = result(&self.answer).map(|answer| Appended { replayed: true, ..answer });
            let _ = repeat.send(answer);
        }
        let _ = self.reply.send(result(&self.answer));
    }

    /// Whether it carries state writes of its own, which can conflict.
    pub fn has_writes(&self) -> bool {
        !self.options.writes.is_empty()
    }

    /// The request again. Those who repeated it in the meantime are told to ask once more.
    pub fn back(self) -> Request {
        for repeat in self.repeats {
            let _ = repeat.send(Err(ServerError::Overloaded));
        }
        Request { payload: self.payload, options: self.options, reply: self.reply, room: self.room }
    }
}

/// What is known of a request.
enum Seen {
    /// Nothing.
    New,
    /// It is the same as one of this group, at this place.
    Repeated(usize),
    /// Its answer.
    Answered(Box<Result<Appended, ServerError>>),
}

/// Why an event is no entry.
enum Unmade {
    /// It can't be one.
    Refused(Refusals),
    /// Making it panicked.
    Panicked,
    /// It could not be made.
    Failed(ServerError),
}

/// A group that is complete.
pub(super) struct Planned {
    /// Its entries in order.
    pub batches: Vec<Arc<Batch>>,
    /// The state that belongs to them.
    pub state: Vec<StateWrite>,
    /// The MAC key that counts from a later bundle on, if one of the requests brings it.
    pub mac: Option<(u64, MacKey)>,
    /// Those who wait.
    pub taken: Vec<Taken>,
}

/// The group so far.
pub(super) struct Plan<'a> {
    store: &'a dyn Store,
    now: i64,
    deriver: &'a Arc<Deriver>,
    size: u64,
    batches: Vec<Arc<Batch>>,
    /// Where single events are collected until a whole batch follows them.
    singles: Option<BatchBuilder>,
    /// The events in there.
    collected: Vec<Arc<Single>>,
    /// Whether entries that have an index could not be made, so that nothing of the group can be kept.
    broken: bool,
    pub taken: Vec<Taken>,
    /// Idempotency keys of this group: where in `taken`.
    keys: HashMap<String, usize>,
    /// Positions of imports after the requests so far.
    imports: HashMap<String, imports::ImportMove>,
    writes: Vec<StateChange>,
    mac: Option<(u64, MacKey)>,
    guard: &'a KeyDir,
}

impl<'a> Plan<'a> {
    pub fn new(store: &'a dyn Store, guard: &'a KeyDir, deriver: &'a Arc<Deriver>, now: i64, size: u64) -> Self {
        Self {
            store,
            guard,
            deriver,
            now,
            size,
            batches: Vec::new(),
            singles: None,
            collected: Vec::new(),
            broken: false,
            taken: Vec::new(),
            keys: HashMap::new(),
            imports: HashMap::new(),
            writes: Vec::new(),
            mac: None,
        }
    }

    /// Takes a request into the group, or answers it at once.
    ///
    /// # Errors
    /// What is known of it can't be read; here it is again, without an answer.
    pub async fn admit(&mut self, request: Request, live: &mut LiveKeys) -> Result<(), Box<(StoreError, Request)>> {
        let seen = match self.examine(&request, live).await {
            Ok(seen) => seen,
            Err(error) => return Err(Box::new((error, request))),
        };
        let Request { payload, options, reply, room } = request;
        match seen {
            Seen::New => {}
            Seen::Repeated(at) => {
                if let Some(taken) = self.taken.get_mut(at) {
                    taken.repeats.push(reply);
                }
                return Ok(());
            }
            Seen::Answered(answer) => {
                let _ = reply.send(*answer);
                return Ok(());
            }
        }
        if let Some(step) = &options.import {
            self.imports.insert(step.id.clone(), step.clone());
        }
        match self.add(&payload) {
            Ok(()) => {
                if options.idempotency.is_some() {
                    live.added();
                }
                self.take(payload, options, reply, room);
            }
            Err(Unmade::Refused(refusals)) => {
                let error = if options.atomic { ServerError::AtomicRefused } else { ServerError::AllRejected };
                let _ = reply.send(Err(error(refusals)));
            }
            Err(Unmade::Failed(error)) => {
                let _ = reply.send(Err(error));
            }
            Err(Unmade::Panicked) => {
                let _ = reply.send(Err(ServerError::Internal("an event could not be made into an entry".to_owned())));
            }
        }
        Ok(())
    }

    /// Looks what is known of a request.
    async fn examine(&self, request: &Request, live: &mut LiveKeys) -> Result<Seen, StoreError> {
        let answered = |answer| Ok(Seen::Answered(Box::new(answer)));
        let options = &request.options;
        if let Some(idempotency) = &options.idempotency {
            let at = self.keys.get(&idempotency.key).copied();
            if let Some((at, taken)) = at.and_then(|at| self.taken.get(at).map(|taken| (at, taken))) {
                let same = taken.options.idempotency.as_ref().is_some_and(|first| first.content == idempotency.content);
                return if same { Ok(Seen::Repeated(at)) } else { answered(Err(ServerError::IdempotencyMismatch)) };
            }
            if let Some(stored) = self.store.get(IDEMPOTENCY, &idempotency.key, self.now).await? {
                let checked = guard::check(self.guard, IDEMPOTENCY, &stored);
                return answered(checked.and_then(|()| replay(&stored.value, &idempotency.content)));
            }
            if let Err(limit) = live.check(self.store, self.now).await? {
                return answered(Err(ServerError::TooManyKeys(limit)));
            }
        }
        if request.payload.received().is_some_and(|earliest| earliest < self.now - MAX_AGE) {
            return answered(Err(ServerError::TooOld));
        }
        let Some(step) = &options.import else { return Ok(Seen::New) };
        match self.position(&step.id).await {
            Ok(position) if position.as_ref().map_or(0, |position| position.offset) == step.from => Ok(Seen::New),
            Ok(position) => answered(Err(ServerError::ImportPosition(position))),
            Err(ServerError::Store(error)) => Err(error),
            Err(error) => answered(Err(error)),
        }
    }

    /// Puts the entries behind those of the group so far.
    fn add(&mut self, payload: &Payload) -> Result<(), Unmade> {
        match payload {
            Payload::Batch(batch) if batch.is_empty() => {}
            Payload::Batch(batch) => {
                self.flush();
                self.batches.push(batch.clone());
            }
            Payload::Single(single) => return self.add_single(single),
            Payload::Made(maker) => {
                let made = maker.make(self.size).map_err(Unmade::Failed)?;
                self.flush();
                self.batches.push(made.batch);
                self.writes.extend(made.writes);
                self.mac = made.mac.or(self.mac.take());
            }
        }
        Ok(())
    }

    fn add_single(&mut self, single: &Arc<Single>) -> Result<(), Unmade> {
        let new = || BatchBuilder::with_capacity(self.deriver.clone(), SINGLES, SINGLES * single.bytes());
        let mut builder = self.singles.take().unwrap_or_else(new);
        // A builder in which a push panicked is half filled and never looked at again.
        match catch_unwind(AssertUnwindSafe(|| single.push(&mut builder))) {
            Ok(pushed) => {
                self.singles = Some(builder);
                pushed.map_err(Unmade::Refused)?;
                self.collected.push(single.clone());
                Ok(())
            }
            Err(panic) => {
                tracing::error!(panic = message(&*panic), "making an entry panicked");
                self.collect_again();
                Err(Unmade::Panicked)
            }
        }
    }

    /// Makes the single events anew that were in a builder that is lost.
    fn collect_again(&mut self) {
        let mut builder = BatchBuilder::with_capacity(self.deriver.clone(), SINGLES, 0);
        let pushed =
            catch_unwind(AssertUnwindSafe(|| self.collected.iter().all(|single| single.push(&mut builder).is_ok())));
        // The same went well before.
        self.broken |= !pushed.unwrap_or(false);
        self.singles = Some(builder);
    }

    /// Makes a batch of the single events so far.
    fn flush(&mut self) {
        self.collected.clear();
        let Some(builder) = self.singles.take().filter(|builder| !builder.is_empty()) else { return };
        match builder.finish() {
            Ok(batch) => self.batches.push(Arc::new(batch)),
            Err(error) => {
                tracing::error!(%error, "a batch of single events can't be made");
                self.broken = true;
            }
        }
    }

    fn take(
        &mut self,
        payload: Payload,
        options: AppendOptions,
        reply: oneshot::Sender<Result<Appended, ServerError>>,
        room: tokio::sync::OwnedSemaphorePermit,
    ) {
        let accepted = payload.len() as u64;
        let answer = Appended {
            accepted,
            rejected: options.refusals.rejected,
            first_index: (accepted > 0).then_some(self.size),
            errors: options.refusals.errors.clone(),
            ..Appended::default()
        };
        self.size += accepted;
        if let Some(idempotency) = &options.idempotency {
            self.keys.insert(idempotency.key.clone(), self.taken.len());
        }
        self.writes.extend(options.writes.iter().cloned());
        self.taken.push(Taken { reply, answer, repeats: Vec::new(), room, options, payload });
    }

    async fn position(&self, id: &str) -> Result<Option<imports::ImportPosition>, ServerError> {
        if let Some(step) = self.imports.get(id) {
            return Ok(Some(step.to.clone()));
        }
        let Some(stored) = self.store.get(imports::COLLECTION, id, self.now).await? else { return Ok(None) };
        guard::check(self.guard, imports::COLLECTION, &stored)?;
        imports::parse(stored.value).map(Some)
    }

    /// Fixes the answers, now that the group is complete, and gives everything to be written with it.
    ///
    /// # Errors
    /// Those who must be told that nothing was kept.
    pub fn finish(mut self) -> Result<Planned, Vec<Taken>> {
        self.flush();
        if self.broken {
            return Err(self.taken);
        }
        for taken in &mut self.taken {
            taken.answer.tree_size = self.size;
        }
        let mut writes = std::mem::take(&mut self.writes);
        writes.extend(self.imports.values().map(imports::ImportMove::write));
        for taken in &self.taken {
            if let Some(idempotency) = &taken.options.idempotency {
                let errors = Refusals::kept(&taken.answer.errors);
                let answer = Appended { errors, ..taken.answer.clone() };
                writes.push(StateChange {
                    collection: IDEMPOTENCY.to_owned(),
                    key: idempotency.key.clone(),
                    value: Some(json!({"content": hex(&idempotency.content), "answer": answer})),
                    expect: Expect::Any,
                    expires: Some(self.now.saturating_add(IDEMPOTENCY_TIME)),
                });
            }
        }
        let state = guard::signed(&self.guard.mac_keys(), writes);
        Ok(Planned { batches: self.batches, state, mac: self.mac, taken: self.taken })
    }
}

/// The answer that an idempotency key stands for.
fn replay(stored: &Value, content: &[u8; 32]) -> Result<Appended, ServerError> {
    if stored.get("content").and_then(Value::as_str) != Some(&hex(content)) {
        return Err(ServerError::IdempotencyMismatch);
    }
    let answer = stored.get("answer").cloned().unwrap_or_default();
    let answer: Appended = serde_json::from_value(answer)
        .map_err(|error| StoreError::Damaged(format!("the answer of an idempotency key: {error}")))?;
    Ok(Appended { replayed: true, ..answer })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
