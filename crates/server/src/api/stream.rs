//! `GET /api/v1/stream`: what is committed and what changes about alerts, as server-sent events.
//!
//! Invariant: a stream is driven by its client alone. What comes next is read when the connection has room for it, and
//! nothing is kept for it meanwhile but one piece of bounded size. So the log never waits for a client, and what a slow one
//! is too late for is left out and told.

pub(super) mod tail;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse as _, Response},
};
use sceau_ledger::Index;
use sceau_store::StoreError;

use super::{Answer, App, Shared, WithCaller, params::Params, schemas::Filtering};
use crate::{auth::Caller, error::ServerError, log::Log, views::EventView};
use tail::Alerts;
pub(super) use tail::{Tail, Until};

/// How often it is looked whether the caller may still ask.
const LOOK: Duration = Duration::from_secs(3);
const LAST: HeaderName = HeaderName::from_static("last-event-id");

/// Follows the log.
///
/// Server-sent events: `event` (as in a search; its `id` is the entry's index), `alert` (an alert that was opened or changed)
/// and `skipped` (entries that this client was too slow for, or that retention deleted: `from`, `to`, `count`). It begins with
/// what comes next, or behind `after` or `Last-Event-ID`; then alerts that have changed since come again. It ends when the
/// server stops and when the caller's token or session is no longer valid.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "stream", operation_id = "followLog",
    params(
        Filtering,
        ("after" = Option<u64>, Query, description = "Go on behind this index."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; it goes before `after`."),
        ("events" = Option<bool>, Query, description = "`false`: no events, only alerts."),
        ("alerts" = Option<bool>, Query, description = "`true`: alerts that are opened or change, too."),
    ),
    responses((status = 200, description = "A stream without end", body = String, content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let mut params = Params::read(&uri, &["q", "from", "to", "after", "events", "alerts"])?;
    let log = app.log()?.clone();
    let query = app.reader().query(&params.filtered())?;
    let (events, alerts) = (params.flag("events", true)?, params.flag("alerts", false)?);
    if !events && !alerts {
        return Err(ServerError::parameter("events", "must not be false without alerts=true: nothing is left").into());
    }
    let after = match headers.get(LAST).map(HeaderValue::to_str) {
        None => params.number("after")?,
        Some(text) => Some(super::params::index(text.unwrap_or_default()).map_err(|_| {
            ServerError::parameter("Last-Event-ID", "must be the index of an entry, as this stream gives it")
        })?),
    };
    let head = log.head();
    let size = head.borrow().size.0;
    if let Some(after) = after.filter(|after| *after >= size) {
        return Err(ServerError::parameter("after", format!("{after} is not in the log of {size} entries")).into());
    }
    let alerts = if alerts { Some(follow_alerts(&app, &log, after).await?) } else { None };
    let place = app.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| ServerError::TooManyStreams(app.limits.streams))?;
    let until = Until {
        stopping: app.stopping(),
        allowed: Box::new(still_allowed(app.clone(), caller)),
        look: LOOK,
        over: false,
    };
    let tail = Tail::new(log, events.then_some(query), after.map_or(size, |after| after + 1), alerts, until);
    let pieces = futures::stream::unfold((tail, place), |(mut tail, place)| async move {
        let piece = tail.piece().await?;
        Some((Ok::<_, Infallible>(piece), (tail, place)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that gather answers would hold events back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Looks again whether whoever asked may still read.
pub(super) fn still_allowed(app: Arc<App>, caller: Caller) -> impl Fn() -> bool + Send + Sync + 'static {
    move || app.accounts.still_holds(&caller, app.reader().now())
}

/// Alerts from now on; if the client goes on behind an entry, with those that have changed since that was received.
async fn follow_alerts(app: &App, log: &Log, after: Option<u64>) -> Result<Alerts, ServerError> {
    let detection = app.detection()?.clone();
    let revision = detection.shared.desk.revision();
    let seen = *revision.borrow();
    let mut waiting = Vec::new();
    if let Some(after) = after {
        let since = match log.reader().store().entries(Index(after), 1).await {
            Ok(rows) => match rows.entries.into_iter().next() {
                Some(entry) => EventView::received(log.reader().deriver(), after, &entry)?,
                None => 0,
            },
            // All that are left are younger.
            Err(StoreError::Expired { .. }) => 0,
            Err(error) => return Err(error.into()),
        };
        waiting = detection.shared.desk.list(|alert| alert.updated.0 >= since, None, tail::MAX_ALERTS).await;
    }
    Ok(Alerts { detection, revision, seen, waiting })
}
