//! Values normalised by what their field holds.

use sceau_event::{Field, Keyword, Micros, Number, canonical_ip, field, outcome, parse_query_time};

use super::{
    MAX_WORDS, Mistake,
    canonical::{Name, Value},
};
use crate::query::{Bound, Filter, Network, Test, number::Num, words::Phrase};

const DAY: i64 = 86_400_000_000;

/// A condition that waits for its value.
pub(super) struct Condition<'a> {
    /// The field's name as written; none for free text.
    pub name: Option<&'a Name>,
    pub now: Micros,
}

/// One end of a range as written.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub value: &'a Value,
    pub inclusive: bool,
}

impl Condition<'_> {
    /// The field is there.
    pub fn exists(&self) -> Filter {
        let Some(name) = self.name else { return Filter::All };
        match field(&name.text) {
            _ if name.text == "status" => any_status(|_| Test::Exists),
            Field::Keyword(Keyword::SourceIp) => address_or_name(Test::Exists),
            field => Filter::Is(field, Test::Exists),
        }
    }

    /// The field has this value.
    pub fn value(&self, value: &Value) -> Result<Filter, Mistake> {
        let Some(name) = self.name else { return free_text(value) };
        if value.is_star() {
            return Ok(self.exists());
        }
        if name.text == "status" {
            return status(value);
        }
        match field(&name.text) {
            Field::Keyword(Keyword::Message) => message(value),
            Field::Keyword(Keyword::SourceIp) => address(name, value),
            Field::Keyword(Keyword::EventOutcome) => Ok(outcome_word(name, value)),
            field @ (Field::Time | Field::Received) => self.moment(field, value),
            field @ Field::Number(_) => {
                let number = whole_number(name, value)?;
                Ok(Filter::Is(field, Test::Equals(number)))
            }
            field @ (Field::Source | Field::Keyword(_)) => Ok(Filter::Is(field, text_test(value))),
            field @ Field::Other(_) => Ok(other(field, value)),
        }
    }

    /// The field's value lies between two ends.
    pub fn range(&self, low: Option<End<'_>>, high: Option<End<'_>>) -> Result<Filter, Mistake> {
        let first = low.or(high);
        let Some(name) = self.name else {
            let at = first.map_or(0, |end| end.value.at);
            return Err(Mistake::new(at, "a range needs a field, as in bytes:>1000; quote a text"));
        };
        let Some(first) = first else { return Ok(self.exists()) };
        let field = match field(&name.text) {
            _ if name.text == "status" => Field::Number(Number::StatusCode),
            Field::Keyword(Keyword::SourceIp) => {
                let message = "ranges of addresses are not supported; use a network such as 10.0.0.0/8";
                return Err(Mistake::new(first.value.at, message));
            }
            field => field,
        };
        let (low, high) = match &field {
            Field::Time | Field::Received => (self.time_bound(low, false)?, self.time_bound(high, true)?),
            Field::Number(_) => {
                (bound(low, |value| whole_number(name, value))?, bound(high, |v| whole_number(name, v))?)
            }
            _ => (bound(low, plain_bound)?, bound(high, plain_bound)?),
        };
        Ok(Filter::Is(field, Test::Range { low, high }))
    }

    /// A whole day for a date, one moment for a time.
    fn moment(&self, field: Field, value: &Value) -> Result<Filter, Mistake> {
        let time = self.time(value)?;
        let test = if is_date(value) {
            Test::Range {
                low: Bound::Inclusive(digits(time)),
                high: Bound::Exclusive(digits(time.saturating_add(DAY))),
            }
        } else {
            Test::Equals(digits(time))
        };
        Ok(Filter::Is(field, test))
    }

    /// A date stands for its whole day: `<=2026-11-22` holds until that day's end, `>2026-11-22` from there on.
    fn time_bound(&self, end: Option<End<'_>>, upper: bool) -> Result<Bound, Mistake> {
        let Some(end) = end else { return Ok(Bound::Unbounded) };
        let time = self.time(end.value)?;
        Ok(match (is_date(end.value), upper, end.inclusive) {
            (true, true, true) => Bound::Exclusive(digits(time.saturating_add(DAY))),
            (true, false, false) => Bound::Inclusive(digits(time.saturating_add(DAY))),
            (_, _, true) => Bound::Inclusive(digits(time)),
            (_, _, false) => Bound::Exclusive(digits(time)),
        })
    }

    fn time(&self, value: &Value) -> Result<i64, Mistake> {
        let text = value.plain().ok_or_else(|| Mistake::new(value.at, "`*` can't be part of a time"))?;
        parse_query_time(text, self.now).map(|time| time.0).map_err(|error| Mistake::new(value.at, error.to_string()))
    }
}

