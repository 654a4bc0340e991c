//! Old checkpoints: of those that an epoch made, one a second, only the last is kept once its seal is a day old.
//!
//! Invariant: the newest checkpoint is never forgotten, nor one that no seal covers: only those of smaller sizes than
//! another that is kept beside them. Nobody needs a certain old one: proofs and retention lean on the newest, and verifying
//! on whatever is there.

use sceau_event::Micros;
use sceau_ledger::{Seal, TreeSize};
use sceau_store::{Store, StoreError};

/// How old a seal must be, in microseconds.
const AGE: i64 = 86_400_000_000;
/// Seals looked at in one transaction, and how many times in one go while there is nothing to forget.
const PAGE: usize = 256;
const PAGES: usize = 32;

/// How far it has come since the start.
#[derive(Default)]
pub(crate) struct Thinning {
    /// The next epoch to look at, and the size that the seal before it covers.
    next: u64,
    size: u64,
}

impl Thinning {
    /// Goes on with what has become old enough.
    pub async fn go_on(&mut self, store: &dyn Store, now: Micros) -> Result<(), StoreError> {
        for _ in 0..PAGES {
            let mut spans = Vec::new();
            for row in store.seals(self.next, PAGE).await? {
                // What is no seal is named when the log is verified; nothing behind it is touched.
                let Ok(seal) = Seal::parse(row.text.as_bytes()) else { break };
                let body = seal.body();
                if body.epoch != row.epoch || body.time_micros > now.0.saturating_sub(AGE) {
                    break;
                }
                let size = body.head.size.0.max(self.size);
                spans.push((TreeSize(self.size), TreeSize(size)));
                (self.next, self.size) = (row.epoch.saturating_add(1), size);
            }
            if spans.is_empty() || store.thin_checkpoints(spans).await? > 0 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        IngestRequest,
        testing::Fixture,
        verify::{Cancel, VerifyOptions, verify_dir},
    };

    #[tokio::test]
    async fn of_an_old_epoch_the_last_checkpoint_is_kept() {
        let fixture = Fixture::new().await;
        let log = fixture.log().await;
        let publisher = log.publisher();
        let store = log.reader().store().clone();
        let sizes = async || -> Vec<u64> {
            let found = store.checkpoints(TreeSize(0), 1_000).await.unwrap();
            found.iter().map(|(size, _)| size.0).collect()
        };
        for _ in 0..3 {
            for _ in 0..4 {
                log.ingest(Bytes::from_static(b"{}"), &IngestRequest::default()).await.unwrap();
                publisher.publish().await.unwrap();
            }
            publisher.close_epoch().await.unwrap();
        }
        log.ingest(Bytes::from_static(b"{}"), &IngestRequest::default()).await.unwrap();
        publisher.publish().await.unwrap();
        log.ingest(Bytes::from_static(b"{}"), &IngestRequest::default()).await.unwrap();
        publisher.publish().await.unwrap();
        let all: Vec<u64> = (1..=14).collect();
        publisher.thin(Micros(log.now().0 + AGE / 2)).await.unwrap();
        assert_eq!(sizes().await, all, "nothing is old enough");
        let later = Micros(log.now().0 + AGE + 1_000_000);
        publisher.thin(later).await.unwrap();
        assert_eq!(sizes().await, [4, 8, 12, 13, 14], "what no seal covers stays");
        publisher.thin(later).await.unwrap();
        assert_eq!(sizes().await, [4, 8, 12, 13, 14]);
        log.close().await.unwrap();
        drop((log, store));
        let log = fixture.log().await;
        log.publisher().thin(Micros(log.now().0 + AGE + 1_000_000)).await.unwrap();
        log.close().await.unwrap();
        drop(log);
        let options = VerifyOptions { pins: vec![fixture.report.first_epoch_key.clone()], ..VerifyOptions::default() };
        let report = verify_dir(&fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap();
        assert!(report.ok, "{report}");
        assert_eq!(report.verdict.sealed.up_to, Some(13), "{report}");
    }
}
