//! Questions about events, and the entries themselves.

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Answer, Shared, WithCaller,
    params::{Params, index},
    schemas::Filtering,
};
use crate::{
    error::ServerError,
    imports::ImportPosition,
    reader::{HistogramParams, MAX_ENTRIES, SearchParams, TopParams},
    views::{CountView, EventView, HistogramView, ProofView, SearchPage, TopView},
};

const NEXT: HeaderName = HeaderName::from_static("sceau-next-index");
const TLOG: &str = "text/plain; charset=utf-8";

/// Searches events.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", operation_id = "searchEvents",
    params(
        Filtering,
        ("order" = Option<String>, Query, description = "`newest` (if nothing is said) or `oldest` first.",
            pattern = "^(newest|oldest)$"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000, description = "How many, 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of events", body = SearchPage)),
)]
pub(super) async fn search(State(app): Shared, uri: Uri) -> Answer<Json<SearchPage>> {
    let mut params = Params::read(&uri, &["q", "from", "to", "order", "limit", "cursor"])?;
    let search = SearchParams {
        filtered: params.filtered(),
        order: params.order()?,
        limit: params.number("limit")?,
        cursor: params.text("cursor"),
    };
    let _running = app.query()?;
    Ok(Json(app.reader().search(&search).await?))
}

/// Counts events per interval of time.
#[utoipa::path(
    get, path = "/api/v1/events/histogram", tag = "events", operation_id = "countEventsByTime",
    params(
        Filtering,
        ("interval" = Option<String>, Query, description = "As `10m`, `1h`, `1d`, `1w`; chosen for the times that there are \
            if nothing is said."),
        ("by" = Option<String>, Query, description = "A field whose values are counted apart.", max_length = 256),
    ),
    responses((status = 200, description = "Intervals that have events", body = HistogramView)),
)]
pub(super) async fn histogram(State(app): Shared, uri: Uri) -> Answer<Json<HistogramView>> {
    let mut params = Params::read(&uri, &["q", "from", "to", "interval", "by"])?;
    let histogram =
        HistogramParams { filtered: params.filtered(), interval: params.text("interval"), by: params.text("by") };
    let _running = app.query()?;
    Ok(Json(app.reader().histogram(&histogram).await?))
}

/// The most frequent values of a field.
#[utoipa::path(
    get, path = "/api/v1/events/top", tag = "events", operation_id = "topValues",
    params(
        Filtering,
        ("field" = String, Query, description = "The field.", min_length = 1, max_length = 256),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000, description = "How many, 10 if nothing is said."),
    ),
    responses((status = 200, description = "Values, the most frequent first", body = TopView)),
)]
pub(super) async fn top(State(app): Shared, uri: Uri) -> Answer<Json<TopView>> {
    let mut params = Params::read(&uri, &["q", "from", "to", "field", "limit"])?;
    let top =
        TopParams { filtered: params.filtered(), field: params.required("field")?, limit: params.number("limit")? };
    let _running = app.query()?;
    Ok(Json(app.reader().top(&top).await?))
}

/// Counts events.
#[utoipa::path(
    get, path = "/api/v1/events/count", tag = "events", operation_id = "countEvents",
    params(Filtering),
    responses((status = 200, description = "How many there are", body = CountView)),
)]
pub(super) async fn count(State(app): Shared, uri: Uri) -> Answer<Json<CountView>> {
    let mut params = Params::read(&uri, &["q", "from", "to"])?;
    let _running = app.query()?;
    Ok(Json(app.reader().count(&params.filtered()).await?))
}

/// One event.
#[utoipa::path(
    get, path = "/api/v1/events/{index}", tag = "events", operation_id = "getEvent",
    params(("index" = u64, Path, description = "Its place in the log.")),
    responses(
        (status = 200, description = "The event", body = EventView),
        (status = 410, description = "Retention deleted it: `entry_expired`"),
    ),
)]
pub(super) async fn event(State(app): Shared, Path(at): Path<String>, uri: Uri) -> Answer<Json<EventView>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.reader().event(index(&at)?).await?))
}

