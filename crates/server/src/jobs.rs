//! Verifications of the running log: one at a time, the last one remembered, each one's result sealed.
//!
//! Invariant: what a later verification takes as verified was hashed by this process; nothing of it is read from the
//! store.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use sceau_event::SourceId;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use utoipa::ToSchema;

use crate::{
    error::ServerError,
    hex,
    keydir::random,
    log::Log,
    verify::{Cancel, Pace, Resume, VerifyOptions, VerifyReport, Way, verify_log},
};

/// Faults that are told in the sealed result; the verdict has them all.
const TOLD: usize = 20;
/// The rule id of the finding that a failed verification is.
const RULE: &str = "sceau-integrity";

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VerificationState)]
pub(crate) enum JobState {
    /// At work.
    Running,
    /// It has a verdict.
    Done,
    /// It could not be brought to an end.
    Failed,
    /// The database was away before it came to an end: a later one begins anew.
    #[serde(rename = "failed")]
    Away,
    /// It was stopped.
    Cancelled,
}

/// How much of the log a verification reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VerificationScope)]
pub(crate) enum Scope {
    /// Everything.
    Whole,
    /// What was added since the last verification that found no fault.
    Added,
}

/// What is wanted of a verification.
pub(crate) struct Wanted {
    pub options: VerifyOptions,
    pub scope: Scope,
    pub pace: Pace,
    /// Who asked for it.
    pub actor: String,
}

/// A verification as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Verification)]
pub(crate) struct JobView {
    id: String,
    scope: Scope,
    actor: String,
    state: JobState,
    done: u64,
    total: u64,
    #[schema(format = DateTime)]
    started: String,
    #[schema(format = DateTime)]
    finished: Option<String>,
    /// What `sceau verify --json` prints.
    #[schema(value_type = Option<Object>)]
    verdict: Option<Value>,
    error: Option<String>,
}

struct Job {
    id: String,
    scope: Scope,
    actor: String,
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
            scope: self.scope,
            actor: self.actor.clone(),
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

/// What the last verification that ended found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Faults, or one for a verification that could not be brought to an end.
    pub faults: u64,
    /// The log's size that it was about.
    pub entries: u64,
}

/// The last verification.
#[derive(Clone, Default)]
pub(crate) struct Jobs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    last: Mutex<Option<Arc<Job>>>,
    /// Where the next one may go on.
    resume: Mutex<Option<Resume>>,
    found: Mutex<Option<Found>>,
}

