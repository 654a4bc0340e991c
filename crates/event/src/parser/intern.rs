//! Texts of parsers that records borrow.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// The same text for as long as the program runs.
///
/// A record outlives the call that makes it but not, as far as the types can tell, the deriver
/// whose parsers name its fields; so these names are kept for good instead of being copied into
/// every record. Equal texts are kept once, so loading the same parsers again costs nothing.
pub(super) fn intern(text: &str) -> &'static str {
    let mut guard = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let texts = guard.get_or_insert_default();
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    texts.insert(kept);
    kept
}
