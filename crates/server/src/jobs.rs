//! Verifications of the running log: one at a time, the last one remembered.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::ServerError,
    hex,
    keydir::random,
    log::Log,
    verify::{Cancel, VerifyOptions, verify_log},
};

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobState {
    /// At work.
    Running,
    /// It has a verdict.
    Done,
    /// It could not be brought to an end.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// A verification as clients see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct JobView {
    id: String,
    state: JobState,
    done: u64,
    total: u64,
    started: String,
    finished: Option<String>,
    verdict: Option<Value>,
    error: Option<String>,
}

struct Job {
    id: String,
    started: String,
    done: AtomicU64,
    total: AtomicU64,
    cancel: Cancel,
    end: Mutex<Option<End>>,
}

struct End {
    state: JobState,
    finished: String,
    verdict: Option<Value>,
    error: Option<String>,
}

impl Job {
    fn view(&self) -> JobView {
        let end = lock(&self.end);
        JobView {
            id: self.id.clone(),
            state: end.as_ref().map_or(JobState::Running, |end| end.state),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            started: self.started.clone(),
            finished: end.as_ref().map(|end| end.finished.clone()),
            verdict: end.as_ref().and_then(|end| end.verdict.clone()),
            error: end.as_ref().and_then(|end| end.error.clone()),
        }
    }
}

/// The last verification.
#[derive(Default)]
pub(crate) struct Jobs(Mutex<Option<Arc<Job>>>);

impl Jobs {
    /// Starts a verification and gives its id.
    pub fn start(&self, log: &Log, options: VerifyOptions) -> Result<String, ServerError> {
        let mut last = lock(&self.0);
        if let Some(job) = last.as_ref().filter(|job| lock(&job.end).is_none()) {
            return Err(ServerError::VerifyRunning(job.id.clone()));
        }
        let job = Arc::new(Job {
            id: hex(random::<8>()?.as_slice()),
            started: log.now().to_string(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(log.head().borrow().size.0),
            cancel: Cancel::new(),
            end: Mutex::new(None),
        });
        *last = Some(job.clone());
        tokio::spawn(watch(log.clone(), job.clone(), options));
        Ok(job.id.clone())
    }

    /// The last verification, or the one with this id.
    pub fn view(&self, id: Option<&str>) -> Option<JobView> {
        let last = lock(&self.0).clone();
        last.filter(|job| id.is_none_or(|id| id == job.id)).map(|job| job.view())
    }

    /// Stops the one that runs.
    pub fn cancel(&self) {
        if let Some(job) = lock(&self.0).as_ref() {
            job.cancel.cancel();
        }
    }
}

/// Runs a verification and brings it to an end even if it panics.
async fn watch(log: Log, job: Arc<Job>, options: VerifyOptions) {
    let Err(error) = tokio::spawn(run(log.clone(), job.clone(), options)).await else { return };
    tracing::error!(%error, "verification ended unexpectedly");
    log.metrics().verified(false);
    let error = Some("it ended unexpectedly; the server's own log says more".to_owned());
    *lock(&job.end) = Some(End { state: JobState::Failed, finished: log.now().to_string(), verdict: None, error });
}

async fn run(log: Log, job: Arc<Job>, options: VerifyOptions) {
    let progress = |done, total| {
        job.done.store(done, Ordering::Relaxed);
        job.total.store(total, Ordering::Relaxed);
    };
    let result = verify_log(&log, options, &progress, &job.cancel).await;
    let (state, verdict, error) = match result {
        Ok(report) => {
            if !report.ok {
                tracing::error!(faults = report.verdict.faults.len(), "verification found faults:\n{report}");
            }
            (JobState::Done, serde_json::to_value(&report).ok(), None)
        }
        Err(ServerError::Cancelled) => (JobState::Cancelled, None, None),
        Err(error) => {
            tracing::error!(%error, "verification failed");
            (JobState::Failed, None, Some(error.public_detail()))
        }
    };
    log.metrics().verified(state == JobState::Done && verdict.as_ref().is_some_and(|verdict| verdict["ok"] == true));
    *lock(&job.end) = Some(End { state, finished: log.now().to_string(), verdict, error });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Failure, Fixture};

    #[tokio::test]
    async fn a_verification_that_panics_has_failed() {
        let fixture = Fixture::new().await;
        let (log, store) = fixture.failing().await;
        let jobs = Jobs::default();
        store.fail(Failure::AuditPanic);
        let id = jobs.start(&log, VerifyOptions::default()).unwrap();
        let state = || jobs.view(Some(&id)).unwrap().state;
        while state() == JobState::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(), JobState::Failed);
        assert!(jobs.view(None).unwrap().error.is_some());
        let again = jobs.start(&log, VerifyOptions::default()).unwrap();
        while jobs.view(Some(&again)).unwrap().state == JobState::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs.view(Some(&again)).unwrap().state, JobState::Done);
    }
}
