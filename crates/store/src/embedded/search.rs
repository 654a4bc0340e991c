//! Pages of hits: blocks are walked from the wanted end and the walk stops as soon as no better hit can come.

use std::{
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use datafusion::arrow::array::Array;
use sceau_event::Field;
use sceau_ledger::Index;

use super::{
    Embedded, Inner, aggregate, blocking,
    ledger::usize_of,
    scan::{self, Block, Plan, Stop},
    tail, write,
};
use crate::{
    bounds,
    error::StoreError,
    query::{Cursor, Order, Page, Query},
    schema,
    traits::{Counts, Histogram, Hit, Hits, Search, TopTable},
};

/// A hit's place in the answer: less comes first, whatever the order.
type Rank = (i64, u64);

fn rank(order: Order, time: i64, index: u64) -> Rank {
    match order {
        // The complement reverses the order without overflow.
        Order::Newest => (!time, !index),
        Order::Oldest => (time, index),
    }
}

fn unrank(order: Order, (time, index): Rank) -> Cursor {
    match order {
        Order::Newest => Cursor { time: !time, index: !index },
        Order::Oldest => Cursor { time, index },
    }
}

/// The best and the worst time rank that a row of the block can have.
fn span(order: Order, block: &Block) -> (i64, i64) {
    let (earliest, latest) = block.times();
    match order {
        Order::Newest => (!latest, !earliest),
        Order::Oldest => (earliest, latest),
    }
}

fn search(inner: &Inner, query: &Query, page: &Page, stop: &Stop) -> Result<Hits, StoreError> {
    bounds::check_page(page)?;
    stop.check()?;
    let plan = Plan::new(query);
    let snapshot = inner.snapshot();
    let mut blocks = plan.blocks(&snapshot);
    blocks.sort_by_key(|block| span(page.order, block));
    let after = page.after.map(|cursor| rank(page.order, cursor.time, cursor.index));
    // One more than asked for tells whether there is a next page.
    let wanted = page.limit + 1;
    let mut best: BinaryHeap<(Rank, usize)> = BinaryHeap::new();
    for (number, block) in blocks.iter().enumerate() {
        let (first, last) = span(page.order, block);
        if best.len() == wanted && best.peek().is_some_and(|((time, _), _)| *time < first) {
            break;
        }
        if after.is_some_and(|(time, _)| last < time) {
            continue;
        }
        plan.read(block, &[schema::TIME, schema::INDEX], stop, |rows| {
            for (&time, &index) in write::times(&rows, schema::TIME)?.iter().zip(scan::indexes(&rows)?) {
                let rank = rank(page.order, time, index);
                if after.is_some_and(|after| rank <= after) {
                    continue;
                }
                if best.len() < wanted {
                    best.push((rank, number));
                } else if let Some(mut worst) = best.peek_mut().filter(|worst| rank < worst.0) {
                    *worst = (rank, number);
                }
            }
            Ok(())
        })?;
    }
    let mut found = best.into_sorted_vec();
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found.last().filter(|_| more).map(|(rank, _)| unrank(page.order, *rank));
    Ok(Hits { hits: fetch(&blocks, page.order, &found, stop)?, next })
}

/// Reads the entries of the hits, each block once.
fn fetch(blocks: &[Block], order: Order, found: &[(Rank, usize)], stop: &Stop) -> Result<Vec<Hit>, StoreError> {
    let mut wanted: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (rank, block) in found {
        wanted.entry(*block).or_default().push(unrank(order, *rank).index);
    }
    let mut entries: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (block, mut indexes) in wanted {
        stop.check()?;
        indexes.sort_unstable();
        let block = &blocks[block];
        let offsets = indexes.iter().map(|index| usize_of(index.saturating_sub(block.first())));
        match block {
            Block::Tail(chunk) => {
                let column = tail::entries(&chunk.rows)?;
                let known = indexes.iter().zip(offsets).filter(|(_, at)| *at < column.len());
                entries.extend(known.map(|(index, at)| (*index, column.value(at).to_vec())));
            }
            Block::Group { segment, group, .. } => {
                let rows = segment.entries_at(*group, offsets)?;
                let mut values = Vec::with_capacity(indexes.len());
                for batch in &rows {
                    values.extend(tail::entries(batch)?.iter().flatten().map(<[u8]>::to_vec));
                }
                entries.extend(indexes.iter().copied().zip(values));
            }
        }
    }
    found
        .iter()
        .map(|(rank, _)| {
            let Cursor { time, index } = unrank(order, *rank);
            let entry = entries.remove(&index).ok_or_else(|| StoreError::Absent(format!("entry {index}")))?;
            Ok(Hit { index: Index(index), time, entry })
        })
        .collect()
}

#[async_trait]
impl Search for Embedded {
    async fn search(&self, query: &Query, page: &Page, limit: Duration) -> Result<Hits, StoreError> {
        let (stop, _cancel) = Stop::after(limit);
        let (inner, query, page) = (self.inner.clone(), query.clone(), page.clone());
        blocking(move || search(&inner, &query, &page, &stop)).await
    }

    async fn histogram(
        &self,
        query: &Query,
        interval: i64,
        by: Option<&Field>,
        limit: Duration,
    ) -> Result<Histogram, StoreError> {
        aggregate::histogram(&self.inner, query, interval, by, limit).await
    }

    async fn top(&self, query: &Query, field: &Field, rows: usize, limit: Duration) -> Result<TopTable, StoreError> {
        aggregate::top(&self.inner, query, field, rows, limit).await
    }

    async fn count(&self, query: &Query, limit: Duration) -> Result<Counts, StoreError> {
        let (stop, _cancel) = Stop::after(limit);
        let (inner, query): (Arc<Inner>, _) = (self.inner.clone(), query.clone());
        blocking(move || aggregate::count(&inner, &query, &stop)).await
    }
}
