//! MongoDB as the store: one document an entry, one transaction a commit.

pub mod document;
pub mod indexes;
pub mod lease;
pub mod names;
pub mod query;
pub mod search;
