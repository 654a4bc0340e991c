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
use datafusion::arrow::{
    array::{BooleanArray, RecordBatch},
    error::ArrowError,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
        },
    },
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::PageIndexPolicy,
        reader::{ChunkReader, Length},
    },
};
use serde::{Deserialize, Serialize};

use super::{db::SegmentRow, filter::WordFilter, footers::Footers, pages};
use crate::{error::StoreError, query::words::Rules, schema};

/// The directory of segments within the data directory.
pub const DIRECTORY: &str = "segments";
/// Rows that are decoded at once, if their entries are short.
const MOST_ROWS: usize = 8192;
/// The same, if they are long.
const FEWEST_ROWS: usize = 64;
/// Bytes of entries from which on fewer rows are decoded at once.
const ENTRIES_AT_ONCE: u64 = 8 << 20;
/// The version of the file's own keys below.
pub const FORMAT: u64 = 1;
/// The writer cuts pages of columns that are no lists at multiples of so many rows.
const PAGE_ROWS: usize = 1024;
/// Parquet key: [`FORMAT`] as digits.
pub const KEY_FORMAT: &str = "sceau.format";
/// Parquet key: the version of the deriver that made the columns.
pub const KEY_DERIVER: &str = "sceau.deriver";
/// Parquet key: the first entry's index.
pub const KEY_FIRST: &str = "sceau.first";
/// Parquet key: the version of the word filters' [`Rules`].
pub const KEY_WORDS: &str = "sceau.words";
/// Parquet key: a JSON array of [`Group`], one a row group.
pub const KEY_GROUPS: &str = "sceau.groups";

/// Says which rows of a batch a query accepts.
pub type Accept = Box<dyn FnMut(RecordBatch) -> Result<BooleanArray, ArrowError> + Send>;

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
    footers: Arc<Footers>,
    rules: Option<Rules>,
    counted_groups: usize,
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

    /// Fills the buffer from an offset on.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
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
        let metadata = footer(&file)?;
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
        let rules = key(KEY_WORDS).and_then(|version| Rules::named(&version));
        let (footers, counted_groups) = (Arc::default(), counted.len());
        let retired = AtomicBool::new(false);
        Ok(Self { row, deriver, groups, path, file, footers, rules, counted_groups, intact, retired })
    }

    /// The same, with its footer kept among others': there are limits to their memory, and none to how many segments.
    #[must_use]
    pub fn sharing(mut self, footers: &Arc<Footers>) -> Self {
        self.footers = footers.clone();
        self
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

    /// The rules of the word filters. If we don't know them they are not used; a rebuild makes new ones.
    pub fn rules(&self) -> Option<Rules> {
        self.rules
    }

    /// Whether the row groups are as long as the file's own keys and the catalogue say.
    pub fn intact(&self) -> bool {
        self.intact
    }

    /// How many row groups the file has, whatever its keys say.
    pub fn counted_groups(&self) -> usize {
        self.counted_groups
    }

    /// The file goes when the last reader has let go of this.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A reader of some columns of one row group, of the rows that the filter accepts by some columns. An error of the
    /// filter comes out as it is, from here.
    pub fn read(
        &self,
        group: usize,
        columns: &[&str],
        filter: Option<(&[&str], Accept)>,
        selection: Option<RowSelection>,
    ) -> Result<Rows<'_>, StoreError> {
        let footer = self.footer()?;
        let mut builder = self.builder(&footer, group, columns).with_batch_size(rows_at_once(&footer, group));
        if let Some((columns, accept)) = filter {
            let mask = project(&footer, columns);
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, accept))]));
        }
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        self.open_rows(builder)
    }

    fn open_rows(&self, builder: ParquetRecordBatchReaderBuilder<Pread>) -> Result<Rows<'_>, StoreError> {
        let path = &self.path;
        Ok(Rows { reader: builder.build().map_err(|error| named(path, unpacked(error)))?, path })
    }

    fn builder(
        &self,
        footer: &ArrowReaderMetadata,
        group: usize,
        columns: &[&str],
    ) -> ParquetRecordBatchReaderBuilder<Pread> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), footer.clone())
            .with_row_groups(vec![group])
            .with_projection(project(footer, columns))
    }

    /// Rows of one row group, in batches that mostly lie within a page: their values are then copied once, into memory
    /// of the right size.
    pub fn pages(&self, group: usize, columns: &[&str]) -> Result<Rows<'_>, StoreError> {
        self.open_rows(self.builder(&self.footer()?, group, columns).with_batch_size(PAGE_ROWS))
    }

    /// Rows of one row group, read whole.
    pub fn rows(&self, group: usize, columns: &[&str]) -> Result<Vec<RecordBatch>, StoreError> {
        self.read(group, columns, None, None)?.collect()
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
        self.read(group, &[schema::ENTRY], None, Some(selection))?.collect()
    }

    /// The row group's word filter, to be asked now and then; `None` if it can't be used, so that everything may match.
    pub fn words(&self, group: usize) -> Option<WordFilter> {
        WordFilter::open(&self.file, self.rules?, self.groups[group].words)
    }

    /// The same to be asked often.
    pub fn loaded_words(&self, group: usize) -> Option<WordFilter> {
        WordFilter::load(&self.file, self.rules?, self.groups[group].words)
    }

    /// Whether the headers of a row group's pages, by which searches pass over them, are true of these rows.
    pub fn pages_hold(&self, group: usize, rows: &[RecordBatch]) -> bool {
        let footer = self.footer();
        footer.is_ok_and(|footer| pages::hold(&self.file, footer.metadata().row_group(group), rows).unwrap_or(false))
    }

    fn footer(&self) -> Result<ArrowReaderMetadata, StoreError> {
        let footer = self.footers.get(&self.row.file, || footer(&self.file));
        footer.map_err(|error| error.in_segment(&self.path))
    }
}

