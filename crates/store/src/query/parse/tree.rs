//! From the grammar's tree to a filter.

use sceau_event::Micros;
use tantivy_query_grammar::{Occur, UserInputAst, UserInputBound, UserInputLeaf};

use super::{
    Mistake,
    canonical::{Canonical, Name, Value},
    condition::{Condition, End},
};
use crate::query::Filter;

/// What is needed to read the grammar's tree: what its numbers stand for, and the time.
pub(super) struct Lowering<'a> {
    pub canonical: &'a Canonical,
    pub now: Micros,
}

impl Lowering<'_> {
    pub fn filter(&self, ast: UserInputAst) -> Result<Filter, Mistake> {
        match ast {
            UserInputAst::Clause(clauses) => self.clauses(clauses),
            UserInputAst::Boost(..) => Err(unexpected()),
            UserInputAst::Leaf(leaf) => self.leaf(*leaf),
        }
    }

    fn clauses(&self, clauses: Vec<(Option<Occur>, UserInputAst)>) -> Result<Filter, Mistake> {
        let mut all = vec![];
        let mut any = vec![];
        for (occur, ast) in clauses {
            let filter = self.filter(ast)?;
            match occur {
                Some(Occur::Should) => any.push(filter),
                Some(Occur::MustNot) => all.push(Filter::Not(Box::new(filter))),
                Some(Occur::Must) | None => all.push(filter),
            }
        }
        if !any.is_empty() {
            all.push(Filter::any(any));
        }
        Ok(Filter::all(all))
    }

    fn leaf(&self, leaf: UserInputLeaf) -> Result<Filter, Mistake> {
        match leaf {
            UserInputLeaf::All => Ok(Filter::All),
            UserInputLeaf::Literal(literal) => self.condition(literal.field_name)?.value(self.value(&literal.phrase)?),
            UserInputLeaf::Exists { field } => Ok(self.condition(Some(field))?.exists()),
            UserInputLeaf::Range { field, lower, upper } => {
                let (low, high) = (self.end(&lower)?, self.end(&upper)?);
                self.condition(field)?.range(low, high)
            }
            UserInputLeaf::Set { field, elements } => {
                let condition = self.condition(field)?;
                let any: Result<Vec<_>, _> = elements.iter().map(|text| condition.value(self.value(text)?)).collect();
                any.map(Filter::any)
            }
            UserInputLeaf::Regex { .. } => Err(unexpected()),
        }
    }

    fn condition(&self, field: Option<String>) -> Result<Condition<'_>, Mistake> {
        Ok(Condition { name: field.map(|field| self.name(&field)).transpose()?, now: self.now })
    }

    fn name(&self, field: &str) -> Result<&Name, Mistake> {
        let number = field.strip_prefix('f').and_then(|digits| digits.parse::<usize>().ok());
        number.and_then(|number| self.canonical.names.get(number)).ok_or_else(unexpected)
    }

    fn value(&self, text: &str) -> Result<&Value, Mistake> {
        text.parse().ok().and_then(|number: usize| self.canonical.values.get(number)).ok_or_else(unexpected)
    }

    fn end(&self, bound: &UserInputBound) -> Result<Option<End<'_>>, Mistake> {
        Ok(match bound {
            UserInputBound::Unbounded => None,
            UserInputBound::Inclusive(text) => Some(End { value: self.value(text)?, inclusive: true }),
            UserInputBound::Exclusive(text) => Some(End { value: self.value(text)?, inclusive: false }),
        })
    }
}

/// The lexer writes nothing that could end here.
fn unexpected() -> Mistake {
    Mistake::new(0, "this query can't be read")
}
