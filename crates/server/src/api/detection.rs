//! Rules, what is set about them, replays and analyses.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use sceau_detect::{Refusal, RuleMeta, RuleOverride};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Shared, WithActor, integrity::not, params::Params};
use crate::{
    detect::{
        Analysis, AnalysisView, Asked, DetectionFiles, Excepted, General, Mode, ReplayView, Rules, analyse, analyses,
        noisy, read_rules,
    },
    error::ServerError,
    reader::Filtered,
};

/// How far back a preview of an exception looks, microseconds.
const PREVIEW: i64 = 30 * 86_400 * 1_000_000;

/// A rule and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct RuleView {
    #[serde(flatten)]
    meta: RuleMeta,
    /// How many alerts there are of it.
    alerts: u64,
    /// What is set beside its file.
    #[serde(rename = "override")]
    set: Option<RuleOverride>,
}

/// All rules.
#[derive(Debug, Serialize)]
pub(super) struct RulesView {
    rules: Vec<RuleView>,
    refused: Vec<Refusal>,
    hash: String,
    /// The rule that makes half of all alerts or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    noisy_rule: Option<String>,
    /// How far the detector is, and whether it works.
    detector: Value,
}

pub(super) async fn rules(State(app): Shared, uri: Uri) -> Answer<Json<RulesView>> {
    Params::read(&uri, &[])?;
    let detection = app.detection()?;
    let current = detection.current();
    let counts = detection.shared.desk.counts().rules;
    let view = |meta: &RuleMeta| RuleView {
        alerts: counts.get(&meta.id).copied().unwrap_or(0),
        set: current.set.overrides.get(&meta.id).cloned(),
        meta: meta.clone(),
    };
    let (next, size) = detection.position();
    let stats = detection.stats();
    let detector = json!({
        "running": detection.is_running(),
        "next_index": next,
        "kept_index": detection.kept(),
        "tree_size": size,
        "windows": stats,
    });
    Ok(Json(RulesView {
        rules: current.rules.rules().iter().map(view).collect(),
        refused: current.rules.refusals().to_vec(),
        hash: current.rules.hash().to_owned(),
        noisy_rule: noisy(&counts).map(str::to_owned),
        detector,
    }))
}

/// Reads the rules' directory again at once.
pub(super) async fn reload(State(app): Shared, Extension(actor): WithActor, uri: Uri) -> Answer<Json<RulesView>> {
    Params::read(&uri, &[])?;
    app.detection()?.reload(&actor.0).await?;
    rules(State(app), uri).await
}

/// Sets what counts for a rule beside its file.
pub(super) async fn set_override(
    State(app): Shared,
    Extension(actor): WithActor,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "enabled", "level" or "threshold""#;
    let wanted: RuleOverride = serde_json::from_slice(&body).map_err(not(expected))?;
    let wanted = (wanted != RuleOverride::default()).then_some(wanted);
    app.detection()?.set_override(&id, wanted.as_ref(), &actor.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn settings(State(app): Shared, uri: Uri) -> Answer<Json<General>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.detection()?.current().set.general.clone()))
}

pub(super) async fn set_settings(
    State(app): Shared,
    Extension(actor): WithActor,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<General>> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "lists", "zone" and "lateness" (seconds)"#;
    let wanted: General = serde_json::from_slice(&body).map_err(not(expected))?;
    app.detection()?.set_general(&wanted, &actor.0).await?;
    settings(State(app), uri).await
}

/// An exception with its id.
#[derive(Debug, Serialize)]
pub(super) struct ExceptionView {
    id: String,
    #[serde(flatten)]
    excepted: Excepted,
}

pub(super) async fn exceptions(State(app): Shared, uri: Uri) -> Answer<Json<Value>> {
    Params::read(&uri, &[])?;
    let set = app.detection()?.current().set;
    let view = |(id, excepted): (&String, &Excepted)| ExceptionView { id: id.clone(), excepted: excepted.clone() };
    let all: Vec<_> = set.exceptions.iter().map(view).collect();
    Ok(Json(json!({"exceptions": all})))
}

fn excepted(body: &[u8]) -> Result<Excepted, ServerError> {
    let expected = r#"an object with "fields", and maybe "rule", "until", "mode" (exclude or suppress) and "reason""#;
    serde_json::from_slice(body).map_err(not(expected))
}

pub(super) async fn add_exception(
    State(app): Shared,
    Extension(actor): WithActor,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<ExceptionView>)> {
    Params::read(&uri, &[])?;
    let excepted = excepted(&body)?;
    let id = app.detection()?.add_exception(&excepted, &actor.0).await?;
    Ok((StatusCode::CREATED, Json(ExceptionView { id, excepted })))
}

pub(super) async fn remove_exception(
    State(app): Shared,
    Extension(actor): WithActor,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    app.detection()?.remove_exception(&id, &actor.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an exception would have hidden in the last 30 days: begins a replay without it and, if records are to be left out,
/// one with it. Of one that suppresses alerts the first tells how many findings it fits.
pub(super) async fn preview(State(app): Shared, uri: Uri, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
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
        return Ok((StatusCode::ACCEPTED, Json(json!({"without": without}))));
    }
    let after = before.into_iter().chain([excepted.clone()]).collect();
    match begin(&app, files, asked(after)) {
        Ok(with) => Ok((StatusCode::ACCEPTED, Json(json!({"without": without, "with": with})))),
        Err(error) => {
            // Nobody would know of the first.
            let id = without["id"].as_str().unwrap_or_default();
            detection.replays.get(id).inspect(|replay| replay.cancel());
            Err(error.into())
        }
    }
}

/// What to replay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
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

fn begin(app: &super::App, files: Arc<DetectionFiles>, asked: Asked) -> Result<Value, ServerError> {
    let detection = app.detection()?;
    if let Some(rule) = &asked.rule
        && !detection.current().rules.has(rule)
    {
        return Err(ServerError::NotFound(format!("rule {rule}")));
    }
    let rules = Rules { files, set: (*detection.current().set).clone() };
    let replay = detection.replays.start(app.reader(), rules, asked)?;
    serde_json::to_value(replay.view()).map_err(|error| ServerError::Internal(error.to_string()))
}

pub(super) async fn replay(State(app): Shared, uri: Uri, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
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

pub(super) async fn replayed(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<ReplayView>> {
    Params::read(&uri, &[])?;
    let replay = app.detection()?.replays.get(&id);
    Ok(Json(replay.ok_or_else(|| ServerError::NotFound(format!("replay {id}")))?.view()))
}

pub(super) async fn cancel_replay(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let replay = app.detection()?.replays.get(&id);
    replay.ok_or_else(|| ServerError::NotFound(format!("replay {id}")))?.cancel();
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list_analyses(State(_): Shared, uri: Uri) -> Answer<Json<Value>> {
    Params::read(&uri, &[])?;
    Ok(Json(json!({"analyses": analyses().collect::<Vec<&Analysis>>()})))
}

pub(super) async fn analysis(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<AnalysisView>> {
    let mut params = Params::read(&uri, &["from", "to"])?;
    let filtered = params.filtered();
    let _running = app.query()?;
    Ok(Json(analyse(app.reader(), &id, filtered).await?))
}
