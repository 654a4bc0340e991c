//! Rules, and what is set about them.

use std::{collections::BTreeMap, ops::Bound};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use sceau_detect::{Refusal, RuleMeta, RuleOverride, Stats};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Answer, App, Shared, WithCaller,
    integrity::not,
    params::{self, Params},
    schemas::{ExceptedSchema, MetaSchema, OverrideSchema, RefusalSchema, WindowsSchema},
};
use crate::{
    detect::{Excepted, General, noisy},
    error::ServerError,
};

/// The most rules of a page, and how many if nothing is said.
const MAX_RULES: usize = 5_000;
/// The most exceptions of a page, and how many if nothing is said.
const MAX_EXCEPTIONS: usize = 1_000;
const EXCEPTIONS: usize = 100;

/// A rule and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
pub(super) struct RuleView {
    #[serde(flatten)]
    #[schema(value_type = MetaSchema)]
    meta: RuleMeta,
    /// How many alerts there are of it.
    alerts: u64,
    /// What is set beside its file.
    #[serde(rename = "override")]
    #[schema(value_type = Option<OverrideSchema>)]
    set: Option<RuleOverride>,
}

/// A page of rules, and how the detector is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RulePage)]
pub(super) struct RulesView {
    rules: Vec<RuleView>,
    /// Where the next page begins; none at the end.
    next_cursor: Option<String>,
    /// Documents that are no rules that run, the first ones.
    #[schema(value_type = Vec<RefusalSchema>)]
    refused: Vec<Refusal>,
    /// How many there are of these.
    refused_count: u64,
    /// The hash of all rules that count.
    hash: String,
    /// The rule that makes half of all alerts or more.
    noisy_rule: Option<String>,
    detector: DetectorView,
}

/// How far the detector is, and whether it works.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Detector)]
pub(super) struct DetectorView {
    running: bool,
    /// The first entry that it has not looked at.
    next_index: u64,
    /// Where it would go on after a crash, with the windows that it kept last.
    kept_index: u64,
    /// How many entries there are.
    tree_size: u64,
    #[schema(value_type = WindowsSchema)]
    windows: Stats,
}

/// Rules, with what is set about them and what came of them.
#[utoipa::path(
    get, path = "/api/v1/rules", tag = "rules", operation_id = "listRules",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 5_000, description = "How many, 5,000 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of rules", body = RulesView)),
)]
pub(super) async fn rules(State(app): Shared, uri: Uri) -> Answer<Json<RulesView>> {
    let mut params = Params::read(&uri, &["limit", "cursor"])?;
    let limit = params.limit(MAX_RULES, MAX_RULES)?;
    Ok(Json(page(&app, limit, params.text("cursor").as_deref()).await?))
}

async fn page(app: &App, limit: usize, after: Option<&str>) -> Result<RulesView, ServerError> {
    let detection = app.detection()?;
    let current = detection.current();
    let all = current.rules.rules();
    let first = match after {
        Some(after) => {
            let place = all.iter().position(|meta| meta.id == after);
            place.ok_or_else(|| ServerError::parameter("cursor", "is none of this list"))? + 1
        }
        None => 0,
    };
    let counts = detection.shared.desk.counts().rules;
    let view = |meta: &RuleMeta| RuleView {
        alerts: counts.get(&meta.id).copied().unwrap_or(0),
        set: current.set.overrides.get(&meta.id).cloned(),
        meta: meta.clone(),
    };
    let found = all.iter().skip(first).take(limit + 1).map(view).collect();
    let (rules, next_cursor) = params::page(found, limit, |rule: &RuleView| rule.meta.id.clone());
    let refusals = current.rules.refusals();
    let (next_index, tree_size) = detection.position();
    Ok(RulesView {
        rules,
        next_cursor,
        refused: refusals.iter().take(limit).cloned().collect(),
        refused_count: refusals.len() as u64,
        hash: current.rules.hash().to_owned(),
        noisy_rule: noisy(&counts).map(str::to_owned),
        detector: DetectorView {
            running: detection.is_running(),
            next_index,
            tree_size,
            kept_index: detection.kept(),
            windows: detection.stats(),
        },
    })
}

/// Reads the rules' directory again at once.
#[utoipa::path(
    post, path = "/api/v1/rules/reload", tag = "rules", operation_id = "reloadRules",
    responses((status = 200, description = "The rules as they are now", body = RulesView)),
)]
pub(super) async fn reload(State(app): Shared, Extension(caller): WithCaller, uri: Uri) -> Answer<Json<RulesView>> {
    Params::read(&uri, &[])?;
    app.detection()?.reload(&caller.id).await?;
    Ok(Json(page(&app, MAX_RULES, None).await?))
}

