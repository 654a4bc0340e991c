//! The seal chain as an auditor walks it, and the times that it sets for entries.

use super::verdict::{Fault, FaultKind, Faults};
use crate::{ChainStart, EpochPublic, Head, Seal, WriterId};
use std::collections::VecDeque;

/// How far, in microseconds, an entry's receive time may lie outside its seals' times: an entry is stamped on arrival
/// and may wait in the queue for at most this long before it is committed.
pub const SEAL_SLACK_MICROS: i64 = 60_000_000;
/// How old, in microseconds and besides [`SEAL_SLACK_MICROS`], an epoch may be when it still takes in entries. Epochs
/// end 60 s after their first entry and after an hour without any.
pub const MAX_EPOCH_MICROS: i64 = 3_600_000_000;

/// What is kept of a seal until its entries have passed.
#[derive(Clone)]
struct Mark {
    size: u64,
    /// `None` where a new chain begins: nobody sealed while the keys were lost, for however long that was.
    time: Option<i64>,
}

/// A seal whose signature is that of the key that the seal before it named.
pub(super) struct Signed {
    pub(super) epoch: u64,
    pub(super) head: Head,
    /// Which chain it is of, counted from 0, by where that began.
    pub(super) chain: usize,
    /// Whether that chain is unbroken from its first key to here.
    pub(super) unbroken: bool,
}

/// Where a writer's chain stopped when another writer took the log over.
#[derive(Clone)]
struct Resting {
    /// Which chain, by where it began.
    chain: usize,
    writer: Option<WriterId>,
    /// The key that its last seal names.
    key: EpochPublic,
    unbroken: bool,
}

#[derive(Clone)]
pub(super) struct Chain {
    origin: String,
    /// The chains that were declared, of which the seals are walked one after the other.
    starts: VecDeque<ChainStart>,
    /// Which of them it is, counted from 0.
    number: usize,
    /// Of each so far, the one in which it began: itself, or an earlier one of the same writer that it goes on with.
    began_in: Vec<usize>,
    resting: Vec<Resting>,
    /// Its first epoch.
    began: u64,
    writer: Option<WriterId>,
    epoch: u64,
    key: EpochPublic,
    previous: [u8; 32],
    size: u64,
    time: Option<i64>,
    unbroken: bool,
    marks: VecDeque<Mark>,
    opened: Option<i64>,
    pub(super) notes: Vec<String>,
}

impl Chain {
    /// The seals of a log with these chains, of which there is at least one.
    pub(super) fn new(origin: &str, starts: &[ChainStart]) -> Self {
        let mut starts: VecDeque<ChainStart> = starts.iter().cloned().collect();
        let first = starts.pop_front();
        Chain {
            origin: origin.to_owned(),
            starts,
            number: 0,
            began_in: vec![0],
            resting: Vec::new(),
            began: 0,
            writer: None,
            epoch: 0,
            key: first.as_ref().map_or(EpochPublic([0; 32]), |first| first.key),
            previous: first.as_ref().map_or(crate::FIRST_PREVIOUS, |first| first.previous),
            size: 0,
            time: None,
            unbroken: true,
            marks: VecDeque::new(),
            opened: None,
            notes: Vec::new(),
        }
    }

    /// The epoch whose seal comes next.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Goes over to the next chain, once its first epoch is the next one.
    fn take_over(&mut self, faults: &mut Faults) {
        while let Some(start) = self.starts.pop_front_if(|start| start.epoch <= self.epoch) {
            if start.previous != self.previous || start.epoch < self.epoch {
                let detail = format!(
                    "the chain that begins at epoch {} does not follow the seal that is stored before it",
                    start.epoch
                );
                self.break_off(faults, FaultKind::SealChain, detail);
            }
            self.rest();
            self.number += 1;
            self.began = start.epoch;
            self.key = start.key;
            self.writer = start.writer;
            self.time = None;
            self.go_on(&start, faults);
            if let Some(index) = start.index {
                self.marks.push_back(Mark { size: index, time: None });
            }
        }
    }

