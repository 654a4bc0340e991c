//! From a field with its modifiers and values to what rsigma matches.
//!
//! Values are made into matchers here and not by rsigma-eval, whose compiler of 0.23 gives some rules another meaning
//! without a word: it drops UTF-16 without Base64, loses wildcards under `windash` and the encodings, stops `*` at a line
//! break, compares keywords under `|all` with whole values, never finds number keywords, and keeps characters of
//! `base64offset` that depend on what follows.

use super::chain::{Base64, Chain, Comparison, Op};
use super::encode;
use super::pattern;
use super::refuse::{Fault, ReasonKind as R, fault};
use rsigma_eval::compiler::compile_detection;
use rsigma_eval::compiler::optimizer::optimize_any_of;
use rsigma_eval::{CompiledDetection, CompiledDetectionItem, CompiledMatcher};
use rsigma_parser::value::StringPart;
use rsigma_parser::{Detection, DetectionItem, SigmaString, SigmaValue};
use std::collections::{BTreeMap, BTreeSet};

/// The most values that one field of a selection can have once lists are filled in.
const MAX_VALUES: usize = 10_000;

/// Makes matchers, filling in lists.
pub(super) struct Values<'a> {
    lists: &'a BTreeMap<String, Vec<String>>,
    /// The lists that were asked for.
    pub used: BTreeSet<String>,
}

impl<'a> Values<'a> {
    pub fn new(lists: &'a BTreeMap<String, Vec<String>>) -> Self {
        Self { lists, used: BTreeSet::new() }
    }

    /// A field and its values; or, without a field, keywords.
    pub fn item(&mut self, item: &DetectionItem) -> Result<CompiledDetection, Fault> {
        let chain = Chain::new(&item.field.modifiers)?;
        let Some(name) = &item.field.name else { return self.keywords(&item.values, &chain) };
        if chain.op == Op::Exists {
            let [SigmaValue::Bool(expected)] = item.values[..] else {
                return fault(R::BadValue, "`|exists` needs true or false");
            };
            return Ok(single(name, CompiledMatcher::Exists(expected), Some(expected)));
        }
        if chain.all && item.values.len() < 2 && !chain.expand {
            return fault(R::UnsupportedModifier, "`|all` needs more than one value");
        }
        if chain.op == Op::FieldRef {
            item.values.iter().try_for_each(|value| plain(value).map(drop))?;
            let whole = Detection::AllOf(vec![item.clone()]);
            return compile_detection(&whole).map_err(|e| Fault::new(R::UnsupportedModifier, e.to_string()));
        }
        let nulls = item.values.iter().filter(|value| matches!(value, SigmaValue::Null)).count();
        if nulls > 0 && (!item.field.modifiers.is_empty()) {
            return fault(R::BadValue, "`null` can't have modifiers: negate it in the condition");
        }
        let others = item.values.iter().filter(|value| !matches!(value, SigmaValue::Null));
        let mut matchers = Vec::new();
        for value in others {
            self.matchers(value, &chain, &mut matchers)?;
        }
        if nulls > 0 {
            // rsigma asks whether a missing field is null only of a lone null.
            let missing = single(name, CompiledMatcher::Null, None);
            return Ok(match matchers.len() {
                0 => missing,
                _ => CompiledDetection::AnyOf(vec![missing, single(name, any(matchers, &chain), None)]),
            });
        }
        let matcher = match chain.all {
            true if matchers.len() < 2 => return fault(R::BadValue, "`|all` with a list of fewer than two values"),
            true => CompiledMatcher::AllOf(matchers),
            false => any(matchers, &chain),
        };
        let matcher = if chain.neq { CompiledMatcher::Not(Box::new(matcher)) } else { matcher };
        Ok(single(name, matcher, None))
    }

