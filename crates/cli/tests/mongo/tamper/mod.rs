//! An administrator of the database with every right changes things; `sceau verify --store mongodb://…` names each.
//!
//! One log is made once and kept in the target directory; each case tampers with it in a database of its own test, says
//! exactly which faults, by kind and entries, the real binary has to name, and puts everything back. `docs/trust.md` has
//! the same as a table.

mod beside;
mod documents;
mod older;
mod victim;
