//! Words and phrases, by what `document::shadow` keeps of a record's texts.

use mongodb::bson::{Document, doc};

use super::{beginning, both, either, expression, never};
use crate::{
    mongo::{document::shadow, names},
    query::words::Phrase,
};

/// Where a phrase is looked for within one text.
pub struct Within<'a> {
    /// What `shadow.t` names the text by.
    pub tag: &'a str,
    /// The condition that the text's value satisfies this.
    pub value: &'a dyn Fn(Document) -> Document,
}

/// The phrase occurs in any text of the record.
pub fn anywhere(phrase: &Phrase) -> Document {
    let mut all = needed(phrase);
    if phrase.words.len() > 1 {
        all.push(doc! { "$expr": expression::any(&texts(), expression::contains("$$x", &needle(phrase))) });
    }
    both(all)
}

/// The phrase occurs in this text.
pub fn within(place: &Within<'_>, phrase: &Phrase) -> Document {
    let mut all = needed(phrase);
    let tag = format!("{} ", place.tag);
    let holds = doc! { "$and": [expression::contains("$$x", &needle(phrase)), expression::begins("$$x", &tag)] };
    let listed = doc! { "$expr": expression::any(&texts(), holds) };
    // Texts that are one folded word as they stand aren't listed.
    all.push(match phrase.words.as_slice() {
        [word] if phrase.last_is_prefix => either(vec![(place.value)(beginning(word)), listed]),
        [word] => either(vec![(place.value)(doc! { "$eq": word.as_str() }), listed]),
        _ => listed,
    });
    both(all)
}

/// What the index on words can tell: each word is somewhere in the record.
fn needed(phrase: &Phrase) -> Vec<Document> {
    let field = format!("{}.{}", names::SHADOW, names::WORDS);
    let Some((last, before)) = phrase.words.split_last() else {
        return vec![doc! { field: { "$exists": true } }];
    };
    let whole = if phrase.last_is_prefix { before } else { &phrase.words };
    let mut all = Vec::new();
    if let [only] = whole {
        all.push(doc! { &field: only.as_str() });
    } else if !whole.is_empty() {
        let mut words = shadow::needed(whole);
        // The server may look for the first alone and compare the others, and long words are rare ones.
        words.sort_unstable_by(|one, other| (other.len(), other).cmp(&(one.len(), one)));
        words.dedup();
        all.push(doc! { &field: { "$all": words } });
    }
    if phrase.last_is_prefix {
        all.push(doc! { field: { "$elemMatch": beginning(last) } });
    }
    all
}

fn texts() -> String {
    format!("${}.{}", names::SHADOW, names::TEXTS)
}

/// The phrase as it lies in `shadow.t`.
fn needle(phrase: &Phrase) -> String {
    let mut needle = String::new();
    for word in &phrase.words {
        needle.push(' ');
        needle.push_str(word);
    }
    if !phrase.last_is_prefix {
        needle.push(' ');
    }
    needle
}

/// The phrase occurs in the decimal digits of a whole number: a sign, which is no part of a word, and one word.
pub fn within_number(field: &str, phrase: &Phrase) -> Document {
    let [word] = phrase.words.as_slice() else {
        return if phrase.words.is_empty() {
            doc! { field: { "$exists": true } }
        } else {
            never()
        };
    };
    let digits = expression::digits(&format!("${field}"));
    let digits = doc! { "$ltrim": { "input": digits, "chars": "-" } };
    let holds = if phrase.last_is_prefix {
        expression::text("$$digits", expression::begins("$$digits", word))
    } else {
        doc! { "$eq": ["$$digits", super::literal(word.as_str())] }
    };
    doc! { "$expr": { "$let": { "vars": { "digits": digits }, "in": holds } } }
}

/// The phrase occurs in the source's name. It is `a-z 0-9 . _ -`, so it needs no folding and no shadow.
pub fn within_source(phrase: &Phrase) -> Document {
    let plain = |word: &String| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !phrase.words.iter().all(plain) || phrase.words.iter().map(String::len).sum::<usize>() > SOURCE {
        return never();
    }
    let end = if phrase.last_is_prefix { "" } else { "(?:[._-]|$)" };
    doc! { names::SOURCE: { "$regex": format!("(?:^|[._-]){}{end}", phrase.words.join("[._-]+")) } }
}

/// The longest name of a source.
const SOURCE: usize = sceau_event::SourceId::MAX;
