//! The task that owns the tree.

use std::{sync::Arc, time::Instant};

use sceau_ledger::{BundleMac, Head, Index, LeafHash, MacKey, MacKeys, TileHash, Tree, entry_mac};
use sceau_store::{Batch, Commit, CommitError, StateWrite, StoreError, traits::BundleTag};
use tokio::sync::{mpsc, watch};

use super::{
    Appended, Cause, Parts, Request,
    live::LiveKeys,
    plan::{Plan, Planned, Taken},
};
use crate::{error::ServerError, metrics::Metrics};

/// Groups of fewer entries are hashed where they are: handing them to another thread costs more.
const INLINE_LEAVES: usize = 2_048;

/// The most requests of a group: their single events are made into entries on this task.
const MAX_GROUP: usize = 1_024;

pub(super) struct Task {
    parts: Parts,
    live: LiveKeys,
    edge: Edge,
    head: watch::Sender<Head>,
}

/// The right edge of the log: what the next entries build on.
#[derive(Clone)]
struct Edge {
    tree: Tree,
    bundle: BundleMac,
    keys: MacKeys,
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
                tracing::error!(%error, "an old epoch could not be closed");
            }
            let gate = self.parts.gate.clone();
            let _gate = gate.lock().await;
            self.process(group).await;
        }
    }

    /// Everything that waits, up to the limits of one commit. What exceeds them comes next.
    fn collect(&self, first: Request, queue: &mut mpsc::UnboundedReceiver<Request>) -> (Vec<Request>, Option<Request>) {
        let (mut entries, mut bytes) = (first.payload.len(), first.payload.weight());
        let mut group = vec![first];
        while let Ok(next) = queue.try_recv() {
            entries += next.payload.len();
            bytes += next.payload.weight();
            if group.len() >= MAX_GROUP
                || entries > self.parts.limits.commit_entries
                || bytes > self.parts.limits.commit_bytes
            {
                return (group, Some(next));
            }
            group.push(next);
        }
        (group, None)
    }

    async fn process(&mut self, group: Vec<Request>) {
        if let Some(retry) = self.commit(group).await {
            // The others of the group did nothing wrong. None of these can conflict, so there is no third time.
            self.commit(retry).await;
        }
    }

    /// Commits a group and answers it. Gives back the requests to try again if others of the group stood in the way.
    async fn commit(&mut self, group: Vec<Request>) -> Option<Vec<Request>> {
        if let (Some(cause), Some(reason)) = (self.parts.health.cause(), self.parts.health.reason()) {
            refuse(group, || ServerError::Poisoned(cause, reason.to_owned()));
            return None;
        }
        let store = self.parts.store.clone();
        let deriver = self.parts.deriver.clone();
        let keys = self.parts.keys.clone();
        let expected = self.edge.tree.head();
        let mut plan = Plan::new(&*store, &keys, &deriver, self.parts.clock.now().0, expected.size.0);
        let live = &mut self.live;
        let mut group = group.into_iter();
        while let Some(request) = group.next() {
            if let Err(error) = plan.admit(request, live).await {
                // A read failed before anything was written: nothing is unknown, but nobody of the group is served.
                tracing::error!(%error, "the state can't be read");
                let failed = || match &error {
                    StoreError::Unavailable(reason) => ServerError::Store(StoreError::Unavailable(reason.clone())),
                    _ => ServerError::Internal("the state can't be read".to_owned()),
                };
                plan.taken.into_iter().for_each(|taken| taken.answer(|_| Err(failed())));
                refuse(group, failed);
                return None;
            }
        }
        if plan.taken.is_empty() {
            return None;
        }
        let Planned { batches, state, mac, taken } = match plan.finish() {
            Ok(planned) => planned,
            Err(taken) => {
                let failed = |_: &Appended| Err(ServerError::Internal("entries can't be made".to_owned()));
                taken.into_iter().for_each(|taken| taken.answer(failed));
                return None;
            }
        };
        let started = Instant::now();
        let result = self.write(expected, &batches, state, mac).await;
        self.parts.metrics.commit(started.elapsed());
        if result.is_ok() {
            batches.iter().for_each(|batch| self.parts.metrics.accepted(batch));
        }
        self.finish(result, taken)
    }

    /// Writes a group and moves the edge, once that is durable.
    async fn write(
        &mut self,
        expected: Head,
        batches: &[Arc<Batch>],
        state: Vec<StateWrite>,
        mac: Option<(u64, MacKey)>,
    ) -> Result<(), CommitError> {
        if batches.is_empty() {
            return if state.is_empty() { Ok(()) } else { self.parts.store.write(state).await };
        }
        let started = Instant::now();
        let mut edge = self.edge.clone();
        if let Some((bundle, key)) = &mac {
            edge.keys.add(*bundle, key.clone());
        }
        let (edge, Grown { tiles, macs, tags }) =
            extend(edge, batches, self.parts.store.keeps_tags(), &self.parts.metrics).await?;
        self.parts.metrics.sequenced(started.elapsed());
        let head = edge.tree.head();
        let batches = batches.to_vec();
        self.parts.store.commit(expected, Commit { batches, head, tiles, macs, tags, state }).await?;
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

    fn finish(&self, result: Result<(), CommitError>, taken: Vec<Taken>) -> Option<Vec<Request>> {
        match result {
            Ok(()) => taken.into_iter().for_each(|taken| taken.answer(|answer| Ok(answer.clone()))),
            Err(CommitError::Full) => taken.into_iter().for_each(|taken| taken.answer(|_| Err(ServerError::Full))),
            Err(CommitError::Unavailable(reason)) => {
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
                let cause = match error {
                    CommitError::HeadMoved { .. } => Cause::Changed,
                    CommitError::Failed(StoreError::Stopped(_)) => Cause::Store,
                    _ => Cause::Commit,
                };
                let reason = error.to_string();
                self.parts.health.poison(cause, &reason);
                let stopped = || ServerError::Poisoned(cause, reason.clone());
                taken.into_iter().for_each(|taken| taken.answer(|_| Err(stopped())));
            }
        }
        None
    }
}

