//! What Parquet itself keeps besides the columns: headers and indexes of pages, Bloom filters. A search that reads some
//! rows passes over pages by what these say, while a verification reads every page: neither may be misled by them.

use std::{fs::File, io::Write as _, path::Path};

use datafusion::arrow::array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    file::{
        metadata::{KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter},
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
        writer::TrackedWrite,
    },
};
use sceau_store::{
    embedded::segment::{FORMAT, KEY_DERIVER, KEY_FIRST, KEY_FORMAT, KEY_GROUPS, KEY_WORDS},
    query::words,
    schema,
};

use crate::{
    common::Place,
    edit::{rows, segment, segment_file},
    victim::{GROUP, SEGMENT, Victim, clean, range},
};

/// Rows of a page.
const PAGE: usize = 64;

/// The entry that a search for a word that is said once shows, and its index.
fn zebra(place: &Place) -> (u64, String) {
    let hit = place.run(&["search", "--json", "zebra"]).with(0).lines().remove(0);
    (hit["index"].as_u64().unwrap(), hit.to_string())
}

/// Writes a segment anew with small pages and without word filters, which is allowed and changes nothing.
fn repage(data: &Path, first: u64, rows: &RecordBatch, version: WriterVersion) {
    let known = segment(data, first);
    let mut groups = known.groups.clone();
    groups.iter_mut().for_each(|group| group.words = (0, 0));
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(usize::try_from(GROUP).unwrap()))
        .set_data_page_row_count_limit(PAGE)
        .set_write_batch_size(PAGE)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let file = File::create(segment_file(data, first)).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema::rows(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    for (key, value) in [
        (KEY_FORMAT, FORMAT.to_string()),
        (KEY_DERIVER, known.deriver.clone()),
        (KEY_FIRST, first.to_string()),
        (KEY_WORDS, words::Rules::NEWEST.version()),
        (KEY_GROUPS, serde_json::to_string(&groups).unwrap()),
    ] {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    writer.close().unwrap();
}

fn metadata(path: &Path) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.parse_and_finish(&File::open(path).unwrap()).unwrap()
}

/// A place with a segment of small pages, the number of the group that holds the zebra, and that of the column of entries.
fn paged(victim: &Victim, version: WriterVersion) -> (Place, u64, usize, usize) {
    let copy = victim.copy();
    let (index, _) = zebra(&copy);
    let first = index / SEGMENT * SEGMENT;
    let group = usize::try_from((index - first) / GROUP).unwrap();
    let all = rows(&copy.data(), first);
    repage(&copy.data(), first, &all, version);
    let path = segment_file(&copy.data(), first);
    let columns = metadata(&path).row_group(group).columns().len();
    assert!(index % GROUP > 2 * PAGE as u64, "the zebra must not be in the first page");
    (copy, index, group, columns - 1)
}

#[test]
fn a_segment_with_other_pages_has_no_fault() {
    let victim = Victim::get();
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let (copy, ..) = paged(&victim, version);
        clean(&copy, &["--pin", &victim.facts.pin, "--since-checkpoint", &victim.late()]);
        assert_eq!(zebra(&copy), zebra(&victim.copy()));
    }
}

#[test]
fn an_edited_index_of_pages_misleads_nobody() {
    let victim = Victim::get();
    let (copy, index, group, column) = paged(&victim, WriterVersion::PARQUET_1_0);
    let path = segment_file(&copy.data(), index / SEGMENT * SEGMENT);
    let known = metadata(&path);
    let mut pages = known.offset_index().unwrap().clone();
    assert!(pages[group][column].page_locations.len() > 2);
    // One row more is said to be in the first page, so that whoever passes over it is one row behind.
    pages[group][column].page_locations[1].first_row_index += 1;
    let known = known.into_builder().set_offset_index(Some(pages)).build();
    let bytes = std::fs::read(&path).unwrap();
    let mut file = TrackedWrite::new(File::create(&path).unwrap());
    file.write_all(&bytes).unwrap();
    ParquetMetaDataWriter::new_with_tracked(file, &known).finish().unwrap();
    assert_eq!(zebra(&copy), zebra(&victim.copy()), "the search shows another entry");
    clean(&copy, &["--pin", &victim.facts.pin]);
}

/// Where the rows of the first page of a column are counted: 64 values, so many nulls, 64 rows, in Thrift's numbers.
fn counted(path: &Path, bytes: &[u8], group: usize, column: usize, nulls: &[u8]) -> usize {
    let (start, length) = metadata(path).row_group(group).column(column).byte_range();
    let chunk = usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap();
    let header = [&[0x15, 0x80, 0x01, 0x15], nulls, &[0x15, 0x80, 0x01]].concat();
    let at = bytes[chunk.clone()].windows(header.len()).position(|window| window == header).unwrap();
    chunk.start + at + header.len() - 2
}

#[test]
fn a_page_that_says_another_number_of_rows_is_named() {
    let victim = Victim::get();
    let (copy, index, group, column) = paged(&victim, WriterVersion::PARQUET_2_0);
    let path = segment_file(&copy.data(), index / SEGMENT * SEGMENT);
    let first = index / GROUP * GROUP;
    let named = [range("record", first, first + GROUP - 1)];
    let intact = std::fs::read(&path).unwrap();
    let edited = |column: usize, nulls: &[u8]| {
        let mut bytes = intact.clone();
        bytes[counted(&path, &intact, group, column, nulls)] += 2;
        std::fs::write(&path, bytes).unwrap();
    };
    edited(column, &[0x00]);
    assert_ne!(zebra(&copy), zebra(&victim.copy()), "the search is not misled: this test proves nothing");
    victim.names("the rows of a page of entries", &copy, &named);
    // In the list of further fields, which are none, a row is not a value.
    edited(column - 1, &[0x80, 0x01]);
    victim.names("the rows of a page of fields", &copy, &named);
}

/// They are there for other readers of the files.
#[test]
fn bloom_filters_are_not_used() {
    let victim = Victim::get();
    let copy = victim.copy();
    let (index, _) = zebra(&copy);
    let path = segment_file(&copy.data(), index / SEGMENT * SEGMENT);
    let mut bytes = std::fs::read(&path).unwrap();
    let known = metadata(&path);
    let mut filters = 0;
    for column in known.row_groups().iter().flat_map(|group| group.columns()) {
        let (Some(offset), Some(length)) = (column.bloom_filter_offset(), column.bloom_filter_length()) else {
            continue;
        };
        let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
        bytes[offset + length - 32..offset + length].fill(0);
        filters += 1;
    }
    assert_eq!(filters, 4, "two columns of two row groups");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(copy.run(&["count", "user.name:rarely"]).with(0).out.trim(), "1");
    clean(&copy, &["--pin", &victim.facts.pin]);
}
