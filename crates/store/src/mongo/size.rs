//! How much one transaction holds.
//!
//! A server keeps the changes of an open transaction in its cache, and refuses one that is too much for it. How much that
//! is depends on the server's memory and on what others do, so it is found out: each refusal halves what the next
//! commits hold.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::traits::CommitLimits;

/// What a server with memory enough takes in a fraction of a second.
const MOST: CommitLimits = CommitLimits { entries: 10_000, bytes: 6 << 20 };
/// After so many halvings a commit holds 156 entries or 96 KiB, which is little more than the largest entry.
const MOST_HALVINGS: u32 = 6;

/// How much commits hold now.
#[derive(Debug, Default)]
pub struct Size {
    halvings: AtomicU32,
}

impl Size {
    /// What one commit should hold at most.
    pub fn limits(&self) -> CommitLimits {
        let halvings = self.halvings.load(Ordering::Relaxed);
        CommitLimits { entries: MOST.entries >> halvings, bytes: MOST.bytes >> halvings }
    }

    /// A transaction was too large for the server.
    pub fn halve(&self) {
        let more = |halvings| (halvings < MOST_HALVINGS).then_some(halvings + 1);
        let halved = self.halvings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        let CommitLimits { entries, bytes } = self.limits();
        tracing::warn!(halved, entries, bytes, "a transaction was too large for MongoDB; its cache is small");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_get_smaller_but_still_hold_any_entry() {
        let size = Size::default();
        assert_eq!(size.limits(), MOST);
        size.halve();
        assert_eq!(size.limits(), CommitLimits { entries: 5_000, bytes: 3 << 20 });
        (0..100).for_each(|_| size.halve());
        assert_eq!(size.limits(), CommitLimits { entries: 156, bytes: 96 << 10 });
    }
}