fn digits(time: i64) -> String {
    time.to_string()
}

fn is_date(value: &Value) -> bool {
    let date = |text: &str| text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
    value.plain().is_some_and(date)
}

fn words(text: &str, open: bool, at: usize) -> Result<Phrase, Mistake> {
    let phrase = Phrase::new(text, open).ok_or_else(|| {
        Mistake::new(at, "there is no letter and no digit to search for; searching by words leaves out everything else")
    })?;
    if phrase.words.len() > MAX_WORDS {
        return Err(Mistake::new(at, format!("a phrase has at most {MAX_WORDS} words")));
    }
    Ok(phrase)
}

fn free_text(value: &Value) -> Result<Filter, Mistake> {
    match value.pieces.as_slice() {
        [text] => words(text, false, value.at).map(Filter::Text),
        [text, end] if end.is_empty() => words(text, true, value.at).map(Filter::Text),
        _ => {
            let message =
                "in a text `*` can only stand at the end of a word; elsewhere it needs a field, as in user:*min";
            Err(Mistake::new(value.at, message))
        }
    }
}

fn message(value: &Value) -> Result<Filter, Mistake> {
    let phrase = match value.pieces.as_slice() {
        [text] => words(text, false, value.at)?,
        [text, end] if end.is_empty() => words(text, true, value.at)?,
        _ => return Ok(Filter::Is(Field::Keyword(Keyword::Message), text_test(value))),
    };
    Ok(Filter::Is(Field::Keyword(Keyword::Message), Test::Words(phrase)))
}

fn text_test(value: &Value) -> Test {
    match value.plain() {
        Some(text) => Test::Equals(text.to_owned()),
        None => Test::Wildcard(value.pieces.clone()),
    }
}

/// Records keep what is no address, such as a host's name, beside the column for addresses.
fn address_or_name(test: Test) -> Filter {
    let name = Field::Other("source.address".to_owned());
    Filter::any(vec![Filter::Is(Field::Keyword(Keyword::SourceIp), test.clone()), Filter::Is(name, test)])
}

fn other(field: Field, value: &Value) -> Filter {
    let network = value.plain().filter(|_| !value.quoted).and_then(Network::parse);
    let test = text_test(value);
    match network {
        Some(network) => Filter::any(vec![Filter::Is(field.clone(), test), Filter::Is(field, Test::Cidr(network))]),
        None => Filter::Is(field, test),
    }
}

fn outcome_word(name: &Name, value: &Value) -> Filter {
    let outcome_field = Field::Keyword(Keyword::EventOutcome);
    // A value that is no outcome stays under the name that the event gave it.
    let other = Field::Other(name.text.clone());
    match value.plain().map(|word| (word, outcome(word))) {
        None => {
            let test = text_test(value);
            Filter::any(vec![Filter::Is(outcome_field, test.clone()), Filter::Is(other, test)])
        }
        Some((_, Some(outcome))) => Filter::Is(outcome_field, Test::Equals(outcome.to_owned())),
        Some((word, None)) => Filter::Is(other, Test::Equals(word.to_owned())),
    }
}

