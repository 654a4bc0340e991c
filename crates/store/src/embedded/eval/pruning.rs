//! What a filter needs of the words of a row group, so that most row groups are never read.

use sceau_event::Field;

use crate::{
    embedded::write::EXACT,
    query::{
        Filter, Test,
        words::{Phrase, Token, spans, tokens, value_hash},
    },
    schema,
};

/// What must be among the tokens of a row group for any of its rows to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Tokens don't tell.
    MayMatch,
    /// This token.
    Needs(Token),
    /// What each of these needs.
    All(Vec<Prune>),
    /// What one of these needs.
    Any(Vec<Prune>),
}

impl Prune {
    /// False only if no row of a group can match whose tokens are those that `contains` knows.
    pub fn may_match(&self, contains: &dyn Fn(Token) -> bool) -> bool {
        match self {
            Self::MayMatch => true,
            Self::Needs(token) => contains(*token),
            Self::All(needs) => needs.iter().all(|need| need.may_match(contains)),
            Self::Any(needs) => needs.iter().any(|need| need.may_match(contains)),
        }
    }

    fn all(needs: impl IntoIterator<Item = Self>) -> Self {
        let needs: Vec<Self> = needs.into_iter().filter(|need| *need != Self::MayMatch).collect();
        if needs.is_empty() { Self::MayMatch } else { Self::All(needs) }
    }

    /// The tokens that tell most come first, so that most row groups are ruled out by one look.
    fn tokens(mut tokens: Vec<Token>) -> Self {
        tokens.sort_by_key(|token| !matches!(token, Token::Address(_)));
        Self::all(tokens.into_iter().map(Self::Needs))
    }
}

/// What a filter needs. The tokens of a row group are all words and addresses of keywords and other fields' values, and
/// the whole values of [`EXACT`] columns.
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
            Prune::Needs(Token::Word(value_hash(schema::column(&Field::Keyword(*keyword)), value)))
        }
        Filter::Is(Field::Keyword(_) | Field::Other(_), test) => of_test(test),
        Filter::Is(Field::Time | Field::Received | Field::Source | Field::Number(_), _) => Prune::MayMatch,
    }
}

fn of_phrase(phrase: &Phrase) -> Prune {
    Prune::tokens(phrase.required())
}

fn of_test(test: &Test) -> Prune {
    match test {
        Test::Words(phrase) => of_phrase(phrase),
        Test::Equals(value) => {
            let mut needed = Vec::new();
            tokens(value, |token| needed.push(token));
            Prune::tokens(needed)
        }
        Test::Wildcard(pieces) => of_pieces(pieces),
        Test::Exists | Test::Range { .. } | Test::Cidr(_) => Prune::MayMatch,
    }
}

/// The words of a pattern that no `*` can make longer.
fn of_pieces(pieces: &[String]) -> Prune {
    let (last, mut needed) = (pieces.len().saturating_sub(1), Vec::new());
    for (number, piece) in pieces.iter().enumerate() {
        let whole = |(from, to): &(usize, usize)| (*from > 0 || number == 0) && (*to < piece.len() || number == last);
        // They are neighbours, since only the first and the last of a piece can go on.
        let stretch = spans(piece).filter(whole).reduce(|(from, _), (_, to)| (from, to));
        if let Some((from, to)) = stretch {
            tokens(&piece[from..to], |token| needed.push(token));
        }
    }
    Prune::tokens(needed)
}
