//! `POST /api/v1/events`.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::{Body, HttpBody as _},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::{Answer, App, Peer, Shared, WithCaller, params::Params};
use crate::{
    body::{Encoding, Format},
    error::ServerError,
    imports::{ImportMove, ImportPosition},
    ingest::{IngestAnswer, IngestRequest},
};

const KNOWN: [&str; 9] =
    ["source", "parser", "zone", "atomic", "import", "import_from", "import_to", "import_lines", "import_tail"];
const IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Sends events.
///
/// The answer comes when the entries are durable. Bad events are listed; the good ones are kept.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events", operation_id = "sendEvents",
    params(
        ("source" = Option<String>, Query, description = "Who sends; `http` if nothing is said. `sceau.` is reserved.",
            min_length = 1, max_length = 64, pattern = "^[a-z0-9._-]+$"),
        ("parser" = Option<String>, Query, description = "For lines: a parser by name."),
        ("zone" = Option<String>, Query, description = "For lines: the zone of times that have none."),
        ("atomic" = Option<bool>, Query, description = "`true`: one bad event refuses the whole request."),
        ("import" = Option<String>, Query, description = "An import's name, whose position moves in the same commit.",
            min_length = 1, max_length = 128),
        ("import_from" = Option<u64>, Query, description = "The offset that the import must be at."),
        ("import_to" = Option<u64>, Query, description = "The offset after this request."),
        ("import_lines" = Option<u64>, Query, description = "The number of lines after this request."),
        ("import_tail" = Option<String>, Query, description = "What the importer wants to recognise its input by, \
            hexadecimal.", max_length = 256),
        ("Idempotency-Key" = Option<String>, Header, description = "The same request with the same key within a day seals \
            nothing more.", min_length = 1, max_length = 128),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip`, `zstd` or `identity`.",
            pattern = "^(gzip|zstd|identity)$"),
    ),
    request_body(
        description = "Events: a JSON object or an array of objects; one object a line; or lines of text.",
        content((serde_json::Value = "application/json"), (String = "application/x-ndjson"), (String = "text/plain")),
    ),
    responses(
        (status = 200, description = "Some or all are kept, and durable", body = IngestAnswer,
            headers(("Idempotent-Replay" = String, description = "`true`: the answer to an earlier request"))),
        (status = 403, description = "`forbidden`, `reserved_source`"),
        (status = 408, description = "The body came too slowly: `body_timeout`"),
        (status = 409, description = "`import_position`, `state_forged`, `conflict`"),
        (status = 413, description = "`body_too_large`, `too_many_events`, `too_large`, `atomic_refused`"),
        (status = 415, description = "Content type or encoding: `unsupported_type`"),
        (status = 422, description = "The key was used for another request: `idempotency_mismatch`"),
    ),
)]
pub(super) async fn post(
    State(app): Shared,
    Extension(caller): WithCaller,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let mut request = request(&uri, &headers)?;
    let log = app.log()?;
    caller.check_source(&request.source)?;
    request.actor = caller.id;
    request.peer = peer.map(|Extension(peer)| peer.address.to_string());
    request.check(app.reader().deriver())?;
    let (body, _room) = receive(&app, body).await?;
    let answer = log.ingest(body, &request).await?;
    let replayed = answer.replayed;
    let mut response = Json(answer).into_response();
    if replayed {
        response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn request(uri: &Uri, headers: &HeaderMap) -> Result<IngestRequest, ServerError> {
    let mut params = Params::read(uri, &KNOWN)?;
    let import = import(&mut params)?;
    let idempotency = match headers.get(IDEMPOTENCY).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(key)) => Some(key.to_owned()),
        Some(Err(_)) => {
            return Err(ServerError::parameter("Idempotency-Key", "must be 1 to 128 printable ASCII characters"));
        }
    };
    Ok(IngestRequest {
        format: format(headers.get(header::CONTENT_TYPE))?,
        encoding: encoding(headers.get(header::CONTENT_ENCODING))?,
        source: params.text("source").unwrap_or_else(|| "http".to_owned()),
        parser: params.text("parser"),
        zone: params.text("zone"),
        atomic: params.flag("atomic", false)?,
        idempotency,
        import,
        ..IngestRequest::default()
    })
}

fn import(params: &mut Params) -> Result<Option<ImportMove>, ServerError> {
    let Some(id) = params.text("import") else {
        return match params.text("import_from").or(params.text("import_to")).or(params.text("import_lines")) {
            Some(_) => Err(ServerError::parameter("import", "is missing")),
            None => Ok(None),
        };
    };
    let missing = |name: &'static str| move || ServerError::parameter(name, "is missing");
    let from = params.number("import_from")?.ok_or_else(missing("import_from"))?;
    let offset = params.number("import_to")?.ok_or_else(missing("import_to"))?;
    let lines = params.number("import_lines")?.unwrap_or(0);
    let tail = params.text("import_tail").unwrap_or_default();
    Ok(Some(ImportMove { id, from, to: ImportPosition { offset, lines, tail } }))
}

fn format(header: Option<&HeaderValue>) -> Result<Format, ServerError> {
    let unsupported = || {
        ServerError::Unsupported(
            "content types understood: application/json, application/x-ndjson, application/jsonl, text/plain; in UTF-8"
                .to_owned(),
        )
    };
    let Some(header) = header else { return Ok(Format::Json) };
    let text = header.to_str().map_err(|_| unsupported())?.to_ascii_lowercase();
    let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let charset = parameters.split(';').filter_map(|parameter| parameter.trim().strip_prefix("charset="));
    if charset.map(|name| name.trim_matches('"')).any(|name| !matches!(name, "utf-8" | "utf8" | "us-ascii")) {
        return Err(unsupported());
    }
    match kind.trim() {
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Format::Ndjson)
        }
        "text/plain" => Ok(Format::Text),
        _ => Err(unsupported()),
    }
}

fn encoding(header: Option<&HeaderValue>) -> Result<Encoding, ServerError> {
    let Some(header) = header else { return Ok(Encoding::Identity) };
    match header.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(ServerError::Unsupported("content encodings understood: gzip, zstd, identity".to_owned())),
    }
}

/// Reads a body within the limits of its own size, of all bodies together, and of time.
async fn receive(app: &App, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ServerError> {
    let read = read(app, body);
    tokio::time::timeout(app.limits.body_time, read).await.map_err(|_| ServerError::BodyTimeout)?
}

async fn read(app: &App, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ServerError> {
    let limit = app.limits.body;
    let too_large = || ServerError::BodyTooLarge { limit, inflated: false };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let whole = usize::try_from(body.size_hint().exact().unwrap_or(0)).unwrap_or(0).min(RESERVED);
    let mut room: Option<OwnedSemaphorePermit> = None;
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| ServerError::Body(format!("it broke off: {error}")))?;
        let so_far = if rest.is_empty() { first.len() } else { rest.len() };
        if so_far + frame.len() > limit {
            return Err(too_large());
        }
        let size = u32::try_from(frame.len()).map_err(|_| too_large())?;
        let more = Arc::clone(&app.bodies).try_acquire_many_owned(size).map_err(|_| ServerError::Overloaded)?;
        match &mut room {
            None => room = Some(more),
            Some(room) => room.merge(more),
        }
        // Most bodies come in one frame, which then need not be copied.
        if first.is_empty() {
            first = frame;
        } else {
            if rest.is_empty() {
                // What never comes costs no memory: pages are given when they are written to.
                rest.reserve(whole);
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&frame);
        }
    }
    Ok((if rest.is_empty() { first } else { rest.freeze() }, room))
}

/// The most bytes that are reserved on a client's word that they will come.
const RESERVED: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    #[test]
    fn types_and_encodings() {
        for (text, wanted) in [
            ("application/json", Some(Format::Json)),
            ("Application/JSON; charset=UTF-8", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            ("application/jsonl", Some(Format::Ndjson)),
            ("text/plain;charset=\"utf-8\"", Some(Format::Text)),
            ("text/plain; charset=latin1", None),
            ("application/xml", None),
            ("application/x-www-form-urlencoded", None),
        ] {
            assert_eq!(format(Some(&value(text))).ok(), wanted, "{text}");
        }
        assert_eq!(format(None).unwrap(), Format::Json);
        for (text, wanted) in [
            ("gzip", Some(Encoding::Gzip)),
            ("GZIP", Some(Encoding::Gzip)),
            ("zstd", Some(Encoding::Zstd)),
            ("identity", Some(Encoding::Identity)),
            ("br", None),
            ("gzip, zstd", None),
        ] {
            assert_eq!(encoding(Some(&value(text))).ok(), wanted, "{text}");
        }
    }
}
