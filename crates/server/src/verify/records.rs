//! Every stored record against what its entry says.

use std::{borrow::Cow, collections::BTreeMap, fmt::Display, sync::Arc};

use arrow::{
    array::{Array, AsArray as _, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use sceau_event::{Deriver, Keyword, Number, Record, SourceId};
use sceau_ledger::{Fault, FaultKind};
use sceau_store::{AuditChunk, schema};

/// How much of a value is told.
const SHOWN: usize = 80;

/// How many other versions are told apart.
const MAX_VERSIONS: usize = 20;
/// How many entries are named of those whose records another version made differently.
const NAMED: usize = 5;

/// Compares stretch by stretch.
pub(super) struct Records {
    deriver: Arc<Deriver>,
    /// What came of records that other versions of the deriver are said to have made. The version is the file's own word,
    /// so a difference is never passed over: nothing but a rebuild can tell a stale record from an altered one.
    other: BTreeMap<String, Other>,
}

/// The records of another version.
#[derive(Default)]
struct Other {
    /// First and last entry that differ.
    span: Option<(u64, u64)>,
    /// How many do.
    count: u64,
    /// The first of them, with how they do.
    named: Vec<(u64, String)>,
}

impl Other {
    fn add(&mut self, first: u64, last: u64, difference: String) {
        let (from, to) = self.span.unwrap_or((first, last));
        self.span = Some((from.min(first), to.max(last)));
        self.count += (last - first).saturating_add(1);
        if self.named.len() < NAMED {
            self.named.push((first, difference));
        }
    }

    fn fault(&self, version: &str, own: &str) -> Option<Fault> {
        let (first, last) = self.span?;
        let mut named =
            self.named.iter().map(|(index, difference)| format!("entry {index}: {difference}")).collect::<Vec<_>>();
        let rest = self.count.saturating_sub(self.named.len() as u64);
        if rest > 0 {
            named.push(format!("and {rest} more"));
        }
        let detail = format!(
            "made by deriver {version}, differs from what this version {own} derives: stale or altered; run `sceau rebuild` \
             and verify again ({})",
            named.join(" | ")
        );
        Some(Fault::range(FaultKind::Record, first, last, detail))
    }
}

/// What came of a stretch.
#[derive(Default)]
pub(super) struct Checked {
    /// The receive time of each row, where its entry could be read.
    pub received: Vec<Option<i64>>,
    /// The rows whose entries are of the product's own audit.
    pub audit: Vec<usize>,
    pub faults: Vec<Fault>,
}

impl Records {
    pub fn new(deriver: Arc<Deriver>) -> Self {
        Self { deriver, other: BTreeMap::new() }
    }

    /// What is said of the records that other versions made: faults where they differ, notes where they don't.
    pub fn finish(&self) -> (Vec<Fault>, Vec<String>) {
        let own = self.deriver.version();
        let (mut faults, mut notes) = (Vec::new(), Vec::new());
        for (version, other) in &self.other {
            match other.fault(version, own) {
                Some(fault) => faults.push(fault),
                None => notes.push(format!(
                    "records made by deriver {version} were compared with what this version {own} derives, and agree"
                )),
            }
        }
        (faults, notes)
    }

    pub fn check(&mut self, chunk: &AuditChunk) -> Checked {
        let rows = chunk.entries.len();
        let mut checked = Checked { received: vec![None; rows], ..Checked::default() };
        let stored = self.comparable(chunk, &mut checked.faults);
        let mut places = stored.iter().flatten().flat_map(|part| (0..part.rows).map(move |at| (part, at)));
        let deriver = self.deriver.clone();
        let mut replay = deriver.replay();
        let audit = SourceId::audit();
        for (row, entry) in chunk.entries.iter().enumerate() {
            let place = places.next();
            let Some(entry) = entry else { continue };
            let index = chunk.first.saturating_add(row as u64);
            let record = match replay.derive(entry) {
                Ok(record) => record,
                Err(error) => {
                    let detail = format!("what is stored is no entry: {error}");
                    checked.faults.push(Fault::at(FaultKind::Record, index, detail));
                    continue;
                }
            };
            if let Some(slot) = checked.received.get_mut(row) {
                *slot = Some(record.received.0);
            }
            if record.source == audit.as_str() {
                checked.audit.push(row);
            }
            if let Some((stored, at)) = place
                && !stored.holds(at, &record)
            {
                let difference = stored.difference(at, &record);
                match self.other(chunk) {
                    Some(other) => other.add(index, index, difference),
                    None => checked.faults.push(Fault::at(FaultKind::Record, index, difference)),
                }
            }
        }
        checked
    }

    /// Where to keep what is found about records of another version; `None` for those of this one.
    fn other(&mut self, chunk: &AuditChunk) -> Option<&mut Other> {
        let (_, version) = chunk.records.as_ref().filter(|(_, version)| version != self.deriver.version())?;
        let version = shown(Some(version));
        // The files themselves say which there are: there is room for more than there will ever be.
        let full = self.other.len() >= MAX_VERSIONS && !self.other.contains_key(&version);
        Some(self.other.entry(if full { "of many other versions".to_owned() } else { version }).or_default())
    }

    /// The stored columns, if there are any of the right shape.
    fn comparable<'c>(&mut self, chunk: &'c AuditChunk, faults: &mut Vec<Fault>) -> Option<Vec<Stored<'c>>> {
        let (records, _) = chunk.records.as_ref()?;
        let rows = chunk.entries.len();
        let stored: Option<Vec<_>> = records.iter().map(Stored::of).collect();
        let stored = stored.filter(|stored| stored.iter().map(|part| part.rows).sum::<usize>() == rows);
        let other = self.other(chunk);
        if stored.is_none() {
            let last = chunk.first.saturating_add(rows as u64).saturating_sub(1);
            let detail = format!("the stored columns are not those of {rows} records");
            match other {
                Some(other) => other.add(chunk.first, last, detail),
                None => faults.push(Fault::range(FaultKind::Record, chunk.first, last, detail)),
            }
        }
        stored
    }
}

