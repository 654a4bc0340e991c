//! Users, tokens and sessions, for those who manage them.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri},
};
use sceau_event::Micros;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Answer, Shared, WithCaller,
    integrity::not,
    params::{Params, page},
};
use crate::{
    auth::{NewLink, Permission, Role, SessionView, TokenSpec, TokenView, UserChange, UserView},
    error::ServerError,
};

/// The most of a page, and how many if nothing is said.
const MAX_LIMIT: usize = 500;
const LIMIT: usize = 100;

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserPage {
    /// By name for log-ins.
    users: Vec<UserView>,
    /// Where the next page begins; none at the end.
    next_cursor: Option<String>,
}

/// Users.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users", operation_id = "listUsers",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "How many, 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of users", body = UserPage)),
)]
pub(super) async fn users(State(app): Shared, uri: Uri) -> Answer<Json<UserPage>> {
    let mut params = Params::read(&uri, &["limit", "cursor"])?;
    let (limit, after) = (params.limit(LIMIT, MAX_LIMIT)?, params.text("cursor").unwrap_or_default());
    let (users, next_cursor) = page(app.accounts.list_users(&after, limit + 1), limit, |user| user.id.clone());
    Ok(Json(UserPage { users, next_cursor }))
}

/// A user who is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
pub(super) struct NewUserBody {
    /// The name for log-ins: small letters, digits and `.`, `_`, `@`, `-`, at most 64.
    id: String,
    /// What people call him; the name for log-ins if left out.
    name: Option<String>,
    role: Role,
}

/// A link by which somebody chooses a password.
#[derive(Serialize, ToSchema)]
#[schema(as = SetUpLink)]
pub(super) struct LinkBody {
    /// Shown only this once; `/setup#` and this make the link.
    secret: String,
    #[schema(value_type = String, format = DateTime)]
    expires: Micros,
}

impl LinkBody {
    fn of(link: &NewLink) -> Json<Self> {
        Json(Self { secret: link.secret.expose().to_owned(), expires: link.expires })
    }
}

/// Makes a user.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", operation_id = "addUser",
    request_body = NewUserBody,
    responses(
        (status = 201, description = "The link by which he chooses a password", body = LinkBody),
        (status = 409, description = "`exists`; `too_many`"),
    ),
)]
pub(super) async fn add_user(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<LinkBody>)> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "id" and "role", and maybe "name""#;
    let NewUserBody { id, name, role } = serde_json::from_slice(&body).map_err(not(expected))?;
    let (name, now) = (name.unwrap_or_else(|| id.clone()), app.reader().now());
    let link = app.accounts.create_user(app.log()?, &caller.by(), &id, &name, role, now).await?;
    Ok((StatusCode::CREATED, LinkBody::of(&link)))
}

/// One user.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users", operation_id = "getUser",
    params(("id" = String, Path, description = "The name for log-ins.")),
    responses((status = 200, description = "The user", body = UserView)),
)]
pub(super) async fn user(State(app): Shared, Path(id): Path<String>, uri: Uri) -> Answer<Json<UserView>> {
    Params::read(&uri, &[])?;
    Ok(Json(app.accounts.user(&id)?))
}

/// What shall change about a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
pub(super) struct UserChangeBody {
    name: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

/// Changes a user's name or role, or whether he may log in; it counts at once, in sessions that are open too.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "users", operation_id = "changeUser",
    params(("id" = String, Path, description = "The name for log-ins.")),
    request_body = UserChangeBody,
    responses(
        (status = 200, description = "The user as he is now", body = UserView),
        (status = 409, description = "`last_administrator`: nobody who can do everything would be left"),
    ),
)]
pub(super) async fn change_user(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<UserView>> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "name", "role" or "disabled""#;
    let UserChangeBody { name, role, disabled } = serde_json::from_slice(&body).map_err(not(expected))?;
    let wanted = UserChange { name, role, disabled };
    Ok(Json(app.accounts.change_user(app.log()?, &caller.by(), &id, wanted, app.reader().now()).await?))
}

/// Removes a user.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}", tag = "users", operation_id = "removeUser",
    params(("id" = String, Path, description = "The name for log-ins.")),
    responses(
        (status = 204, description = "There is none of that name any more"),
        (status = 409, description = "`last_administrator`"),
    ),
)]
pub(super) async fn remove_user(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    app.accounts.delete_user(app.log()?, &caller.by(), &id, app.reader().now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes password, second factor and sessions from a user, who chooses a password anew.
#[utoipa::path(
    post, path = "/api/v1/users/{id}/reset", tag = "users", operation_id = "resetUser",
    params(("id" = String, Path, description = "The name for log-ins.")),
    responses(
        (status = 200, description = "The link by which he chooses a password", body = LinkBody),
        (status = 409, description = "`last_administrator`: `sceau user reset` on the machine itself can"),
    ),
)]
pub(super) async fn reset_user(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<Json<LinkBody>> {
    Params::read(&uri, &[])?;
    let now = app.reader().now();
    let link = app.accounts.reset_user(app.log()?, &caller.by(), &id, false, now).await?;
    Ok(LinkBody::of(&link))
}

/// Sessions that are open.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    /// The last used first.
    sessions: Vec<SessionView>,
}

