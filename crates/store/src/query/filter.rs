//! Building filters and asking about them.

use std::collections::HashSet;

use sceau_event::Field;

use super::{Filter, Test};

/// How the product's own sources begin.
const INTERNAL: &str = "sceau.";

impl Filter {
    /// All of these hold; nested conjunctions become one.
    #[must_use]
    pub fn all(filters: Vec<Filter>) -> Filter {
        let mut flat = vec![];
        for filter in filters {
            match filter {
                Filter::All => {}
                Filter::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            0 => Filter::All,
            1 => flat.remove(0),
            _ => Filter::And(flat),
        }
    }

    /// At least one of these holds; nested disjunctions become one.
    #[must_use]
    pub fn any(filters: Vec<Filter>) -> Filter {
        let mut flat = vec![];
        for filter in filters {
            match filter {
                Filter::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { Filter::Or(flat) }
    }

    /// Does the filter ask for the product's own sources, by a condition on `source` that is not negated and whose
    /// value begins with `sceau`?
    #[must_use]
    pub fn names_internal(&self) -> bool {
        self.asks_for_internal(true)
    }

    fn asks_for_internal(&self, positive: bool) -> bool {
        match self {
            Filter::And(filters) | Filter::Or(filters) => filters.iter().any(|f| f.asks_for_internal(positive)),
            Filter::Not(filter) => filter.asks_for_internal(!positive),
            Filter::Is(Field::Source, test) if positive => match test {
                Test::Equals(source) => source.starts_with(INTERNAL),
                Test::Wildcard(pieces) => {
                    pieces.first().is_some_and(|first| first.starts_with(INTERNAL.trim_end_matches('.')))
                }
                _ => false,
            },
            Filter::Is(..) | Filter::All | Filter::Text(_) => false,
        }
    }

    /// The fields that conditions name. Free text names none, though it looks at all texts.
    #[must_use]
    pub fn fields(&self) -> HashSet<&Field> {
        let mut found = HashSet::new();
        self.collect_fields(&mut found);
        found
    }

    fn collect_fields<'a>(&'a self, found: &mut HashSet<&'a Field>) {
        match self {
            Filter::And(filters) | Filter::Or(filters) => filters.iter().for_each(|f| f.collect_fields(found)),
            Filter::Not(filter) => filter.collect_fields(found),
            Filter::Is(field, _) => {
                found.insert(field);
            }
            Filter::All | Filter::Text(_) => {}
        }
    }
}
