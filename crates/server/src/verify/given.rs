//! What a verification is told: by whoever asks for it, and by the store about itself.

use sceau_ledger::{Checkpoint, EpochPublic, Fault, FaultKind, Head, KeyHistory, LedgerError, VerifierKey, WriterId};
use sceau_store::{Document, Store, StoreError};

use super::{VerifyOptions, keys};
use crate::error::ServerError;

/// The parameter that holds a checkpoint kept elsewhere.
const SINCE: &str = "since_checkpoint";

/// What was given from outside, understood.
pub(super) struct Given {
    pub pins: Vec<EpochPublic>,
    pub vkey: Option<VerifierKey>,
    pub outside: Vec<Vec<u8>>,
}

impl Given {
    pub fn parse(options: &VerifyOptions) -> Result<Self, ServerError> {
        let wrong = |name: &'static str| move |error: LedgerError| ServerError::parameter(name, error);
        for note in &options.since_checkpoints {
            // A file given by mistake says nothing about the log. One that contradicts it is judged with the entries.
            Checkpoint::parse_unverified(note.as_bytes()).map_err(wrong(SINCE))?;
        }
        Ok(Self {
            pins: options.pins.iter().map(|text| pin(text)).collect::<Result<_, _>>()?,
            vkey: options
                .verifier_key
                .as_deref()
                .map(|key| key.trim().parse())
                .transpose()
                .map_err(wrong("verifier_key"))?,
            outside: options.since_checkpoints.iter().map(|note| note.clone().into_bytes()).collect(),
        })
    }

    /// Makes sure that the checkpoints are of this log, by a word that is not the store's own.
    pub fn check_origin(&self, origin: &str) -> Result<(), ServerError> {
        for note in &self.outside {
            let found = Checkpoint::parse_unverified(note)?.origin;
            if found != origin {
                let error = LedgerError::OtherOrigin { expected: origin.to_owned(), found };
                return Err(ServerError::parameter(SINCE, error));
            }
        }
        Ok(())
    }
}

fn pin(text: &str) -> Result<EpochPublic, ServerError> {
    let expected = "expected an epoch key as `sceau init` printed it: 44 characters of Base64";
    text.trim().parse().map_err(|_| ServerError::parameter("pin", expected))
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

    /// The log's public keys: the first ones from the facts, or as given where these are missing or say otherwise, and
    /// then as the statements in `documents` have it. `held` is the present log key, if at hand.
    pub fn history(
        &mut self,
        given: &Given,
        held: Option<VerifierKey>,
        documents: &[Document],
    ) -> Result<KeyHistory, ServerError> {
        let first_epoch = self.first_epoch(given.pins.first().copied())?;
        let stored: Option<VerifierKey> = self.verifier_key.as_deref().and_then(|key| key.parse().ok());
        let missing =
            || ServerError::parameter("verifier_key", "the store's own is missing or malformed, so it must be given");
        let led = || held.map(|held| keys::first(documents).unwrap_or(held));
        let first = stored.clone().or_else(|| given.vkey.clone()).or_else(led).ok_or_else(missing)?;
        let mut history = KeyHistory::new(first, first_epoch);
        let faults = keys::follow(&mut history, documents);
        match &given.vkey {
            Some(vkey) if stored.is_none() || !history.log().iter().any(|(_, key)| key == vkey) => {
                // The stored key is not believed: whatever it signed is then no checkpoint of this log.
                let mut other = KeyHistory::new(vkey.clone(), first_epoch);
                self.faults.extend(keys::follow(&mut other, documents));
                self.compare(vkey);
                Ok(other)
            }
            _ => {
                self.faults.extend(faults);
                self.compare(&history.log().first().clone());
                Ok(history)
            }
        }
    }

    fn first_epoch(&mut self, pin: Option<EpochPublic>) -> Result<EpochPublic, ServerError> {
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

    /// The head, or where its row can't be understood what else is known of it, which is then compared with the entries.
    pub async fn head(&mut self, store: &dyn Store, noted: Option<Head>) -> Result<Head, StoreError> {
        let error = match store.head().await {
            Err(error) if !matches!(error, StoreError::Unavailable(_)) => error,
            head => return head,
        };
        self.faults.push(Fault::whole(FaultKind::Root, format!("the stored head can't be read: {error}")));
        if let Some(noted) = noted {
            return Ok(noted);
        }
        let note = store.latest_checkpoint().await?.unwrap_or_default();
        let signed = Checkpoint::parse_unverified(note.as_bytes());
        Ok(signed.map_or_else(|_| Head::empty(), |checkpoint| checkpoint.head))
    }

    fn compare(&mut self, vkey: &VerifierKey) {
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