    /// Values without a field: each is looked for in all texts of the record.
    fn keywords(&mut self, values: &[SigmaValue], chain: &Chain) -> Result<CompiledDetection, Fault> {
        let op = match chain.op {
            Op::Equals | Op::Contains => Op::Contains,
            op @ (Op::StartsWith | Op::EndsWith | Op::Regex) => op,
            _ => return fault(R::UnsupportedModifier, "a comparison that needs a field, without one"),
        };
        if chain.neq {
            return fault(R::UnsupportedModifier, "`|neq` needs a field: negate the selection in the condition");
        }
        let chain = &Chain { op, flags: chain.flags.clone(), ..*chain };
        let mut each = Vec::new();
        for value in values {
            let text = match value {
                SigmaValue::String(_) => value.clone(),
                SigmaValue::Null => return fault(R::BadValue, "`null` is no keyword"),
                other => SigmaValue::String(SigmaString::from_raw(&other.to_string())),
            };
            let mut matchers = Vec::new();
            self.matchers(&text, chain, &mut matchers)?;
            each.push(matchers);
        }
        if !chain.all {
            return Ok(CompiledDetection::Keywords(any(each.into_iter().flatten().collect(), chain)));
        }
        if each.len() < 2 {
            return fault(R::UnsupportedModifier, "`|all` needs more than one value");
        }
        // Each keyword may be in another text of the record.
        Ok(CompiledDetection::And(each.into_iter().map(|m| CompiledDetection::Keywords(any(m, chain))).collect()))
    }

    /// Plain keywords.
    pub fn plain_keywords(&mut self, values: &[SigmaValue]) -> Result<CompiledDetection, Fault> {
        self.keywords(values, &Chain::new(&[])?)
    }

    /// The matchers of one value, of which one has to match.
    fn matchers(&mut self, value: &SigmaValue, chain: &Chain, out: &mut Vec<CompiledMatcher>) -> Result<(), Fault> {
        let values = if chain.expand { self.expand(value)? } else { vec![value.clone()] };
        for value in &values {
            match chain.op {
                Op::Regex => out.push(regex(&plain(value)?, &chain.flags)?),
                Op::Cidr => out.push(cidr(&plain(value)?)?),
                Op::Number(comparison) => out.push(number(value, comparison)?),
                _ => text(value, chain, out)?,
            }
            if out.len() > MAX_VALUES {
                return fault(R::BadValue, format!("more than {MAX_VALUES} values"));
            }
        }
        Ok(())
    }

    /// Fills in each `%list%` of a value.
    fn expand(&mut self, value: &SigmaValue) -> Result<Vec<SigmaValue>, Fault> {
        let SigmaValue::String(string) = value else {
            return fault(R::UnknownList, "`|expand` of a value without a `%list%`");
        };
        let mut results = vec![Vec::<StringPart>::new()];
        let mut found = false;
        for part in &string.parts {
            let StringPart::Plain(text) = part else {
                results.iter_mut().for_each(|result| result.push(part.clone()));
                continue;
            };
            for (piece, is_list) in pattern::placeholders(text) {
                if !is_list {
                    results.iter_mut().for_each(|result| result.push(StringPart::Plain(piece.to_owned())));
                    continue;
                }
                found = true;
                let list = self.list(piece)?;
                if results.len() * list.len() > MAX_VALUES {
                    return fault(R::BadValue, format!("its lists make more than {MAX_VALUES} values"));
                }
                let with = |result: &Vec<StringPart>, text: &String| {
                    result.iter().cloned().chain([StringPart::Plain(text.clone())]).collect()
                };
                results = results.iter().flat_map(|result| list.iter().map(move |text| with(result, text))).collect();
            }
        }
        if !found {
            return fault(R::UnknownList, format!("`|expand`, but no `%list%` in `{string}`"));
        }
        let whole = |parts| SigmaValue::String(SigmaString { parts, original: string.original.clone() });
        Ok(results.into_iter().map(whole).collect())
    }

    fn list(&mut self, name: &str) -> Result<&'a [String], Fault> {
        self.used.insert(name.to_owned());
        match self.lists.get(name) {
            Some(list) => Ok(list),
            None => fault(
                R::UnknownList,
                format!("the settings have no list `{name}`; they have {:?}", self.lists.keys().collect::<Vec<_>>()),
            ),
        }
    }
}

fn single(field: &str, matcher: CompiledMatcher, exists: Option<bool>) -> CompiledDetection {
    let field = Some(field.to_owned());
    CompiledDetection::AllOf(vec![CompiledDetectionItem { field, matcher, exists, bloom_eligible: false }])
}

/// Patterns are left alone: rsigma's optimiser would try one that has `(?i)` at its beginning on a text in lower case, even
/// if the pattern takes the flag back.
fn any(mut matchers: Vec<CompiledMatcher>, chain: &Chain) -> CompiledMatcher {
    match (matchers.len(), chain.op) {
        (1, _) => matchers.remove(0),
        (_, Op::Regex) => CompiledMatcher::AnyOf(matchers),
        _ => optimize_any_of(matchers),
    }
}

