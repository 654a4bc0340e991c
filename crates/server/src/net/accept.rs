//! Accepting connections, with or without TLS, and ending them in good order.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use sceau_event::Micros;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tower::ServiceExt as _;

use super::{
    address::{Peer, Proxies, client_address},
    tls::Tls,
};
use crate::{
    clock::Clock,
    config::{Config, Limits},
    error::ServerError,
    patient::Patient,
    serve::stopped,
};

/// How long to wait when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server's side of the network, listening already.
pub(crate) struct Front {
    listener: TcpListener,
    /// Where it listens; of what was asked for, the port may have been left open.
    pub addr: SocketAddr,
    /// TLS, if it is offered; then nothing else is.
    pub tls: Option<Tls>,
    terms: Terms,
}

/// What each connection is served under.
#[derive(Clone)]
struct Terms {
    limits: Limits,
    proxies: Arc<Proxies>,
    stopping: watch::Receiver<bool>,
}

impl Front {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address can't be listened on, or the certificate can't be used.
    pub async fn listen(config: &Config) -> Result<Self, ServerError> {
        let listening = ServerError::io(format!("listening on {}", config.listen));
        let now = Clock::new(Micros(0)).now();
        let tls = config.tls.as_ref().map(|source| Tls::new(source, config, now)).transpose()?;
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let addr = listener.local_addr().map_err(ServerError::io("listening"))?;
        // Nobody says stop before connections are accepted.
        let (_, stopping) = watch::channel(false);
        let terms = Terms { limits: config.limits.clone(), proxies: Arc::new(config.proxies.clone()), stopping };
        Ok(Self { listener, addr, tls, terms })
    }

    /// Accepts connections until `shutdown`, then lets those that are open finish what they began.
    pub async fn accept(self, router: Router, shutdown: impl Future<Output = ()> + Send + 'static) {
        let Self { listener, tls, mut terms, .. } = self;
        let room = Arc::new(Semaphore::new(terms.limits.connections));
        let (stop, stopping) = watch::channel(false);
        terms.stopping = stopping;
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = async {
                let place = room.clone().acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                next = next => match next {
                    Some((Ok((stream, peer)), place)) => {
                        let served = connection(stream, peer, tls.clone(), router.clone(), terms.clone());
                        connections.spawn(async move {
                            served.await;
                            drop(place);
                        });
                    }
                    Some((Err(error), _)) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    None => break,
                },
            }
        }
        drop(listener);
        stop.send_replace(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(terms.limits.shutdown_time, finished).await.is_err() {
            tracing::warn!("some requests did not end in time and are cut off");
            connections.shutdown().await;
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<Tls>, router: Router, mut terms: Terms) {
    // Small answers must not wait for the next packet.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, terms.limits.write_time);
    let Some(tls) = tls else {
        let peer = Peer { address: peer.ip(), over_tls: false };
        return http(stream, peer, router, terms).await;
    };
    let handshake = timeout(terms.limits.handshake_time, tls.acceptor().accept(stream));
    let stream = tokio::select! {
        done = handshake => done,
        () = stopped(&mut terms.stopping) => return,
    };
    match stream {
        Ok(Ok(stream)) => http(stream, Peer { address: peer.ip(), over_tls: true }, router, terms).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake did not end in time"),
    }
}

async fn http<S>(stream: S, connection: Peer, router: Router, mut terms: Terms)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let proxies = terms.proxies.clone();
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let peer = client_address(connection, request.headers(), &proxies);
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(terms.limits.header_time).max_buf_size(64 << 10);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopped(&mut terms.stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, peer = %connection.address, "a connection ended badly");
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
