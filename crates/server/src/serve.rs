//! Serving a log, and stopping in good order.

use std::{future::Future, net::SocketAddr, sync::Arc};

use tokio::sync::watch as channel;

use crate::{
    api::{self, App},
    auth::{self, Accounts, NewToken, Tokens},
    config::{Config, Secret},
    error::ServerError,
    init::{InitReport, init},
    log::Log,
    net::{Fingerprint, accept::Front, tls::Tls, watch::watch},
    schedule, standby,
};

/// What whoever started the server wants to know.
#[derive(Debug)]
pub struct Ready {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The fingerprint of its certificate, if it offers TLS.
    pub tls: Option<Fingerprint>,
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
    check_exposure(&config)?;
    if config.standby {
        return standby::serve(&config, shutdown, on_ready).await;
    }
    let report = init(&config).await?;
    let log = Log::open(&config).await?;
    let served = serve_log(&config, &log, shutdown, report, on_ready).await;
    let closed = log.close().await;
    served.and(closed)
}

/// Refuses to send tokens and logs in the clear to other machines.
///
/// # Errors
/// [`ServerError::Config`] says what would be right.
pub fn check_exposure(config: &Config) -> Result<(), ServerError> {
    if config.listen.ip().is_loopback() || config.tls.is_some() || config.insecure_http {
        return Ok(());
    }
    Err(ServerError::Config(format!(
        "{} can be reached by other machines, and tokens and logs would cross the network in the clear: give --tls-cert \
         and --tls-key, or --tls-self-signed, or listen on 127.0.0.1 behind a TLS proxy, or allow it with --insecure-http",
        config.listen
    )))
}

async fn serve_log(
    config: &Config,
    log: &Log,
    shutdown: impl Future<Output = ()> + Send + 'static,
    report: InitReport,
    on_ready: impl FnOnce(Ready) + Send,
) -> Result<(), ServerError> {
    let front = Front::listen(config).await?;
    let (addr, tls) = (front.addr, front.tls.clone());
    let store = &**log.reader().store();
    let (accounts, forged) = Accounts::load(store, log.keys(), &config.accounts, log.now()).await?;
    log.metrics().forged(forged);
    accounts.take_over(log)?;
    let bootstrap_token = bootstrap(log, accounts.tokens(), config.bootstrap_token.clone()).await?;
    let setup = accounts.first_link(log, log.now()).await?.map(|link| link.secret);
    let app = Arc::new(App::new(log.clone(), accounts, config));
    app.keep_accounts();
    app.detect(&config.detection).await;
    tracing::info!(%addr, origin = report.origin, tls = tls.is_some(), "serving");
    let origin = report.origin.clone();
    let fingerprint = tls.as_ref().map(Tls::fingerprint);
    let init = report.created.then_some(report);
    on_ready(Ready { addr, tls: fingerprint, standby: false, origin, bootstrap_token, setup, init });
    let watching = tokio::spawn(watch(tls, app.metrics.clone()));
    let schedule = config.schedule.clone().map(|wanted| tokio::spawn(schedule::run(app.clone(), wanted)));
    front.accept(api::router(app.clone()), app.ending(shutdown)).await;
    watching.abort();
    schedule.inspect(|task| task.abort());
    app.jobs.cancel();
    app.stop_detection().await;
    app.rest_accounts().await;
    Ok(())
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

/// Waits until it is said to stop.
pub(crate) async fn stopped(stopping: &mut channel::Receiver<bool>) {
    // An error means that nobody can say so any more, which is as good.
    drop(stopping.wait_for(|stop| *stop).await);
}
