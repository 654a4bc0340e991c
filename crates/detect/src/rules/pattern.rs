//! Texts with wildcards.

use super::refuse::{Fault, ReasonKind as R, fault};
use rsigma_eval::CompiledMatcher;
use rsigma_parser::SigmaString;
use rsigma_parser::value::{SpecialChar, StringPart};

/// Up to here every whole number is exact in a float, in which rsigma compares numbers.
pub(super) const EXACT: u64 = 1 << 53;

/// The characters that `windash` takes for each other.
const DASHES: &str = "[-/\u{2013}\u{2014}\u{2015}]";
const DASH: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// A text with wildcards in it, as it is or with anything before and after it.
pub(super) fn text(parts: &[StringPart], before: bool, after: bool, cased: bool) -> Result<CompiledMatcher, Fault> {
    let star = |part: Option<&StringPart>| matches!(part, Some(StringPart::Special(SpecialChar::WildcardMulti)));
    let (mut rest, mut before, mut after) = (parts, before, after);
    while star(rest.first()) {
        (rest, before) = (&rest[1..], true);
    }
    while star(rest.last()) {
        (rest, after) = (&rest[..rest.len() - 1], true);
    }
    let plain = rest.iter().map(|part| match part {
        StringPart::Plain(text) => Some(text.as_str()),
        StringPart::Special(_) => None,
    });
    let Some(plain) = plain.collect::<Option<String>>() else {
        return wild(rest, before, after, cased, regex::escape);
    };
    let value = if cased { plain } else { plain.to_lowercase() };
    let case_insensitive = !cased;
    Ok(match (before, after) {
        (false, false) => CompiledMatcher::Exact { value, case_insensitive },
        (true, true) => CompiledMatcher::Contains { value, case_insensitive },
        (false, true) => CompiledMatcher::StartsWith { value, case_insensitive },
        (true, false) => CompiledMatcher::EndsWith { value, case_insensitive },
    })
}

/// A text in which each dash may be any of five characters.
pub(super) fn windash(text: &SigmaString, before: bool, after: bool, cased: bool) -> Result<CompiledMatcher, Fault> {
    wild(&text.parts, before, after, cased, |plain| {
        let mut pattern = String::new();
        for c in plain.chars() {
            match DASH.contains(&c) {
                true => pattern.push_str(DASHES),
                false => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        pattern
    })
}

fn wild(
    parts: &[StringPart],
    before: bool,
    after: bool,
    cased: bool,
    escape: impl Fn(&str) -> String,
) -> Result<CompiledMatcher, Fault> {
    // A wildcard stands for line breaks, too.
    let mut pattern = String::from(if cased { "(?s)" } else { "(?is)" });
    if !before {
        pattern.push_str("\\A");
    }
    for part in parts {
        match part {
            StringPart::Plain(text) => pattern.push_str(&escape(text)),
            StringPart::Special(SpecialChar::WildcardMulti) => pattern.push_str(".*"),
            StringPart::Special(SpecialChar::WildcardSingle) => pattern.push('.'),
        }
    }
    if !after {
        pattern.push_str("\\z");
    }
    let regex = match regex::Regex::new(&pattern) {
        Ok(regex) => CompiledMatcher::Regex(regex),
        Err(error) => return fault(R::BadValue, format!("too large a pattern: {error}")),
    };
    // A part that has to be there is looked for first: it is quicker than the pattern, and tells what the rule needs.
    let pieces = parts.iter().filter_map(|part| match part {
        StringPart::Plain(text) => Some(text.split(DASH)),
        StringPart::Special(_) => None,
    });
    let Some(longest) = pieces.flatten().max_by_key(|piece| piece.len()).filter(|piece| !piece.is_empty()) else {
        return Ok(regex);
    };
    let value = if cased { longest.to_owned() } else { longest.to_lowercase() };
    Ok(CompiledMatcher::AllOf(vec![CompiledMatcher::Contains { value, case_insensitive: !cased }, regex]))
}

/// A text's pieces in order, and which of them are names of lists (`%name%`).
pub(super) fn placeholders(text: &str) -> Vec<(&str, bool)> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut pieces = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(open) = rest[from..].find('%').map(|at| at + from) {
        let close = rest[open + 1..].find('%').map(|at| at + open + 1);
        match close {
            Some(close) if close > open + 1 && rest[open + 1..close].chars().all(named) => {
                if open > 0 {
                    pieces.push((&rest[..open], false));
                }
                pieces.push((&rest[open + 1..close], true));
                (rest, from) = (&rest[close + 1..], 0);
            }
            Some(close) => from = close,
            None => break,
        }
    }
    if !rest.is_empty() {
        pieces.push((rest, false));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found() {
        assert_eq!(placeholders("%a%"), [("a", true)]);
        assert_eq!(placeholders("C:\\%user%\\x"), [("C:\\", false), ("user", true), ("\\x", false)]);
        assert_eq!(placeholders("100% and %b%"), [("100% and ", false), ("b", true)]);
        assert_eq!(placeholders("%%"), [("%%", false)]);
        assert_eq!(placeholders("none"), [("none", false)]);
    }

    #[test]
    fn shapes() {
        let matcher = |text: &str| super::text(&SigmaString::new(text).parts, false, false, false).unwrap();
        assert!(matches!(matcher("Abc"), CompiledMatcher::Exact { value, .. } if value == "abc"));
        assert!(matches!(matcher("*abc"), CompiledMatcher::EndsWith { .. }));
        assert!(matches!(matcher("abc*"), CompiledMatcher::StartsWith { .. }));
        assert!(matches!(matcher("**abc**"), CompiledMatcher::Contains { .. }));
        assert!(matches!(matcher(r"a\*c"), CompiledMatcher::Exact { value, .. } if value == "a*c"));
        let CompiledMatcher::AllOf(both) = matcher("a*b?c*") else { panic!() };
        let CompiledMatcher::Regex(regex) = &both[1] else { panic!() };
        assert!(regex.is_match("A\n\nBxC and more\n"));
        assert!(!regex.is_match("xA B C"));
    }
}