/// One's own sessions, or a user's.
#[utoipa::path(
    get, path = "/api/v1/sessions", tag = "account", operation_id = "listSessions",
    params(("user" = Option<String>, Query, description = "Somebody else's: needs the permission `manage_users`.")),
    responses((status = 200, description = "The sessions", body = SessionList)),
)]
pub(super) async fn sessions(State(app): Shared, Extension(caller): WithCaller, uri: Uri) -> Answer<Json<SessionList>> {
    let user = of_whom(&caller, Params::read(&uri, &["user"])?.text("user"))?;
    Ok(Json(SessionList { sessions: app.accounts.list_sessions(&user, app.reader().now()) }))
}

/// Oneself, or whoever was asked for, by somebody who may.
fn of_whom(caller: &crate::auth::Caller, user: Option<String>) -> Result<String, ServerError> {
    match user {
        Some(user) if caller.user().ok() != Some(&user) => {
            caller.check(Permission::ManageUsers)?;
            Ok(user)
        }
        _ => Ok(caller.user()?.to_owned()),
    }
}

/// Ends a session: one's own, or with the permission `manage_users` anybody's.
#[utoipa::path(
    delete, path = "/api/v1/sessions/{id}", tag = "account", operation_id = "endSession",
    params(("id" = String, Path, description = "Its public name.")),
    responses((status = 204, description = "It has ended")),
)]
pub(super) async fn end_session(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let of = if caller.may(Permission::ManageUsers) { None } else { Some(caller.user()?) };
    app.accounts.revoke_session(app.log()?, &caller.by(), &id, of, app.reader().now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many sessions have ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    ended: usize,
}

/// Ends all of one's sessions but this one, or all of a user's.
#[utoipa::path(
    delete, path = "/api/v1/sessions", tag = "account", operation_id = "endSessions",
    params(("user" = Option<String>, Query, description = "Somebody else's: needs the permission `manage_users`.")),
    responses((status = 200, description = "They have ended", body = Ended)),
)]
pub(super) async fn end_sessions(State(app): Shared, Extension(caller): WithCaller, uri: Uri) -> Answer<Json<Ended>> {
    let user = of_whom(&caller, Params::read(&uri, &["user"])?.text("user"))?;
    let but = caller.session.as_deref();
    let ended = app.accounts.revoke_sessions(app.log()?, &caller.by(), &user, but, app.reader().now()).await?;
    Ok(Json(Ended { ended }))
}

/// A page of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenPage {
    /// By public name.
    tokens: Vec<TokenView>,
    /// Where the next page begins; none at the end.
    next_cursor: Option<String>,
}

/// Tokens of programs.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "users", operation_id = "listTokens",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "How many, 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of tokens", body = TokenPage)),
)]
pub(super) async fn tokens(State(app): Shared, uri: Uri) -> Answer<Json<TokenPage>> {
    let mut params = Params::read(&uri, &["limit", "cursor"])?;
    let (limit, after) = (params.limit(LIMIT, MAX_LIMIT)?, params.text("cursor").unwrap_or_default());
    let (tokens, next_cursor) = page(app.accounts.list_tokens(&after, limit + 1), limit, |token| token.id.clone());
    Ok(Json(TokenPage { tokens, next_cursor }))
}

/// A token that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
pub(super) struct NewTokenBody {
    /// What it is for, in words.
    name: String,
    role: Role,
    /// When it stops to be valid (RFC 3339); never, if left out.
    #[schema(format = DateTime)]
    expires: Option<String>,
    /// The sources that it may send as; any, if there are none.
    #[serde(default)]
    sources: Vec<String>,
    /// The addresses and networks that it may come from; any, if there are none.
    #[serde(default)]
    addresses: Vec<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenMade)]
pub(super) struct TokenBody {
    /// Its public name.
    id: String,
    /// Shown only this once.
    token: String,
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "users", operation_id = "addToken",
    request_body = NewTokenBody,
    responses(
        (status = 201, description = "The token", body = TokenBody),
        (status = 409, description = "`too_many`"),
    ),
)]
pub(super) async fn add_token(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<(StatusCode, Json<TokenBody>)> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "name" and "role", and maybe "expires", "sources" and "addresses""#;
    let body: NewTokenBody = serde_json::from_slice(&body).map_err(not(expected))?;
    let NewTokenBody { name, role, expires, sources, addresses } = body;
    let expires = expires.map(|text| {
        text.parse::<Micros>()
            .map_err(|_| ServerError::parameter("expires", "must be a time such as 2027-01-31T12:00:00Z"))
    });
    let spec = TokenSpec { name, role, expires: expires.transpose()?, sources, addresses };
    let made = app.accounts.create_token(app.log()?, &caller.by(), spec, app.reader().now()).await?;
    let token = made.secret.expose().to_owned();
    Ok((StatusCode::CREATED, Json(TokenBody { id: made.id, token })))
}

/// Revokes a token, at once; one that has no validity any more goes from the list.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "users", operation_id = "revokeToken",
    params(("id" = String, Path, description = "Its public name.")),
    responses((status = 204, description = "It is not valid any more")),
)]
pub(super) async fn revoke_token(
    State(app): Shared,
    Extension(caller): WithCaller,
    Path(id): Path<String>,
    uri: Uri,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    app.accounts.revoke_token(app.log()?, &caller.by(), &id, app.reader().now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