/// Rows of a segment as they are decoded. Their errors name the file.
#[derive(Debug)]
pub struct Rows<'s> {
    reader: ParquetRecordBatchReader,
    path: &'s Path,
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.reader.next()?.map_err(|error| named(self.path, error)))
    }
}

/// An error of reading a file, with its name and what to do; what a filter said of its own stays as it is.
fn named(path: &Path, error: ArrowError) -> StoreError {
    match error {
        ArrowError::ExternalError(own) => match own.downcast::<StoreError>() {
            Ok(own) => *own,
            Err(other) => StoreError::from(ArrowError::ExternalError(other)).in_segment(path),
        },
        error => StoreError::from(error).in_segment(path),
    }
}

/// Parquet packs up what a filter says.
fn unpacked(error: ParquetError) -> ArrowError {
    match error {
        ParquetError::External(inner) => inner.downcast().map_or_else(ArrowError::ExternalError, |error| *error),
        error => error.into(),
    }
}

fn footer(file: &Pread) -> Result<ArrowReaderMetadata, StoreError> {
    // A search would pass over pages by their index, which no audit reads: it may not rely on what no audit sees.
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    Ok(ArrowReaderMetadata::load(file, options)?)
}

/// How many rows are decoded at once: fewer of long entries, which would take too much memory. Of the entries' lengths
/// others follow; what a dictionary stands for in another column can't be told from its size in the file.
fn rows_at_once(footer: &ArrowReaderMetadata, group: usize) -> usize {
    let Some(facts) = footer.metadata().row_groups().get(group) else { return MOST_ROWS };
    let entry = facts.columns().iter().find(|column| column.column_path().string() == schema::ENTRY);
    let bytes = entry.map_or(0, |column| column.uncompressed_size().unsigned_abs());
    let each = (bytes / facts.num_rows().unsigned_abs().max(1)).max(1);
    usize::try_from(ENTRIES_AT_ONCE / each).map_or(MOST_ROWS, |rows| rows.clamp(FEWEST_ROWS, MOST_ROWS))
}

/// The projection of top-level columns by name; names that the file lacks are left out.
fn project(footer: &ArrowReaderMetadata, columns: &[&str]) -> ProjectionMask {
    let descriptor = footer.metadata().file_metadata().schema_descr();
    let roots = descriptor.root_schema().get_fields();
    let wanted = columns.iter().filter_map(|name| roots.iter().position(|root| root.name() == *name));
    ProjectionMask::roots(descriptor, wanted)
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