/// The columns of a stretch. They are compared value by value: making columns of the derived records as well would cost
/// more than deriving them, and would trust the code that made the stored ones.
struct Stored<'c> {
    rows: usize,
    time: &'c TimestampMicrosecondArray,
    received: &'c TimestampMicrosecondArray,
    source: &'c StringArray,
    keywords: Vec<&'c StringArray>,
    numbers: Vec<&'c Int64Array>,
    fields: &'c ListArray,
    keys: &'c StringArray,
    values: &'c StringArray,
}

impl<'c> Stored<'c> {
    fn of(records: &'c RecordBatch) -> Option<Self> {
        let text = |name: &str| records.column_by_name(name)?.as_string_opt::<i32>();
        let time = |name: &str| records.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>();
        let number = |name: &str| records.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let fields = records.column_by_name(schema::FIELDS)?.as_list_opt::<i32>()?;
        let pairs = fields.values().as_struct_opt()?;
        Some(Self {
            rows: records.num_rows(),
            time: time(schema::TIME)?,
            received: time(schema::RECEIVED)?,
            source: text(schema::SOURCE)?,
            keywords: Keyword::ALL.iter().map(|keyword| text(keyword.name())).collect::<Option<_>>()?,
            numbers: Number::ALL.iter().map(|wanted| number(wanted.name())).collect::<Option<_>>()?,
            fields,
            keys: pairs.column_by_name("k")?.as_string_opt()?,
            values: pairs.column_by_name("v")?.as_string_opt()?,
        })
    }

    /// Whether a row is what its record says, in every column.
    fn holds(&self, row: usize, record: &Record<'_>) -> bool {
        let time = |column: &TimestampMicrosecondArray, wanted: sceau_event::Micros| {
            column.is_valid(row) && column.value(row) == wanted.0
        };
        let text = |column: &StringArray, wanted: Option<&str>| match wanted {
            Some(wanted) => column.is_valid(row) && column.value(row) == wanted,
            None => column.is_null(row),
        };
        let number = |column: &Int64Array, wanted: Option<i64>| match wanted {
            Some(wanted) => column.is_valid(row) && column.value(row) == wanted,
            None => column.is_null(row),
        };
        time(self.time, record.time)
            && time(self.received, record.received)
            && text(self.source, Some(&record.source))
            && Keyword::ALL.iter().zip(&self.keywords).all(|(keyword, column)| text(column, record.keyword(*keyword)))
            && Number::ALL.iter().zip(&self.numbers).all(|(wanted, column)| number(column, record.number(*wanted)))
            && self.has_fields(row, &record.fields)
    }

