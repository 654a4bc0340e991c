//! What every backend must do, as tests that any backend can run: see `embedded.rs` beside this folder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::Arc;

use sceau_event::Deriver;
use sceau_store::{Store, query as model};

pub mod aggregates;
pub mod events;
pub mod large;
pub mod ledger;
pub mod oracle;
pub mod paging;
pub mod retention;
pub mod search;
pub mod state;
pub mod writer;

/// One log of a backend, empty when made. It is opened, closed and opened again, and cleans up after itself.
pub trait Home: Sync {
    type Store: Store + 'static;

    /// Opens the log; the one before has been closed and dropped.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// Waits until background work has put entries wherever the backend keeps older ones.
    fn settle(&self, store: &Self::Store) -> impl Future<Output = ()> + Send;
}

/// The deriver of all tests.
pub fn deriver() -> Arc<Deriver> {
    Arc::new(Deriver::builtin())
}

/// Closes a log and opens it again.
pub async fn reopen<H: Home>(home: &H, store: H::Store) -> H::Store {
    store.close().await.unwrap();
    drop(store);
    home.open().await
}

/// Makes a test of each function of the suite; `$home` makes an empty log.
#[macro_export]
macro_rules! contract {
    ($home:expr; $($module:ident: $($test:ident),+;)+) => {$(
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    $crate::contract::$module::$test(&$home).await;
                }
            )+
        }
    )+};
    ($home:expr) => {
        $crate::contract! { $home;
            ledger: an_empty_log, entries_are_exact, a_stale_head_changes_nothing, a_state_conflict_changes_nothing,
                    state_is_written_with_entries, tiles_are_those_of_the_tree, what_the_auditor_sees,
                    checkpoints_are_kept, seals_are_kept, facts_are_fixed, only_one_of_many_writers_wins;
            retention: deleted_entries_leave_their_leaves, everything_old_can_go_and_the_log_goes_on,
                    readers_are_not_disturbed, what_moved_is_as_if_it_had_been_deleted_here;
            state: compare_and_set, expiry, pages, all_or_nothing, macs_are_kept;
            search: filters_of_every_kind, time_ranges_are_half_open, internal_sources_are_hidden,
                    words_and_texts, numbers_and_times, refusals, time_limits, dropped_futures;
            paging: both_orders, equal_times, while_entries_are_committed, foreign_cursors;
            aggregates: histograms, histograms_split_by_a_field, top_values, counts_of_repeated_events, empty_answers;
            large: answers_are_those_of_the_model, answers_survive_reopening, rebuilding_changes_nothing;
        }
    };
}
