//! How far the chains of seals reach, under which pins.

use super::Auditor;
use super::verdict::{Fault, FaultKind};
use crate::{ChainStart, EpochPublic};

impl Auditor {
    /// Names pins that are the key of a chain, but not its first.
    pub(super) fn check_pins(&mut self) {
        let chains = self.input.history.chains();
        let goes_on = |pin: &EpochPublic| {
            let mut with = chains.iter().enumerate().filter(|(_, chain)| chain.key == *pin).peekable();
            with.peek().is_some() && with.all(|(at, _)| self.chain.began_in(at) != at)
        };
        for pin in self.input.pins.iter().filter(|pin| goes_on(pin)) {
            let detail =
                format!("with the pinned key {pin} a chain goes on that began with another: pin its first key");
            self.faults.push(Fault::whole(FaultKind::Pin, detail));
        }
    }

    /// How many entries the seals cover, under which keys, and what of that is not proven.
    pub(super) fn chains_reach(&self) -> (u64, Option<String>, Option<String>) {
        let (chains, pins) = (self.input.history.chains(), &self.input.pins);
        let pinned = |chain: &ChainStart| pins.contains(&chain.key);
        // Where a writer goes on with its own chain, that is none of its own.
        let chains: Vec<(&ChainStart, u64)> = chains
            .iter()
            .zip(self.sealed.iter().copied())
            .enumerate()
            .filter(|(at, _)| self.chain.began_in(*at) == *at)
            .map(|(_, chain)| chain)
            .collect();
        let count = chains.iter().filter(|(chain, _)| pinned(chain)).count();
        if count == 0 && !pins.is_empty() {
            return (0, None, Some("the chain is not that of the pinned key".to_owned()));
        }
        let held: Vec<(&ChainStart, u64)> = chains
            .iter()
            .copied()
            .filter(|(chain, sealed)| *sealed > 0 && (pins.is_empty() || pinned(chain)))
            .collect();
        let sealed = held.iter().map(|(_, sealed)| *sealed).max().unwrap_or(0);
        let what = if pins.is_empty() { "unpinned key" } else { "pinned key" };
        let names: Vec<String> = match held.as_slice() {
            [(only, _)] => vec![format!("{what} {}", only.key)],
            all => all.iter().map(|(chain, to)| format!("{what} {} (to entry {})", chain.key, to - 1)).collect(),
        };
        let key = (sealed > 0).then(|| names.join(" and "));
        if pins.is_empty() {
            let why = "no pinned key was given, so the chain's first key is the store's own word";
            return (sealed, key, Some(why.to_owned()));
        }
        let last_pinned = chains.iter().rposition(|(chain, _)| pinned(chain)).unwrap_or(0);
        let lacking: Vec<String> = chains
            .iter()
            .enumerate()
            .filter(|(_, (chain, _))| !pinned(chain))
            .map(|(at, (chain, to))| lack(chain, at < last_pinned || (*to > 0 && *to <= sealed), sealed))
            .collect();
        (sealed, key, (!lacking.is_empty()).then(|| lacking.join("; ")))
    }
}

/// What it means that a chain's first key was not pinned.
fn lack(chain: &ChainStart, before: bool, sealed: u64) -> String {
    let key = chain.key;
    match chain.index {
        _ if before => {
            format!(
                "the chain from epoch {} on, under {key}, is not pinned: what was sealed in it is proven only as it \
                     was when a pinned chain sealed next",
                chain.epoch
            )
        }
        Some(index) if chain.taken_over => format!(
            "another writer took the log over at epoch {}, said by entry {index}; from entry {sealed} on the log is \
             sealed under {key}, which is not pinned",
            chain.epoch
        ),
        Some(index) => format!(
            "a new chain begins at epoch {}, said by entry {index}, because the keys were lost; from entry {sealed} on \
             the log is sealed under {key}, which is not pinned",
            chain.epoch
        ),
        None => format!("the chain under {key} is not pinned"),
    }
}
