//! Listening, and stopping in good order.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt as _;

use crate::{
    api::{self, App, Peer},
    auth::{self, Accounts, NewToken, Tokens},
    config::{Config, Limits, Secret},
    error::ServerError,
    init::{InitReport, init},
    log::Log,
    patient::Patient,
    schedule, standby,
};

/// How long to wait when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What whoever started the server wants to know.
#[derive(Debug)]
pub struct Ready {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it waits for the log.
    pub standby: bool,
    /// The log's name.
    pub origin: String,
    /// The administrator's token if it was made just now; to be shown once.
    pub bootstrap_token: Option<Secret>,
    /// The secret of the link for the first administrator if it was made just now; to be shown once.
    pub setup: Option<Secret>,
    /// The keys of the log if it was made just now.
    pub init: Option<InitReport>,
}

/// Serves a log until `shutdown` is done, making it first where there is none.
///
/// # Errors
/// The log can't be opened, the address can't be listened on, or the log can't be closed in good order.
pub async fn serve(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
    on_ready: impl FnOnce(Ready) + Send,
) -> Result<(), ServerError> {
    if !config.listen.ip().is_loopback() && !config.insecure_http {
        return Err(ServerError::Config(format!(
            "{} can be reached by other machines, and tokens and logs would cross the network in the clear: listen on \
             127.0.0.1 behind a TLS proxy, or allow it with --insecure-http",
            config.listen
        )));
    }
    if config.standby {
        return standby::serve(&config, shutdown, on_ready).await;
    }
    let report = init(&config).await?;
    let log = Log::open(&config).await?;
    let served = serve_log(&config, &log, shutdown, report, on_ready).await;
    let closed = log.close().await;
    served.and(closed)
}

async fn serve_log(
    config: &Config,
    log: &Log,
    shutdown: impl Future<Output = ()> + Send + 'static,
    report: InitReport,
    on_ready: impl FnOnce(Ready) + Send,
) -> Result<(), ServerError> {
    let (listener, addr) = listen(config).await?;
    let store = &**log.reader().store();
    let (accounts, forged) = Accounts::load(store, log.keys(), &config.accounts, log.now()).await?;
    log.metrics().forged(forged);
    accounts.take_over(log)?;
    let bootstrap_token = bootstrap(log, accounts.tokens(), config.bootstrap_token.clone()).await?;
    let setup = accounts.first_link(log, log.now()).await?.map(|link| link.secret);
    let app = Arc::new(App::new(log.clone(), accounts, config.limits.clone()));
    app.keep_accounts();
    app.detect(&config.detection).await;
    tracing::info!(%addr, origin = report.origin, "serving");
    let origin = report.origin.clone();
    on_ready(Ready { addr, standby: false, origin, bootstrap_token, setup, init: report.created.then_some(report) });
    let schedule = config.schedule.clone().map(|wanted| tokio::spawn(schedule::run(app.clone(), wanted)));
    accept(listener, api::router(app.clone()), config, app.ending(shutdown)).await;
    schedule.inspect(|task| task.abort());
    app.jobs.cancel();
    app.stop_detection().await;
    app.rest_accounts().await;
    Ok(())
}

/// Begins to listen; gives the address too, of which the port may have been left open.
pub(crate) async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), ServerError> {
    let listening = ServerError::io(format!("listening on {}", config.listen));
    let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
    let addr = listener.local_addr().map_err(ServerError::io("listening"))?;
    Ok((listener, addr))
}

/// Makes the first administrator's token, if the log never had one. Where it had, whoever emptied the state must not be
/// given another one, nor bring the first one back to life.
async fn bootstrap(log: &Log, tokens: &Tokens, chosen: Option<Secret>) -> Result<Option<Secret>, ServerError> {
    let chosen = chosen.map(|secret| NewToken::chosen(secret, log.now())).transpose()?;
    if !tokens.is_empty() {
        if chosen.is_some_and(|chosen| tokens.check(chosen.secret.expose()).is_none()) {
            tracing::warn!("SCEAU_BOOTSTRAP_TOKEN is not used: this log has a token already");
        }
        return Ok(None);
    }
    if auth::ever_made(&**log.reader().store(), auth::COLLECTION).await? {
        tracing::error!(
            "no token is valid, although the log had one: the state was altered, so nobody is let in. Look at it with \
             `sceau verify`, then stop the server and make a token with `sceau token`"
        );
        return Ok(None);
    }
    let was_chosen = chosen.is_some();
    let token = match chosen {
        Some(token) => token,
        None => NewToken::random(log.now())?,
    };
    log.record_state_change(auth::COLLECTION, &token.id, Some(token.value.clone()), "system").await?;
    tokens.accept(&token);
    Ok((!was_chosen).then_some(token.secret))
}

/// Accepts connections until `shutdown`, then lets those that are open finish what they began.
pub(crate) async fn accept(
    listener: TcpListener,
    router: Router,
    config: &Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let limits = &config.limits;
    let room = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(false);
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
                    let served = connection(stream, peer, router.clone(), limits.clone(), stopping.clone());
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
    if tokio::time::timeout(limits.shutdown_time, finished).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
        connections.shutdown().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for the next packet.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(axum::body::Body::new)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.header_time).max_buf_size(64 << 10);
    let stream = Patient::new(stream, limits.write_time);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopped(&mut stopping) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "a connection ended badly");
    }
}

/// Waits until it is said to stop.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that nobody can say so any more, which is as good.
    drop(stopping.wait_for(|stop| *stop).await);
}
