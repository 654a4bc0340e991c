//! Rules: from files to what is matched.

mod correlation;

pub use correlation::{Condition, Correlation, CorrelationKind, Expression, Operator, Window};