/// The text of a value in which no wildcard is.
fn plain(value: &SigmaValue) -> Result<String, Fault> {
    match value {
        SigmaValue::String(text) => match text.as_plain() {
            Some(plain) if !plain.is_empty() => Ok(plain),
            Some(_) => fault(R::BadValue, "an empty value"),
            None => fault(R::BadValue, format!("`{text}`: no wildcards here")),
        },
        SigmaValue::Null => fault(R::BadValue, "`null` can't have modifiers"),
        other => Ok(other.to_string()),
    }
}

fn regex(pattern: &str, flags: &str) -> Result<CompiledMatcher, Fault> {
    let whole = if flags.is_empty() { pattern.to_owned() } else { format!("(?{flags}){pattern}") };
    match regex::Regex::new(&whole) {
        Ok(regex) => Ok(CompiledMatcher::Regex(regex)),
        Err(error) => {
            let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            fault(R::BadRegex, format!("`{pattern}`: {why}"))
        }
    }
}

fn cidr(text: &str) -> Result<CompiledMatcher, Fault> {
    match text.parse() {
        Ok(network) => Ok(CompiledMatcher::Cidr(network)),
        Err(_) => fault(R::BadValue, format!("`{text}` is no network such as 10.0.0.0/8 or 2001:db8::/32")),
    }
}

fn number(value: &SigmaValue, comparison: Comparison) -> Result<CompiledMatcher, Fault> {
    let number = match value {
        SigmaValue::Integer(n) if n.unsigned_abs() <= pattern::EXACT => Some(*n as f64),
        SigmaValue::Float(n) => Some(*n),
        SigmaValue::String(text) => text.as_plain().and_then(|text| text.parse().ok()),
        _ => None,
    };
    let Some(number) = number.filter(|number| number.is_finite()) else {
        return fault(R::BadValue, format!("`{value}` is no number that can be compared exactly"));
    };
    Ok(match comparison {
        Comparison::Gt => CompiledMatcher::NumericGt(number),
        Comparison::Gte => CompiledMatcher::NumericGte(number),
        Comparison::Lt => CompiledMatcher::NumericLt(number),
        Comparison::Lte => CompiledMatcher::NumericLte(number),
    })
}

/// A value that is compared as text, or as a number if it is one and nothing is changed in it.
fn text(value: &SigmaValue, chain: &Chain, out: &mut Vec<CompiledMatcher>) -> Result<(), Fault> {
    let changed = chain.windash || chain.base64.is_some();
    let string = match value {
        SigmaValue::Null => return fault(R::BadValue, "`null` can't have modifiers"),
        SigmaValue::Integer(n) if chain.op == Op::Equals && !changed && n.unsigned_abs() <= pattern::EXACT => {
            out.push(CompiledMatcher::NumericEq(*n as f64));
            return Ok(());
        }
        SigmaValue::Float(n) if chain.op == Op::Equals && !changed => {
            out.push(CompiledMatcher::NumericEq(*n));
            return Ok(());
        }
        SigmaValue::String(string) => string.clone(),
        other => SigmaString::from_raw(&other.to_string()),
    };
    let (before, after) = match chain.op {
        Op::Contains => (true, true),
        Op::StartsWith => (false, true),
        Op::EndsWith => (true, false),
        _ => (false, false),
    };
    match chain.base64 {
        None if chain.windash => out.push(pattern::windash(&string, before, after, chain.cased)?),
        None => out.push(pattern::text(&string.parts, before, after, chain.cased)?),
        Some(base64) => {
            let Some(plain) = string.as_plain() else {
                return fault(R::BadValue, format!("`{string}`: wildcards can't be encoded in Base64"));
            };
            let bytes = encode::bytes(&plain, chain.wide);
            let encoded = match base64 {
                Base64::Whole => vec![encode::base64(&bytes)],
                Base64::Offset if bytes.len() < 3 => {
                    return fault(R::BadValue, format!("`{plain}` is too short: it would be found nearly everywhere"));
                }
                Base64::Offset => encode::base64_offsets(&bytes),
            };
            for text in encoded {
                out.push(pattern::text(&[StringPart::Plain(text)], before, after, chain.cased)?);
            }
        }
    }
    Ok(())
}
