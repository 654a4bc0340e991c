//! Sending events.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{Outcome, events, server::TOKEN};

/// Events of a request.
pub const BATCH: u64 = 5_000;
/// Connections that send batches.
const CONNECTIONS: usize = 3;
/// Connections that send single events.
pub const CLIENTS: usize = 64;

/// What sending took besides time.
#[derive(Debug, Default)]
pub struct Sent {
    /// Bytes of events.
    pub bytes: AtomicU64,
    /// Requests sent again after 503.
    pub retries: AtomicU64,
}

/// Sends the events of these numbers in batches, `round` of them in one day's time.
pub async fn batches(url: &str, numbers: Range<u64>, round: u64) -> Outcome<Arc<Sent>> {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let sent = Arc::new(Sent::default());
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, sent, end) = (next.clone(), sent.clone(), numbers.end);
        let url = format!("{url}/api/v1/events?source=bench");
        senders.spawn(async move {
            let client = reqwest::Client::new();
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= end {
                    return Outcome::Ok(());
                }
                let mut body = Vec::with_capacity(BATCH as usize * 320);
                (first..end.min(first + BATCH)).for_each(|number| events::write(number, round, &mut body));
                sent.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
                send(&client, &url, body.into(), &sent.retries).await?;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(sent)
}

/// Sends so many events one by one, over one connection a client.
pub async fn singles(url: &str, count: u64) -> Outcome<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let next = next.clone();
        let url = format!("{url}/api/v1/events?source=single");
        clients.spawn(async move {
            let client = reqwest::Client::builder().pool_max_idle_per_host(1).build()?;
            let retries = AtomicU64::new(0);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Outcome::Ok(());
                }
                let mut body = Vec::with_capacity(320);
                events::write(number, count, &mut body);
                send(&client, &url, body.into(), &retries).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn send(client: &reqwest::Client, url: &str, body: bytes::Bytes, retries: &AtomicU64) -> Outcome<()> {
    loop {
        let request = client.post(url).bearer_auth(TOKEN).header("content-type", "application/x-ndjson");
        let answer = request.body(body.clone()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        match status.as_u16() {
            200 => return Ok(()),
            429 | 503 => {
                retries.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return Err(format!("{status} {text}").into()),
        }
    }
}
