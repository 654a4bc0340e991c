//! How well the log is sealed, and checking it.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Shared, WithCaller, params::Params};
use crate::{
    detect::rebuild_alerts,
    error::ServerError,
    jobs::{JobView, Scope, Wanted},
    problem::Problem,
    rotation::{Rotated, RotatedKey},
    verify::{Pace, VerifyOptions},
    views::IntegrityView,
};

/// How well the log is sealed.
#[utoipa::path(
    get, path = "/api/v1/integrity", tag = "integrity", operation_id = "getIntegrity",
    responses((status = 200, description = "Head, keys, checkpoint, seal, last verification", body = IntegrityView)),
)]
pub(super) async fn integrity(State(app): Shared, uri: Uri) -> Answer<Json<IntegrityView>> {
    Params::read(&uri, &[])?;
    let view = app.reader().integrity().await?;
    let last = app.jobs.view(None).and_then(|job| serde_json::to_value(job).ok());
    let writing = match app.log().map(|log| (log, log.health().cause())) {
        Ok((_, Some(cause))) => format!("store_failed: {} Restart the server.", cause.sentence()),
        Ok((log, None)) => match log.check_accepting() {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{}: {}", error.code(), error.public_detail()),
        },
        Err(error) => format!("{}: {}", error.code(), error.public_detail()),
    };
    Ok(Json(IntegrityView { last_verification: last, writing, ..view }))
}

/// Says what a body should have been, and where it stopped to be that.
pub(super) fn not(expected: &str) -> impl FnOnce(serde_json::Error) -> ServerError {
    move |error| {
        let (line, column) = (error.line(), error.column());
        ServerError::Body(format!("line {line}, column {column}: expected {expected}"))
    }
}

/// One pinned key, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Pins {
    One(String),
    Several(Vec<String>),
}

impl From<Pins> for Vec<String> {
    fn from(pins: Pins) -> Self {
        match pins {
            Pins::One(pin) => vec![pin],
            Pins::Several(pins) => pins,
        }
    }
}

/// The body of a request to verify.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerificationWanted)]
pub(super) struct Body {
    /// The first epoch's public key, as the auditor has it.
    pin: Option<Pins>,
    /// A checkpoint that was kept elsewhere.
    since_checkpoint: Option<String>,
}

/// What was begun.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VerificationStarted)]
pub(super) struct Started {
    /// `GET /api/v1/integrity/verify/{id}` tells how far it is.
    id: String,
}

/// Starts a verification.
#[utoipa::path(
    post, path = "/api/v1/integrity/verify", tag = "integrity", operation_id = "startVerification",
    request_body(content = Option<Body>, description = "What to hold the log against; may be left out."),
    responses(
        (status = 202, description = "It has begun", body = Started),
        (status = 409, description = "One runs already: `verify_running`"),
    ),
)]
pub(super) async fn start(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<Started>)> {
    Params::read(&uri, &[])?;
    let wanted = if body.iter().all(u8::is_ascii_whitespace) {
        Body::default()
    } else {
        let expected =
            "an object with nothing but `pin` (a text or several in an array) and `since_checkpoint` (a text)";
        serde_json::from_slice(&body).map_err(not(expected))?
    };
    let options = VerifyOptions {
        pins: wanted.pin.map(Vec::from).unwrap_or_default(),
        since_checkpoints: wanted.since_checkpoint.into_iter().collect(),
        verifier_key: None,
    };
    options.check(app.log()?.keys().log_key().origin())?;
    let wanted = Wanted { options, scope: Scope::Whole, pace: Pace::FULL, actor: caller.id };
    let (id, _) = app.jobs.start(app.log()?, wanted)?;
    Ok((StatusCode::ACCEPTED, Json(Started { id })))
}

/// What was made again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rebuilt {
    /// How many records; null if they could not be derived.
    derived: Option<u64>,
    /// How many alerts there are; null if they could not be made.
    alerts: Option<u64>,
    /// Why one of the two failed, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, super::schemas::ProblemSchema>)]
    failed: BTreeMap<&'static str, Problem>,
}

