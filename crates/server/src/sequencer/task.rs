//! The task that owns the tree.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sceau_ledger::{BundleMac, Head, MacKey, Tree};
use sceau_store::{Batch, Commit, CommitError, StateWrite, StoreError, traits::CommitLimits};
use tokio::sync::{mpsc, watch};

use super::{
    Appended, Cause, Parts, Request,
    edge::{Edge, Grown, extend},
    live::LiveKeys,
    parts::split,
    plan::{Plan, Planned, Taken},
};
use crate::error::ServerError;

/// The most requests of a group: their single events are made into entries on this task.
const MAX_GROUP: usize = 1_024;

/// The time between two tries of the rest of a request.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Task {
    parts: Parts,
    live: LiveKeys,
    edge: Edge,
    head: watch::Sender<Head>,
}

impl Task {
    pub fn new(parts: Parts, tree: Tree, bundle: BundleMac, head: watch::Sender<Head>) -> Self {
        let keys = parts.keys.mac_keys();
        let live = LiveKeys::new(parts.limits.idempotency_keys);
        Self { parts, live, edge: Edge { tree, bundle, keys }, head }
    }

    pub async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Request>) {
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(request) => request,
                None => match queue.recv().await {
                    Some(request) => request,
                    None => break,
                },
            };
            let group;
            (group, held) = self.collect(first, &mut queue);
            if let Err(error) = self.parts.publisher.refresh_epoch().await {
                // What it took in now would be in an epoch that was held open.
                tracing::error!(%error, "an old epoch could not be closed, so nothing is taken in");
                refuse(group, || again(&error, "an epoch could not be closed"));
                continue;
            }
            let gate = self.parts.gate.clone();
            let _gate = gate.lock().await;
            self.process(group).await;
        }
    }

    /// Everything that waits, up to the limits of one commit. What exceeds them comes next.
    fn collect(&self, first: Request, queue: &mut mpsc::UnboundedReceiver<Request>) -> (Vec<Request>, Option<Request>) {
        let (mut entries, mut bytes) = (first.payload.len(), first.payload.weight());
        let limits = self.limits();
        let mut group = vec![first];
        while let Ok(next) = queue.try_recv() {
            entries += next.payload.len();
            bytes += next.payload.weight();
            if group.len() >= MAX_GROUP || entries > limits.entries || bytes > limits.bytes {
                return (group, Some(next));
            }
            group.push(next);
        }
        (group, None)
    }

    /// How much is put into one commit: what the settings allow and the store wants.
    fn limits(&self) -> CommitLimits {
        let (ours, store) = (&self.parts.limits, self.parts.store.commit_limits());
        CommitLimits { entries: ours.commit_entries.min(store.entries), bytes: ours.commit_bytes.min(store.bytes) }
    }

    /// Commits a group, in smaller ones where it must be. It comes to an end, as each of these has fewer requests,
    /// or the store wants less in one commit than before.
    async fn process(&mut self, group: Vec<Request>) {
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            let again = self.commit(group).await;
            groups.extend(again.into_iter().rev());
        }
    }

    /// Commits a group and answers it. Gives back what must be tried again, in order: the other requests if some of the
    /// group stood in the way, or both its halves if together they are more than the store takes.
    async fn commit(&mut self, group: Vec<Request>) -> Vec<Vec<Request>> {
        if let (Some(cause), Some(reason)) = (self.parts.health.cause(), self.parts.health.reason()) {
            refuse(group, || ServerError::Poisoned(cause, reason.to_owned()));
            return Vec::new();
        }
        if let Err(error) = self.parts.lease.check() {
            refuse(group, || again(&error, "the lease has run out"));
            return Vec::new();
        }
        let store = self.parts.store.clone();
        let deriver = self.parts.deriver.clone();
        let keys = self.parts.keys.clone();
        let expected = self.edge.tree.head();
        let mut plan = Plan::new(&*store, &keys, &deriver, self.parts.clock.now().0, expected.size.0);
        let live = &mut self.live;
        let mut group = group.into_iter();
        while let Some(request) = group.next() {
            if let Err(failed) = plan.admit(request, live).await {
                let (error, request) = *failed;
                // A read failed before anything was written: nothing is unknown, but nobody of the group is served.
                tracing::error!(%error, "the state can't be read");
                let error = ServerError::Store(error);
                let failed = || again(&error, "the state can't be read");
                plan.taken.into_iter().for_each(|taken| taken.answer(|_| Err(failed())));
                refuse(std::iter::once(request).chain(group), failed);
                return Vec::new();
            }
        }
        if plan.taken.is_empty() {
            return Vec::new();
        }
        let Planned { batches, state, mac, taken } = match plan.finish() {
            Ok(planned) => planned,
            Err(taken) => {
                let failed = |_: &Appended| Err(ServerError::Internal("entries can't be made".to_owned()));
                taken.into_iter().for_each(|taken| taken.answer(failed));
                return Vec::new();
            }
        };
        let parts = split(batches, self.parts.store.commit_limits());
        if parts.len() > 1 && taken.len() > 1 {
            // Only a request that is too large by itself is ever split.
            let mut first: Vec<Request> = taken.into_iter().map(Taken::back).collect();
            let second = first.split_off(first.len() / 2);
            return vec![first, second];
        }
        let started = Instant::now();
        let result = self.write(parts, state, mac).await;
        self.parts.metrics.commit(started.elapsed());
        let kept = self.edge.tree.head().size.0 - expected.size.0;
        if let Err(CommitError::TooLarge(reason)) = &result
            && kept == 0
        {
            tracing::info!(reason, requests = taken.len(), "a group is tried again in smaller commits");
            return vec![taken.into_iter().map(Taken::back).collect()];
        }
        if result.is_err() && kept > 0 {
            self.told_partly(result, kept, taken).await;
            return Vec::new();
        }
        self.finish(result, taken).await.into_iter().collect()
    }

    /// Writes a group, part by part. The state goes with the last one. Once something of the request is durable, the rest is
    /// tried for a while: only the whole of it is acknowledged.
    async fn write(
        &mut self,
        parts: Vec<Vec<Arc<Batch>>>,
        state: Vec<StateWrite>,
        mac: Option<(u64, MacKey)>,
    ) -> Result<(), CommitError> {
        if parts.is_empty() {
            if state.is_empty() {
                return Ok(());
            }
            // Whoever wrote it can make it smaller, the sequencer can't.
            return self.parts.store.write(state).await.map_err(|error| match error {
                CommitError::TooLarge(reason) => CommitError::Unavailable(reason),
                error => error,
            });
        }
        let mut waiting = parts;
        waiting.reverse();
        let mut durable: Option<Instant> = None;
        while let Some(part) = waiting.pop() {
            let (state, mac) = if waiting.is_empty() { (state.clone(), mac.clone()) } else { (Vec::new(), None) };
            match self.write_once(&part, state, mac).await {
                Ok(()) => {
                    part.iter().for_each(|batch| self.parts.metrics.accepted(batch));
                    durable = Some(Instant::now());
                }
                Err(error @ (CommitError::Unavailable(_) | CommitError::Full | CommitError::TooLarge(_)))
                    if durable.is_some_and(|since| since.elapsed() < self.parts.limits.rest_time) =>
                {
                    if !matches!(error, CommitError::TooLarge(_)) {
                        tokio::time::sleep(PAUSE).await;
                    }
                    // The store may have found out that it takes less at once.
                    let rest = std::iter::once(part).chain(waiting.into_iter().rev()).flatten().collect();
                    waiting = split(rest, self.parts.store.commit_limits());
                    waiting.reverse();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a part and moves the edge, once that is durable.
    async fn write_once(
        &mut self,
        batches: &[Arc<Batch>],
        state: Vec<StateWrite>,
        mac: Option<(u64, MacKey)>,
    ) -> Result<(), CommitError> {
        let expected = self.edge.tree.head();
        let started = Instant::now();
        let mut edge = self.edge.clone();
        if let Some((bundle, key)) = &mac {
            edge.keys.add(*bundle, key.clone());
        }
        let (edge, Grown { tiles, macs, tags }) =
            extend(edge, batches, self.parts.store.keeps_tags(), &self.parts.metrics).await?;
        self.parts.metrics.sequenced(started.elapsed());
        let head = edge.tree.head();
        let commit = Commit { batches: batches.to_vec(), head, tiles, macs, tags, state };
        self.parts.store.commit(expected, commit).await?;
        if let Some(recent) = &self.parts.recent {
            recent.push(expected.size.0, batches);
        }
        self.edge = edge;
        if let Some((bundle, key)) = &mac {
            self.parts.keys.adopt_mac(*bundle, key);
        }
        if let Err(error) = self.parts.keys.note_head(&head) {
            // The commit itself is durable and is acknowledged; what can't be noted any more is the next one.
            self.parts.health.poison(Cause::Note, error);
        }
        self.head.send_replace(head);
        Ok(())
    }

    async fn finish(&self, result: Result<(), CommitError>, taken: Vec<Taken>) -> Option<Vec<Request>> {
        match result {
            Ok(()) => taken.into_iter().for_each(|taken| taken.answer(|answer| Ok(answer.clone()))),
            Err(CommitError::Full) => taken.into_iter().for_each(|taken| taken.answer(|_| Err(ServerError::Full))),
            // The latter is tried again before.
            Err(CommitError::Unavailable(reason) | CommitError::TooLarge(reason)) => {
                tracing::warn!(%reason, "the database can't be reached; nothing of the group was written");
                let away = || ServerError::Store(StoreError::Unavailable(reason.clone()));
                taken.into_iter().for_each(|taken| taken.answer(|_| Err(away())));
            }
            Err(CommitError::StateConflict { collection, key }) => {
                let (writers, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(Taken::has_writes);
                let name = format!("{collection}/{key}");
                if writers.is_empty() {
                    tracing::error!(document = name, "a write without a condition met a conflict");
                    others.into_iter().for_each(|taken| {
                        taken.answer(|_| Err(ServerError::StateConflict(name.clone())));
                    });
                    return None;
                }
                writers.into_iter().for_each(|taken| taken.answer(|_| Err(ServerError::StateConflict(name.clone()))));
                return (!others.is_empty()).then(|| others.into_iter().map(Taken::back).collect());
            }
            Err(error @ (CommitError::HeadMoved { .. } | CommitError::Failed(_))) => {
                let (cause, reason) = self.stop(&error).await;
                let stopped = || ServerError::Poisoned(cause, reason.clone());
                taken.into_iter().for_each(|taken| taken.answer(|_| Err(stopped())));
            }
        }
        None
    }

    /// Accepts nothing more after a commit of which nobody knows, or into which somebody else came.
    async fn stop(&self, error: &CommitError) -> (Cause, String) {
        let cause = match error {
            CommitError::HeadMoved { .. } => self.parts.lease.explain(Cause::Changed).await,
            // The store may have learnt before us that the lease is lost.
            CommitError::Failed(StoreError::Stopped(_)) => self.parts.lease.explain(Cause::Store).await,
            _ => Cause::Commit,
        };
        let reason = error.to_string();
        self.parts.health.poison(cause, &reason);
        (cause, reason)
    }

    /// Answers a request of which the first entries are durable and the others could not be written.
    async fn told_partly(&self, result: Result<(), CommitError>, kept: u64, taken: Vec<Taken>) {
        let Err(error) = result else { return };
        if matches!(error, CommitError::HeadMoved { .. } | CommitError::Failed(_)) {
            self.stop(&error).await;
        }
        tracing::error!(%error, kept, "only the first entries of a request that needs several commits could be written");
        for taken in taken {
            let partly = |answer: &Appended| {
                let first_index = answer.first_index.unwrap_or_default();
                Err(ServerError::PartlyKept { kept, entries: answer.accepted, first_index })
            };
            taken.answer(partly);
        }
    }
}

/// The error for others who wait for the same: that the database is away can pass by itself.
fn again(error: &ServerError, otherwise: &str) -> ServerError {
    match error {
        ServerError::Store(StoreError::Unavailable(reason)) => {
            ServerError::Store(StoreError::Unavailable(reason.clone()))
        }
        ServerError::Poisoned(cause, reason) => ServerError::Poisoned(*cause, reason.clone()),
        _ => ServerError::Internal(otherwise.to_owned()),
    }
}

fn refuse(group: impl IntoIterator<Item = Request>, error: impl Fn() -> ServerError) {
    for request in group {
        let _ = request.reply.send(Err(error()));
    }
}