/// `status` means an outcome in one log and an HTTP status code in another.
fn any_status(test: impl Fn(&Field) -> Test) -> Filter {
    let fields =
        [Field::Keyword(Keyword::EventOutcome), Field::Number(Number::StatusCode), Field::Other("status".to_owned())];
    Filter::any(fields.into_iter().map(|field| Filter::Is(field.clone(), test(&field))).collect())
}

fn status(value: &Value) -> Result<Filter, Mistake> {
    let other = Field::Other("status".to_owned());
    let code = Field::Number(Number::StatusCode);
    let Some(word) = value.plain() else {
        let hundreds = match value.pieces.as_slice() {
            [first, end] if end.is_empty() && (1..=2).contains(&first.len()) => first.parse::<i64>().ok(),
            _ => None,
        };
        if let Some(first) = hundreds.filter(|first| *first > 0) {
            let unit = if first < 10 { 100 } else { 10 };
            let (low, high) = (first * unit, (first + 1) * unit);
            let range =
                Test::Range { low: Bound::Inclusive(low.to_string()), high: Bound::Exclusive(high.to_string()) };
            return Ok(Filter::Is(code, range));
        }
        let test = text_test(value);
        let outcome = Filter::Is(Field::Keyword(Keyword::EventOutcome), test.clone());
        return Ok(Filter::any(vec![outcome, Filter::Is(other, test)]));
    };
    if let Some(outcome) = outcome(word) {
        return Ok(Filter::Is(Field::Keyword(Keyword::EventOutcome), Test::Equals(outcome.to_owned())));
    }
    let field = if word.parse().is_ok_and(|number: i64| (100..600).contains(&number)) { code } else { other };
    Ok(Filter::Is(field, Test::Equals(word.to_owned())))
}

fn address(name: &Name, value: &Value) -> Result<Filter, Mistake> {
    let field = Field::Keyword(Keyword::SourceIp);
    let Some(text) = value.plain() else { return Ok(address_or_name(text_test(value))) };
    if let Some(canonical) = canonical_ip(text) {
        let bare = text.trim_start_matches('[').trim_end_matches(']').split('%').next().unwrap_or(text);
        if bare.parse::<std::net::IpAddr>().is_err() {
            let message = format!("this is an address with a port; write {}:{canonical} AND port:…", name.text);
            return Err(Mistake::new(value.at, message));
        }
        return Ok(Filter::Is(field, Test::Equals(canonical)));
    }
    if let Some(network) = Network::parse(text) {
        return Ok(Filter::Is(field, Test::Cidr(network)));
    }
    if text.split_once('/').is_some_and(|(address, _)| canonical_ip(address).is_some()) {
        return Err(Mistake::new(
            value.at,
            format!("{text} is not a network; one is written 10.0.0.0/8 or 2001:db8::/32"),
        ));
    }
    Ok(Filter::Is(Field::Other("source.address".to_owned()), Test::Equals(text.to_owned())))
}

/// A number in one spelling, so that it compares alike everywhere.
fn whole_number(name: &Name, value: &Value) -> Result<String, Mistake> {
    let number = value.plain().and_then(Num::parse);
    number
        .map(|number| number.to_string())
        .ok_or_else(|| Mistake::new(value.at, format!("{} holds numbers, and this is none", name.text)))
}

fn plain_bound(value: &Value) -> Result<String, Mistake> {
    let message = "`*` in a range can only stand alone, for an open end";
    value.plain().map(str::to_owned).ok_or_else(|| Mistake::new(value.at, message))
}

fn bound(end: Option<End<'_>>, text: impl Fn(&Value) -> Result<String, Mistake>) -> Result<Bound, Mistake> {
    Ok(match end {
        None => Bound::Unbounded,
        Some(End { value, inclusive: true }) => Bound::Inclusive(text(value)?),
        Some(End { value, inclusive: false }) => Bound::Exclusive(text(value)?),
    })
}
