//! For those who run it.

use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};

use super::{Answer, Shared, params::Params};

/// The process is there.
#[utoipa::path(
    get, path = "/healthz", tag = "operation", operation_id = "getHealth",
    responses((status = 200, description = "It is", body = String)),
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The log accepts entries.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "getReadiness",
    responses((status = 200, description = "It does; else 503 says why not", body = String)),
)]
pub(super) async fn readyz(State(app): Shared) -> Answer<&'static str> {
    app.log()?.check_accepting()?;
    Ok("ok\n")
}

/// What the server counts, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "getMetrics",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): Shared, uri: Uri) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let mut gauges = app.reader().store().gauges().await?;
    let published = app.published().await?.map_or(0, |published| published.head.size.0);
    let kept = app.reader().store().kept_from().await?;
    let size = match app.log() {
        Ok(log) => {
            log.disk().look();
            gauges.push(("queue_bytes", log.queued() as f64));
            gauges.push(("queue_limit_bytes", app.limits.queue as f64));
            log.head().borrow().size.0
        }
        Err(_) => app.reader().store().head().await?.size.0,
    };
    let accepting = app.log().is_ok_and(|log| log.check_accepting().is_ok());
    gauges.extend([
        ("kept_from", kept.0 as f64),
        ("tree_size", size as f64),
        ("published_size", published as f64),
        ("queries_running", (app.limits.queries - app.queries.available_permits()) as f64),
        ("streams_open", (app.limits.streams - app.streams.available_permits()) as f64),
        ("accepting", f64::from(u8::from(accepting))),
        ("standby", f64::from(u8::from(app.log().is_err()))),
    ]);
    if let Some(found) = app.jobs.found() {
        gauges.push(("verification_faults", found.faults as f64));
        gauges.push(("verification_tree_size", found.entries as f64));
    }
    match app.detection() {
        Ok(detection) => gauges.extend(detection.gauges()),
        Err(_) if app.wants_detection() => gauges.push(("detector_running", 0.0)),
        Err(_) => {}
    }
    let text = app.metrics.render(&gauges);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