/// The proof that an entry is in the log.
#[utoipa::path(
    get, path = "/api/v1/events/{index}/proof", tag = "proofs", operation_id = "getProof",
    params(
        ("index" = u64, Path, description = "Its place in the log."),
        ("format" = Option<String>, Query, description = "`json` or `tlog`; if nothing is said, what `Accept` asks for.",
            pattern = "^(json|tlog)$"),
    ),
    responses(
        (status = 200, description = "The proof, or the same as a C2SP tlog-proof", content(
            (ProofView = "application/json"), (String = "text/plain"),
        )),
        (status = 409, description = "No checkpoint covers it yet: `not_published`"),
        (status = 410, description = "Retention deleted it: `entry_expired`"),
    ),
)]
pub(super) async fn proof(
    State(app): Shared,
    Path(at): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let mut params = Params::read(&uri, &["format"])?;
    let at = index(&at)?;
    let text = match params.text("format").as_deref() {
        Some("tlog") => true,
        Some("json") => false,
        Some(_) => return Err(ServerError::parameter("format", "must be json or tlog").into()),
        None => wants_text(&headers),
    };
    let proof = match app.reader().proof(at).await {
        // A checkpoint is at most a second away; whoever asks for a proof need not wait for it.
        Err(ServerError::NotPublished(_)) if app.log().is_ok() => {
            app.log()?.publisher().publish().await?;
            app.reader().proof(at).await?
        }
        proof => proof?,
    };
    if text { Ok(([(header::CONTENT_TYPE, TLOG)], proof.to_tlog()).into_response()) } else { Ok(json(&proof)) }
}

fn json(proof: &ProofView) -> Response {
    Json(proof).into_response()
}

fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').next().is_some_and(|first| first.trim().starts_with("text/plain"))
}

/// Entries, exactly as sealed.
///
/// One JSON object a line, from an index on. `Sceau-Next-Index` says where to go on; an answer without lines is the end.
#[utoipa::path(
    get, path = "/api/v1/entries", tag = "proofs", operation_id = "exportEntries",
    params(
        ("from" = Option<u64>, Query, description = "The first index; if nothing is said, the first that is kept."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10_000,
            description = "How many at most, 1,000 if nothing is said."),
    ),
    responses(
        (status = 200, description = "Entries", body = String, content_type = "application/x-ndjson",
            headers(("Sceau-Next-Index" = u64, description = "The index to go on from"))),
        (status = 410, description = "Retention deleted the first: `entry_expired`"),
    ),
)]
pub(super) async fn entries(State(app): Shared, Extension(caller): WithCaller, uri: Uri) -> Answer<Response> {
    let mut params = Params::read(&uri, &["from", "limit"])?;
    let from = params.number("from")?;
    let limit = params.limit(1_000, MAX_ENTRIES)?;
    let _running = app.query()?;
    if let Ok(log) = app.log() {
        app.exports.seal(log, &caller, from).await?;
    }
    let rows = app.reader().entries(from, limit).await?;
    let next = rows.first.0.saturating_add(rows.entries.len() as u64);
    let mut lines = Vec::with_capacity(rows.entries.iter().map(|entry| entry.len() + 1).sum());
    for entry in rows.entries {
        lines.extend_from_slice(&entry);
        lines.push(b'\n');
    }
    let mut response = Body::from(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(NEXT, HeaderValue::from(next));
    Ok(response)
}

/// How far an import has come.
#[utoipa::path(
    get, path = "/api/v1/imports/{id}", tag = "events", operation_id = "getImport",
    params(("id" = String, Path, description = "The import's name.", max_length = 128)),
    responses(
        (status = 200, description = "Its position", body = ImportPosition),
        (status = 409, description = "The stored position is not this log's: `state_forged`"),
    ),
)]
pub(super) async fn import(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<ImportPosition>> {
    Params::read(&uri, &[])?;
    let position = app.reader().import_position(&id).await?;
    Ok(Json(position.ok_or_else(|| ServerError::NotFound(format!("The import {id:?}")))?))
}
