//! Tasks that must not end unnoticed.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;

use super::{Cause, Health};

/// Runs a task to its end. If that is a panic, the log stops accepting: what the task was responsible for is not done
/// any more, and nobody knows in what state it left it.
pub(crate) async fn supervise(name: &'static str, health: Arc<Health>, task: impl Future<Output = ()>) {
    // What the panic left behind is never looked at again: the future is dropped, the log poisoned.
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        health.poison(Cause::Bug, format!("the {name} panicked: {}", message(&*panic)));
    }
}

/// What a panic says.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_reason_and_an_end_is_none() {
        let health = Arc::new(Health::default());
        supervise("clerk", health.clone(), async {}).await;
        assert_eq!(health.reason(), None);
        supervise("clerk", health.clone(), async { panic!("out of ink") }).await;
        assert_eq!(health.reason(), Some("the clerk panicked: out of ink"));
    }
}