/// Makes the alerts again, and derives all records of segments again.
///
/// Events go on being taken meanwhile. Records end early, between two segments, if the client goes away. Where one of the two
/// fails, `failed` says why, and the other is told.
#[utoipa::path(
    post, path = "/api/v1/integrity/rebuild", tag = "integrity", operation_id = "rebuildRecords",
    responses(
        (status = 200, description = "It is done, or one of the two is", body = Rebuilt),
        (status = 409, description = "`cancelled`, `conflict`"),
    ),
)]
pub(super) async fn rebuild(State(app): Shared, uri: Uri) -> Answer<Json<Rebuilt>> {
    Params::read(&uri, &[])?;
    let _running = app.query()?;
    let log = app.log()?;
    let reader = log.reader();
    let detection = match app.detection() {
        Ok(detection) => Some(&**detection),
        // It reads the alerts while it begins, and would not see what is written here.
        Err(error) if app.wants_detection() => return Err(error.into()),
        Err(_) => None,
    };
    let alerts = rebuild_alerts(log, detection).await;
    let derived = reader.store().rebuild(reader.deriver().clone(), &|_, _| ()).await.map_err(ServerError::from);
    if let (Err(records), Err(_)) = (&derived, &alerts) {
        tracing::error!(error = %records, "records could not be derived again");
    }
    let mut rebuilt = Rebuilt {
        derived: derived.as_ref().ok().copied(),
        alerts: alerts.as_ref().ok().copied(),
        failed: BTreeMap::new(),
    };
    let failed = match (derived, alerts) {
        (Ok(_), Ok(_)) => return Ok(Json(rebuilt)),
        (Err(_), Err(error)) => return Err(error.into()),
        (Err(error), Ok(_)) => ("derived", error),
        (Ok(_), Err(error)) => ("alerts", error),
    };
    tracing::error!(error = %failed.1, what = failed.0, "only a part could be made again");
    rebuilt.failed.insert(failed.0, Problem::from(&failed.1));
    Ok(Json(rebuilt))
}

/// The body of a request to rotate a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    key: RotatedKey,
}

/// Puts a new key in the place of the log key or the MAC key.
#[utoipa::path(
    post, path = "/api/v1/keys/rotate", tag = "integrity", operation_id = "rotateKey",
    request_body = Rotate,
    responses(
        (status = 200, description = "The new key counts", body = Rotated),
        (status = 409, description = "`conflict`"),
    ),
)]
pub(super) async fn rotate(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<Rotated>> {
    Params::read(&uri, &[])?;
    let expected = r#"{"key": "log"} or {"key": "mac"}"#;
    let wanted: Rotate = serde_json::from_slice(&body).map_err(not(expected))?;
    Ok(Json(app.log()?.rotate(wanted.key, &caller.id).await?))
}

/// The last verification.
#[utoipa::path(
    get, path = "/api/v1/integrity/verify", tag = "integrity", operation_id = "getLastVerification",
    responses(
        (status = 200, description = "Its state, progress and verdict", body = JobView),
        (status = 404, description = "None ran since the server started: `not_found`"),
    ),
)]
pub(super) async fn last(State(app): Shared, uri: Uri) -> Answer<Json<JobView>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.jobs.view(None).ok_or_else(|| ServerError::NotFound("A verification".to_owned()))?))
}

/// One verification.
#[utoipa::path(
    get, path = "/api/v1/integrity/verify/{id}", tag = "integrity", operation_id = "getVerification",
    params(("id" = String, Path, description = "What starting it gave.")),
    responses((status = 200, description = "Its state, progress and verdict", body = JobView)),
)]
pub(super) async fn one(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<JobView>> {
    Params::read(&uri, &[])?;
    let job = app.jobs.view(Some(&id));
    Ok(Json(job.ok_or_else(|| ServerError::NotFound("A verification with this id".to_owned()))?))
}
