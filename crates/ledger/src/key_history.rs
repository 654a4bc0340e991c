//! The public keys that a log has had, each led to by the statement that introduced it.

use crate::key_change::{Lost, MacChange, SignedKeyChange};
use crate::{EpochPublic, FIRST_PREVIOUS, LedgerError, VerifierKey, WriterId};

/// The log keys, each with the size that only its checkpoints exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKeys {
    first: VerifierKey,
    later: Vec<(u64, VerifierKey)>,
}

impl LogKeys {
    /// A log that has had only this key.
    #[must_use]
    pub fn new(first: VerifierKey) -> Self {
        Self { first, later: Vec::new() }
    }

    /// The key that signs a checkpoint of `size` entries.
    #[must_use]
    pub fn at(&self, size: u64) -> &VerifierKey {
        let later = self.later.iter().rev().find(|(from, _)| *from < size);
        later.map_or(&self.first, |(_, key)| key)
    }

    /// The first key.
    #[must_use]
    pub fn first(&self) -> &VerifierKey {
        &self.first
    }

    /// The present key.
    #[must_use]
    pub fn newest(&self) -> &VerifierKey {
        self.later.last().map_or(&self.first, |(_, key)| key)
    }

    /// All keys from the first on, each with the size that its checkpoints exceed (0 for the first).
    pub fn iter(&self) -> impl Iterator<Item = (u64, &VerifierKey)> {
        std::iter::once((0, &self.first)).chain(self.later.iter().map(|(from, key)| (*from, key)))
    }
}

/// A chain of seals: where it begins, and by whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainStart {
    /// Its first epoch.
    pub epoch: u64,
    /// That epoch's public key: what an auditor pins.
    pub key: EpochPublic,
    /// Who writes it, where its beginning says so: the first chain's does not.
    pub writer: Option<WriterId>,
    /// The hash of the seal before.
    pub previous: [u8; 32],
    /// The entry that says so; `None` for the first chain.
    pub index: Option<u64>,
    /// Whether another writer took the log over here, and nothing was lost. One that had it before goes on with its own
    /// chain, under the key that its last seal names.
    pub taken_over: bool,
}

/// All keys of a log. Made of the first keys and then of one statement after the other, each checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHistory {
    log: LogKeys,
    macs: Vec<MacChange>,
    chains: Vec<ChainStart>,
    changes: Vec<SignedKeyChange>,
}

impl KeyHistory {
    /// A log with its first keys.
    #[must_use]
    pub fn new(first: VerifierKey, first_epoch: EpochPublic) -> Self {
        let chain = ChainStart {
            epoch: 0,
            key: first_epoch,
            writer: None,
            previous: FIRST_PREVIOUS,
            index: None,
            taken_over: false,
        };
        Self { log: LogKeys::new(first), macs: Vec::new(), chains: vec![chain], changes: Vec::new() }
    }

    /// Takes in the next statement: a rotation must be signed by the key before it and by the new one, a take-over by the
    /// log key and by the key that seals next, what replaces lost keys by those that it names.
    ///
    /// # Errors
    /// [`LedgerError::KeyChange`] says what is wrong with it; nothing is taken in then.
    pub fn add(&mut self, note: &[u8]) -> Result<(), LedgerError> {
        let change = SignedKeyChange::parse(note)?;
        self.check(&change).map_err(|reason| LedgerError::KeyChange(reason.to_owned()))?;
        let body = change.body();
        if let Some(log) = &body.log {
            self.log.later.push((body.index, log.new.clone()));
        }
        self.macs.extend(body.mac);
        if let Some(chain) = &body.chain {
            self.chains.push(ChainStart {
                epoch: chain.epoch,
                key: chain.key,
                writer: Some(chain.writer),
                previous: chain.previous,
                index: Some(body.index),
                taken_over: body.is_take_over(),
            });
        }
        self.changes.push(change);
        Ok(())
    }

    fn check(&self, change: &SignedKeyChange) -> Result<(), &'static str> {
        let body = change.body();
        let (rotation, take_over) = (body.lost.is_empty(), body.is_take_over());
        let is = |holds: bool, otherwise: &'static str| if holds { Ok(()) } else { Err(otherwise) };
        is(body.origin == self.log.first.origin(), "it is of another log")?;
        is(self.changes.last().is_none_or(|last| last.body().index < body.index), "it is out of order")?;
        is(body.lost.is_sorted_by(|one, next| one < next), "it does not name what was lost in order")?;
        is(body.log.is_some() || body.mac.is_some() || !rotation || take_over, "it changes no key")?;
        is(!take_over || (body.log.is_none() && body.mac.is_none()), "it changes keys of the log besides its writer")?;
        is(body.log.is_some() == body.lost.contains(&Lost::Log) || rotation, "its log key does not fit what was lost")?;
        is(body.mac.is_some() == body.lost.contains(&Lost::Mac) || rotation, "its MAC key does not fit what was lost")?;
        is(
            take_over || body.chain.is_some() == body.lost.contains(&Lost::Epoch),
            "its chain does not fit what was lost",
        )?;
        let before = self.log.newest();
        if let Some(log) = &body.log {
            is(log.old == *before, "it does not name the key before it")?;
            is(log.new.origin() == body.origin && log.new != log.old, "its new key is none of this log's")?;
            is(change.is_signed_by(&log.new), "it is not signed by the new key")?;
        }
        if rotation || body.log.is_none() {
            is(change.is_signed_by(before), "it is not signed by the key before it")?;
        }
        if let Some(mac) = &body.mac {
            let known = self.macs.last();
            is(rotation == mac.old.is_some(), "its old MAC key does not fit what was lost")?;
            is(rotation == change.has_hmac(), "its authentication code does not fit what was lost")?;
            let fits = known.is_none_or(|known| mac.old.is_none_or(|old| old == known.new));
            is(fits, "it does not name the MAC key before it")?;
            is(known.is_none_or(|known| known.bundle <= mac.bundle), "its MAC key counts from an earlier bundle")?;
            let present = body.index / 256;
            is(mac.bundle == if rotation { present + 1 } else { present }, "its MAC key counts from another bundle")?;
        }
        if let Some(chain) = &body.chain {
            let last = self.chains.last().map_or(0, |last| last.epoch);
            is(chain.epoch >= last, "its chain begins in an epoch of the chain before")?;
            is(change.is_signed_by_epoch(&chain.key), "it is not signed by the new chain's first key")?;
        }
        Ok(())
    }

    /// The log keys.
    #[must_use]
    pub fn log(&self) -> &LogKeys {
        &self.log
    }

    /// The chains of seals; there is always a first.
    #[must_use]
    pub fn chains(&self) -> &[ChainStart] {
        &self.chains
    }

    /// The MAC keys that statements introduced.
    #[must_use]
    pub fn macs(&self) -> &[MacChange] {
        &self.macs
    }

    /// The statements.
    #[must_use]
    pub fn changes(&self) -> &[SignedKeyChange] {
        &self.changes
    }

    /// The chain that goes on.
    #[must_use]
    pub fn present_chain(&self) -> Option<&ChainStart> {
        self.chains.last()
    }

    /// The chain that epoch `epoch` is of.
    #[must_use]
    pub fn chain_of(&self, epoch: u64) -> Option<&ChainStart> {
        self.chains.iter().rev().find(|chain| chain.epoch <= epoch)
    }
}
