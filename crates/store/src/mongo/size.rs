//! How much one transaction holds.
//!
//! A server keeps the changes of an open transaction in its cache, and refuses one that is too much for it. How much that
//! is depends on the server's memory and on what others do, so it is found out: after each refusal commits hold less than
//! what was refused. Not every refusal says why: a server whose cache is full of one transaction may let it wait until its
//! time is over, or take it for one that met another. Ours can meet none once it has changed the head document; so what ends
//! behind that, and ends again, is too much.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::traits::CommitLimits;

/// What a server with memory enough takes in a fraction of a second. More saves nothing: a document costs it the more, the
/// more its transaction holds.
const MOST: CommitLimits = CommitLimits { entries: 5_000, bytes: 6 << 20 };
/// After so many halvings a commit holds 9 entries. How many pages a transaction changes grows with the entries and their
/// words, of which each can be on a page of its own in the index, more than with bytes.
const MOST_HALVINGS: u32 = 9;
/// A little more than the largest entry: it must fit.
const LEAST_BYTES: usize = 96 << 10;

/// How much commits hold now.
#[derive(Debug, Default)]
pub struct Size {
    halvings: AtomicU32,
    /// The last transaction with entries was ended by the server, which did not say why.
    ended: AtomicBool,
}

/// What one commit holds at most after so many halvings.
fn halved(halvings: u32) -> CommitLimits {
    CommitLimits { entries: MOST.entries >> halvings, bytes: (MOST.bytes >> halvings).max(LEAST_BYTES) }
}

impl Size {
    /// What one commit should hold at most.
    pub fn limits(&self) -> CommitLimits {
        halved(self.halvings.load(Ordering::Relaxed))
    }

    /// A transaction with entries happened.
    pub fn fitted(&self) {
        self.ended.store(false, Ordering::Relaxed);
    }

    /// The server ended a transaction that met no other. Once may be chance, such as another primary; gives whether commits
    /// hold less from now on.
    pub fn ended(&self, load: Option<CommitLimits>) -> bool {
        let again = load.is_some() && self.ended.fetch_xor(true, Ordering::Relaxed);
        again && self.refused(load)
    }

    /// A transaction with so much in it was too large for the server. Gives whether commits hold less from now on.
    pub fn refused(&self, load: Option<CommitLimits>) -> bool {
        let Some(load) = load else { return false };
        let is_less = |halvings: &u32| {
            let limits = halved(*halvings);
            limits.entries < load.entries || limits.bytes < load.bytes
        };
        let more = |halvings: u32| (halvings + 1..=MOST_HALVINGS).find(is_less);
        let is_halved = self.halvings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        let CommitLimits { entries, bytes } = self.limits();
        tracing::warn!(
            refused_entries = load.entries,
            refused_bytes = load.bytes,
            is_halved,
            entries,
            bytes,
            "a transaction was too large for MongoDB; its cache is small"
        );
        is_halved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(entries: usize, bytes: usize) -> Option<CommitLimits> {
        Some(CommitLimits { entries, bytes })
    }

    #[test]
    fn commits_get_smaller_but_still_hold_any_entry() {
        let size = Size::default();
        assert_eq!(size.limits(), MOST);
        size.refused(load(5_000, 1 << 20));
        assert_eq!(size.limits(), CommitLimits { entries: 2_500, bytes: 3 << 20 });
        (0..100).for_each(|_| {
            size.refused(load(5_000, 6 << 20));
        });
        assert!(!size.refused(load(5_000, 6 << 20)), "less than that is never asked for");
        assert_eq!(size.limits(), CommitLimits { entries: 9, bytes: 96 << 10 });
    }

    #[test]
    fn what_was_refused_is_not_sent_again() {
        for (entries, bytes, wanted) in
            [(994, 100 << 10, 625), (100, 5 << 20, 2_500), (100, 1 << 20, 625), (118, 28 << 10, 78), (1, 0, 5_000)]
        {
            let size = Size::default();
            size.refused(load(entries, bytes));
            assert_eq!(size.limits().entries, wanted, "{entries} {bytes}");
        }
        let size = Size::default();
        size.refused(None);
        assert_eq!(size.limits(), MOST);
    }

    #[test]
    fn an_end_without_a_reason_counts_when_it_comes_again() {
        let size = Size::default();
        for _ in 0..5 {
            assert!(!size.ended(load(1_000, 0)));
            assert!(!size.ended(None), "nothing could be made smaller");
            size.fitted();
        }
        assert_eq!(size.limits(), MOST);
        assert!(!size.ended(load(1_000, 0)) && size.ended(load(1_000, 0)));
        assert_eq!(size.limits().entries, 625);
        assert!(!size.ended(load(625, 0)) && size.ended(load(625, 0)));
        assert_eq!(size.limits().entries, 312);
    }
}
