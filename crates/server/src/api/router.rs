//! Every endpoint with who may ask it, and what happens to every request before and after its handler.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::routes;

use super::{
    App, Failure, Refused, Shared,
    access::{Endpoints, needs, open},
    accounts, alerts, client, cookies, describe, detection, docs, events, ingest, integrity, ops, page, rest, rules,
    security, session, stream, tlog,
};
use crate::{
    auth::{Caller, Permission},
    config::Limits,
    error::ServerError,
    net::address::Peer,
};

/// Answers of up to so many bytes are not counted; they are bounded by the number of connections.
const SMALL_ANSWER: u64 = 256 << 10;

/// Every endpoint.
pub(super) fn endpoints(limits: &Limits) -> Endpoints {
    use Permission::{Export, Ingest, ManageKeys, Metrics, Read, Verify};
    let endpoints = Endpoints::new(limits)
        .add(open(routes!(page::html)))
        .add(open(routes!(page::script)))
        .add(open(routes!(page::style)))
        .add(open(routes!(page::setup)))
        .add(open(routes!(page::setup_script)))
        .add(open(routes!(docs::openapi)))
        .add(open(routes!(docs::entrance)))
        .add(open(routes!(docs::index)))
        .add(open(routes!(docs::asset)).at_once(8))
        .add(open(routes!(ops::healthz)))
        .add(open(routes!(ops::readyz)))
        .add(needs(Metrics, routes!(ops::metrics)).at_once(4))
        .add(needs(Ingest, routes!(ingest::post)).own_body())
        .add(needs(Read, routes!(events::search)))
        .add(needs(Read, routes!(events::histogram)))
        .add(needs(Read, routes!(events::top)))
        .add(needs(Read, routes!(events::count)))
        .add(needs(Read, routes!(events::event)).at_once(64))
        .add(needs(Export, routes!(events::proof)).at_once(32))
        .add(needs(Export, routes!(events::entries)))
        .add(needs(Ingest, routes!(events::import)).at_once(64))
        .add(needs(Read, routes!(stream::stream)))
        .add(needs(Read, routes!(integrity::integrity)).at_once(32))
        .add(needs(Verify, routes!(integrity::start)))
        .add(needs(Read, routes!(integrity::last)))
        .add(needs(Read, routes!(integrity::one)))
        .add(needs(ManageKeys, routes!(integrity::rebuild)).at_once(1))
        .add(needs(ManageKeys, routes!(integrity::rotate)).at_once(1).body(1 << 10))
        .add(needs(Export, routes!(tlog::checkpoint)))
        .add(needs(Export, routes!(tlog::tile)).at_once(64));
    accounts_of(detecting(endpoints))
}

/// Those of people: log-in, one's own account, and managing those of others.
fn accounts_of(endpoints: Endpoints) -> Endpoints {
    use Permission::{ManageUsers, OwnAccount};
    endpoints
        .add(open(routes!(session::jwks)))
        .add(open(routes!(session::log_in)).at_once(128).body(8 << 10))
        .add(open(routes!(session::refresh)).at_once(64).body(8 << 10))
        .add(open(routes!(session::set_up)).at_once(8).body(8 << 10))
        .add(needs(OwnAccount, routes!(session::log_out)))
        .add(needs(OwnAccount, routes!(session::me)))
        .add(needs(OwnAccount, routes!(session::change_password)).at_once(16).body(8 << 10))
        .add(needs(OwnAccount, routes!(session::begin_totp)).at_once(16).body(8 << 10))
        .add(needs(OwnAccount, routes!(session::set_totp)).at_once(16).body(8 << 10))
        .add(needs(OwnAccount, routes!(session::remove_totp)).at_once(16).body(8 << 10))
        .add(needs(OwnAccount, routes!(accounts::sessions)))
        .add(needs(OwnAccount, routes!(accounts::end_session)))
        .add(needs(OwnAccount, routes!(accounts::end_sessions)))
        .add(needs(ManageUsers, routes!(accounts::users)))
        .add(needs(ManageUsers, routes!(accounts::add_user)).at_once(8))
        .add(needs(ManageUsers, routes!(accounts::user)))
        .add(needs(ManageUsers, routes!(accounts::change_user)).at_once(8))
        .add(needs(ManageUsers, routes!(accounts::remove_user)).at_once(8))
        .add(needs(ManageUsers, routes!(accounts::reset_user)).at_once(8))
        .add(needs(ManageUsers, routes!(accounts::tokens)))
        .add(needs(ManageUsers, routes!(accounts::add_token)).at_once(8))
        .add(needs(ManageUsers, routes!(accounts::revoke_token)).at_once(8))
}

