//! Somebody who can write the data directory, with keys or without, changes things; `sceau verify` names each.
//!
//! One log is made once and kept in the target directory; each case tampers with a copy of it and says exactly which
//! faults, by kind and entries, the real binary has to name. `docs/trust.md` has the same as a table.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod beside;
mod clock;
mod edit;
mod forge;
mod live;
mod odd;
mod pages;
mod rewrite;
mod rollback;
mod seals;
mod segments;
mod state;
mod tail;
mod unusable;
mod victim;