    /// In which of the declared chains one began, as far as they were walked: itself, unless it goes on with an earlier one.
    pub(super) fn began_in(&self, number: usize) -> usize {
        self.began_in.get(number).copied().unwrap_or(number)
    }

    /// Remembers where the present writer's chain stops.
    fn rest(&mut self) {
        let chain = self.began_in(self.number);
        self.resting.retain(|resting| resting.chain != chain);
        self.resting.push(Resting { chain, writer: self.writer, key: self.key, unbroken: self.unbroken });
    }

    /// Finds out whether a declared chain begins or goes on with an earlier one: then by the key that is named there, and
    /// by no other.
    fn go_on(&mut self, start: &ChainStart, faults: &mut Faults) {
        let of_key = self.resting.iter().find(|resting| start.taken_over && resting.key == start.key).cloned();
        self.began_in.push(of_key.as_ref().map_or(self.number, |resting| resting.chain));
        self.unbroken = of_key.as_ref().is_none_or(|resting| resting.unbroken);
        let Some(writer) = start.writer else { return };
        let other = match &of_key {
            Some(resting) => resting.writer.is_some_and(|known| known != writer),
            None => self.resting.iter().any(|resting| resting.writer == Some(writer)),
        };
        if other {
            let detail = format!(
                "writer {writer} takes the log over at epoch {} under another key than the one that its last seal names",
                start.epoch
            );
            self.break_off(faults, FaultKind::SealChain, detail);
        }
    }

    /// Takes in the next stored seal. Gives its head if its signature could be checked and holds.
    pub(super) fn add(&mut self, text: &[u8], faults: &mut Faults) -> Option<Signed> {
        let seal = match Seal::parse(text) {
            Ok(seal) => seal,
            Err(error) => {
                self.break_off(faults, FaultKind::Seal, format!("the seal expected for epoch {}: {error}", self.epoch));
                return None;
            }
        };
        let body = seal.body();
        let epoch = body.epoch;
        self.take_over(faults);
        if epoch < self.epoch {
            let next = self.epoch;
            self.break_off(faults, FaultKind::SealChain, format!("epoch {epoch} comes where epoch {next} belongs"));
            return None;
        }
        let gap = epoch > self.epoch;
        if gap {
            let (first, last) = (self.epoch, epoch - 1);
            self.break_off(faults, FaultKind::SealChain, format!("the seals of epochs {first} to {last} are missing"));
            self.skip_to(epoch);
        }
        // After a gap the key is not known: nothing is gained from this seal but the name of the next key.
        let signed = !gap && self.check_signature(&seal, faults);
        if !gap {
            self.check_links(&seal, faults);
        }
        self.check_order(&seal, faults);
        self.epoch = epoch.saturating_add(1);
        self.key = body.next;
        self.previous = seal.hash();
        self.size = body.head.size.0;
        self.time = Some(body.time_micros);
        self.marks.push_back(Mark { size: self.size, time: Some(body.time_micros) });
        signed.then_some(Signed { epoch, head: body.head, chain: self.began_in(self.number), unbroken: self.unbroken })
    }

    /// Leaves out chains that would have ended in a gap.
    fn skip_to(&mut self, epoch: u64) {
        while let Some(start) = self.starts.pop_front_if(|start| start.epoch <= epoch) {
            self.number += 1;
            self.began_in.push(self.number);
            self.writer = start.writer;
        }
    }

    fn break_off(&mut self, faults: &mut Faults, kind: FaultKind, detail: String) {
        self.unbroken = false;
        faults.push(Fault::whole(kind, detail));
    }

