//! What a filter needs of the words of a row group, so that most row groups are never read.

use sceau_event::Field;

use crate::{
    embedded::write::EXACT,
    query::{
        Filter, Test,
        words::{Phrase, hashes, spans, value_hash},
    },
    schema,
};

/// What must be among the hashes of a row group for any of its rows to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Hashes don't tell.
    MayMatch,
    /// This hash.
    Needs(u64),
    /// What each of these needs.
    All(Vec<Prune>),
    /// What one of these needs.
    Any(Vec<Prune>),
}

impl Prune {
    /// False only if no row of a group can match whose hashes are those that `contains` knows.
    pub fn may_match(&self, contains: &dyn Fn(u64) -> bool) -> bool {
        match self {
            Self::MayMatch => true,
            Self::Needs(hash) => contains(*hash),
            Self::All(needs) => needs.iter().all(|need| need.may_match(contains)),
            Self::Any(needs) => needs.iter().any(|need| need.may_match(contains)),
        }
    }

    fn all(needs: impl IntoIterator<Item = Self>) -> Self {
        let needs: Vec<Self> = needs.into_iter().filter(|need| *need != Self::MayMatch).collect();
        if needs.is_empty() { Self::MayMatch } else { Self::All(needs) }
    }

    fn hashes(hashes: impl IntoIterator<Item = u64>) -> Self {
        Self::all(hashes.into_iter().map(Self::Needs))
    }
}

/// What a filter needs. The hashes of a row group are those of all words of keywords and other fields' values, and those
/// of whole values of [`EXACT`] columns.
pub fn prune(filter: &Filter) -> Prune {
    match filter {
        Filter::All | Filter::Not(_) => Prune::MayMatch,
        Filter::And(filters) => Prune::all(filters.iter().map(prune)),
        Filter::Or(filters) => {
            let needs: Vec<Prune> = filters.iter().map(prune).collect();
            if needs.contains(&Prune::MayMatch) { Prune::MayMatch } else { Prune::Any(needs) }
        }
        Filter::Text(phrase) => of_phrase(phrase),
        Filter::Is(Field::Keyword(keyword), Test::Equals(value)) if EXACT.contains(keyword) => {
            Prune::Needs(value_hash(schema::column(&Field::Keyword(*keyword)), value))
        }
        Filter::Is(Field::Keyword(_) | Field::Other(_), test) => of_test(test),
        Filter::Is(Field::Time | Field::Received | Field::Source | Field::Number(_), _) => Prune::MayMatch,
    }
}

fn of_phrase(phrase: &Phrase) -> Prune {
    Prune::hashes(phrase.required_hashes())
}

fn of_test(test: &Test) -> Prune {
    match test {
        Test::Words(phrase) => of_phrase(phrase),
        Test::Equals(value) => {
            let mut needed = vec![];
            hashes(value, |hash| needed.push(hash));
            Prune::hashes(needed)
        }
        Test::Wildcard(pieces) => of_pieces(pieces),
        Test::Exists | Test::Range { .. } | Test::Cidr(_) => Prune::MayMatch,
    }
}

/// The words of a pattern that no `*` can make longer.
fn of_pieces(pieces: &[String]) -> Prune {
    let last = pieces.len().saturating_sub(1);
    let mut needed = vec![];
    for (number, piece) in pieces.iter().enumerate() {
        for (from, to) in spans(piece) {
            if (from > 0 || number == 0) && (to < piece.len() || number == last) {
                hashes(&piece[from..to], |hash| needed.push(hash));
            }
        }
    }
    Prune::hashes(needed)
}
