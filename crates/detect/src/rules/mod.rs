//! Rules: from files to what is matched. `docs/rules.md` tells the form of rules, mappings and lists, and what is refused.
//!
//! rsigma's parser reads the files and its matchers compare values; what both would pass over in silence is looked for
//! before, values are made into matchers here ([`value`] tells why), and so is the choice of rules for a record ([`plan`]).

mod builtin;
mod chain;
mod clock;
mod correlation;
mod detection;
mod document;
mod draft;
mod encode;
mod except;
mod link;
mod load;
mod mapping;
mod names;
mod pattern;
mod plan;
mod refuse;
mod selection;
mod set;
mod shape;
mod value;
mod view;

pub use correlation::{Condition, Correlation, CorrelationKind, Expression, Operator, Window};
pub use except::value_fits;
pub use refuse::ReasonKind;
pub use set::{Matched, RuleSet};