    /// In which columns a row differs from its record, in words.
    fn difference(&self, row: usize, record: &Record<'_>) -> String {
        let mut found = Vec::new();
        let times = [(schema::TIME, self.time, record.time), (schema::RECEIVED, self.received, record.received)];
        for (name, column, wanted) in times {
            let stored = column.is_valid(row).then(|| column.value(row));
            if stored != Some(wanted.0) {
                found.push(told(name, stored.map(sceau_event::Micros), Some(wanted)));
            }
        }
        let keywords = Keyword::ALL.iter().zip(&self.keywords);
        let keywords = keywords.map(|(keyword, column)| (keyword.name(), *column, record.keyword(*keyword)));
        for (name, column, wanted) in
            std::iter::once((schema::SOURCE, self.source, Some(record.source.as_ref()))).chain(keywords)
        {
            let stored = column.is_valid(row).then(|| column.value(row));
            if stored != wanted {
                found.push(told(name, stored, wanted));
            }
        }
        for (number, column) in Number::ALL.iter().zip(&self.numbers) {
            let (stored, wanted) = (column.is_valid(row).then(|| column.value(row)), record.number(*number));
            if stored != wanted {
                found.push(told(number.name(), stored, wanted));
            }
        }
        if !self.has_fields(row, &record.fields) {
            let wanted = pairs(record.fields.iter().map(|(key, value)| (key.as_ref(), value.as_ref())));
            found.push(told(schema::FIELDS, Some(pairs(self.pairs(row))), Some(wanted)));
        }
        found.join("; ")
    }

    fn has_fields(&self, row: usize, wanted: &[(Cow<'_, str>, Cow<'_, str>)]) -> bool {
        let wanted = wanted.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        self.fields.is_valid(row) && self.pairs(row).eq(wanted)
    }

    fn pairs(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let end = |at: usize| self.fields.value_offsets().get(at).map_or(0, |offset| offset.unsigned_abs() as usize);
        let there = (end(row)..end(row + 1)).take_while(|at| *at < self.keys.len().min(self.values.len()));
        there.map(|at| (self.keys.value(at), self.values.value(at)))
    }
}

fn pairs<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
        // A record may have a thousand of them; what is told is cut anyway.
        if text.len() > 4 * SHOWN {
            break;
        }
    }
    text
}

fn told<V: Display>(name: &str, stored: Option<V>, wanted: Option<V>) -> String {
    format!("column {name} holds {}, its entry says {}", shown(stored), shown(wanted))
}

