//! One way to read for every query: blocks of rows, pruned by what is known of each, filtered as they are decoded.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use datafusion::arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::UInt64Type,
    error::ArrowError,
};

use super::{
    Snapshot, eval,
    segment::{Accept, Group, Segment},
    tail::Chunk,
    write,
};
use crate::{error::StoreError, query::Query, schema};

/// When a query must end.
#[derive(Clone, Debug)]
pub struct Stop {
    cancelled: Arc<AtomicBool>,
    limit: Duration,
    deadline: Option<Instant>,
}

/// Ends its query when it is dropped, that is when nobody waits for the answer any more.
#[derive(Debug)]
pub struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    /// A limit that starts now, and the guard that cancels.
    pub fn after(limit: Duration) -> (Self, Cancel) {
        let cancelled = Arc::new(AtomicBool::new(false));
        (Self { cancelled: cancelled.clone(), limit, deadline: Instant::now().checked_add(limit) }, Cancel(cancelled))
    }

    /// An error if the query must end.
    pub fn check(&self) -> Result<(), StoreError> {
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if late || self.cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Timeout(self.limit.as_secs()));
        }
        Ok(())
    }
}

/// A stretch of rows that is read at once.
#[derive(Clone, Debug)]
pub enum Block {
    /// In memory.
    Tail(Arc<Chunk>),
    /// A row group of a segment.
    Group {
        /// The file.
        segment: Arc<Segment>,
        /// Which row group.
        group: usize,
        /// Index of its first row.
        first: u64,
    },
}

impl Block {
    /// Index of the first row.
    pub fn first(&self) -> u64 {
        match self {
            Self::Tail(chunk) => chunk.first,
            Self::Group { first, .. } => *first,
        }
    }

    /// Earliest and latest event time.
    pub fn times(&self) -> (i64, i64) {
        match self {
            Self::Tail(chunk) => (chunk.earliest, chunk.latest),
            Self::Group { segment, group, .. } => (segment.groups[*group].earliest, segment.groups[*group].latest),
        }
    }

    /// What is known of a row group; `None` for rows in memory.
    pub fn facts(&self) -> Option<&Group> {
        match self {
            Self::Tail(_) => None,
            Self::Group { segment, group, .. } => Some(&segment.groups[*group]),
        }
    }
}

/// A query made ready for reading blocks.
#[derive(Clone, Debug)]
pub struct Plan {
    query: Arc<Query>,
    prune: Arc<eval::Prune>,
    columns: BTreeSet<&'static str>,
}

impl Plan {
    /// Prepares a query.
    pub fn new(query: &Query) -> Self {
        Self {
            query: Arc::new(query.clone()),
            prune: Arc::new(eval::prune(&query.filter)),
            columns: eval::columns(&query.filter),
        }
    }

    /// The blocks that may hold a match, by index. Word filters are not asked yet: a query that stops early need not.
    pub fn blocks(&self, snapshot: &Snapshot) -> Vec<Block> {
        let mut blocks = Vec::new();
        for segment in &snapshot.segments {
            let mut first = segment.row.first;
            for (group, facts) in segment.groups.iter().enumerate() {
                blocks.push(Block::Group { segment: segment.clone(), group, first });
                first += facts.rows;
            }
        }
        blocks.extend(snapshot.tail.iter().cloned().map(Block::Tail));
        blocks.retain(|block| {
            let (earliest, latest) = block.times();
            self.query.from.is_none_or(|from| latest >= from) && self.query.to.is_none_or(|to| earliest < to)
        });
        blocks
    }

    /// Whether every row of the block matches, so that counting needs no reading.
    pub fn covers(&self, block: &Block) -> bool {
        block.facts().is_some() && self.needs(block).is_empty()
    }

    /// Calls `each` with the matching rows of a block, columns `output`, as long as it wants more.
    pub fn read(
        &self,
        block: &Block,
        output: &[&'static str],
        stop: &Stop,
        mut each: impl FnMut(RecordBatch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        stop.check()?;
        match block {
            Block::Tail(chunk) => {
                let mask = self.accept(&chunk.rows)?;
                let places: Vec<usize> =
                    output.iter().map(|name| schema::rows().index_of(name)).collect::<Result<_, _>>()?;
                let rows = filter_record_batch(&chunk.rows.project(&places)?, &mask)?;
                if rows.num_rows() > 0 {
                    each(rows)?;
                }
            }
            Block::Group { segment, group, .. } => {
                if !self.may_match(segment, *group) {
                    return Ok(());
                }
                let needed = self.needs(block);
                let needed: Vec<&str> = needed.into_iter().collect();
                let plan = self.clone();
                let accept: Accept = Box::new(move |rows| {
                    plan.accept(&rows).map_err(|error| ArrowError::ExternalError(Box::new(error)))
                });
                let filter = (!needed.is_empty()).then_some((needed.as_slice(), accept));
                for rows in segment.read(*group, output, filter, None)? {
                    stop.check()?;
                    let rows = rows?;
                    if rows.num_rows() > 0 {
                        each(rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn may_match(&self, segment: &Segment, group: usize) -> bool {
        if self.prune.may_match(&|_| false) {
            return true;
        }
        segment.words(group).is_none_or(|words| self.prune.may_match(&|token| words.contains(token)))
    }

    /// The columns that must be looked at to know which rows of a block match.
    fn needs(&self, block: &Block) -> BTreeSet<&'static str> {
        let mut columns = self.columns.clone();
        let (earliest, latest) = block.times();
        if self.query.from.is_some_and(|from| earliest < from) || self.query.to.is_some_and(|to| latest >= to) {
            columns.insert(schema::TIME);
        }
        if !self.query.internal && block.facts().is_none_or(|facts| facts.internal > 0) {
            columns.insert(schema::SOURCE);
        }
        columns
    }

    /// Which rows match. A condition whose column was left out holds for the whole block.
    fn accept(&self, rows: &RecordBatch) -> Result<BooleanArray, StoreError> {
        eval::accept(&self.query, rows)
    }
}

/// The index column of some rows.
pub fn indexes(rows: &RecordBatch) -> Result<&[u64], StoreError> {
    Ok(write::column(rows, schema::INDEX)?
        .as_primitive_opt::<UInt64Type>()
        .filter(|column| column.null_count() == 0)
        .ok_or_else(|| StoreError::Damaged("the column index holds no indexes".into()))?
        .values())
}

#[cfg(test)]
mod tests;