/// Those of detection.
fn detecting(endpoints: Endpoints) -> Endpoints {
    use Permission::{ChangeRules, Read, WorkAlerts};
    endpoints
        .add(needs(Read, routes!(alerts::list)).at_once(16))
        .add(needs(Read, routes!(alerts::one)).at_once(32))
        .add(needs(WorkAlerts, routes!(alerts::change)).at_once(32))
        .add(needs(Read, routes!(rules::rules)).at_once(16))
        .add(needs(ChangeRules, routes!(rules::reload)).at_once(2))
        .add(needs(ChangeRules, routes!(rules::set_override)).at_once(8).body(4 << 10))
        .add(needs(Read, routes!(rules::settings)))
        .add(needs(ChangeRules, routes!(rules::set_settings)).at_once(8))
        .add(needs(Read, routes!(rules::exceptions)).at_once(16))
        .add(needs(ChangeRules, routes!(rules::add_exception)).at_once(8))
        .add(needs(ChangeRules, routes!(rules::remove_exception)).at_once(8))
        .add(needs(ChangeRules, routes!(detection::preview)).at_once(2))
        .add(needs(ChangeRules, routes!(detection::replay)).at_once(2).body(32 << 10))
        .add(needs(Read, routes!(detection::replayed)).at_once(8))
        .add(needs(ChangeRules, routes!(detection::cancel_replay)))
        .add(needs(Read, routes!(detection::list_analyses)))
        .add(needs(Read, routes!(detection::analysis)))
}

/// What answers whoever the request's [`Caller`] is.
pub(super) fn routes(app: &Arc<App>) -> Router {
    let (router, openapi) = endpoints(&app.limits).into_parts();
    match describe::json(&describe::finish(openapi)) {
        // It is the same for every router.
        Ok(json) => drop(app.description.set(Bytes::from(json))),
        Err(error) => tracing::error!(%error, "the API's description can't be written"),
    }
    router
        .fallback(async |request: Request| refuse(&request, ServerError::NotFound("This path".to_owned())))
        .method_not_allowed_fallback(async |request: Request| refuse(&request, ServerError::Method))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app.clone())
}

/// The server's whole HTTP side.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes(&app).layer(middleware::from_fn_with_state(app, guard))
}

/// Which paths there are is told only to those who may ask any.
fn refuse(request: &Request, error: ServerError) -> Failure {
    let known = request.extensions().get::<Caller>().is_some();
    Failure(if known { error } else { ServerError::Unauthorized })
}

/// Finds out who asks, and whether they ask too often.
fn let_in(app: &App, request: &mut Request, peer: Option<Peer>) -> Result<(), ServerError> {
    app.rates.by_address(request)?;
    let Some(caller) = app.authenticate(request.headers(), client(peer.map(Extension))) else { return Ok(()) };
    app.rates.by_caller(&caller.id, request)?;
    cookies::check_caller(&caller, request)?;
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Finds out who asks, and counts.
async fn guard(State(app): Shared, mut request: Request, next: Next) -> Response {
    let (method, metrics) = (request.method().clone(), &app.metrics);
    let (body, left) = rest::Returning::around(std::mem::take(request.body_mut()));
    *request.body_mut() = body;
    // Such a client sends nothing before it is told to go on, and a refusal is what it waits for.
    let expects = request.headers().contains_key(header::EXPECT);
    let peer = request.extensions().get::<Peer>().copied();
    let response = match let_in(&app, &mut request, peer) {
        Ok(()) => with_problem(next.run(request).await),
        Err(error) => {
            drop(request);
            Failure(error).into_response()
        }
    };
    if let Some(Refused("unauthorized")) = response.extensions().get() {
        metrics.login("token_refused");
        peer.filter(|_| app.wants_detection()).inspect(|peer| app.refused_logins.note(peer.address));
    }
    let response = with_room(&app, response).await;
    metrics.http(method.as_str(), response.status().as_u16());
    if let Some(Refused(code)) = response.extensions().get() {
        metrics.request_refused(code);
        if !expects && *code != "body_timeout" {
            // A client that is too slow even now is cut off.
            drop(tokio::time::timeout(app.limits.header_time, rest::drain(left, app.limits.body)).await);
        }
    }
    #[cfg(test)]
    super::tests::description::holds(&method, &response);
    security::protect(response, peer.is_some_and(|peer| peer.over_tls))
}

/// Gives a refusal of the framework, which knows nothing of problem details, the form of ours.
fn with_problem(response: Response) -> Response {
    if !response.status().is_client_error() || response.extensions().get::<Refused>().is_some() {
        return response;
    }
    Failure(ServerError::Body("path or body are malformed".to_owned())).into_response()
}

/// Counts a large answer until it is sent: whoever asks for many and reads none must not fill the memory.
async fn with_room(app: &App, response: Response) -> Response {
    let Some(size) = response.body().size_hint().exact().filter(|size| *size > SMALL_ANSWER) else { return response };
    let room = usize::try_from(size).unwrap_or(usize::MAX).min(app.limits.answers);
    let room = app.answers.clone().try_acquire_many_owned(u32::try_from(room).unwrap_or(u32::MAX));
    let Ok(room) = room else { return Failure(ServerError::Busy).into_response() };
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        // The connection lets the body go as soon as it has its bytes, so these have to hold the place.
        Ok(bytes) => Response::from_parts(parts, Body::from(Bytes::from_owner(Held { bytes, _room: room }))),
        Err(error) => Failure(ServerError::Internal(format!("an answer: {error}"))).into_response(),
    }
}

/// The bytes of an answer with their place among those that wait.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Failure(ServerError::Internal("a handler panicked; the panic's own message says where".to_owned())).into_response()
}
