//! What a verification is told: by whoever asks for it, and by the store about itself.

use sceau_ledger::{EpochPublic, Fault, FaultKind, LedgerError, VerifierKey, WriterId};
use sceau_store::{Store, StoreError};

use super::VerifyOptions;
use crate::error::ServerError;

/// What was given from outside, understood.
pub(super) struct Given {
    pub pin: Option<EpochPublic>,
    pub vkey: Option<VerifierKey>,
    pub outside: Vec<Vec<u8>>,
}

impl Given {
    pub fn parse(options: &VerifyOptions) -> Result<Self, ServerError> {
        let wrong = |name: &'static str| move |error: LedgerError| ServerError::parameter(name, error);
        Ok(Self {
            pin: options.pin.as_deref().map(|pin| pin.trim().parse()).transpose().map_err(wrong("pin"))?,
            vkey: options
                .verifier_key
                .as_deref()
                .map(|key| key.trim().parse())
                .transpose()
                .map_err(wrong("verifier_key"))?,
            outside: options.since_checkpoints.iter().map(|note| note.clone().into_bytes()).collect(),
        })
    }
}

/// What the store says of itself.
pub(super) struct Facts {
    origin: Option<String>,
    verifier_key: Option<String>,
    first_epoch_key: Option<String>,
    writer: Option<String>,
    pub faults: Vec<Fault>,
}

impl Facts {
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self {
            origin: store.fact("origin").await?,
            verifier_key: store.fact("verifier_key").await?,
            first_epoch_key: store.fact("first_epoch_key").await?,
            writer: store.fact("writer").await?,
            faults: Vec::new(),
        })
    }

    pub fn vkey(&self) -> Result<VerifierKey, ServerError> {
        let vkey = self.verifier_key.as_deref().and_then(|key| key.parse().ok());
        vkey.ok_or_else(|| {
            ServerError::parameter("verifier_key", "the store's own is missing or malformed, so it must be given")
        })
    }

    pub fn first_epoch(&mut self, pin: Option<EpochPublic>) -> Result<EpochPublic, ServerError> {
        match self.first_epoch_key.as_deref().map(str::parse) {
            Some(Ok(key)) => Ok(key),
            stored => {
                let detail = format!("the fact first_epoch_key is {}", stored.map_or("missing", |_| "malformed"));
                self.faults.push(Fault::whole(FaultKind::State, detail));
                pin.ok_or_else(|| {
                    ServerError::parameter("pin", "the store's own first key is missing, so it must be given")
                })
            }
        }
    }

    /// Whose seals these should be.
    pub fn writer(&mut self) -> Option<WriterId> {
        let stored = self.writer.as_deref().map(str::parse);
        if let Some(Ok(writer)) = stored {
            return Some(writer);
        }
        let detail = format!("the fact writer is {}", stored.map_or("missing", |_| "malformed"));
        self.faults.push(Fault::whole(FaultKind::State, detail));
        None
    }

    pub fn compare(&mut self, vkey: &VerifierKey) {
        for (name, stored, right) in
            [("origin", &self.origin, vkey.origin().to_owned()), ("verifier_key", &self.verifier_key, vkey.to_string())]
        {
            if stored.as_deref() != Some(&right) {
                let stored = stored.as_deref().unwrap_or("missing");
                let detail = format!("the fact {name} is {stored}, the key given is of {right}");
                self.faults.push(Fault::whole(FaultKind::State, detail));
            }
        }
    }
}
