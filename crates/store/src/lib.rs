//! Where entries live: the traits that every backend honours, the query model, and the embedded backend.
//!
//! Invariant: what a backend returns as an entry is byte for byte what was committed, and everything else it keeps
//! (columns, filters, segments) is derived from entries and can be rebuilt from them.

pub mod batch;
mod bounds;
mod costs;
pub mod embedded;
pub mod error;
mod leaves;
pub mod mongo;
pub mod query;
mod rows;
pub mod schema;
pub mod traits;

pub use batch::{Batch, BatchBuilder};
pub use error::{CommitError, StoreError};
pub use rows::RecordRows;
pub use traits::{
    AuditChunk, Commit, CommitLimits, Counts, Document, EntryRows, Expect, Histogram, HistogramRow, Hit, Hits, Ledger,
    Moved, MovedLeaves, SealText, Search, State, StateWrite, Store, Stretch, TopRow, TopTable,
};