fn shown<V: Display>(value: Option<V>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use sceau_event::{Framer, Meta, Micros};
    use sceau_store::BatchBuilder;

    use super::*;

    fn chunk(version: &str) -> AuditChunk {
        let deriver = Arc::new(Deriver::builtin());
        let framer = Framer::new(Micros(1_795_334_400_000_000), &SourceId::parse("vpn").unwrap(), &Meta::default());
        let mut builder = BatchBuilder::new(deriver);
        for n in 0..5 {
            let event = format!("{{\"user\":\"u{n}\",\"ip\":\"10.0.0.{n}\",\"x\":{n}}}");
            builder.push_json(&framer, event.as_bytes()).unwrap();
        }
        let batch = builder.finish().unwrap();
        AuditChunk {
            first: 100,
            entries: (0..5).map(|row| Some(batch.entries().value(row).to_vec().into())).collect(),
            prefixes: vec![None; 5],
            records: Some((vec![batch.records().slice(0, 2), batch.records().slice(2, 3)], version.to_owned())),
            pruned: Vec::new(),
            tags: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn forge(chunk: &mut AuditChunk, name: &str, row: usize, value: &str) {
        let (parts, _) = chunk.records.as_mut().unwrap();
        let (records, row) = if row < 2 { (&mut parts[0], row) } else { (&mut parts[1], row - 2) };
        let at = records.schema().index_of(name).unwrap();
        let mut values: Vec<_> = records.column(at).as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect();
        values[row] = Some(value.to_owned());
        let mut columns = records.columns().to_vec();
        columns[at] = Arc::new(StringArray::from(values));
        *records = RecordBatch::try_new(records.schema(), columns).unwrap();
    }

    #[test]
    fn an_edited_column_is_named_with_its_index() {
        let deriver = Arc::new(Deriver::builtin());
        let version = deriver.version().to_owned();
        let mut records = Records::new(deriver);
        let mut stretch = chunk(&version);
        let clean = records.check(&stretch);
        assert!(clean.faults.is_empty() && clean.received.iter().all(Option::is_some), "{:?}", clean.faults);
        forge(&mut stretch, "user.name", 3, "mallory");
        let faults = records.check(&stretch).faults;
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].kind, faults[0].first), (FaultKind::Record, Some(103)));
        assert!(faults[0].detail.contains("mallory") && faults[0].detail.contains("u3"), "{}", faults[0].detail);
        // The same with a row that can't be derived in front of it.
        stretch.entries[0] = None;
        assert_eq!(records.check(&stretch).faults, faults);
        stretch.entries[1] = Some(b"nothing".to_vec().into());
        let faults = records.check(&stretch).faults;
        assert_eq!(faults.iter().map(|fault| fault.first).collect::<Vec<_>>(), [Some(101), Some(103)]);
    }

    #[test]
    fn each_column_is_compared() {
        let deriver = Arc::new(Deriver::builtin());
        let version = deriver.version().to_owned();
        let mut records = Records::new(deriver);
        let clean = chunk(&version);
        let columns = clean.records.as_ref().unwrap().0[0].schema().fields().len();
        assert_eq!(columns, 3 + Keyword::COUNT + Number::COUNT + 1, "a new column must be compared too");
        for at in 0..columns {
            let mut stretch = chunk(&version);
            let (parts, _) = stretch.records.as_mut().unwrap();
            let batch = &mut arrow::compute::concat_batches(&parts[0].schema(), &*parts).unwrap();
            let mut arrays = batch.columns().to_vec();
            // Every row gets the value of another one; where all are equal, none.
            let order = arrow::array::UInt32Array::from(vec![1, 2, 3, 4, 0]);
            arrays[at] = arrow::compute::take(&arrays[at], &order, None).unwrap();
            let name = batch.schema().field(at).name().clone();
            let moved = arrays[at].as_ref() != batch.column(at).as_ref();
            *parts = vec![RecordBatch::try_new(batch.schema(), arrays).unwrap()];
            let faults = records.check(&stretch).faults;
            assert_eq!(!faults.is_empty(), moved, "{name}");
            assert!(faults.iter().all(|fault| fault.detail.contains(&name)), "{name} {faults:?}");
        }
    }

    #[test]
    fn another_derivers_records_are_compared_too() {
        let mut records = Records::new(Arc::new(Deriver::builtin()));
        assert!(records.check(&chunk("other-1")).faults.is_empty());
        let (faults, notes) = records.finish();
        assert!(faults.is_empty() && notes.len() == 1 && notes[0].contains("other-1"), "{faults:?} {notes:?}");
        for row in [1, 3] {
            let mut stretch = chunk("other-1");
            forge(&mut stretch, "user.name", row, "mallory");
            assert!(records.check(&stretch).faults.is_empty());
        }
        let (faults, notes) = records.finish();
        assert!(notes.is_empty() && faults.len() == 1, "{faults:?} {notes:?}");
        assert_eq!((faults[0].kind, faults[0].first, faults[0].last), (FaultKind::Record, Some(101), Some(103)));
        for words in ["made by deriver \"other-1\"", "stale or altered", "sceau rebuild", "entry 103", "mallory"] {
            assert!(faults[0].detail.contains(words), "{}", faults[0].detail);
        }
        let mut all = chunk("other-1");
        (0..5).for_each(|row| forge(&mut all, "user.name", row, "mallory"));
        records.check(&all);
        assert!(records.finish().0[0].detail.contains("and 2 more"), "{:?}", records.finish());
    }

    #[test]
    fn another_derivers_columns_of_another_shape_are_a_fault_too() {
        let mut records = Records::new(Arc::new(Deriver::builtin()));
        let mut stretch = chunk("other-1");
        let (columns, _) = stretch.records.as_mut().unwrap();
        columns.pop();
        assert!(records.check(&stretch).faults.is_empty());
        let (faults, _) = records.finish();
        assert_eq!((faults.len(), faults[0].first, faults[0].last), (1, Some(100), Some(104)));
        for n in 0..2 * MAX_VERSIONS {
            records.check(&chunk(&format!("{n}{}", "x".repeat(500))));
        }
        let (_, notes) = records.finish();
        assert!(notes.len() <= MAX_VERSIONS + 1 && notes.iter().all(|note| note.len() < 300), "{notes:?}");
    }

    #[test]
    fn columns_of_another_shape_are_one_fault() {
        let deriver = Arc::new(Deriver::builtin());
        let version = deriver.version().to_owned();
        let mut stretch = chunk(&version);
        let (records, _) = stretch.records.as_mut().unwrap();
        records[1] = records[1].slice(0, 2);
        let faults = Records::new(deriver).check(&stretch).faults;
        assert_eq!((faults.len(), faults[0].first, faults[0].last), (1, Some(100), Some(104)));
    }
}
