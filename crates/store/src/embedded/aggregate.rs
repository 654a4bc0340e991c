//! Counting and grouping. Groups are DataFusion's work, under one memory limit for all queries.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt64Array, new_null_array},
        compute::{cast, take},
        datatypes::{DataType, Field as Column, Int64Type, Schema, SchemaRef},
    },
    catalog::streaming::StreamingTable,
    error::DataFusionError,
    execution::{
        TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::RuntimeEnvBuilder,
    },
    functions_aggregate::expr_fn::{count as count_of, sum},
    logical_expr::{Expr, col, lit},
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchReceiverStreamBuilder, streaming::PartitionStream},
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use sceau_event::{Field, Micros, Number};

use super::{
    Inner,
    scan::{Block, Plan, Stop},
    write,
};
use crate::{
    bounds,
    error::StoreError,
    query::Query,
    schema,
    traits::{Counts, Histogram, HistogramRow, TopRow, TopTable},
};

/// How many threads read for one query.
const PARTITIONS: usize = 2;

/// DataFusion with its limits.
pub struct Engine {
    context: SessionContext,
}

impl Engine {
    /// An engine whose queries together use at most `memory` bytes for groups and never write to disk.
    pub fn new(memory: usize) -> Result<Self, StoreError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_limit(memory, 1.0)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let config = SessionConfig::new().with_target_partitions(PARTITIONS);
        Ok(Self { context: SessionContext::new_with_config_rt(config, runtime) })
    }
}

/// How many entries match.
pub fn count(inner: &Inner, query: &Query, stop: &Stop) -> Result<Counts, StoreError> {
    stop.check()?;
    let plan = Plan::new(query);
    let mut counts = Counts::default();
    for block in plan.blocks(&inner.snapshot()) {
        if let Some(facts) = block.facts().filter(|_| plan.covers(&block)) {
            counts.entries += facts.rows;
            counts.occurrences = counts.occurrences.saturating_add(facts.occurrences);
            continue;
        }
        plan.read(&block, &[Number::EventCount.name()], stop, |rows| {
            counts.entries += rows.num_rows() as u64;
            counts.occurrences = counts.occurrences.saturating_add(write::occurrences(&rows));
            Ok(())
        })?;
    }
    Ok(counts)
}

/// What is made of matching rows before they are grouped.
#[derive(Clone, Debug)]
struct Shape {
    /// Width of the time intervals; `None`: all times are one.
    interval: Option<i64>,
    /// The field whose values make groups.
    by: Option<Field>,
    /// Rows without a value are kept, as a group of their own.
    keep_empty: bool,
}

/// The start of the interval that `time` falls into.
fn bar(time: i64, interval: i64) -> i64 {
    let phase = bounds::phase(interval);
    time.saturating_sub(phase).div_euclid(interval).saturating_mul(interval).saturating_add(phase)
}

const START: &str = "start";
const VALUE: &str = "value";
const WEIGHT: &str = "weight";

fn shaped() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Column::new(START, DataType::Int64, false),
        Column::new(VALUE, DataType::Utf8, true),
        Column::new(WEIGHT, DataType::Int64, false),
    ]))
}

