//! For those who run it.

use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use super::{Answer, Shared, params::Params};

/// The process is there.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The log accepts entries.
pub(super) async fn readyz(State(app): Shared) -> Answer<&'static str> {
    app.log.check_accepting()?;
    Ok("ok\n")
}

pub(super) async fn metrics(State(app): Shared, uri: Uri) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let mut gauges = app.log.reader().store().gauges().await?;
    let published = app.log.publisher().published().map_or(0, |published| published.head.size.0);
    app.log.disk().look();
    let kept = app.log.reader().store().kept_from().await?;
    gauges.extend([
        ("kept_from", kept.0 as f64),
        ("queue_bytes", app.log.queued() as f64),
        ("tree_size", app.log.head().borrow().size.0 as f64),
        ("published_size", published as f64),
        ("queries_running", (app.limits.queries - app.queries.available_permits()) as f64),
        ("accepting", f64::from(u8::from(app.log.check_accepting().is_ok()))),
    ]);
    if let Some(found) = app.jobs.found() {
        gauges.push(("verification_faults", found.faults as f64));
        gauges.push(("verification_tree_size", found.entries as f64));
    }
    let text = app.log.metrics().render(&gauges);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