fn refuse(group: impl IntoIterator<Item = Request>, error: impl Fn() -> ServerError) {
    for request in group {
        let _ = request.reply.send(Err(error()));
    }
}

/// What grows with the log beside its entries.
#[derive(Debug, Default)]
struct Grown {
    tiles: Vec<TileHash>,
    macs: Vec<BundleTag>,
    /// The HMAC of each entry, where the store keeps them.
    tags: Vec<[u8; 32]>,
}

async fn extend(
    mut edge: Edge,
    batches: &[Arc<Batch>],
    tagged: bool,
    metrics: &Arc<Metrics>,
) -> Result<(Edge, Grown), StoreError> {
    let entries: usize = batches.iter().map(|batch| batch.len()).sum();
    let (batches, metrics) = (batches.to_vec(), metrics.clone());
    let work = move || {
        let append = || edge.append(batches.iter().map(|batch| batch.leaves()), tagged);
        let grown = metrics.sequencing(append);
        (edge, grown)
    };
    if entries <= INLINE_LEAVES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Internal(error.to_string()))
}

impl Edge {
    fn append<'a>(&mut self, batches: impl Iterator<Item = &'a [LeafHash]>, tagged: bool) -> Grown {
        let mut grown = Grown::default();
        let mut bundle = self.tree.head().size.0 / 256;
        for leaves in batches {
            for &leaf in leaves {
                if tagged && let Some(key) = self.keys.at(bundle) {
                    let index = bundle * 256 + u64::from(self.bundle.count());
                    grown.tags.push(entry_mac(key, Index(index), leaf));
                }
                self.bundle.push(leaf);
                if self.bundle.count() == 256 {
                    grown.macs.push(BundleTag { bundle, count: 256, tag: self.bundle.tag() });
                    bundle += 1;
                    self.bundle = self.keys.start(bundle);
                }
            }
            grown.tiles.extend(self.tree.append(leaves));
        }
        if self.bundle.count() > 0 {
            grown.macs.push(BundleTag { bundle, count: self.bundle.count(), tag: self.bundle.tag() });
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<LeafHash> {
        (0..count).map(|n| sceau_ledger::leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn bundles_are_tagged_whatever_the_batches() {
        let key = MacKey::from_bytes([3; 32]);
        let keys = MacKeys::new(0, key);
        let edge = Edge { tree: Tree::new(), bundle: keys.start(0), keys };
        let all = leaves(700);
        let whole = edge.clone().append([all.as_slice()].into_iter(), false).macs;
        assert_eq!(whole.iter().map(|tag| tag.count).collect::<Vec<_>>(), [256, 256, 188]);
        let mut stepwise = edge.clone();
        let mut tags = std::collections::BTreeMap::new();
        for step in all.chunks(97) {
            let macs = stepwise.append([step].into_iter(), false).macs;
            tags.extend(macs.into_iter().map(|tag| (tag.bundle, tag)));
        }
        assert_eq!(tags.into_values().collect::<Vec<_>>(), whole);
        let mut exact = edge;
        let macs = exact.append([leaves(256).as_slice()].into_iter(), false).macs;
        assert_eq!(macs.len(), 1);
    }

    #[test]
    fn each_entry_is_tagged_where_the_store_keeps_that() {
        let mut keys = MacKeys::new(0, MacKey::from_bytes([3; 32]));
        keys.add(2, MacKey::from_bytes([4; 32]));
        let mut edge = Edge { tree: Tree::new(), bundle: keys.start(0), keys: keys.clone() };
        let all = leaves(700);
        let tags: Vec<_> = all.chunks(97).flat_map(|step| edge.append([step].into_iter(), true).tags).collect();
        let wanted = (0..).zip(&all).map(|(index, &leaf)| entry_mac(keys.at(index / 256).unwrap(), Index(index), leaf));
        assert_eq!(tags, wanted.collect::<Vec<_>>());
    }
}
