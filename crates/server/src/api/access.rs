//! Who asks, and who may. An endpoint becomes part of the API as an [`Endpoint`], which only [`open`] and [`needs`] make:
//! so none can be mounted without saying who may ask it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use bytes::BytesMut;
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{App, Failure, describe};
use crate::{
    auth::{Caller, Permission},
    config::Limits,
    error::ServerError,
};

/// The most bytes of a body, unless its endpoint says otherwise.
const SMALL: usize = 256 << 10;

/// What is known of an endpoint besides its handler.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// What one needs to ask; `None`: nothing.
    pub permission: Option<Permission>,
    /// The most bytes of its body; `None`: its handler reads the body itself.
    pub body: Option<usize>,
    /// The most requests at one moment; `None`: what the server takes in all.
    pub at_once: Option<usize>,
}

type Route = UtoipaMethodRouter<Arc<App>>;

/// A path, its methods with one permission, and its description.
pub(super) struct Endpoint {
    route: Route,
    terms: Terms,
}

/// Anybody may ask: nothing of the log is in the answer.
pub(super) fn open(route: Route) -> Endpoint {
    Endpoint { route, terms: Terms { permission: None, body: Some(SMALL), at_once: None } }
}

/// Whoever has the permission may ask.
pub(super) fn needs(permission: Permission, route: Route) -> Endpoint {
    Endpoint { route, terms: Terms { permission: Some(permission), body: Some(SMALL), at_once: None } }
}

impl Endpoint {
    /// Its body has at most so many bytes.
    pub fn body(mut self, limit: usize) -> Self {
        self.terms.body = Some(limit);
        self
    }

    /// Its handler reads the body, within limits of its own.
    pub fn own_body(mut self) -> Self {
        self.terms.body = None;
        self
    }

    /// So many requests at one moment; others are told to come again.
    pub fn at_once(mut self, requests: usize) -> Self {
        self.terms.at_once = Some(requests);
        self
    }
}

/// All endpoints, and their description.
pub(super) struct Endpoints {
    router: OpenApiRouter<Arc<App>>,
    body_time: Duration,
}

impl Endpoints {
    pub fn new(limits: &Limits) -> Self {
        Self { router: OpenApiRouter::default(), body_time: limits.body_time }
    }

    /// Mounts an endpoint behind its gate.
    pub fn add(mut self, endpoint: Endpoint) -> Self {
        let Endpoint { route: (schemas, mut paths, methods), terms } = endpoint;
        describe::terms(&mut paths, &terms);
        let gate = Arc::new(Gate {
            room: terms.at_once.map(|requests| Arc::new(Semaphore::new(requests))),
            body_time: self.body_time,
            #[cfg(test)]
            path: paths.paths.keys().next().cloned().unwrap_or_default(),
            terms,
        });
        let methods = methods.route_layer(middleware::from_fn_with_state(gate, pass));
        self.router = self.router.routes((schemas, paths, methods));
        self
    }

    /// What answers, and what describes it.
    pub fn into_parts(self) -> (Router<Arc<App>>, OpenApi) {
        self.router.split_for_parts()
    }
}

struct Gate {
    terms: Terms,
    room: Option<Arc<Semaphore>>,
    body_time: Duration,
    #[cfg(test)]
    path: String,
}

/// The path as it is mounted, for tests that hold answers against the description.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(super) struct Mounted(pub String);

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    #[allow(unused_mut)] // Only tests look at the path.
    let mut response = match gate.let_in(request).await {
        Ok((request, _place)) => next.run(request).await,
        Err(error) => Failure(error).into_response(),
    };
    #[cfg(test)]
    response.extensions_mut().insert(Mounted(gate.path.clone()));
    response
}

impl Gate {
    /// The request with its body, and its place among those of the endpoint.
    async fn let_in(&self, request: Request) -> Result<(Request, Option<OwnedSemaphorePermit>), ServerError> {
        if let Some(permission) = self.terms.permission {
            request.extensions().get::<Caller>().ok_or(ServerError::Unauthorized)?.check(permission)?;
        }
        let place = match &self.room {
            Some(room) => Some(room.clone().try_acquire_owned().map_err(|_| ServerError::Busy)?),
            None => None,
        };
        let Some(limit) = self.terms.body else { return Ok((request, place)) };
        let (parts, body) = request.into_parts();
        let read = tokio::time::timeout(self.body_time, read(body, limit)).await;
        let body = read.map_err(|_| ServerError::BodyTimeout)??;
        Ok((Request::from_parts(parts, body), place))
    }
}

/// A whole body of at most so many bytes.
async fn read(body: Body, limit: usize) -> Result<Body, ServerError> {
    let too_large = || ServerError::BodyTooLarge { limit, inflated: false };
    if body.is_end_stream() {
        return Ok(body);
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let (mut frames, mut bytes) = (body.into_data_stream(), BytesMut::new());
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| ServerError::Body(format!("it broke off: {error}")))?;
        if bytes.len() + frame.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(Body::from(bytes.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_to_its_limit() {
        let bytes = |body: Body| async { axum::body::to_bytes(body, 100).await.unwrap() };
        assert_eq!(bytes(read(Body::from("12345"), 5).await.unwrap()).await, "12345");
        assert_eq!(bytes(read(Body::empty(), 0).await.unwrap()).await, "");
        let chunks = ["123", "456"].map(Ok::<_, std::io::Error>);
        for body in [Body::from("123456"), Body::from_stream(futures::stream::iter(chunks))] {
            assert_eq!(read(body, 5).await.unwrap_err().code(), "body_too_large");
        }
    }
}