/// Sets what counts for a rule beside its file.
///
/// An empty object takes all back.
#[utoipa::path(
    put, path = "/api/v1/rules/overrides/{id}", tag = "rules", operation_id = "setRuleOverride",
    params(("id" = String, Path, description = "The rule's id.")),
    request_body = OverrideSchema,
    responses((status = 204, description = "It counts")),
)]
pub(super) async fn set_override(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "enabled", "level" or "threshold""#;
    let wanted: RuleOverride = serde_json::from_slice(&body).map_err(not(expected))?;
    let wanted = (wanted != RuleOverride::default()).then_some(wanted);
    app.detection()?.set_override(&id, wanted.as_ref(), &caller.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists, zone and lateness that rules count with.
#[utoipa::path(
    get, path = "/api/v1/rules/settings", tag = "rules", operation_id = "getRuleSettings",
    responses((status = 200, description = "The settings", body = General)),
)]
pub(super) async fn settings(State(app): Shared, uri: Uri) -> Answer<Json<General>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.detection()?.current().set.general.clone()))
}

/// Sets lists, zone and lateness.
#[utoipa::path(
    put, path = "/api/v1/rules/settings", tag = "rules", operation_id = "setRuleSettings",
    request_body = General,
    responses((status = 200, description = "The settings as they are now", body = General)),
)]
pub(super) async fn set_settings(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<General>> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "lists", "zone" and "lateness" (seconds)"#;
    let wanted: General = serde_json::from_slice(&body).map_err(not(expected))?;
    app.detection()?.set_general(&wanted, &caller.id).await?;
    settings(State(app), uri).await
}

/// An exception with its id.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Exception)]
pub(super) struct ExceptionView {
    id: String,
    #[serde(flatten)]
    #[schema(value_type = ExceptedSchema)]
    excepted: Excepted,
}

/// A page of exceptions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExceptionPage {
    /// By id.
    exceptions: Vec<ExceptionView>,
    /// Where the next page begins; none at the end.
    next_cursor: Option<String>,
}

/// What is excepted.
#[utoipa::path(
    get, path = "/api/v1/rules/exceptions", tag = "rules", operation_id = "listExceptions",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1_000, description = "How many, 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of exceptions", body = ExceptionPage)),
)]
pub(super) async fn exceptions(State(app): Shared, uri: Uri) -> Answer<Json<ExceptionPage>> {
    let mut params = Params::read(&uri, &["limit", "cursor"])?;
    let (limit, after) = (params.limit(EXCEPTIONS, MAX_EXCEPTIONS)?, params.text("cursor"));
    let set = app.detection()?.current().set;
    Ok(Json(part(&set.exceptions, after, limit)))
}

fn part(all: &BTreeMap<String, Excepted>, after: Option<String>, limit: usize) -> ExceptionPage {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let view = |(id, excepted): (&String, &Excepted)| ExceptionView { id: id.clone(), excepted: excepted.clone() };
    let found = all.range((from, Bound::Unbounded)).take(limit + 1).map(view).collect();
    let (exceptions, next_cursor) = params::page(found, limit, |last: &ExceptionView| last.id.clone());
    ExceptionPage { exceptions, next_cursor }
}

pub(super) fn excepted(body: &[u8]) -> Result<Excepted, ServerError> {
    let expected = r#"an object with "fields", and maybe "rule", "until", "mode" (exclude or suppress) and "reason""#;
    serde_json::from_slice(body).map_err(not(expected))
}

/// Makes an exception.
#[utoipa::path(
    post, path = "/api/v1/rules/exceptions", tag = "rules", operation_id = "addException",
    request_body = Excepted,
    responses((status = 201, description = "It counts", body = ExceptionView)),
)]
pub(super) async fn add_exception(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<ExceptionView>)> {
    Params::read(&uri, &[])?;
    let excepted = excepted(&body)?;
    let id = app.detection()?.add_exception(&excepted, &caller.id).await?;
    Ok((StatusCode::CREATED, Json(ExceptionView { id, excepted })))
}

/// Takes an exception back.
#[utoipa::path(
    delete, path = "/api/v1/rules/exceptions/{id}", tag = "rules", operation_id = "removeException",
    params(("id" = String, Path, description = "Its id.")),
    responses((status = 204, description = "It counts no more")),
)]
pub(super) async fn remove_exception(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    app.detection()?.remove_exception(&id, &caller.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_come_in_pages_without_gap_or_overlap() {
        let excepted = |_| serde_json::from_value::<Excepted>(serde_json::json!({"fields": {"a": "b"}})).unwrap();
        let all: BTreeMap<_, _> = (0..7).map(|n| (format!("x{n}"), excepted(n))).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = part(&all, after, 3);
            seen.extend(page.exceptions.into_iter().map(|view| view.id));
            after = page.next_cursor;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all.keys().cloned().collect::<Vec<_>>());
        assert!(part(&all, None, 7).next_cursor.is_none() && part(&all, Some("z".into()), 7).exceptions.is_empty());
    }
}
