//! Looking at the certificate's files again, every few seconds and when asked to (SIGHUP).

use std::{sync::Arc, time::Duration};

use sceau_event::Micros;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::tls::{Look, Tls};
use crate::{clock::Clock, error::ServerError, metrics::Metrics};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// A certificate that ends sooner is warned of.
const SOON: i64 = 14 * 24 * 3_600 * 1_000_000;

/// Answers SIGHUP, which would otherwise end the process, and keeps the certificate fresh, until it is dropped.
pub(crate) async fn watch(tls: Option<Tls>, metrics: Arc<Metrics>) {
    let clock = Clock::new(Micros(0));
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP can't be handled");
            None
        }
    };
    if let Some(tls) = &tls {
        told(tls, &clock, &metrics);
    }
    let mut fault = None;
    loop {
        let asked = asked(&mut hangup).await;
        let Some(tls) = &tls else {
            if asked {
                tracing::info!("SIGHUP: rules are looked at by themselves, and there is no certificate to read again");
            }
            continue;
        };
        look(tls, asked, &mut fault, &clock, &metrics).await;
    }
}

async fn look(tls: &Tls, asked: bool, fault: &mut Option<String>, clock: &Clock, metrics: &Metrics) {
    let now = clock.now();
    let looking = tokio::task::spawn_blocking({
        let tls = tls.clone();
        move || tls.look(now)
    });
    let result = looking.await.unwrap_or_else(|error| Err(ServerError::Internal(format!("a certificate: {error}"))));
    match result {
        Ok(Look::Same) => {
            *fault = None;
            if asked {
                tracing::info!("SIGHUP: the certificate is the same");
            }
        }
        Ok(Look::Renewed) => {
            *fault = None;
            tracing::info!(fingerprint = %tls.fingerprint(), "a new certificate is presented from now on");
            tls.warn_of_readers();
            told(tls, clock, metrics);
        }
        Err(error) => {
            let text = error.to_string();
            if asked || fault.as_ref() != Some(&text) {
                tracing::error!("the new certificate can't be used, so the former one stays: {text}");
                metrics.certificate_refused();
            }
            *fault = Some(text);
        }
    }
}

/// Tells when the certificate ends.
fn told(tls: &Tls, clock: &Clock, metrics: &Metrics) {
    let Some(ends) = tls.ends() else { return };
    metrics.certificate_ends(ends);
    if ends.0 < clock.now().0 {
        tracing::error!(%ends, "the certificate for TLS has ended: clients refuse it");
    } else if ends.0 - clock.now().0 < SOON {
        tracing::warn!(%ends, "the certificate for TLS ends soon");
    }
}

/// Waits for the next time to look; says whether SIGHUP asked for it.
async fn asked(hangup: &mut Option<Signal>) -> bool {
    let Some(signal) = hangup else {
        tokio::time::sleep(EVERY).await;
        return false;
    };
    tokio::select! {
        () = tokio::time::sleep(EVERY) => false,
        received = signal.recv() => received.is_some(),
    }
}
