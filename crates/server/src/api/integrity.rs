//! How well the log is sealed, and checking it.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Actor, Answer, Shared, WithActor, params::Params};
use crate::{
    detect::rebuild_alerts,
    error::ServerError,
    jobs::{JobView, Scope, Wanted},
    problem::Problem,
    rotation::{Rotated, RotatedKey},
    verify::{Pace, VerifyOptions},
    views::IntegrityView,
};

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
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    pin: Option<Pins>,
    since_checkpoint: Option<String>,
}

pub(super) async fn start(
    State(app): Shared,
    Extension(Actor(actor)): WithActor,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<Value>)> {
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
    let wanted = Wanted { options, scope: Scope::Whole, pace: Pace::FULL, actor };
    let (id, _) = app.jobs.start(app.log()?, wanted)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id}))))
}

/// Makes the alerts again, and derives all records of segments again; events go on being taken meanwhile. Records end early,
/// between two segments, if the client goes away. Where one of the two fails, `failed` says why, and the other is told.
pub(super) async fn rebuild(State(app): Shared, uri: Uri) -> Answer<Json<Value>> {
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
    let mut answer = json!({"derived": derived.as_ref().ok(), "alerts": alerts.as_ref().ok()});
    let failed = match (derived, alerts) {
        (Ok(_), Ok(_)) => return Ok(Json(answer)),
        (Err(_), Err(error)) => return Err(error.into()),
        (Err(error), Ok(_)) => ("derived", error),
        (Ok(_), Err(error)) => ("alerts", error),
    };
    tracing::error!(error = %failed.1, what = failed.0, "only a part could be made again");
    answer["failed"] = json!({failed.0: Problem::from(&failed.1)});
    Ok(Json(answer))
}

/// The body of a request to rotate a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    key: RotatedKey,
}

/// Puts a new key in the place of the log key or the MAC key.
pub(super) async fn rotate(
    State(app): Shared,
    Extension(actor): WithActor,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<Rotated>> {
    Params::read(&uri, &[])?;
    let expected = r#"{"key": "log"} or {"key": "mac"}"#;
    let wanted: Rotate = serde_json::from_slice(&body).map_err(not(expected))?;
    Ok(Json(app.log()?.rotate(wanted.key, &actor.0).await?))
}

pub(super) async fn last(State(app): Shared, uri: Uri) -> Answer<Json<JobView>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.jobs.view(None).ok_or_else(|| ServerError::NotFound("A verification".to_owned()))?))
}

pub(super) async fn one(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<JobView>> {
    Params::read(&uri, &[])?;
    let job = app.jobs.view(Some(&id));
    Ok(Json(job.ok_or_else(|| ServerError::NotFound("A verification with this id".to_owned()))?))
}
