//! The query language: it never panics, wrapping a query changes nothing, and what matches is never hidden by a filter.
//!
//! The store's own modules are included here, since its crate brings DataFusion with it, which would take half an hour
//! to build for fuzzing. They use nothing of the store outside themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sceau_event::{Micros, field};
use std::collections::HashSet;

#[path = "../../crates/store/src/query/mod.rs"]
#[allow(dead_code, unused_imports)]
mod query;

use query::{Cursor, Filter, MAX_TEXT, Network, Test, number::Num, parse, words};

const NOW: Micros = Micros(1_795_334_400_123_456);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Free text and the text that it looks for, if there is a line break; else only a query.
    let (text, looked_at) = text.split_once('\n').unwrap_or((text, ""));
    match parse(text, NOW) {
        Ok(filter) => {
            assert_eq!(parse(text, NOW).as_ref(), Ok(&filter), "read twice, it is the same");
            // A backslash at the end would take what follows for its own.
            if !text.ends_with('\\') {
                same(&format!("({text})"), &filter);
                same(&format!(" \t{text} "), &filter);
                same(&format!("NOT NOT ({text})"), &filter);
            }
            let _ = (filter.names_internal(), filter.fields());
            phrases(&filter, looked_at);
        }
        Err(error) => {
            assert!(error.column >= 1 && error.column <= text.chars().count() + 1 && !error.message.is_empty());
        }
    }
    if let Some(network) = Network::parse(text) {
        assert_eq!(Network::parse(&network.to_string()), Some(network));
        assert!(network.contains(network.address));
    }
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Some(number) = Num::parse(text) {
        assert_eq!(Num::parse(&number.to_string()), Some(number));
    }
    let _ = field(text);
});

/// Another way to write a query means the same, unless it is too long or too deep that way.
fn same(text: &str, filter: &Filter) {
    match parse(text, NOW) {
        Ok(found) => assert_eq!(&found, filter, "{text:?} means something else"),
        Err(error) => {
            assert!(
                text.len() > MAX_TEXT || error.message.contains("nested") || *filter == Filter::All,
                "{text:?}: {error}"
            );
        }
    }
}

/// If a phrase matches a text, all tokens that it requires are among the text's: a word filter hides nothing.
fn phrases(filter: &Filter, text: &str) {
    let phrase = match filter {
        Filter::And(filters) | Filter::Or(filters) => return filters.iter().for_each(|filter| phrases(filter, text)),
        Filter::Not(filter) => return phrases(filter, text),
        Filter::Text(phrase) | Filter::Is(_, Test::Words(phrase)) => phrase,
        Filter::All | Filter::Is(..) => return,
    };
    if phrase.matches(text) {
        let mut there = HashSet::new();
        words::tokens(text, |token| there.extend([token]));
        assert!(phrase.required().iter().all(|token| there.contains(token)), "a filter would hide {text:?}");
    }
}