impl Shape {
    fn columns(&self) -> Vec<&'static str> {
        let mut columns = vec![schema::TIME, Number::EventCount.name()];
        columns.extend(self.by.as_ref().map(schema::column).filter(|column| *column != schema::TIME));
        columns
    }

    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch, StoreError> {
        let times = write::times(rows, schema::TIME)?;
        let start: Int64Array = match self.interval {
            Some(interval) => times.iter().map(|time| bar(*time, interval)).collect(),
            None => Int64Array::from(vec![0; times.len()]),
        };
        let weight: Int64Array = (0..rows.num_rows())
            .map(|row| i64::try_from(write::weight(rows, row)).unwrap_or(i64::MAX).min(sceau_event::MAX_COUNT))
            .collect();
        let (keep, value) = self.values(rows)?;
        let columns: Vec<ArrayRef> = match keep {
            Some(keep) => vec![take(&start, &keep, None)?, value, take(&weight, &keep, None)?],
            None => vec![Arc::new(start), value, Arc::new(weight)],
        };
        Ok(RecordBatch::try_new(shaped(), columns)?)
    }

    /// The values to group by, and the rows that they belong to where that is not one each.
    fn values(&self, rows: &RecordBatch) -> Result<(Option<UInt64Array>, ArrayRef), StoreError> {
        let Some(field) = &self.by else {
            return Ok((None, new_null_array(&DataType::Utf8, rows.num_rows())));
        };
        if let Field::Other(name) = field {
            let (places, values) = self.explode(rows, name)?;
            return Ok((Some(places), values));
        }
        let column = write::column(rows, schema::column(field))?;
        let text = match column.data_type() {
            DataType::Utf8 => column.clone(),
            DataType::Timestamp(_, _) => rfc3339(column)?,
            _ => cast(column, &DataType::Utf8)?,
        };
        if self.keep_empty || text.null_count() == 0 {
            return Ok((None, text));
        }
        let places: UInt64Array = (0..text.len()).filter(|&row| text.is_valid(row)).map(|row| row as u64).collect();
        let values = take(&text, &places, None)?;
        Ok((Some(places), values))
    }

    /// One row for each different value that a record has under `name`.
    fn explode(&self, rows: &RecordBatch, name: &str) -> Result<(UInt64Array, ArrayRef), StoreError> {
        let damaged = || StoreError::Damaged("the column fields is no list of pairs".into());
        let list = write::column(rows, schema::FIELDS)?.as_list_opt::<i32>().ok_or_else(damaged)?;
        let pairs = list.values().as_struct_opt().ok_or_else(damaged)?;
        let member = |name| pairs.column_by_name(name)?.as_string_opt::<i32>();
        let (keys, values) = (member("k").ok_or_else(damaged)?, member("v").ok_or_else(damaged)?);
        let mut places = Vec::new();
        let mut found: Vec<Option<&str>> = Vec::new();
        for (row, span) in list.value_offsets().windows(2).enumerate() {
            let before = places.len();
            for pair in span[0].unsigned_abs() as usize..span[1].unsigned_abs() as usize {
                // A record has few values of one name, so looking through them is the quickest set.
                if keys.value(pair) == name && !found[before..].contains(&Some(values.value(pair))) {
                    places.push(row as u64);
                    found.push(Some(values.value(pair)));
                }
            }
            if self.keep_empty && places.len() == before {
                places.push(row as u64);
                found.push(None);
            }
        }
        Ok((UInt64Array::from(places), Arc::new(StringArray::from(found))))
    }
}

