//! An immutable Parquet file of consecutive rows, as it is read.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
            RowFilter, RowSelection,
        },
    },
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::PageIndexPolicy,
        reader::{ChunkReader, Length},
    },
};
use serde::{Deserialize, Serialize};
use xorf::{BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef as _};

use super::{db::SegmentRow, pages};
use crate::{error::StoreError, query::words, schema};

/// The directory of segments within the data directory.
pub const DIRECTORY: &str = "segments";
/// The version of the file's own keys below.
pub const FORMAT: u64 = 1;
/// Parquet key: [`FORMAT`] as digits.
pub const KEY_FORMAT: &str = "sceau.format";
/// Parquet key: the version of the deriver that made the columns.
pub const KEY_DERIVER: &str = "sceau.deriver";
/// Parquet key: the first entry's index.
pub const KEY_FIRST: &str = "sceau.first";
/// Parquet key: the rules of the word filters, `query::words::version`.
pub const KEY_WORDS: &str = "sceau.words";
/// Parquet key: a JSON array of [`Group`], one a row group.
pub const KEY_GROUPS: &str = "sceau.groups";

/// What is known of a row group before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Rows in it.
    pub rows: u64,
    /// Earliest event time, microseconds since the epoch.
    pub earliest: i64,
    /// Latest event time.
    pub latest: i64,
    /// Rows of the product's own sources.
    pub internal: u64,
    /// Occurrences in all rows.
    pub occurrences: u64,
    /// Where the word filter lies in the file: offset and length. Empty: no filter, anything may match.
    pub words: (u64, u64),
}

/// A segment that is open.
#[derive(Debug)]
pub struct Segment {
    /// Its line in the catalogue.
    pub row: SegmentRow,
    /// The version of the deriver that made its columns.
    pub deriver: String,
    /// Its row groups, in order.
    pub groups: Vec<Group>,
    path: PathBuf,
    file: Pread,
    metadata: ArrowReaderMetadata,
    words_hold: bool,
    intact: bool,
    retired: AtomicBool,
}

/// Reads at offsets, so that many readers share one open file.
#[derive(Clone, Debug)]
pub struct Pread {
    file: Arc<File>,
    length: u64,
}

impl Pread {
    /// Opens a file for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length })
    }
}

impl Length for Pread {
    fn len(&self) -> u64 {
        self.length
    }
}

/// A reader with its own place in a shared file.
#[derive(Debug)]
pub struct PreadCursor {
    file: Arc<File>,
    offset: u64,
}

impl Read for PreadCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl ChunkReader for Pread {
    type T = io::BufReader<PreadCursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(io::BufReader::new(PreadCursor { file: self.file.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged footer may ask for anything; it must not make us allocate it.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} lie beyond the file")));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

impl Segment {
    /// Opens the file that the catalogue names and checks that it is the one.
    pub fn open(data_dir: &Path, row: SegmentRow) -> Result<Self, StoreError> {
        Self::open_as(data_dir, row, false)
    }

    /// Opens a file for the auditor, who wants to read what is there even if rows were added or taken out.
    pub fn inspect(data_dir: &Path, row: SegmentRow) -> Result<Self, StoreError> {
        Self::open_as(data_dir, row, true)
    }

    fn open_as(data_dir: &Path, row: SegmentRow, inspect: bool) -> Result<Self, StoreError> {
        let path = data_dir.join(DIRECTORY).join(&row.file);
        let file = Pread::open(&path)
            .map_err(|source| StoreError::Io { context: format!("opening {}", path.display()), source })?;
        // A search passes over pages by their index, an audit reads them all: it may not rely on what no audit sees.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let metadata = ArrowReaderMetadata::load(&file, options)?;
        let key = |name: &str| -> Option<String> {
            let pairs = metadata.metadata().file_metadata().key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == name)?.value.clone()
        };
        let wrong = |what: &str| StoreError::Damaged(format!("{}: {what}", path.display()));
        match key(KEY_FORMAT).and_then(|text| text.parse::<u64>().ok()) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(StoreError::Newer { what: path.display().to_string(), found, known: FORMAT });
            }
            _ => return Err(wrong("doesn't say which format it has")),
        }
        if key(KEY_FIRST).and_then(|text| text.parse().ok()) != Some(row.first) {
            return Err(wrong("holds other entries than the catalogue says"));
        }
        let groups: Vec<Group> = key(KEY_GROUPS)
            .and_then(|text| serde_json::from_str(&text).ok())
            .ok_or_else(|| wrong("lacks the list of its row groups"))?;
        let counted: Vec<u64> =
            metadata.metadata().row_groups().iter().map(|group| group.num_rows().unsigned_abs()).collect();
        let intact = groups.iter().map(|group| group.rows).eq(counted.iter().copied())
            && counted.iter().fold(0, |sum: u64, rows| sum.saturating_add(*rows)) == row.count;
        if !intact && !inspect {
            return Err(wrong("has another number of rows than it should"));
        }
        let deriver = key(KEY_DERIVER).unwrap_or_default();
        let words_hold = key(KEY_WORDS) == Some(words::version());
        Ok(Self { row, deriver, groups, path, file, metadata, words_hold, intact, retired: AtomicBool::new(false) })
    }

