//! Alerts: the list, one of them, and what people do about it.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::Uri,
};
use sceau_detect::OpenBurst;
use sceau_event::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Answer, Shared, WithCaller,
    integrity::not,
    params::{Params, page},
    schemas::{BurstSchema, LevelSchema},
};
use crate::{
    detect::{Alert, AlertChange, AlertState, noisy},
    error::ServerError,
};

/// The most alerts of a page, and how many if nothing is said.
const MAX_LIMIT: usize = 500;
const LIMIT: usize = 100;

/// A page of alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertPage {
    /// The last changed first.
    alerts: Vec<Alert>,
    /// Where the next page begins; none at the end.
    next_cursor: Option<String>,
    /// How many are open, by level.
    open: BTreeMap<&'static str, u64>,
    /// How many had to go since the start because there were too many.
    dropped: u64,
    /// The rule that makes half of all alerts or more.
    noisy_rule: Option<String>,
}

/// A place in the list: when an alert changed last, and its id.
fn cursor(text: &str) -> Result<(Micros, String), ServerError> {
    let wrong = || ServerError::parameter("cursor", "is none of this list");
    let (time, id) = text.split_once('.').ok_or_else(wrong)?;
    Ok((Micros(time.parse().map_err(|_| wrong())?), id.to_owned()))
}

/// A value out of a fixed list of words.
fn word<T: serde::de::DeserializeOwned>(
    name: &str,
    text: Option<String>,
    known: &str,
) -> Result<Option<T>, ServerError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let read = serde_json::from_value(serde_json::Value::from(text));
    read.map(Some).map_err(|_| ServerError::parameter(name, format!("must be one of {known}")))
}

/// Alerts, the last changed first.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", operation_id = "listAlerts",
    params(
        ("state" = Option<AlertState>, Query, description = "Only those in this state."),
        ("level" = Option<LevelSchema>, Query, description = "Only those of this level or above."),
        ("rule" = Option<String>, Query, description = "Only those of this rule, by its id."),
        ("field" = Option<String>, Query, description = "`NAME=VALUE`: only those whose group has it."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "How many, 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of alerts", body = AlertPage)),
)]
pub(super) async fn list(State(app): Shared, uri: Uri) -> Answer<Json<AlertPage>> {
    let mut params = Params::read(&uri, &["state", "level", "rule", "field", "limit", "cursor"])?;
    let states = "open, acknowledged, closed, false_positive";
    let state: Option<AlertState> = word("state", params.text("state"), states)?;
    let levels = "informational, low, medium, high, critical";
    let level: Option<sceau_detect::Level> = word("level", params.text("level"), levels)?;
    let rule = params.text("rule").filter(|rule| !rule.is_empty());
    let field = params.text("field").filter(|field| !field.is_empty());
    let field = field
        .as_deref()
        .map(|field| field.split_once('=').ok_or_else(|| ServerError::parameter("field", "must be NAME=VALUE")));
    let field = field.transpose()?;
    let limit = params.limit(LIMIT, MAX_LIMIT)?;
    let after = params.text("cursor").as_deref().map(cursor).transpose()?;
    let desk = &app.detection()?.shared.desk;
    let wanted = |alert: &Alert| {
        state.is_none_or(|state| alert.state == state)
            && level.is_none_or(|level| alert.level >= level)
            && rule.as_ref().is_none_or(|rule| alert.rule == *rule)
            && field.is_none_or(|(name, value)| alert.group.get(name).is_some_and(|found| found == value))
    };
    let after = after.as_ref().map(|(time, id)| (*time, id.as_str()));
    let found = desk.list(wanted, after, limit + 1).await;
    let (alerts, next_cursor) = page(found, limit, |alert| format!("{}.{}", alert.updated.0, alert.id));
    let counts = desk.counts();
    let noisy_rule = noisy(&counts.rules).map(str::to_owned);
    Ok(Json(AlertPage { alerts, next_cursor, open: counts.open, dropped: counts.dropped, noisy_rule }))
}

/// An alert with what has been counted so far of its bursts that are going on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertWithBursts)]
pub(super) struct AlertView {
    #[serde(flatten)]
    alert: Alert,
    #[schema(value_type = BTreeMap<String, BurstSchema>)]
    open_bursts: BTreeMap<String, OpenBurst>,
}

/// One alert.
#[utoipa::path(
    get, path = "/api/v1/alerts/{id}", tag = "alerts", operation_id = "getAlert",
    params(("id" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The alert", body = AlertView)),
)]
pub(super) async fn one(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<AlertView>> {
    Params::read(&uri, &[])?;
    let detection = app.detection()?;
    let alert = detection.shared.desk.get(&id).await;
    let alert = alert.ok_or_else(|| ServerError::NotFound(format!("alert {id}")))?;
    let open_bursts = detection.open_bursts(&alert).await;
    Ok(Json(AlertView { alert, open_bursts }))
}

/// Moves an alert on: its state, who works on it, a comment.
#[utoipa::path(
    patch, path = "/api/v1/alerts/{id}", tag = "alerts", operation_id = "changeAlert",
    params(("id" = String, Path, description = "Its id.")),
    request_body = AlertChange,
    responses((status = 200, description = "The alert as it is now", body = Alert)),
)]
pub(super) async fn change(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<Alert>> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "state", "assignee" or "comment""#;
    let change: AlertChange = serde_json::from_slice(&body).map_err(not(expected))?;
    Ok(Json(app.detection()?.change_alert(&id, change, &caller.id).await?))
}
