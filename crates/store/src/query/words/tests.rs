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

fn all_hashes(text: &str) -> HashSet<u64> {
    let mut all = HashSet::new();
    hashes(text, |hash| {
        all.insert(hash);
    });
    all
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
    hashes("Failed passwords, ÉLAN", |hash| found.push(hash));
    assert_eq!(found, [word_hash("failed"), word_hash("passwords"), word_hash("élan")]);
    assert_eq!(found, FIXED);
    assert_eq!(value_hash("source.ip", "10.0.0.1"), FIXED_VALUE);
    assert_ne!(value_hash("ab", "c"), value_hash("a", "bc"));
}

const FIXED: [u64; 3] = [16_994_562_848_652_695_268, 14_414_767_241_467_533_576, 10_384_930_597_778_957_291];
const FIXED_VALUE: u64 = 13_054_420_420_670_129_544;

fn texts() -> impl Strategy<Value = String> {
    let word = prop_oneof!["[abAB0]{1,3}", "[abéÉßKİ\u{212a}]{1,3}", "[a-z0-9]{1,20}"];
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
                let all = all_hashes(&text);
                prop_assert!(phrase.required_hashes().all(|hash| all.contains(&hash)));
            }
        }
    }

    #[test]
    fn hashing_takes_the_same_words(text in "\\PC{0,60}") {
        let wanted: HashSet<u64> = naive_words(&text).iter().map(|word| word_hash(word)).collect();
        prop_assert_eq!(all_hashes(&text), wanted);
        for (from, to) in spans(&text) {
            let phrase = Phrase::new(&text[from..to], false).unwrap();
            prop_assert!(phrase.matches(&text));
        }
    }
}
