#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use datafusion::arrow::{
    array::{ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder, StructBuilder, TimestampMicrosecondArray},
    compute::concat_batches,
};
use oracle::accepts;
use proptest::prelude::*;
use sceau_event::{Micros, Number, Record};

use super::*;
use crate::{
    embedded::write,
    query::{
        self as model, Bound, Network,
        words::{Rules, Token, tokens},
    },
};

#[path = "../../../tests/contract/oracle.rs"]
#[allow(dead_code)]
mod oracle;

type Row = Record<'static>;

fn batch(rows: &[Row]) -> RecordBatch {
    let times = |of: fn(&Row) -> Micros| -> ArrayRef {
        Arc::new(
            TimestampMicrosecondArray::from(rows.iter().map(|row| of(row).0).collect::<Vec<_>>()).with_timezone("UTC"),
        )
    };
    let source: StringArray = rows.iter().map(|row| Some(row.source.as_ref())).collect();
    let mut arrays = vec![times(|row| row.time), times(|row| row.received), Arc::new(source)];
    for at in 0..Keyword::COUNT {
        let texts: StringArray = rows.iter().map(|row| row.keywords[at].as_deref()).collect();
        arrays.push(Arc::new(texts));
    }
    for at in 0..Number::COUNT {
        let numbers: Int64Array = rows.iter().map(|row| row.numbers[at]).collect();
        arrays.push(Arc::new(numbers));
    }
    let pair = StructBuilder::new(
        schema::pair_members(),
        vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())],
    );
    let mut list = ListBuilder::new(pair).with_field(schema::pair_item());
    for row in rows {
        for (key, value) in &row.fields {
            let pair = list.values();
            pair.field_builder::<StringBuilder>(0).unwrap().append_value(key);
            pair.field_builder::<StringBuilder>(1).unwrap().append_value(value);
            pair.append(true);
        }
        list.append(true);
    }
    arrays.push(Arc::new(list.finish()));
    RecordBatch::try_new(schema::records(), arrays).unwrap()
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["alice", "bob", "Alice", "al", "failed", "10.0.0.1", "10.0.1.2", "192.168.0.9", "", "5",
            "-3", "12.5", "x.example.com", "é"]).prop_map(str::to_owned),
        3 => prop::collection::vec(prop::sample::select(vec!["Failed", "password", "for", "alice", "from", "10.0.0.1", "a-b",
            "É", "FAIL"]), 0..5).prop_map(|words| words.join(" ")),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        (-20..20_i64, -20..20_i64, prop::sample::select(vec!["web", "vpn", "sceau.audit"])),
        prop::array::uniform14(prop::option::of(values())),
        prop::array::uniform5(prop::option::of(-20..20_i64)),
        prop::collection::vec((prop::sample::select(vec!["k", "l", "m"]), values()), 0..4),
    );
    let row = row.prop_map(|((time, received, source), keywords, numbers, fields)| Row {
        time: Micros(time),
        received: Micros(received),
        source: Cow::Borrowed(source),
        keywords: keywords.map(|value| value.map(Cow::Owned)),
        numbers,
        fields: fields.into_iter().map(|(key, value)| (Cow::Borrowed(key), Cow::Owned(value))).collect(),
    });
    prop::collection::vec(row, 0..40)
}

fn bounds() -> impl Strategy<Value = Bound> {
    let text = prop_oneof![values(), (-20..20_i64).prop_map(|n| n.to_string()), Just("2.5".to_owned())];
    prop_oneof![Just(Bound::Unbounded), text.clone().prop_map(Bound::Inclusive), text.prop_map(Bound::Exclusive),]
}

fn phrases() -> impl Strategy<Value = Phrase> {
    (values(), any::<bool>()).prop_filter_map("no words", |(text, prefix)| Phrase::new(&text, prefix))
}

