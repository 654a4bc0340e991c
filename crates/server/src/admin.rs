//! What an operator does to a log that no server holds.

use crate::{
    auth::NewToken,
    config::Config,
    error::ServerError,
    log::Log,
    rotation::{Rotated, RotatedKey},
};

/// Makes a further administrator's token for a log that no server holds: the way back in when the first one was lost,
/// be it because the server stopped between sealing it and showing it. Whoever may do this can read the key directory
/// and could do anything else as well; that it was done is sealed as an entry of `sceau.audit`, by `actor`. Show the
/// secret once: it is kept nowhere. Other tokens stay valid.
///
/// # Errors
/// A server holds the log, the log can't be opened, or it has too many tokens. Then nobody has a new token.
pub async fn new_admin_token(config: &Config, actor: &str) -> Result<NewToken, ServerError> {
    let log = Log::open(config).await?;
    let made = log.new_admin_token(actor).await;
    if let Err(error) = log.close().await {
        // The token is durable all the same, and would be lost if it were not given now.
        tracing::warn!(%error, "the log could not be closed in good order; the next start resolves that");
    }
    made
}

/// Puts a new log key or MAC key in the place of the present one, in a log that no server holds.
///
/// # Errors
/// A server holds the log, the log can't be opened, or a step failed; the next start resolves what it left.
pub async fn rotate_key(config: &Config, key: RotatedKey, actor: &str) -> Result<Rotated, ServerError> {
    let log = Log::open(config).await?;
    let rotated = log.rotate(key, actor).await;
    let closed = log.close().await;
    let rotated = rotated?;
    closed?;
    Ok(rotated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Reader, Tokens,
        testing::Fixture,
        verify::{Cancel, VerifyOptions, verify_dir},
    };

    #[tokio::test]
    async fn a_lost_token_can_be_replaced_and_that_is_sealed() {
        let fixture = Fixture::new().await;
        let first = new_admin_token(&fixture.config, "operator").await.unwrap();
        let token = new_admin_token(&fixture.config, "operator").await.unwrap();
        let reader = Reader::open(&fixture.config).await.unwrap();
        let keys = crate::keydir::KeyDir::open(&fixture.config.key_dir, Some(fixture.data())).unwrap();
        let tokens = Tokens::load(&**reader.store(), &keys).await.unwrap();
        for token in [&first, &token] {
            assert_eq!(tokens.check(token.secret.expose()).as_deref(), Some(token.id.as_str()));
        }
        let event = reader.event(1).await.unwrap();
        assert_eq!((&event.record["source"], &event.record["user.name"]), (&"sceau.audit".into(), &"operator".into()));
        assert!(!event.entry.contains(token.secret.expose()));
        reader.close().await.unwrap();
        let report = verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap();
        assert!(report.ok, "{report}");
    }

    #[tokio::test]
    async fn a_log_that_is_served_is_left_alone() {
        let fixture = Fixture::new().await;
        let _log = fixture.log().await;
        assert!(new_admin_token(&fixture.config, "operator").await.is_err());
    }
}
