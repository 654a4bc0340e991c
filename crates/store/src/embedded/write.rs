//! Writing a segment: temporary name, fsync, rename, fsync of the directory. Reading it back is the caller's duty.

use std::{fs::File, path::Path};

use datafusion::arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use sceau_event::{Keyword, Number};

use super::{
    compact::BUNDLE,
    filter,
    needed::{Recent, needed},
    segment::{DIRECTORY, FORMAT, Group, KEY_DERIVER, KEY_FIRST, KEY_FORMAT, KEY_GROUPS, KEY_WORDS},
    tail,
};
use crate::{error::StoreError, query::words::Rules, schema};

/// The columns with a Bloom filter, and whose values are in the word filter as wholes.
pub const EXACT: [Keyword; 2] = [Keyword::SourceIp, Keyword::UserName];

/// Bytes of entries and text behind which a row group ends early: it is compressed in memory.
const GROUP_BYTES: usize = 48 << 20;

/// Words and values of one row group, repetitions included, beyond which it gets no filter (64 MiB of hashes).
pub const MAX_HASHES: usize = 8 << 20;

fn io(context: &str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let context = format!("{context} {}", path.display());
    move |source| StoreError::Io { context, source }
}

/// Writes rows (columns as [`schema::rows`], consecutive from `first`) to `segments/<file>`, durable on return.
pub fn write_segment(
    data_dir: &Path,
    file: &str,
    first: u64,
    deriver: &str,
    rows: &[RecordBatch],
    group_rows: usize,
) -> Result<(), StoreError> {
    let directory = data_dir.join(DIRECTORY);
    let temporary = directory.join(format!("{file}.tmp"));
    let target = directory.join(file);
    let written = write_file(&temporary, first, deriver, rows, group_rows)
        .and_then(|()| std::fs::rename(&temporary, &target).map_err(io("renaming to", &target)))
        .and_then(|()| sync_directory(&directory));
    if written.is_err() {
        // On a full disk every attempt would leave another file, and make it fuller. A rename that failed may have
        // happened all the same. A file that can't be made durable is never tried again, but written anew: after a
        // failed fsync the system may have dropped what it could not write, and would call the next one a success.
        let _ = std::fs::remove_file(&temporary);
        let _ = std::fs::remove_file(&target);
    }
    written
}

fn write_file(
    temporary: &Path,
    first: u64,
    deriver: &str,
    rows: &[RecordBatch],
    group_rows: usize,
) -> Result<(), StoreError> {
    let output = File::create(temporary).map_err(io("creating", temporary))?;
    let mut writer = ArrowWriter::try_new(output, schema::rows(), Some(properties(group_rows)))?;
    let mut groups = Vec::new();
    for group in split(rows, group_rows, GROUP_BYTES)? {
        groups.push(write_group(&mut writer, &group)?);
    }
    let key = |name: &str, value: String| KeyValue::new(name.to_owned(), value);
    writer.append_key_value_metadata(key(KEY_FORMAT, FORMAT.to_string()));
    writer.append_key_value_metadata(key(KEY_DERIVER, deriver.to_owned()));
    writer.append_key_value_metadata(key(KEY_FIRST, first.to_string()));
    writer.append_key_value_metadata(key(KEY_WORDS, Rules::NEWEST.version()));
    let groups = serde_json::to_string(&groups).map_err(|error| StoreError::Internal(error.to_string()))?;
    writer.append_key_value_metadata(key(KEY_GROUPS, groups));
    let output = writer.into_inner()?;
    output.sync_all().map_err(io("fsync of", temporary))
}

/// The rows as row groups: of so many rows at most, and cut behind the bundle that makes them weigh so many bytes.
fn split(rows: &[RecordBatch], most: usize, heavy: usize) -> Result<Vec<Vec<RecordBatch>>, StoreError> {
    let (mut groups, mut pending) = (Vec::new(), Vec::new());
    let (mut count, mut bytes) = (0, 0);
    for batch in rows {
        let (mut start, mut end) = (0, 0);
        while end < batch.num_rows() {
            let step = (BUNDLE - count % BUNDLE).min(most - count).min(batch.num_rows() - end);
            bytes += tail::weight(&batch.slice(end, step))?;
            (count, end) = (count + step, end + step);
            let whole = count == most || (bytes >= heavy && count % BUNDLE == 0);
            if whole || end == batch.num_rows() {
                pending.push(batch.slice(start, end - start));
                start = end;
            }
            if whole {
                groups.push(std::mem::take(&mut pending));
                (count, bytes) = (0, 0);
            }
        }
    }
    groups.extend((!pending.is_empty()).then_some(pending));
    Ok(groups)
}