    fn check_signature(&mut self, seal: &Seal, faults: &mut Faults) -> bool {
        let epoch = seal.body().epoch;
        let named = if epoch == self.began {
            "the key with which its chain begins or goes on"
        } else {
            "the key that the seal before it names"
        };
        if seal.verify(&self.key).is_ok() {
            return true;
        }
        self.break_off(faults, FaultKind::Seal, format!("the seal of epoch {epoch} is not signed by {named}"));
        false
    }

    fn check_links(&mut self, seal: &Seal, faults: &mut Faults) {
        let body = seal.body();
        let epoch = body.epoch;
        if body.previous != self.previous {
            let detail = format!("the seal of epoch {epoch} does not name the hash of the seal before it");
            self.break_off(faults, FaultKind::SealChain, detail);
        }
    }

    fn check_order(&mut self, seal: &Seal, faults: &mut Faults) {
        let body = seal.body();
        let epoch = body.epoch;
        if body.origin != self.origin {
            let detail = format!("the seal of epoch {epoch} is of the log {:?}", body.origin);
            self.break_off(faults, FaultKind::Seal, detail);
        }
        let writer = *self.writer.get_or_insert(body.writer);
        if writer != body.writer {
            let detail = format!("the seal of epoch {epoch} is of writer {}, the chain of {writer}", body.writer);
            self.break_off(faults, FaultKind::Seal, detail);
        }
        if body.head.size.0 < self.size {
            let detail = format!("the log shrinks from {} to {} entries in epoch {epoch}", self.size, body.head.size);
            self.break_off(faults, FaultKind::SealChain, detail);
        }
        let Some(before) = self.time else { return };
        let open = body.time_micros.saturating_sub(before);
        if open < 0 {
            let detail = format!("the seal of epoch {epoch} is {} s older than the one before it", -(open / 1_000_000));
            faults.push(Fault::whole(FaultKind::Time, detail));
        }
        if open > MAX_EPOCH_MICROS + SEAL_SLACK_MICROS && body.head.size.0 > self.size && self.notes.len() < 20 {
            self.notes.push(format!(
                "epoch {epoch} was open for {} s with entries {} to {} in it; its key existed for as long",
                open / 1_000_000,
                self.size,
                body.head.size.0 - 1
            ));
        }
    }

    /// Compares an entry's receive time with the seals around it. Indexes must not go backwards.
    pub(super) fn check_received(&mut self, index: u64, received: i64, faults: &mut Faults) {
        while let Some(mark) = self.marks.front().filter(|mark| mark.size <= index) {
            self.opened = mark.time;
            self.marks.pop_front();
        }
        let closes = self.marks.iter().find_map(|mark| mark.time);
        if let Some(closes) = closes.filter(|closes| received > closes.saturating_add(SEAL_SLACK_MICROS)) {
            let late = received.saturating_sub(closes) / 1_000_000;
            faults.run(FaultKind::Time, index, index, || format!("received {late} s after the seal that covers it"));
            return;
        }
        let Some(opens) = self.opened else { return };
        if received < opens.saturating_sub(SEAL_SLACK_MICROS) {
            let early = opens.saturating_sub(received) / 1_000_000;
            faults.run(FaultKind::Time, index, index, || format!("received {early} s before the seal before it"));
        } else if received > opens.saturating_add(MAX_EPOCH_MICROS + SEAL_SLACK_MICROS) {
            let old = received.saturating_sub(opens) / 1_000_000;
            faults.run(FaultKind::Time, index, index, || {
                format!("received {old} s after the last seal, in an epoch that should have ended long before")
            });
        }
    }

    /// Compares the chain's end with the key in the key directory.
    pub(super) fn check_end(&mut self, current: Option<&EpochPublic>, faults: &mut Faults) {
        self.take_over(faults);
        if current.is_some_and(|current| *current != self.key) {
            let last = self.epoch;
            let detail = format!(
                "the key directory holds another key than that of epoch {last}, which the last stored seal names: the \
                 last seals are missing, or the key directory is not this log's"
            );
            self.break_off(faults, FaultKind::SealChain, detail);
        }
    }
}
