//! Verification on a schedule: what was added, often; everything, seldom; never more of the machine than it may take.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    api::App,
    config::Schedule,
    error::ServerError,
    jobs::{Scope, Wanted},
    verify::{Pace, VerifyOptions},
};

/// Who the sealed results say has asked.
const ACTOR: &str = "schedule";
/// The entry that seals the result of a verification is no reason for the next one.
const OWN_ENTRIES: u64 = 1;

/// What is due.
fn due(verified: Option<u64>, size: u64, since_whole: Option<Duration>, schedule: &Schedule) -> Option<Scope> {
    match (verified, since_whole) {
        (Some(_), Some(since)) if since >= schedule.whole_every => Some(Scope::Whole),
        (Some(verified), Some(_)) => (size > verified.saturating_add(OWN_ENTRIES)).then_some(Scope::Added),
        _ => Some(Scope::Whole),
    }
}

/// Works until it is dropped, once this server has the log.
pub(crate) async fn run(app: Arc<App>, schedule: Schedule) {
    let mut whole: Option<Instant> = None;
    loop {
        tokio::time::sleep(schedule.every).await;
        let Ok(log) = app.log() else { continue };
        let size = log.head().borrow().size.0;
        let since = whole.map(|moment| moment.elapsed());
        let Some(scope) = due(app.jobs.verified(), size, since, &schedule) else { continue };
        if scope == Scope::Whole {
            whole = Some(Instant::now());
        }
        let options = VerifyOptions::default();
        let wanted = Wanted { options, scope, pace: Pace::share(schedule.share), actor: ACTOR.to_owned() };
        match app.jobs.start(log, wanted) {
            // It tells of its own end.
            Ok((_, task)) => drop(task.await),
            Err(ServerError::VerifyRunning(_)) => {}
            Err(error) => tracing::error!(%error, "a verification on schedule could not begin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_log_first_and_then_again_and_again() {
        let schedule = Schedule { every: Duration::from_secs(60), whole_every: Duration::from_secs(600), share: 20 };
        let (soon, late) = (Some(Duration::from_secs(60)), Some(Duration::from_secs(600)));
        assert_eq!(due(None, 0, None, &schedule), Some(Scope::Whole));
        assert_eq!(
            due(Some(10), 20, None, &schedule),
            Some(Scope::Whole),
            "someone else's verification counts for less"
        );
        assert_eq!(due(Some(10), 20, soon, &schedule), Some(Scope::Added));
        assert_eq!(due(Some(10), 11, soon, &schedule), None, "only the last result was added");
        assert_eq!(
            due(Some(10), 10, late, &schedule),
            Some(Scope::Whole),
            "old entries can be changed without new ones"
        );
        assert_eq!(due(None, 20, soon, &schedule), Some(Scope::Whole), "the last one found a fault");
    }
}
