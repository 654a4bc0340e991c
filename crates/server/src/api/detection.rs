//! Replays, and saved analyses.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Shared, integrity::not, params::Params, rules::excepted};
use crate::{
    detect::{
        Analysis, AnalysisView, Asked, DetectionFiles, Excepted, Mode, ReplayView, Rules, analyse, analyses, read_rules,
    },
    error::ServerError,
    reader::Filtered,
};

/// How far back a preview of an exception looks, microseconds.
const PREVIEW: i64 = 30 * 86_400 * 1_000_000;

/// The replays of a preview.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Preview {
    /// Without the exception.
    without: ReplayView,
    /// With it; left out if it only suppresses alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<ReplayView>,
}

/// What an exception would have hidden in the last 30 days.
///
/// Begins a replay without it and, if records are to be left out, one with it. Of one that suppresses alerts the first
/// tells how many findings it fits.
#[utoipa::path(
    post, path = "/api/v1/rules/exceptions/preview", tag = "rules", operation_id = "previewException",
    request_body = Excepted,
    responses(
        (status = 202, description = "The replays have begun", body = Preview),
        (status = 404, description = "There is no such rule: `not_found`"),
    ),
)]
pub(super) async fn preview(State(app): Shared, uri: Uri, body: Bytes) -> Answer<(StatusCode, Json<Preview>)> {
    Params::read(&uri, &[])?;
    let excepted = excepted(&body)?;
    let detection = app.detection()?;
    detection.check_exception(&excepted)?;
    let now = detection.log().now().0;
    let set = detection.current().set;
    let before: Vec<Excepted> = set.exceptions.values().cloned().collect();
    let suppresses = excepted.mode == Mode::Suppress;
    let asked = |exceptions| Asked {
        from: Some(now.saturating_sub(PREVIEW)),
        rule: excepted.rule.clone(),
        exceptions: Some(exceptions),
        suppression: suppresses.then(|| excepted.clone()),
        ..Asked::default()
    };
    let files = files(&app).await?;
    let without = begin(&app, files.clone(), asked(before.clone()))?;
    if suppresses {
        return Ok((StatusCode::ACCEPTED, Json(Preview { without, with: None })));
    }
    let after = before.into_iter().chain([excepted.clone()]).collect();
    match begin(&app, files, asked(after)) {
        Ok(with) => Ok((StatusCode::ACCEPTED, Json(Preview { without, with: Some(with) }))),
        Err(error) => {
            // Nobody would know of the first.
            detection.replays.get(without.id()).inspect(|replay| replay.cancel());
            Err(error.into())
        }
    }
}

/// What to replay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayWanted)]
pub(super) struct ReplayBody {
    from: Option<String>,
    to: Option<String>,
    q: Option<String>,
    rule: Option<String>,
}

/// The rule files as they are now.
async fn files(app: &super::App) -> Result<Arc<DetectionFiles>, ServerError> {
    let directory = app.detection()?.directory();
    let files = tokio::task::spawn_blocking(move || read_rules(directory.as_deref())).await;
    Ok(Arc::new(files.map_err(|error| ServerError::Internal(error.to_string()))??))
}

fn begin(app: &super::App, files: Arc<DetectionFiles>, asked: Asked) -> Result<ReplayView, ServerError> {
    let detection = app.detection()?;
    if let Some(rule) = &asked.rule
        && !detection.current().rules.has(rule)
    {
        return Err(ServerError::NotFound(format!("rule {rule}")));
    }
    let rules = Rules { files, set: (*detection.current().set).clone() };
    Ok(detection.replays.start(app.reader(), rules, asked)?.view())
}

/// Replays rules over the log.
#[utoipa::path(
    post, path = "/api/v1/rules/replay", tag = "rules", operation_id = "startReplay",
    request_body(content = Option<ReplayBody>, description = "What to replay; everything if nothing is said."),
    responses(
        (status = 202, description = "It has begun", body = ReplayView),
        (status = 404, description = "There is no such rule: `not_found`"),
    ),
)]
pub(super) async fn replay(State(app): Shared, uri: Uri, body: Bytes) -> Answer<(StatusCode, Json<ReplayView>)> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "from", "to", "q" or "rule""#;
    let body: ReplayBody =
        if body.is_empty() { ReplayBody::default() } else { serde_json::from_slice(&body).map_err(not(expected))? };
    let ReplayBody { from, to, q, rule } = body;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (q, rule) = (some(q), some(rule));
    let asked = Asked::of(app.reader(), &Filtered { q, from: some(from), to: some(to) }, rule)?;
    let files = files(&app).await?;
    Ok((StatusCode::ACCEPTED, Json(begin(&app, files, asked)?)))
}

/// One replay.
#[utoipa::path(
    get, path = "/api/v1/rules/replay/{id}", tag = "rules", operation_id = "getReplay",
    params(("id" = String, Path, description = "What starting it gave.")),
    responses((status = 200, description = "Its state, and at its end what it found", body = ReplayView)),
)]
pub(super) async fn replayed(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<ReplayView>> {
    Params::read(&uri, &[])?;
    let replay = app.detection()?.replays.get(&id);
    Ok(Json(replay.ok_or_else(|| ServerError::NotFound(format!("replay {id}")))?.view()))
}

/// Stops a replay.
#[utoipa::path(
    delete, path = "/api/v1/rules/replay/{id}", tag = "rules", operation_id = "cancelReplay",
    params(("id" = String, Path, description = "What starting it gave.")),
    responses((status = 204, description = "It stops")),
)]
pub(super) async fn cancel_replay(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let replay = app.detection()?.replays.get(&id);
    replay.ok_or_else(|| ServerError::NotFound(format!("replay {id}")))?.cancel();
    Ok(StatusCode::NO_CONTENT)
}

/// All analyses: the shipped ones, so that they need no pages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnalysisList {
    #[schema(value_type = Vec<Analysis>)]
    analyses: Vec<&'static Analysis>,
}

/// Saved questions.
#[utoipa::path(
    get, path = "/api/v1/analyses", tag = "analyses", operation_id = "listAnalyses",
    responses((status = 200, description = "All of them", body = AnalysisList)),
)]
pub(super) async fn list_analyses(uri: Uri) -> Answer<Json<AnalysisList>> {
    Params::read(&uri, &[])?;
    Ok(Json(AnalysisList { analyses: analyses().collect() }))
}

/// Asks a saved question.
#[utoipa::path(
    get, path = "/api/v1/analyses/{id}", tag = "analyses", operation_id = "runAnalysis",
    params(
        ("id" = String, Path, description = "The analysis."),
        ("from" = Option<String>, Query, description = "Only events whose own time is not before this."),
        ("to" = Option<String>, Query, description = "Only events whose own time is before this."),
    ),
    responses((status = 200, description = "At most 10,000 rows, the greatest counts first", body = AnalysisView)),
)]
pub(super) async fn analysis(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<AnalysisView>> {
    let mut params = Params::read(&uri, &["from", "to"])?;
    let filtered = params.filtered();
    let _running = app.query()?;
    Ok(Json(analyse(app.reader(), &id, filtered).await?))
}