impl Jobs {
    /// Starts a verification; gives its id and the task that runs it.
    pub fn start(&self, log: &Log, wanted: Wanted) -> Result<(String, JoinHandle<()>), ServerError> {
        let mut last = lock(&self.0.last);
        if let Some(job) = last.as_ref().filter(|job| lock(&job.end).is_none()) {
            return Err(ServerError::VerifyRunning(job.id.clone()));
        }
        let job = Arc::new(Job {
            id: hex(random::<8>()?.as_slice()),
            scope: wanted.scope,
            actor: wanted.actor.clone(),
            started: log.now().to_string(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(log.head().borrow().size.0),
            cancel: Cancel::new(),
            end: Mutex::new(None),
        });
        *last = Some(job.clone());
        let id = job.id.clone();
        Ok((id, tokio::spawn(watch(self.clone(), log.clone(), job, wanted))))
    }

    /// The last verification, or the one with this id.
    pub fn view(&self, id: Option<&str>) -> Option<JobView> {
        let last = lock(&self.0.last).clone();
        last.filter(|job| id.is_none_or(|id| id == job.id)).map(|job| job.view())
    }

    /// What the last verification that ended found.
    pub fn found(&self) -> Option<Found> {
        *lock(&self.0.found)
    }

    /// How many entries a verification of what was added need not read again; `None` if there is nothing to go on from.
    pub fn verified(&self) -> Option<u64> {
        lock(&self.0.resume).as_ref().map(Resume::size)
    }

    /// Stops the one that runs.
    pub fn cancel(&self) {
        if let Some(job) = lock(&self.0.last).as_ref() {
            job.cancel.cancel();
        }
    }

    /// Remembers a result, seals it and ends the job. One that was stopped, or for which the database was away, says
    /// nothing about the log.
    async fn end(&self, log: &Log, job: &Job, end: End, report: Option<&VerifyReport>) {
        if !matches!(end.state, JobState::Cancelled | JobState::Away) {
            let good = report.is_some_and(|report| report.ok);
            log.metrics().verified(good);
            let faults = report.map_or(1, |report| report.verdict.faults.len() as u64 + report.verdict.more_faults);
            let entries = report.map_or(0, |report| report.verdict.head.size.0);
            *lock(&self.0.found) = Some(Found { faults, entries });
            if let Err(error) = seal(log, job, &end, report).await {
                tracing::error!(%error, "the result of a verification could not be sealed");
            }
        }
        *lock(&job.end) = Some(end);
    }
}

/// Runs a verification and brings it to an end even if it panics.
async fn watch(jobs: Jobs, log: Log, job: Arc<Job>, wanted: Wanted) {
    let Err(error) = tokio::spawn(run(jobs.clone(), log.clone(), job.clone(), wanted)).await else { return };
    tracing::error!(%error, "verification ended unexpectedly");
    *lock(&jobs.0.resume) = None;
    let error = Some("it ended unexpectedly; the server's own log says more".to_owned());
    let end = End { state: JobState::Failed, finished: log.now().to_string(), verdict: None, error };
    jobs.end(&log, &job, end, None).await;
}

async fn run(jobs: Jobs, log: Log, job: Arc<Job>, wanted: Wanted) {
    let progress = |done, total| {
        job.done.store(done, Ordering::Relaxed);
        job.total.store(total, Ordering::Relaxed);
    };
    let from = match wanted.scope {
        Scope::Whole => None,
        Scope::Added => lock(&jobs.0.resume).clone(),
    };
    let way = Way { from, pace: wanted.pace, progress: &progress, cancel: &job.cancel };
    let result = verify_log(&log, wanted.options, way).await;
    let (state, report, error) = match result {
        Ok((report, resume)) => {
            // After a fault the next verification reads everything again.
            *lock(&jobs.0.resume) = resume;
            if !report.ok {
                tracing::error!(faults = report.verdict.faults.len(), "verification found faults:\n{report}");
            }
            (JobState::Done, Some(report), None)
        }
        Err(ServerError::Cancelled) => (JobState::Cancelled, None, None),
        Err(error) => {
            tracing::error!(%error, "verification failed");
            let state = if error.is_away() { JobState::Away } else { JobState::Failed };
            (state, None, Some(error.public_detail()))
        }
    };
    let verdict = report.as_ref().and_then(|report| serde_json::to_value(report).ok());
    let end = End { state, finished: log.now().to_string(), verdict, error };
    jobs.end(&log, &job, end, report.as_ref()).await;
}

/// Seals the result as an entry of `sceau.audit`, and one that is not good as a finding too.
async fn seal(log: &Log, job: &Job, end: &End, report: Option<&VerifyReport>) -> Result<(), ServerError> {
    let good = report.is_some_and(|report| report.ok);
    let verdict = report.map(|report| &report.verdict);
    let faults = verdict.map(|verdict| verdict.faults.iter().take(TOLD).collect::<Vec<_>>());
    let result = json!({
        "timestamp": end.finished,
        "action": "verification",
        "status": if good { "success" } else { "failed" },
        "user": job.actor,
        "verification": {
            "id": job.id,
            "scope": job.scope,
            "state": end.state,
            "started": job.started,
            "tree_size": verdict.map(|verdict| verdict.head.size.0),
            "root_hash": verdict.and_then(|verdict| verdict.root).map(|root| hex(&root.0)),
            "faults": verdict.map(|verdict| verdict.faults.len() as u64 + verdict.more_faults),
        },
    });
    log.note(SourceId::audit(), &result).await?;
    if good {
        return Ok(());
    }
    let first = verdict.and_then(|verdict| verdict.faults.first());
    let message = match (first, &end.error) {
        (Some(fault), _) => format!("the log does not verify: {fault}"),
        (None, error) => format!("the log could not be verified: {}", error.as_deref().unwrap_or("no reason given")),
    };
    let finding = json!({
        "timestamp": end.finished,
        "action": "finding",
        "rule": {"id": RULE, "name": "The log does not verify"},
        "severity": "critical",
        "message": message,
        "verification": job.id,
        "faults": faults,
    });
    log.note(SourceId::finding(), &finding).await.map(|_| ())
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
        let wanted = || Wanted {
            options: VerifyOptions::default(),
            scope: Scope::Whole,
            pace: Pace::FULL,
            actor: "test".into(),
        };
        let (id, _) = jobs.start(&log, wanted()).unwrap();
        let state = || jobs.view(Some(&id)).unwrap().state;
        while state() == JobState::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!(state(), JobState::Failed);
        assert!(jobs.view(None).unwrap().error.is_some());
        let (again, _) = jobs.start(&log, wanted()).unwrap();
        while jobs.view(Some(&again)).unwrap().state == JobState::Running {
            tokio::task::yield_now().await;
        }
        assert_eq!(jobs.view(Some(&again)).unwrap().state, JobState::Done);
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_no_finding() {
        let fixture = Fixture::new().await;
        let (log, store) = fixture.failing().await;
        let jobs = Jobs::default();
        let wanted =
            Wanted { options: VerifyOptions::default(), scope: Scope::Whole, pace: Pace::FULL, actor: "test".into() };
        store.go_away(true);
        let (id, task) = jobs.start(&log, wanted).unwrap();
        task.await.unwrap();
        let view = serde_json::to_value(jobs.view(Some(&id)).unwrap()).unwrap();
        assert_eq!((&view["state"], &view["verdict"]), (&"failed".into(), &Value::Null));
        store.go_away(false);
        assert!(jobs.found().is_none());
        assert_eq!(log.head().borrow().size.0, 0);
        log.close().await.unwrap();
    }
}