/// Makes a directory's names durable.
pub fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(io("fsync of", directory))
}

fn properties(group_rows: usize) -> WriterProperties {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(group_rows))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(4096)
        .set_write_batch_size(1024)
        .set_column_compression(path(schema::LEAF), Compression::UNCOMPRESSED)
        .set_column_statistics_enabled(path(schema::ENTRY), EnabledStatistics::None)
        .set_column_statistics_enabled(path(schema::LEAF), EnabledStatistics::None);
    for name in [schema::ENTRY, schema::LEAF] {
        builder = builder.set_column_dictionary_enabled(path(name), false);
    }
    // Numbers that seldom repeat: a dictionary costs more than it saves.
    let numbers = [Number::SourcePort, Number::ProcessPid, Number::BodyBytes].map(Number::name);
    for name in [schema::INDEX, schema::TIME].into_iter().chain(numbers) {
        builder = builder
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for keyword in EXACT {
        builder = builder
            .set_column_bloom_filter_enabled(path(keyword.name()), true)
            .set_column_bloom_filter_fpp(path(keyword.name()), 0.01);
    }
    builder.build()
}

fn write_group(writer: &mut ArrowWriter<File>, pending: &[RecordBatch]) -> Result<Group, StoreError> {
    for batch in pending {
        writer.write(batch)?;
    }
    writer.flush()?;
    let mut group = describe(pending)?;
    let hashes = hashes(pending, Rules::NEWEST)?;
    // Without a filter everything may match: slower to search, but a flood of words can't take all memory.
    let filter = if hashes.len() > MAX_HASHES { Vec::new() } else { filter::encode(hashes)? };
    // User bytes between row groups are legal Parquet; readers that don't know the key skip them.
    group.words = (writer.bytes_written() as u64, filter.len() as u64);
    writer.write_all(&filter).map_err(|source| StoreError::Io { context: "writing a word filter".into(), source })?;
    Ok(group)
}

/// A column by name.
pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, StoreError> {
    batch.column_by_name(name).ok_or_else(|| StoreError::Damaged(format!("the column {name} is missing")))
}

/// A text column by name.
pub fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, StoreError> {
    column(batch, name)?
        .as_string_opt::<i32>()
        .ok_or_else(|| StoreError::Damaged(format!("the column {name} is not text")))
}

/// The values of a time column.
pub fn times<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], StoreError> {
    Ok(column(batch, name)?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| StoreError::Damaged(format!("the column {name} holds no times")))?
        .values())
}

/// The occurrences that each row stands for, 1 where nothing is said.
pub fn weight(batch: &RecordBatch, row: usize) -> u64 {
    batch
        .column_by_name(Number::EventCount.name())
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .filter(|counts| counts.is_valid(row))
        .map_or(1, |counts| u64::try_from(counts.value(row)).unwrap_or(1).max(1))
}

/// The occurrences of all rows. A column that somebody altered may hold any number, so the sum saturates.
pub fn occurrences(batch: &RecordBatch) -> u64 {
    (0..batch.num_rows()).fold(0, |sum, row| weight(batch, row).saturating_add(sum))
}

/// What a row group's key says of these rows, but for the place of its word filter.
pub fn describe(rows: &[RecordBatch]) -> Result<Group, StoreError> {
    let mut group = Group { rows: 0, earliest: i64::MAX, latest: i64::MIN, internal: 0, occurrences: 0, words: (0, 0) };
    for batch in rows {
        for &time in times(batch, schema::TIME)? {
            (group.earliest, group.latest) = (group.earliest.min(time), group.latest.max(time));
        }
        let sources = text(batch, schema::SOURCE)?;
        group.internal += sources.iter().flatten().filter(|source| source.starts_with("sceau.")).count() as u64;
        group.occurrences = group.occurrences.saturating_add(occurrences(batch));
        group.rows += batch.num_rows() as u64;
    }
    if group.rows == 0 {
        (group.earliest, group.latest) = (0, 0);
    }
    Ok(group)
}

/// The hashes that the rows' word filter must hold, with repetitions.
pub fn hashes(rows: &[RecordBatch], rules: Rules) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    needed(rows, rules, &mut Recent::new(1 << 16), |hash| {
        if found.len() <= MAX_HASHES {
            found.push(hash);
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
