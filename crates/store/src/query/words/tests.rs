#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn naive_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().map(fold).collect())
        .collect()
}

fn naive_matches(phrase: &Phrase, text: &str) -> bool {
    naive_words(text).windows(phrase.words.len()).any(|window| {
        window.iter().zip(&phrase.words).enumerate().all(|(number, (found, wanted))| {
            let prefix = phrase.last_is_prefix && number + 1 == phrase.words.len();
            if prefix { found.starts_with(wanted.as_str()) } else { found == wanted }
        })
    })
}

fn all_tokens(text: &str) -> HashSet<Token> {
    let mut all = HashSet::new();
    tokens(text, |token| {
        all.insert(token);
    });
    all
}

fn words_of(text: &str) -> HashSet<u64> {
    all_tokens(text).into_iter().filter_map(|token| token.under(Rules::Words)).collect()
}

/// How many addresses, or parts of one, a text holds.
fn addresses(text: &str) -> usize {
    all_tokens(text).iter().filter(|token| matches!(token, Token::Address(_))).count()
}

/// The definition of addresses once more, by windows.
fn naive_addresses(text: &str) -> usize {
    let words = naive_words(text);
    let hex = |word: &String| word.len() <= 4 && word.chars().all(|c| c.is_ascii_hexdigit());
    let octet = |word: &String| word.parse::<u8>().is_ok_and(|number| number.to_string() == *word);
    let lettered = |words: &[String]| words.iter().any(|word| word.chars().any(|c| c.is_ascii_alphabetic()));
    let quads: HashSet<_> = words.windows(4).filter(|four| four.iter().all(octet)).collect();
    let triples: HashSet<_> = words.windows(3).filter(|three| three.iter().all(hex) && lettered(three)).collect();
    quads.len() + triples.len()
}

#[test]
fn words_are_cut_and_folded() {
    for (text, wanted) in [
        ("Failed password for root", vec!["failed", "password", "for", "root"]),
        ("sshd[123]: user=Élodie", vec!["sshd", "123", "user", "élodie"]),
        ("\u{212a}elvin İstanbul", vec!["\u{212a}elvin", "İstanbul"]),
        ("日本 ログ", vec!["日本", "ログ"]),
    ] {
        assert_eq!(Phrase::new(text, false).unwrap().words, wanted);
    }
    assert_eq!(Phrase::new(" -- ", true), None);
    assert!(Phrase::new("fail", true).unwrap().last_is_prefix);
    assert!(!Phrase::new("fail-", true).unwrap().last_is_prefix);
}

#[test]
fn phrases_are_found_at_word_boundaries() {
    for (phrase, prefix, text, wanted) in [
        ("failed password", false, "Failed   PASSWORD for", true),
        ("failed password", false, "failed for password", false),
        ("fail", false, "failed", false),
        ("fail", true, "it FAILED", true),
        ("ail", true, "failed", false),
        ("a b", true, "a\u{a0}bc", true),
        ("root", false, "xroot rootx éroot rooté (root)", true),
        ("root", false, "xroot rootx éroot rooté", false),
        ("élan", false, "ÉLAN vital", true),
        ("e", false, "é e", true),
        ("a", false, "", false),
    ] {
        let phrase = Phrase::new(phrase, prefix).unwrap();
        assert_eq!(phrase.matches(text), wanted, "{phrase} in {text:?}");
    }
}

/// These numbers are in segments on disk.
#[test]
fn hashes_never_change() {
    let mut found = Vec::new();
    tokens("Failed passwords, ÉLAN", |token| found.push(token));
    assert_eq!(found, ["failed", "passwords", "élan"].map(|word| Token::Word(word_hash(word))));
    assert_eq!(found, FIXED.map(Token::Word));
    let mut found = Vec::new();
    tokens("192.0.2.99 2001:DB8::1", |token| {
        found.extend(token.under(Rules::Addresses).filter(|_| matches!(token, Token::Address(_))))
    });
    assert_eq!(found, FIXED_ADDRESSES);
    assert_eq!(value_hash("source.ip", "10.0.0.1"), FIXED_VALUE);
    assert_ne!(value_hash("ab", "c"), value_hash("a", "bc"));
}

