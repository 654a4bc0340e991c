//! Log-in, one's own session and account, set-up links, and the public keys of access tokens.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use sceau_event::Micros;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Answer, Shared, WithCaller, client, cookies, integrity::not, params::Params};
use crate::{
    auth::{Credentials, LoggedIn, Role, UserView},
    config::Secret,
    error::ServerError,
    net::address::Peer,
};

/// The longest description of a client that is kept, in bytes.
const MAX_AGENT: usize = 200;

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LogIn)]
pub(super) struct LogInBody {
    /// The name for log-ins.
    user: String,
    #[schema(format = Password)]
    password: String,
    /// A code of the second factor, or a recovery code.
    code: Option<String>,
    /// For browsers: the tokens come as cookies that no script can read, not in the answer. Needs `Sceau-CSRF: 1`.
    #[serde(default)]
    cookies: bool,
}

/// A session that has begun or goes on.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    user: String,
    role: Role,
    /// The session's public name.
    session: String,
    /// To be sent as `Authorization: Bearer …`; left out where it came as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    access_expires: Micros,
    /// Good once, at `/api/v1/session/refresh`; left out where it came as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    refresh_expires: Micros,
    /// The role needs a second factor and none is set: nothing else can be done before.
    second_factor_missing: bool,
}

fn agent(headers: &HeaderMap) -> String {
    let text = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    text.get(..MAX_AGENT).unwrap_or(text).to_owned()
}

fn begun(session: LoggedIn, now: Micros, cookies: bool, secure: bool) -> Response {
    let headers = if cookies { cookies::given(&session, now, secure) } else { Vec::new() };
    let shown = |secret: &Secret| (!cookies).then(|| secret.expose().to_owned());
    let body = SessionBody {
        access_token: shown(&session.access),
        refresh_token: shown(&session.refresh),
        user: session.user,
        role: session.role,
        session: session.session,
        access_expires: session.access_expires,
        refresh_expires: session.refresh_expires,
        second_factor_missing: session.unfinished,
    };
    let mut response = Json(body).into_response();
    for value in headers {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// Begins a session.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "account", operation_id = "logIn",
    request_body = LogInBody,
    responses(
        (status = 200, description = "The session", body = SessionBody),
        (status = 401, description = "`bad_credentials`; or `second_factor_required`: send `code` too"),
        (status = 403, description = "`csrf`: cookies are given to our own page only"),
        (status = 429, description = "`delayed`: too many failures, `Retry-After` says how long to wait; `rate_limited`"),
    ),
)]
pub(super) async fn log_in(
    State(app): Shared,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "user" and "password", and maybe "code" and "cookies""#;
    let LogInBody { user, password, code, cookies } = serde_json::from_slice(&body).map_err(not(expected))?;
    if cookies {
        cookies::check_page(&headers)?;
    }
    let (peer, now) = (client(peer), app.reader().now());
    let credentials = Credentials { user, password: Secret::new(password), code: code.map(Secret::new) };
    let done = app.accounts.login(app.log()?, credentials, peer.address, &agent(&headers), now).await;
    app.metrics.login(done.as_ref().map_or_else(ServerError::code, |_| "success"));
    Ok(begun(done?, now, cookies, peer.over_tls))
}

/// A refresh token; browsers send theirs as a cookie and need no body.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Refresh)]
pub(super) struct RefreshBody {
    refresh_token: String,
}

/// Goes on with a session.
///
/// The refresh token is replaced: to use one again ends the session, since somebody must have copied it.
#[utoipa::path(
    post, path = "/api/v1/session/refresh", tag = "account", operation_id = "refreshSession",
    request_body = Option<RefreshBody>,
    responses(
        (status = 200, description = "The session", body = SessionBody),
        (status = 401, description = "`unauthorized`: log in again"),
        (status = 403, description = "`csrf`"),
    ),
)]
pub(super) async fn refresh(
    State(app): Shared,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let (peer, now) = (client(peer), app.reader().now());
    let cookies = body.is_empty();
    let token = if cookies {
        cookies::check_page(&headers)?;
        cookies::refresh(&headers, peer.over_tls).ok_or(ServerError::Unauthorized)?.to_owned()
    } else {
        let body: RefreshBody = serde_json::from_slice(&body).map_err(not(r#"an object with "refresh_token""#))?;
        body.refresh_token
    };
    let token = Secret::new(token);
    let session = app.accounts.refresh(app.log()?, &token, peer.address, &agent(&headers), now).await?;
    Ok(begun(session, now, cookies, peer.over_tls))
}

/// Ends the session.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "account", operation_id = "logOut",
    responses((status = 204, description = "It has ended")),
)]
pub(super) async fn log_out(
    State(app): Shared,
    Extension(caller): WithCaller,
    peer: Option<Extension<Peer>>,
    uri: Uri,
) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let (user, session) = own(&caller)?;
    app.accounts.logout(app.log()?, user, session, caller.address).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    for value in cookies::taken(client(peer).over_tls) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// A user's name and session.