/// Times as text.
fn rfc3339(times: &ArrayRef) -> Result<ArrayRef, StoreError> {
    let numbers = cast(times, &DataType::Int64)?;
    let numbers = numbers.as_primitive_opt::<Int64Type>();
    let numbers = numbers.ok_or_else(|| StoreError::Internal("a time is no number".into()))?;
    let texts = numbers.iter().map(|time| time.map(|time| Micros(time).to_string()));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Every so-many-th block of a query, as a stream of shaped rows.
#[derive(Debug)]
struct Part {
    schema: SchemaRef,
    plan: Plan,
    shape: Shape,
    blocks: Vec<Block>,
    stop: Stop,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), 2);
        let sender = builder.tx();
        let (plan, shape, blocks, stop) =
            (self.plan.clone(), self.shape.clone(), self.blocks.clone(), self.stop.clone());
        builder.spawn_blocking(move || {
            let columns = shape.columns();
            for block in &blocks {
                let sent = plan.read(block, &columns, &stop, |rows| {
                    let rows = shape.apply(&rows)?;
                    sender
                        .blocking_send(Ok(rows))
                        .map_err(|_| StoreError::Internal("nobody waits for this query any more".into()))
                });
                if let Err(error) = sent {
                    return Err(DataFusionError::External(Box::new(error)));
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// A store error that travelled through DataFusion comes out as itself.
fn unwrap(error: DataFusionError) -> StoreError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => return StoreError::Memory,
        DataFusionError::External(inner) => {
            if let Some(StoreError::Timeout(seconds)) = inner.downcast_ref() {
                return StoreError::Timeout(*seconds);
            }
        }
        _ => (),
    }
    StoreError::DataFusion(error)
}

/// Groups the matching rows by start and value and hands each group to `each`.
async fn group(
    inner: &Inner,
    query: &Query,
    shape: Shape,
    limit: Duration,
    mut each: impl FnMut(i64, Option<&str>, Counts) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (stop, _cancel) = Stop::after(limit);
    stop.check()?;
    let plan = Plan::new(query);
    let blocks = plan.blocks(&inner.snapshot());
    let parts = (0..PARTITIONS)
        .map(|part| {
            Arc::new(Part {
                schema: shaped(),
                plan: plan.clone(),
                shape: shape.clone(),
                blocks: blocks.iter().skip(part).step_by(PARTITIONS).cloned().collect(),
                stop: stop.clone(),
            }) as Arc<dyn PartitionStream>
        })
        .collect();
    let table = StreamingTable::try_new(shaped(), parts)?;
    let groups: Vec<Expr> = vec![col(START), col(VALUE)];
    let counts = vec![count_of(lit(1)).alias("entries"), sum(col(WEIGHT)).alias("occurrences")];
    let run = async {
        let frame = inner.queries.context.read_table(Arc::new(table))?.aggregate(groups, counts)?;
        let mut stream = frame.execute_stream().await.map_err(unwrap)?;
        while let Some(rows) = stream.next().await {
            let rows = rows.map_err(unwrap)?;
            let number = |name: &str| {
                write::column(&rows, name)?
                    .as_primitive_opt::<Int64Type>()
                    .ok_or_else(|| StoreError::Internal(format!("{name} is no number")))
            };
            let (start, entries, occurrences) = (number(START)?, number("entries")?, number("occurrences")?);
            let value = write::text(&rows, VALUE)?;
            for row in 0..rows.num_rows() {
                let counts = Counts {
                    entries: entries.value(row).unsigned_abs(),
                    occurrences: occurrences.value(row).unsigned_abs(),
                };
                each(start.value(row), value.is_valid(row).then(|| value.value(row)), counts)?;
            }
        }
        Ok(())
    };
    tokio::time::timeout(limit, run).await.unwrap_or(Err(StoreError::Timeout(limit.as_secs())))
}

/// Entries per interval.
pub async fn histogram(
    inner: &Inner,
    query: &Query,
    interval: i64,
    by: Option<&Field>,
    limit: Duration,
) -> Result<Histogram, StoreError> {
    bounds::check_interval(interval)?;
    let mut rows = Vec::new();
    let shape = Shape { interval: Some(interval), by: by.cloned(), keep_empty: true };
    group(inner, query, shape, limit, |start, by, counts| {
        bounds::check_bars(rows.len() + 1)?;
        rows.push(HistogramRow { start, by: by.map(str::to_owned), counts });
        Ok(())
    })
    .await?;
    rows.sort_by(|a, b| (a.start, &a.by).cmp(&(b.start, &b.by)));
    Ok(Histogram { rows })
}

/// The most frequent values.
pub async fn top(
    inner: &Inner,
    query: &Query,
    field: &Field,
    rows: usize,
    limit: Duration,
) -> Result<TopTable, StoreError> {
    bounds::check_rows(rows)?;
    // The heap's top is the value that would be dropped first.
    let mut best: BinaryHeap<Reverse<(u64, Reverse<String>, u64)>> = BinaryHeap::new();
    let mut distinct = 0;
    let shape = Shape { interval: None, by: Some(field.clone()), keep_empty: false };
    group(inner, query, shape, limit, |_, value, counts| {
        let Some(value) = value else { return Ok(()) };
        distinct += 1;
        best.push(Reverse((counts.occurrences, Reverse(value.to_owned()), counts.entries)));
        if best.len() > rows {
            best.pop();
        }
        Ok(())
    })
    .await?;
    let rows = best
        .into_sorted_vec()
        .into_iter()
        .map(|Reverse((occurrences, Reverse(value), entries))| TopRow {
            value,
            counts: Counts { entries, occurrences },
        })
        .collect();
    Ok(TopTable { rows, distinct })
}