const FIXED: [u64; 3] = [16_994_562_848_652_695_268, 14_414_767_241_467_533_576, 10_384_930_597_778_957_291];
const FIXED_ADDRESSES: [u64; 3] = [6_956_848_922_955_987_746, 15_304_131_773_574_541_043, 9_419_564_836_996_940_948];
const FIXED_VALUE: u64 = 13_054_420_420_670_129_544;

#[test]
fn addresses_are_tokens() {
    for (text, wanted) in [
        ("from 192.0.2.99 port 40000", 1),
        ("host-192-0-2-99.example", 1),
        ("192.0.2.99€", 1),
        ("192.0.2", 0),
        ("192.0.2.9999", 0),
        ("192.0.2.256", 0),
        ("192.0.02.99", 0),
        ("2001:db8::1", 1),
        ("[2001:db8:0:1:2:3:4:5]:443", 5),
        ("2026-11-20 08:15:30.123", 0),
        ("00:1a:2b:3c:4d:5e", 4),
        ("550e8400-e29b-41d4-a716-446655440000", 1),
        ("fe80::é::1", 0),
    ] {
        assert_eq!(addresses(text), wanted, "{text}");
    }
    let required = |text: &str, prefix| Phrase::new(text, prefix).unwrap().required().len();
    assert_eq!((required("192.0.2.99", false), required("192.0.2.99", true)), (5, 3));
}

#[test]
fn filters_by_other_rules_are_not_asked() {
    for rules in [Rules::Words, Rules::Addresses] {
        assert_eq!(Rules::named(&rules.version()), Some(rules));
    }
    assert_eq!(Rules::named("2-unicode-1.0.0"), None);
    assert_eq!(Token::Address(7).under(Rules::Words), None);
    assert_eq!(Token::Address(7).under(Rules::Addresses), Some(7));
}

fn texts() -> impl Strategy<Value = String> {
    let word =
        prop_oneof!["[abAB0]{1,3}", "[abéÉßKİ\u{212a}]{1,3}", "[a-z0-9]{1,20}", "[0-9]{1,4}", "[0-9a-fA-F]{1,5}"];
    let gap = prop_oneof!["[ ,:.]{1,2}", Just("\u{a0}".to_owned()), Just("€".to_owned())];
    prop::collection::vec((word, gap), 0..12)
        .prop_map(|parts| parts.into_iter().map(|(word, gap)| word + &gap).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn matching_is_what_the_definition_says(text in texts(), other in texts(), cut in 0..20_usize, prefix: bool) {
        // Mostly phrases that lie in the text, so that matches are common.
        let words: Vec<_> = spans(&text).collect();
        let within = words.get(cut % words.len().max(1)).map(|(from, _)| {
            let to = words.get((cut + 2) % words.len()).map_or(text.len(), |(_, to)| *to).max(*from);
            text[*from..to].to_owned()
        });
        for phrase in [within, Some(other)].into_iter().flatten().filter_map(|text| Phrase::new(&text, prefix)) {
            let matched = phrase.matches(&text);
            prop_assert_eq!(matched, naive_matches(&phrase, &text), "{:?} in {:?}", phrase, text);
            if matched {
                let all = all_tokens(&text);
                prop_assert!(phrase.required().iter().all(|token| all.contains(token)), "{phrase:?} in {text:?}");
            }
        }
    }

    #[test]
    fn hashing_takes_the_same_words(text in "\\PC{0,60}") {
        let wanted: HashSet<u64> = naive_words(&text).iter().map(|word| word_hash(word)).collect();
        prop_assert_eq!(words_of(&text), wanted);
        for (from, to) in spans(&text) {
            let phrase = Phrase::new(&text[from..to], false).unwrap();
            prop_assert!(phrase.matches(&text));
        }
    }

    #[test]
    fn addresses_are_what_the_definition_says(text in texts()) {
        prop_assert_eq!(addresses(&text), naive_addresses(&text), "{:?}", text);
    }
}
