//! The search bar's language, described for people in `docs/query.md`.
//!
//! Three steps. The lexer cuts the text into names, values and operators, spells out what was implied, and writes a
//! canonical text in which every name and value is a number. `tantivy-query-grammar` parses that text: its own words
//! are too narrow for addresses, times and paths, it carries no positions, and it takes `a AND b c AND d` for an OR.
//! The tree it gives is then turned into a [`Filter`], with the values normalised by what their field holds.

mod canonical;
mod condition;
mod lexer;
mod scan;
mod tree;

use sceau_event::Micros;
use tantivy_query_grammar::{parse_query, parse_query_lenient};

use super::Filter;
use canonical::Canonical;

/// The longest text of a query in bytes.
pub const MAX_TEXT: usize = 8 * 1024;
/// The most conditions in a query; each member of a set and each bound of a range counts.
pub const MAX_CONDITIONS: usize = 256;
/// The deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 32;
/// The most words in a phrase: matching tries the whole phrase at each place where its first word occurs.
pub const MAX_WORDS: usize = 64;

/// What is wrong with the text of a query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct QueryError {
    /// Where, in characters, the first being 1.
    pub column: usize,
    /// What, for the person who wrote the query.
    pub message: String,
}

/// A mistake at a byte of the text.
#[derive(Debug)]
struct Mistake {
    at: usize,
    message: String,
}

impl Mistake {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn locate(self, text: &str) -> QueryError {
        let before = text.get(..self.at).unwrap_or(text);
        QueryError { column: before.chars().count() + 1, message: self.message }
    }
}

/// The filter that a text asks for; `now` is what times such as `now-15m` count from.
///
/// ```
/// use sceau_event::Micros;
/// use sceau_store::query::{Filter, parse};
/// assert_eq!(parse("*", Micros(0))?, Filter::All);
/// assert_eq!(parse("user:alice AND (", Micros(0)).map_err(|e| e.column), Err(16));
/// # Ok::<(), sceau_store::query::QueryError>(())
/// ```
///
/// # Errors
/// For anything that can't be honoured exactly as written: nothing is left out or guessed.
pub fn parse(text: &str, now: Micros) -> Result<Filter, QueryError> {
    parse_at(text, now).map_err(|mistake| mistake.locate(text))
}

fn parse_at(text: &str, now: Micros) -> Result<Filter, Mistake> {
    if text.len() > MAX_TEXT {
        return Err(Mistake::new(0, format!("a query has at most {MAX_TEXT} bytes, this one has {}", text.len())));
    }
    let canonical = lexer::read(text)?;
    if canonical.text.is_empty() {
        return Ok(Filter::All);
    }
    let ast = parse_query(&canonical.text).map_err(|_| grammar_mistake(&canonical))?;
    tree::Lowering { canonical: &canonical, now }.filter(ast)
}

/// The lexer lets nothing through that the grammar refuses, as far as known; where it does, the grammar's own words say
/// what is wrong.
fn grammar_mistake(canonical: &Canonical) -> Mistake {
    let (_, errors) = parse_query_lenient(&canonical.text);
    let (at, message) = match errors.into_iter().next() {
        Some(error) => (canonical.source(error.pos), error.message),
        None => (0, "this query can't be read".to_owned()),
    };
    Mistake::new(at, message)
}

#[cfg(test)]
mod tests;
