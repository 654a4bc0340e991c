//! What the headers of a segment's pages say of their rows. A reader that wants some rows passes over pages by these
//! numbers, while one that reads all never looks at them: an audit compares them, or a search could be made to show one
//! entry for another.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use parquet::{
    column::page::{PageMetadata, PageReader},
    errors::Result,
    file::{metadata::RowGroupMetaData, serialized_reader::SerializedPageReader},
};

use super::segment::Pread;
use crate::schema;

/// Whether every page of a row group holds as many rows as its header says; `rows` is all that is in the group.
pub fn hold(file: &Pread, group: &RowGroupMetaData, rows: &[RecordBatch]) -> Result<bool> {
    let total = rows.iter().map(RecordBatch::num_rows).sum();
    let mut levels: Option<Vec<usize>> = None;
    for column in group.columns() {
        let mut pages = SerializedPageReader::new(Arc::new(file.clone()), column, total, None)?;
        let mut row = 0usize;
        while let Some(page) = pages.peek_next_page()? {
            let counted = match (page.num_rows, column.column_descr().max_rep_level()) {
                _ if page.is_dict => true,
                // Pages of the first version count no rows, and are passed over only where a value is a row.
                (None, _) => true,
                (Some(count), 0) => page.num_levels == Some(count),
                (Some(count), _) => {
                    let levels = levels.get_or_insert_with(|| rows.iter().flat_map(levels_of).collect());
                    let first = row;
                    row = first.saturating_add(count);
                    held(levels, first, &page, count)
                }
            };
            if !counted {
                return Ok(false);
            }
            pages.skip_next_page()?;
        }
    }
    Ok(true)
}

fn held(levels: &[usize], first: usize, page: &PageMetadata, count: usize) -> bool {
    let rows = levels.get(first..first.saturating_add(count));
    rows.is_some_and(|rows| page.num_levels == Some(rows.iter().sum()))
}

/// How many values of a list's columns each row takes: an empty list takes one.
fn levels_of(rows: &RecordBatch) -> Vec<usize> {
    let lists = rows.column_by_name(schema::FIELDS).and_then(|column| column.as_list_opt::<i32>());
    let Some(lists) = lists else { return Vec::new() };
    let length = |row: usize| usize::try_from(lists.value_length(row)).unwrap_or(0);
    (0..lists.len()).map(|row| if lists.is_valid(row) { length(row).max(1) } else { 1 }).collect()
}
