//! What is counted, for `/metrics`.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cpu_time::ThreadTime;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use sceau_event::Micros;
use sceau_store::Batch;

use crate::{
    error::{Refusals, ServerError},
    ingest::IngestAnswer,
};

const META: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Sources that are counted one by one; what further ones send is counted together.
const MAX_SOURCES: usize = 1_000;
/// The label of those. No source can be called so.
const FURTHER_SOURCES: &str = "(further)";

/// The counters. Not the global recorder, so that several servers can run in one process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    accepted: Counter,
    accepted_bytes: Counter,
    received_bytes: Counter,
    unparsed: Counter,
    commits: Counter,
    commit_seconds: Histogram,
    sequence_seconds: Histogram,
    ingest_seconds: Histogram,
    query_seconds: Histogram,
    ingest_cpu: Gauge,
    sequence_cpu: Gauge,
    sources: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at nought.
    pub fn new() -> Self {
        const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
        let builder = PrometheusBuilder::new();
        // Only an empty list is refused.
        let builder = builder.set_buckets(&SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let counter = |name: &'static str, help: &'static str| {
            recorder.describe_counter(name.into(), None, help.into());
            recorder.register_counter(&Key::from_static_name(name), &META)
        };
        let histogram = |name: &'static str, help: &'static str| {
            recorder.describe_histogram(name.into(), Some(Unit::Seconds), help.into());
            recorder.register_histogram(&Key::from_static_name(name), &META)
        };
        let gauge = |name: &'static str, help: &'static str| {
            recorder.describe_gauge(name.into(), Some(Unit::Seconds), help.into());
            recorder.register_gauge(&Key::from_static_name(name), &META)
        };
        let describe = |name: &'static str, help: &'static str| {
            recorder.describe_counter(name.into(), None, help.into());
        };
        describe("sceau_events_refused_total", "Events refused, by reason.");
        describe("sceau_state_forged_total", "Documents of the state that are not this log's, found at start.");
        describe("sceau_requests_refused_total", "Requests refused, by the code of their problem.");
        describe("sceau_verifications_total", "Verifications of the whole log, by outcome.");
        describe("sceau_retention_deleted_total", "Entries deleted by retention.");
        describe("sceau_retention_failures_total", "Times that retention could not delete what was due.");
        describe("sceau_findings_total", "Findings sealed, by level and phase.");
        describe("sceau_source_events_total", "Entries committed, by source.");
        describe("sceau_source_refused_total", "Events refused, by source; of refused requests, the requests.");
        describe("sceau_logins_total", "Log-ins and checks of tokens that count as such, by result.");
        describe("sceau_tls_refusals_total", "Times that a new certificate could not be used.");
        describe("sceau_http_requests_total", "HTTP requests answered, by method and status.");
        Self {
            accepted: counter("sceau_events_accepted_total", "Entries committed."),
            accepted_bytes: counter("sceau_entry_bytes_total", "Bytes of committed entries."),
            received_bytes: counter("sceau_received_bytes_total", "Bytes of event bodies as received."),
            unparsed: counter("sceau_events_unparsed_total", "Lines kept that no parser understood."),
            commits: counter("sceau_commits_total", "Groups of requests made durable together."),
            commit_seconds: histogram("sceau_commit_seconds", "Time to make a group durable."),
            sequence_seconds: histogram("sceau_sequence_seconds", "Time to put a group into the tree."),
            ingest_seconds: histogram("sceau_ingest_seconds", "Time to make entries of one body."),
            query_seconds: histogram("sceau_query_seconds", "Time to answer a query."),
            ingest_cpu: gauge("sceau_ingest_cpu_seconds", "CPU time to make entries of bodies, since the start."),
            sequence_cpu: gauge("sceau_sequence_cpu_seconds", "CPU time to put groups into the tree, since the start."),
            sources: Mutex::default(),
            recorder,
            handle,
        }
    }

    /// Does work that makes entries of a body.
    pub(crate) fn ingesting<T>(&self, work: impl FnOnce() -> T) -> T {
        counted(&self.ingest_cpu, work)
    }

    /// Does work that puts a group into the tree.
    pub(crate) fn sequencing<T>(&self, work: impl FnOnce() -> T) -> T {
        counted(&self.sequence_cpu, work)
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.increment(bytes as u64);
    }

    pub(crate) fn accepted(&self, batch: &Batch) {
        self.accepted.increment(batch.len() as u64);
        self.accepted_bytes.increment(batch.bytes() as u64);
        self.unparsed.increment(batch.unparsed() as u64);
    }

    pub(crate) fn refusals(&self, refusals: &Refusals) {
        for error in &refusals.errors {
            self.events_refused(&error.code, 1);
        }
        let not_told = refusals.rejected - refusals.errors.len() as u64;
        if not_told > 0 {
            self.events_refused("not_told", not_told);
        }
    }

    fn events_refused(&self, reason: &str, count: u64) {
        self.labelled("sceau_events_refused_total", &[("reason", reason)]).increment(count);
    }

    pub(crate) fn request_refused(&self, code: &'static str) {
        self.labelled("sceau_requests_refused_total", &[("code", code)]).increment(1);
    }

    /// Tokens that the start found and did not take.
    pub(crate) fn forged(&self, tokens: u64) {
        self.labelled("sceau_state_forged_total", &[("collection", "tokens")]).increment(tokens);
    }

    pub(crate) fn http(&self, method: &str, status: u16) {
        let status = status.to_string();
        self.labelled("sceau_http_requests_total", &[("method", method), ("status", &status)]).increment(1);
    }

    pub(crate) fn commit(&self, time: Duration) {
        self.commits.increment(1);
        self.commit_seconds.record(time.as_secs_f64());
    }

    pub(crate) fn sequenced(&self, time: Duration) {
        self.sequence_seconds.record(time.as_secs_f64());
    }

    pub(crate) fn ingested(&self, time: Duration) {
        self.ingest_seconds.record(time.as_secs_f64());
    }

    pub(crate) fn verified(&self, good: bool) {
        let outcome = if good { "good" } else { "bad" };
        self.labelled("sceau_verifications_total", &[("outcome", outcome)]).increment(1);
    }

    /// Entries that retention deleted.
    pub(crate) fn retained(&self, deleted: u64) {
        self.labelled("sceau_retention_deleted_total", &[]).increment(deleted);
    }

    pub(crate) fn retention_failed(&self) {
        self.labelled("sceau_retention_failures_total", &[]).increment(1);
    }

    /// Bytes that are free where one of the directories lies.
    pub(crate) fn disk_free(&self, dir: &'static str, bytes: u64) {
        let key = Key::from_parts("sceau_disk_free_bytes", vec![Label::new("dir", dir)]);
        self.recorder.register_gauge(&key, &META).set(bytes as f64);
    }

    /// What became of a request to take in events of a source.
    pub(crate) fn of_source(&self, source: &str, answer: &Result<IngestAnswer, ServerError>) {
        let (accepted, refused) = match answer {
            // Nothing came of it a second time.
            Ok(answer) if answer.replayed => return,
            Ok(answer) => (answer.accepted, answer.rejected),
            Err(ServerError::AllRejected(refusals) | ServerError::AtomicRefused(refusals)) => (0, refusals.rejected),
            // Whatever stands there is no source, so it must not become one.
            Err(ServerError::Parameter { .. } | ServerError::ReservedSource(_)) => return,
            Err(_) => (0, 1),
        };
        let source = self.known(source);
        let count = |name, count| self.labelled(name, &[("source", &source)]).increment(count);
        count("sceau_source_events_total", accepted);
        if refused > 0 {
            count("sceau_source_refused_total", refused);
        }
    }

    /// The label of a source: anybody may send from as many as he likes, and each would stay.
    fn known(&self, source: &str) -> String {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.contains(source) {
            return source.to_owned();
        }
        if sources.len() >= MAX_SOURCES {
            return FURTHER_SOURCES.to_owned();
        }
        sources.insert(source.to_owned());
        source.to_owned()
    }

    /// Somebody tried to get in, with this result: `success`, `failed`, `delayed` …
    pub(crate) fn login(&self, result: &'static str) {
        self.labelled("sceau_logins_total", &[("result", result)]).increment(1);
    }

    /// When the certificate for TLS ends.
    pub(crate) fn certificate_ends(&self, moment: Micros) {
        let key = Key::from_static_name("sceau_tls_certificate_not_after_seconds");
        self.recorder.register_gauge(&key, &META).set(moment.0 as f64 / 1e6);
    }

    /// A new certificate could not be used.
    pub(crate) fn certificate_refused(&self) {
        self.labelled("sceau_tls_refusals_total", &[]).increment(1);
    }

    pub(crate) fn queried(&self, time: Duration) {
        self.query_seconds.record(time.as_secs_f64());
    }

    /// Everything in the text format of Prometheus, with what is true just now.
    pub(crate) fn render(&self, gauges: &[(&'static str, f64)]) -> String {
        for (name, value) in gauges {
            let key = Key::from_name(format!("sceau_{name}"));
            self.recorder.register_gauge(&key, &META).set(*value);
        }
        // Moves recorded durations out of their buffers, which otherwise grow.
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Moves recorded durations out of their buffers; to be called now and then.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// A finding was sealed.
    pub(crate) fn finding(&self, level: &str, phase: &str) {
        self.labelled("sceau_findings_total", &[("level", level), ("phase", phase)]).increment(1);
    }

    /// So many alerts of a level are open.
    pub(crate) fn alerts_open(&self, level: &str, count: u64) {
        let key = Key::from_parts("sceau_alerts_open", vec![Label::new("level", level.to_owned())]);
        self.recorder.register_gauge(&key, &META).set(count as f64);
    }

    fn labelled(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let labels: Vec<Label> = labels.iter().map(|(key, value)| Label::new(*key, (*value).to_owned())).collect();
        self.recorder.register_counter(&Key::from_parts(name, labels), &META)
    }
}

/// Counts the CPU time of work that begins and ends on this thread.
fn counted<T>(seconds: &Gauge, work: impl FnOnce() -> T) -> T {
    let begun = ThreadTime::try_now();
    let done = work();
    let spent = begun.and_then(|begun| begun.try_elapsed()).unwrap_or_default();
    seconds.increment(spent.as_secs_f64());
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_can_live_side_by_side() {
        let (one, two) = (Metrics::new(), Metrics::new());
        one.received(3);
        one.events_refused("too_large", 2);
        one.commit(Duration::from_millis(3));
        let text = one.render(&[("queue_bytes", 5.0)]);
        assert!(text.contains("sceau_received_bytes_total 3"), "{text}");
        assert!(text.contains("sceau_events_refused_total{reason=\"too_large\"} 2"), "{text}");
        assert!(text.contains("sceau_commit_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("sceau_queue_bytes 5"), "{text}");
        assert!(two.render(&[]).contains("sceau_received_bytes_total 0"));
    }

    #[test]
    fn sources_are_counted_and_their_number_is_limited() {
        let metrics = Metrics::new();
        let answer = |accepted, rejected, replayed| {
            let (first_index, errors) = (Some(0), Vec::new());
            Ok(IngestAnswer { accepted, rejected, first_index, tree_size: 9, errors, replayed })
        };
        metrics.of_source("web", &answer(3, 1, false));
        metrics.of_source("web", &answer(3, 0, true));
        metrics.of_source("web", &Err(ServerError::Overloaded));
        metrics.of_source("no source", &Err(ServerError::parameter("source", "")));
        let text = metrics.render(&[]);
        assert!(text.contains("sceau_source_events_total{source=\"web\"} 3"), "{text}");
        assert!(text.contains("sceau_source_refused_total{source=\"web\"} 2"), "{text}");
        assert!(!text.contains("no source"), "{text}");
        for n in 0..2_000 {
            metrics.of_source(&format!("s{n}"), &answer(1, 0, false));
        }
        let text = metrics.render(&[]);
        assert_eq!(text.matches("sceau_source_events_total{").count(), MAX_SOURCES + 1);
        assert!(text.contains("sceau_source_events_total{source=\"(further)\"} 1001"), "{text}");
    }
}
