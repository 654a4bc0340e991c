//! Questions about events, and the entries themselves.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    Answer, Shared,
    params::{Params, index},
};
use crate::{
    error::ServerError,
    imports::ImportPosition,
    reader::{HistogramParams, MAX_ENTRIES, SearchParams, TopParams},
    views::{CountView, EventView, HistogramView, ProofView, SearchPage, TopView},
};

const NEXT: HeaderName = HeaderName::from_static("sceau-next-index");
const TLOG: &str = "text/plain; charset=utf-8";

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

pub(super) async fn histogram(State(app): Shared, uri: Uri) -> Answer<Json<HistogramView>> {
    let mut params = Params::read(&uri, &["q", "from", "to", "interval", "by"])?;
    let histogram =
        HistogramParams { filtered: params.filtered(), interval: params.text("interval"), by: params.text("by") };
    let _running = app.query()?;
    Ok(Json(app.reader().histogram(&histogram).await?))
}

pub(super) async fn top(State(app): Shared, uri: Uri) -> Answer<Json<TopView>> {
    let mut params = Params::read(&uri, &["q", "from", "to", "field", "limit"])?;
    let top =
        TopParams { filtered: params.filtered(), field: params.required("field")?, limit: params.number("limit")? };
    let _running = app.query()?;
    Ok(Json(app.reader().top(&top).await?))
}

pub(super) async fn count(State(app): Shared, uri: Uri) -> Answer<Json<CountView>> {
    let mut params = Params::read(&uri, &["q", "from", "to"])?;
    let _running = app.query()?;
    Ok(Json(app.reader().count(&params.filtered()).await?))
}

pub(super) async fn event(State(app): Shared, Path(at): Path<String>, uri: Uri) -> Answer<Json<EventView>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.reader().event(index(&at)?).await?))
}

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

pub(super) async fn entries(State(app): Shared, uri: Uri) -> Answer<Response> {
    let mut params = Params::read(&uri, &["from", "limit"])?;
    let from = params.number("from")?;
    let limit = params.number("limit")?.unwrap_or(1_000);
    if !(1..=MAX_ENTRIES).contains(&limit) {
        return Err(ServerError::parameter("limit", format!("must be 1 to {MAX_ENTRIES}")).into());
    }
    let _running = app.query()?;
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

pub(super) async fn import(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<ImportPosition>> {
    Params::read(&uri, &[])?;
    let position = app.reader().import_position(&id).await?;
    Ok(Json(position.ok_or_else(|| ServerError::NotFound(format!("The import {id:?}")))?))
}