    /// The index behind the last entry.
    pub fn end(&self) -> u64 {
        self.row.first.saturating_add(self.row.count)
    }

    /// The index of a row group's first entry.
    pub fn group_first(&self, group: usize) -> u64 {
        self.row.first + self.groups.iter().take(group).map(|group| group.rows).sum::<u64>()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.file.length
    }

    /// Whether the word filters follow our rules. If not they are not used; a rebuild makes new ones.
    pub fn words_hold(&self) -> bool {
        self.words_hold
    }

    /// Whether the row groups are as long as the file's own keys and the catalogue say.
    pub fn intact(&self) -> bool {
        self.intact
    }

    /// How many row groups the file has, whatever its keys say.
    pub fn counted_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The file goes when the last reader has let go of this.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A reader of some columns of one row group.
    pub fn read(
        &self,
        group: usize,
        columns: &[&str],
        filter: Option<RowFilter>,
        selection: Option<RowSelection>,
    ) -> Result<ParquetRecordBatchReader, StoreError> {
        let mut builder = self.builder().with_row_groups(vec![group]).with_batch_size(8192);
        let mask = self.mask(columns);
        builder = builder.with_projection(mask);
        if let Some(filter) = filter {
            builder = builder.with_row_filter(filter);
        }
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        Ok(builder.build()?)
    }

    /// The projection of top-level columns by name; names that the file lacks are left out.
    pub fn mask(&self, columns: &[&str]) -> ProjectionMask {
        let descriptor = self.metadata.metadata().file_metadata().schema_descr();
        let roots = descriptor.root_schema().get_fields();
        let wanted = columns.iter().filter_map(|name| roots.iter().position(|root| root.name() == *name));
        ProjectionMask::roots(descriptor, wanted)
    }

    /// Rows of one row group, read whole.
    pub fn rows(&self, group: usize, columns: &[&str]) -> Result<Vec<RecordBatch>, StoreError> {
        Ok(self.read(group, columns, None, None)?.collect::<Result<_, _>>()?)
    }

    /// The entries at the given offsets (ascending) of a row group, and nothing else, is read.
    pub fn entries_at(
        &self,
        group: usize,
        offsets: impl Iterator<Item = usize>,
    ) -> Result<Vec<RecordBatch>, StoreError> {
        let total = usize::try_from(self.groups[group].rows).unwrap_or(usize::MAX);
        let ranges = offsets.filter(|offset| *offset < total).map(|offset| offset..offset + 1);
        let selection = RowSelection::from_consecutive_ranges(ranges, total);
        Ok(self.read(group, &[schema::ENTRY], None, Some(selection))?.collect::<Result<_, _>>()?)
    }

    /// A test of the row group's word filter, which has no false negatives; `None` if it can't be read or was made by
    /// other rules than ours, so that everything may match.
    pub fn words(&self, group: usize) -> Option<WordFilter> {
        if !self.words_hold {
            return None;
        }
        let (offset, length) = self.groups[group].words;
        let bytes = self.file.get_bytes(offset, usize::try_from(length).ok()?).ok()?;
        Some(WordFilter { bytes })
    }

    /// Whether the headers of a row group's pages, by which searches pass over them, are true of these rows.
    pub fn pages_hold(&self, group: usize, rows: &RecordBatch) -> bool {
        pages::hold(&self.file, self.metadata.metadata().row_group(group), rows).unwrap_or(false)
    }

    fn builder(&self) -> ParquetRecordBatchReaderBuilder<Pread> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Relaxed)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "an old segment could not be removed");
        }
    }
}

/// The set of a row group's word and value hashes, with 1 in 256 false positives.
#[derive(Debug)]
pub struct WordFilter {
    bytes: Bytes,
}

impl WordFilter {
    /// The filter's bytes for a set of distinct hashes: descriptor, then fingerprints.
    pub fn encode(mut hashes: Vec<u64>) -> Result<Vec<u8>, StoreError> {
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let filter = xorf::BinaryFuse8::try_from(&hashes)
            .map_err(|error| StoreError::Internal(format!("a word filter could not be built: {error}")))?;
        let mut bytes = vec![0; xorf::BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(filter.dma_fingerprints());
        Ok(bytes)
    }

    /// Whether the hash may be in the set. An empty or damaged filter says yes.
    pub fn contains(&self, hash: u64) -> bool {
        let Some((descriptor, fingerprints)) = self.bytes.split_at_checked(xorf::BinaryFuse8::DESCRIPTOR_LEN) else {
            return true;
        };
        let part = |at: usize| {
            descriptor
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(u64::MAX, |bytes: [u8; 4]| u64::from(u32::from_le_bytes(bytes)))
        };
        // The crate trusts these numbers to index the fingerprints; a file that somebody altered must not stop us.
        let (segment, mask, counted) = (part(8), part(12), part(16));
        let shaped = segment.is_power_of_two() && counted.is_multiple_of(segment);
        if !shaped || mask.wrapping_add(1) != segment || counted + 2 * segment > fingerprints.len() as u64 {
            return true;
        }
        BinaryFuse8Ref::from_dma(descriptor, fingerprints).contains(&hash)
    }
}
