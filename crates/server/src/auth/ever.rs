//! What the log itself says of the past of tokens and users, whoever emptied the state.

use sceau_store::{Store, StoreError};

use crate::{audit_entry::AuditEntry, entries};

/// Whether an entry of `sceau.audit` ever made or changed a document of that collection. It reads the entries themselves, not
/// their columns, up to the first such one, which a log has near its beginning.
///
/// # Errors
/// The store can't be read.
pub(crate) async fn ever_made(store: &dyn Store, collection: &str) -> Result<bool, StoreError> {
    const PAGE: usize = 8_192;
    let (mut next, size) = (store.kept_from().await?.0, store.head().await?.size.0);
    while next < size {
        let rows = entries::kept(store, next, size, PAGE).await?;
        if rows.entries.iter().any(|entry| may_be_audit(entry) && AuditEntry::names(entry, collection)) {
            return Ok(true);
        }
        next = entries::behind(&rows);
    }
    Ok(false)
}

/// Whether the beginning of an envelope names the source; parsing every entry of a large log would take minutes.
fn may_be_audit(entry: &[u8]) -> bool {
    const SOURCE: &[u8] = b"\"source\":\"sceau.audit\"";
    entry.get(..96).unwrap_or(entry).windows(SOURCE.len()).any(|bytes| bytes == SOURCE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Format, IngestRequest, Log, auth::COLLECTION, testing::Fixture};

    /// Whether a token was ever made, by reading every entry whole and all at once.
    async fn plainly_ever_made(store: &dyn Store) -> bool {
        let rows = store.entries(store.kept_from().await.unwrap(), usize::MAX).await.unwrap();
        rows.entries.iter().any(|entry| {
            let entry: Value = serde_json::from_slice(entry).unwrap();
            entry["source"] == "sceau.audit" && entry["data"]["collection"] == "tokens"
        })
    }

    async fn agree(log: &Log, wanted: bool) {
        let store = log.reader().store();
        assert_eq!(
            (ever_made(&**store, COLLECTION).await.unwrap(), plainly_ever_made(&**store).await),
            (wanted, wanted)
        );
    }

    async fn send(log: &Log, source: &str, lines: &str) {
        let request = IngestRequest { format: Format::Ndjson, source: source.into(), ..IngestRequest::default() };
        log.ingest(Bytes::from(lines.to_owned()), &request).await.unwrap();
    }

    #[tokio::test]
    async fn whether_a_token_was_ever_made_is_found_as_by_reading_everything() {
        let fixture = Fixture::new().await;
        let log = fixture.log().await;
        agree(&log, false).await;
        let change = json!({"action": "state_change", "collection": "tokens", "key": "k", "value": {"role": "admin"}});
        let imitation = json!({"source": "sceau.audit", "data": change, "z": 1});
        let sent = format!("{change}\n{imitation}\n{{\"source\":\"sceau.audit\",\"collection\":\"tokens\"}}\n");
        for source in ["a", "http", &"long".repeat(12)] {
            send(&log, source, &sent).await;
        }
        log.record_state_change("settings", "tokens", Some(json!({"collection": "tokens"})), "tokens").await.unwrap();
        agree(&log, false).await;
        // More than are read at once.
        send(&log, "http", &"{\"n\":1}\n".repeat(8_300)).await;
        agree(&log, false).await;
        let token = log.new_admin_token("test").await.unwrap();
        agree(&log, true).await;
        log.record_state_change(COLLECTION, &token.id, None, "test").await.unwrap();
        agree(&log, true).await;
        log.close().await.unwrap();
    }

    /// An entry of an older or newer version, or one that was written by hand.
    #[test]
    fn an_entry_about_tokens_counts_whatever_else_it_says() {
        let counts = |source: &str, data: &str| {
            let received = "2026-11-22T08:00:00.000000Z";
            let entry =
                format!(r#"{{"v":1,"received":"{received}","source":"{source}","meta":{{}},"data":{{{data}}}}}"#);
            may_be_audit(entry.as_bytes()) && AuditEntry::names(entry.as_bytes(), COLLECTION)
        };
        for data in [
            r#""action":"state_change","collection":"tokens","key":"k","value":{"role":"admin"}"#,
            r#""action":"state_change","collection":"tokens","value":{"role":"admin"}"#,
            r#""action":"state_change","collection":"tokens","key":"k","carried":"12""#,
            r#""collection":"tokens""#,
        ] {
            assert!(counts("sceau.audit", data), "{data}");
            assert!(!counts("http", data) && !counts("sceau.audit", &data.replace("tokens", "token")), "{data}");
        }
    }
}
