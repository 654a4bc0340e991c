//! The columns of a record, the same in memory, in Parquet segments and in what queries see.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field as Column, Fields, Schema, SchemaRef, TimeUnit};
use sceau_event::{Field, Keyword, Number};

/// Event time.
pub const TIME: &str = "@timestamp";
/// Receive time.
pub const RECEIVED: &str = "received";
/// Source id.
pub const SOURCE: &str = "source";
/// All other fields as a list of (`k`, `v`).
pub const FIELDS: &str = "fields";
/// The entry's index.
pub const INDEX: &str = "index";
/// The first four bytes of the entry's leaf hash.
pub const LEAF: &str = "leaf";
/// The entry's exact bytes.
pub const ENTRY: &str = "entry";

/// The version of this layout, kept in each segment; a change of the columns raises it.
pub const VERSION: u64 = 1;

/// Microseconds, UTC.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The members of [`FIELDS`]' items.
pub fn pair_members() -> Fields {
    Fields::from(vec![Column::new("k", DataType::Utf8, false), Column::new("v", DataType::Utf8, false)])
}

/// The item of [`FIELDS`]' list.
pub fn pair_item() -> Arc<Column> {
    // The name that the Parquet specification gives to the items of a list, so that other tools agree.
    Arc::new(Column::new("element", DataType::Struct(pair_members()), false))
}

/// The columns of a record, without index, leaf and entry: `@timestamp`, `received`, `source`, every keyword, every
/// number, `fields`, in this order.
pub fn records() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(record_columns())));
    SCHEMA.clone()
}

/// The columns of a stored row: `index`, `leaf`, the record's, `entry`.
pub fn rows() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut columns =
            vec![Column::new(INDEX, DataType::UInt64, false), Column::new(LEAF, DataType::FixedSizeBinary(4), false)];
        columns.extend(record_columns());
        columns.push(Column::new(ENTRY, DataType::Binary, false));
        Arc::new(Schema::new(columns))
    });
    SCHEMA.clone()
}

/// The column that holds a field: its own, or [`FIELDS`] for any other.
pub fn column(field: &Field) -> &'static str {
    match field {
        Field::Time => TIME,
        Field::Received => RECEIVED,
        Field::Source => SOURCE,
        Field::Keyword(keyword) => keyword.name(),
        Field::Number(number) => number.name(),
        Field::Other(_) => FIELDS,
    }
}

fn record_columns() -> Vec<Column> {
    let mut columns = vec![
        Column::new(TIME, time_type(), false),
        Column::new(RECEIVED, time_type(), false),
        Column::new(SOURCE, DataType::Utf8, false),
    ];
    columns.extend(Keyword::ALL.iter().map(|keyword| Column::new(keyword.name(), DataType::Utf8, true)));
    columns.extend(Number::ALL.iter().map(|number| Column::new(number.name(), DataType::Int64, true)));
    columns.push(Column::new(FIELDS, DataType::List(pair_item()), false));
    columns
}