fn own(caller: &crate::auth::Caller) -> Result<(&str, &str), ServerError> {
    let session = caller.session.as_deref();
    Ok((caller.user()?, session.ok_or_else(|| ServerError::Forbidden("this needs a session".to_owned()))?))
}

/// Oneself.
#[derive(Serialize, ToSchema)]
#[schema(as = Me)]
pub(super) struct Me {
    #[serde(flatten)]
    user: UserView,
    /// The session that this was asked in.
    session: String,
    /// What the role may do.
    permissions: Vec<crate::auth::Permission>,
    second_factor_missing: bool,
}

/// Oneself: name, role, and what that allows.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "account", operation_id = "getMe",
    responses((status = 200, description = "Whoever asks", body = Me)),
)]
pub(super) async fn me(State(app): Shared, Extension(caller): WithCaller, uri: Uri) -> Answer<Json<Me>> {
    Params::read(&uri, &[])?;
    let (user, session) = own(&caller)?;
    let permissions = crate::auth::Permission::ALL.into_iter().filter(|it| caller.may(*it)).collect();
    let (user, session) = (app.accounts.user(user)?, session.to_owned());
    Ok(Json(Me { user, session, permissions, second_factor_missing: caller.unfinished }))
}

/// Two passwords.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
pub(super) struct PasswordBody {
    #[schema(format = Password)]
    password: String,
    /// 15 characters or more; 8 if a second factor is set.
    #[schema(format = Password)]
    new_password: String,
}