fn tests() -> impl Strategy<Value = Test> {
    prop_oneof![
        Just(Test::Exists),
        values().prop_map(Test::Equals),
        (-20..20_i64).prop_map(|number| Test::Equals(number.to_string())),
        prop::collection::vec(prop::sample::select(vec!["", "a", "l", "ali", "Failed ", "10.", ".0", "1", "é"]), 2..4)
            .prop_map(|pieces| Test::Wildcard(pieces.into_iter().map(str::to_owned).collect())),
        phrases().prop_map(Test::Words),
        (bounds(), bounds()).prop_map(|(low, high)| Test::Range { low, high }),
        prop::sample::select(vec!["10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.1/32", "::/0"])
            .prop_map(|text| Test::Cidr(Network::parse(text).unwrap())),
    ]
}

fn fields() -> impl Strategy<Value = Field> {
    prop_oneof![
        Just(Field::Time),
        Just(Field::Received),
        Just(Field::Source),
        prop::sample::select(vec![Keyword::SourceIp, Keyword::UserName, Keyword::Message]).prop_map(Field::Keyword),
        prop::sample::select(vec![Number::StatusCode, Number::BodyBytes]).prop_map(Field::Number),
        prop::sample::select(vec!["k", "l", "z"]).prop_map(|name| Field::Other(name.to_owned())),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![
        8 => (fields(), tests()).prop_map(|(field, test)| Filter::Is(field, test)),
        2 => phrases().prop_map(Filter::Text),
        1 => Just(Filter::All),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn rows_are_accepted_as_the_model_says(rows in rows(), filter in filters(), skip in 0..40_usize) {
        let whole = batch(&rows);
        let wanted: Vec<bool> = rows.iter().map(|row| accepts(&filter, row)).collect();
        let found = evaluate(&filter, &whole).unwrap();
        prop_assert_eq!(found.null_count(), 0);
        prop_assert_eq!(&found.iter().flatten().collect::<Vec<_>>(), &wanted);

        // Only the columns that were asked for, and a slice, whose offsets don't begin at zero.
        let skip = skip.min(rows.len());
        let places: Vec<usize> =
            columns(&filter).iter().map(|name| whole.schema().index_of(name).unwrap()).collect();
        let part = whole.project(&places).unwrap().slice(skip, rows.len() - skip);
        prop_assert_eq!(&evaluate(&filter, &part).unwrap().iter().flatten().collect::<Vec<_>>()[..], &wanted[skip..]);

        for rules in [Rules::Words, Rules::Addresses] {
            let halves = [whole.slice(0, skip), whole.slice(skip, rows.len() - skip)];
            let hashes: HashSet<u64> = write::hashes(&halves, rules).unwrap().into_iter().collect();
            let holds = |token: Token| token.under(rules).is_none_or(|hash| hashes.contains(&hash));
            if wanted.contains(&true) {
                prop_assert!(prune(&filter).may_match(&holds), "{:?}", prune(&filter));
            }
        }
    }
}

fn at_time(time: i64) -> Row {
    Row { time: Micros(time), ..Record::new(Micros(0), Cow::Borrowed("web")) }
}

#[test]
fn few_open_rows_are_looked_at_one_by_one() {
    let row = |number: i64, message: &'static str| Row {
        keywords: Keyword::ALL.map(|keyword| (keyword == Keyword::Message).then_some(Cow::Borrowed(message))),
        numbers: [Some(number); Number::COUNT],
        ..at_time(number)
    };
    let rows: Vec<Row> = (0..100).map(|number| row(number, if number % 2 == 0 { "even one" } else { "odd" })).collect();
    let batch = concat_batches(&schema::records(), [&batch(&rows[..50]), &batch(&rows[50..])]).unwrap();
    let equals = |text: &str| Test::Equals(text.into());
    let below = |text: &str| Test::Range { low: Bound::Unbounded, high: Bound::Exclusive(text.into()) };
    let filter = Filter::And(vec![
        Filter::Text(Phrase::new("even", false).unwrap()),
        Filter::Is(Field::Time, below("9.5")),
        Filter::Is(Field::Number(Number::StatusCode), below("5")),
        Filter::Not(Box::new(Filter::Is(Field::Number(Number::StatusCode), equals("2")))),
        Filter::Is(Field::Keyword(Keyword::Message), equals("even one")),
    ]);
    let found = evaluate(&filter, &batch).unwrap();
    assert_eq!(found.values().set_indices().collect::<Vec<_>>(), [0, 4]);
}

#[test]
fn bounds_at_the_edge_of_numbers() {
    let rows: Vec<Row> = [i64::MIN, -1, 0, 1, 9_007_199_254_740_993, i64::MAX].into_iter().map(at_time).collect();
    let batch = batch(&rows);
    let count = |low: Bound, high: Bound| {
        let filter = Filter::Is(Field::Time, Test::Range { low, high });
        evaluate(&filter, &batch).unwrap().true_count()
    };
    let at = |text: &str| Bound::Inclusive(text.into());
    let off = |text: &str| Bound::Exclusive(text.into());
    assert_eq!(count(Bound::Unbounded, Bound::Unbounded), 6);
    assert_eq!(count(at(&i64::MIN.to_string()), at(&i64::MAX.to_string())), 6);
    assert_eq!(count(off(&i64::MIN.to_string()), off(&i64::MAX.to_string())), 4);
    assert_eq!(count(Bound::Unbounded, off(&i64::MIN.to_string())), 0);
    assert_eq!(count(off(&i64::MAX.to_string()), Bound::Unbounded), 0);
    assert_eq!(count(at("-0.5"), off("0.5")), 1);
    assert_eq!(count(at("9007199254740993"), at("9007199254740993")), 1);
    assert_eq!(count(off("9007199254740992"), at("9007199254740993")), 1);
    assert_eq!(count(at("-1e30"), at("1e30")), 6);
    assert_eq!(count(at("1e30"), Bound::Unbounded), 0);
    assert_eq!(count(at("x"), Bound::Unbounded), 0);
}

#[test]
fn pruning_takes_whole_words_only() {
    let needs = |texts: &[&str]| {
        let mut found = vec![];
        texts.iter().for_each(|text| tokens(text, |token| found.push(Prune::Needs(token))));
        Prune::All(found)
    };
    let address_first = |text: &str| {
        let Prune::All(mut found) = needs(&[text]) else { unreachable!() };
        found.rotate_right(1);
        Prune::All(found)
    };
    let keyword = |keyword, test| prune(&Filter::Is(Field::Keyword(keyword), test));
    let pieces = |pieces: &[&str]| Test::Wildcard(pieces.iter().map(|piece| (*piece).to_owned()).collect());
    assert_eq!(keyword(Keyword::HostName, pieces(&["", ".example.com"])), needs(&["example com"]));
    assert_eq!(keyword(Keyword::HostName, pieces(&["web-0", "-x y", ".org"])), needs(&["web x org"]));
    assert_eq!(keyword(Keyword::HostName, pieces(&["log", ""])), Prune::MayMatch);
    assert_eq!(keyword(Keyword::Message, pieces(&["", " db8 a b ", ""])), address_first("db8 a b"));
    assert_eq!(keyword(Keyword::Url, Test::Equals("/a/B".into())), needs(&["a b"]));
    assert!(matches!(keyword(Keyword::SourceIp, Test::Equals("10.0.0.1".into())), Prune::Needs(_)));
    assert_eq!(prune(&Filter::Is(Field::Source, Test::Equals("web".into()))), Prune::MayMatch);
    assert_eq!(prune(&Filter::Not(Box::new(Filter::Text(Phrase::new("a", false).unwrap())))), Prune::MayMatch);
    assert_eq!(prune(&Filter::Text(Phrase::new("Failed pass", true).unwrap())), needs(&["failed"]));
}