/// Changes one's password; all other sessions end.
#[utoipa::path(
    put, path = "/api/v1/me/password", tag = "account", operation_id = "changePassword",
    request_body = PasswordBody,
    responses(
        (status = 204, description = "It is changed"),
        (status = 400, description = "`weak_password` says why; `bad_body`"),
        (status = 401, description = "`bad_credentials`: the present password is wrong; `unauthorized`"),
        (status = 429, description = "`delayed`, `rate_limited`"),
    ),
)]
pub(super) async fn change_password(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "password" and "new_password""#;
    let PasswordBody { password, new_password } = serde_json::from_slice(&body).map_err(not(expected))?;
    let (before, after) = (Secret::new(password), Secret::new(new_password));
    let by = (caller.user()?, caller.session.as_deref());
    app.accounts.change_password(app.log()?, by, (&before, &after), caller.address, app.reader().now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One's password: a session alone changes nothing of the account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnPassword)]
pub(super) struct OwnPassword {
    #[schema(format = Password)]
    password: String,
}

fn password(body: &Bytes) -> Result<Secret, ServerError> {
    let body: OwnPassword = serde_json::from_slice(body).map_err(not(r#"an object with "password""#))?;
    Ok(Secret::new(body.password))
}

/// A second factor that is being set.
#[derive(Serialize, ToSchema)]
#[schema(as = SecondFactor)]
pub(super) struct FactorBody {
    /// To be typed, in base32.
    secret: String,
    /// The same, to be shown as a QR code.
    uri: String,
    #[schema(value_type = String, format = DateTime)]
    expires: Micros,
}

/// Begins to set a second factor (TOTP, RFC 6238).
///
/// It counts once a first code of it was sent.
#[utoipa::path(
    post, path = "/api/v1/me/totp", tag = "account", operation_id = "beginSecondFactor",
    request_body = OwnPassword,
    responses(
        (status = 200, description = "What the authenticator needs", body = FactorBody),
        (status = 401, description = "`bad_credentials`, `unauthorized`"),
        (status = 409, description = "`exists`: one is set"),
        (status = 429, description = "`delayed`, `rate_limited`"),
    ),
)]
pub(super) async fn begin_totp(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<FactorBody>> {
    Params::read(&uri, &[])?;
    let (password, now) = (password(&body)?, app.reader().now());
    let begun = app.accounts.begin_totp(app.log()?, caller.user()?, &password, caller.address, now).await?;
    let (secret, uri) = (begun.secret.expose().to_owned(), begun.uri.expose().to_owned());
    Ok(Json(FactorBody { secret, uri, expires: begun.expires }))
}

/// A code of the second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FirstCode)]
pub(super) struct CodeBody {
    code: String,
}

/// Codes that stand for the second factor, each once.
#[derive(Serialize, ToSchema)]
#[schema(as = RecoveryCodes)]
pub(super) struct Codes {
    /// Shown only this once.
    recovery_codes: Vec<String>,
}

/// Sets the second factor, by a first code of it.
#[utoipa::path(
    put, path = "/api/v1/me/totp", tag = "account", operation_id = "setSecondFactor",
    request_body = CodeBody,
    responses(
        (status = 200, description = "It is set", body = Codes),
        (status = 401, description = "`bad_credentials`: it is no code of it, or none is being set; `unauthorized`"),
    ),
)]
pub(super) async fn set_totp(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<Codes>> {
    Params::read(&uri, &[])?;
    let body: CodeBody = serde_json::from_slice(&body).map_err(not(r#"an object with "code""#))?;
    let (code, now) = (Secret::new(body.code), app.reader().now());
    let codes = app.accounts.confirm_totp(app.log()?, caller.user()?, &code, caller.address, now).await?;
    Ok(Json(Codes { recovery_codes: codes.iter().map(|code| code.expose().to_owned()).collect() }))
}

/// Removes the second factor.
#[utoipa::path(
    post, path = "/api/v1/me/totp/remove", tag = "account", operation_id = "removeSecondFactor",
    request_body = OwnPassword,
    responses(
        (status = 204, description = "There is none any more"),
        (status = 400, description = "`weak_password`: the password is too short without it; `bad_body`"),
        (status = 401, description = "`bad_credentials`, `unauthorized`"),
        (status = 403, description = "`forbidden`: the role needs one; `csrf`"),
        (status = 429, description = "`delayed`, `rate_limited`"),
    ),
)]
pub(super) async fn remove_totp(
    State(app): Shared,
    Extension(caller): WithCaller,
    uri: Uri,
    body: Bytes,
) -> Answer<StatusCode> {
    Params::read(&uri, &[])?;
    let (password, now) = (password(&body)?, app.reader().now());
    app.accounts.remove_totp(app.log()?, caller.user()?, &password, caller.address, now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What follows `/setup#` in a link, and what it is used for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetUp)]
pub(super) struct SetUpBody {
    secret: String,
    /// The name for log-ins; of a user who is there already, his.
    #[serde(default)]
    user: String,
    /// 15 characters or more.
    #[schema(format = Password)]
    password: String,
}

/// Whose password is set now.
#[derive(Serialize, ToSchema)]
#[schema(as = SetUpDone)]
pub(super) struct SetUpDone {
    user: String,
}

/// Uses a set-up link: sets a password, and for the first administrator's link makes the user.
#[utoipa::path(
    post, path = "/api/v1/setup", tag = "account", operation_id = "setUp",
    request_body = SetUpBody,
    responses(
        (status = 200, description = "The user can log in", body = SetUpDone),
        (status = 400, description = "`weak_password` says why; `bad_parameter`; `bad_body`"),
        (status = 409, description = "`exists`: there is a user of that name"),
        (status = 410, description = "`link_invalid`: it was used, or is too old"),
        (status = 429, description = "`delayed`, `rate_limited`"),
    ),
)]
pub(super) async fn set_up(
    State(app): Shared,
    peer: Option<Extension<Peer>>,
    uri: Uri,
    body: Bytes,
) -> Answer<Json<SetUpDone>> {
    Params::read(&uri, &[])?;
    let expected = r#"an object with "secret", "user" and "password""#;
    let SetUpBody { secret, user, password } = serde_json::from_slice(&body).map_err(not(expected))?;
    let (secret, password) = (Secret::new(secret), Secret::new(password));
    let (address, now) = (client(peer).address, app.reader().now());
    let user = app.accounts.setup(app.log()?, &secret, &user, &password, address, now).await?;
    Ok(Json(SetUpDone { user }))
}

/// The public keys of access tokens (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "account", operation_id = "getKeys",
    responses((status = 200, description = "A JWK set", body = Object)),
)]
pub(super) async fn jwks(State(app): Shared) -> Json<Value> {
    Json(app.accounts.jwks())
}
