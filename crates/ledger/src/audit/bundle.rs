//! What becomes of a bundle once its entries have passed: its hash, its MAC, and the doubts about it.

use super::heads::{Fork, Pending};
use super::side::span;
use super::suspect::Suspect;
use super::tree::{Completed, Hash, merkle_known};
use super::verdict::{Fault, FaultKind};
use super::{Auditor, WIDTH};

const MAC_WRONG: &str = "the stored MAC is wrong; the entries are right";
const TILE_WRONG: &str = "the stored tile hash is wrong; the entries are right";

/// What is thought of a full bundle.
enum Opinion {
    /// Its entries are right, or nothing says otherwise.
    Right,
    /// Its entries are not those that were hashed.
    Changed,
    /// Entries and stored tile hash contradict each other.
    Undecided,
}

/// Whether at least two things speak against a bundle's entries: its tile hash, its MAC, a prefix, a signed head.
fn witnesses(tile_fits: Option<bool>, mac: Option<bool>, suspects: &[Suspect], misfit: bool) -> bool {
    let against = [tile_fits == Some(false), mac == Some(false), !suspects.is_empty(), misfit];
    against.into_iter().filter(|against| *against).count() >= 2
}

impl Auditor {
    /// A bundle is full: its hash goes into the tree.
    pub(super) fn close_bundle(&mut self) {
        let bundle = self.next / WIDTH as u64 - 1;
        let (first, last) = (self.next - WIDTH as u64, self.next - 1);
        let computed = merkle_known(&self.leaves);
        let stored = self.tiles.take(1, bundle, computed);
        let mac = self.macs.judge(bundle, &self.leaves);
        let opinion = self.opinion(computed, stored, mac, first, last);
        let misfit = self.misfit.take();
        let (entries, tiles) = match opinion {
            Opinion::Right => {
                if let Some(misfit) = misfit.filter(|_| !self.lost) {
                    self.report_misfit(misfit);
                }
                (computed, computed)
            }
            Opinion::Changed => {
                self.name_bundle(first, last, misfit.map(|misfit| misfit.size));
                self.lost |= stored.is_none() || stored == computed;
                (stored.or(computed), stored.or(computed))
            }
            Opinion::Undecided => {
                let (otherwise, detail, from) = (FaultKind::Tile, TILE_WRONG, first.max(self.verified));
                self.pending.push(Pending { first, from, last, otherwise, detail });
                (computed, stored)
            }
        };
        self.leaves.clear();
        self.suspects.clear();
        self.grow(entries, tiles);
    }

    /// Weighs what is known of a full bundle, and reports what is certain.
    fn opinion(
        &mut self,
        computed: Option<Hash>,
        stored: Option<Hash>,
        mac: Option<bool>,
        first: u64,
        last: u64,
    ) -> Opinion {
        if computed.is_none() {
            // The missing entries are reported already; the stored hash may stand in for them.
            return Opinion::Changed;
        }
        let tile_fits = stored.map(|stored| Some(stored) == computed);
        let suspects = std::mem::take(&mut self.suspects);
        let vouched = self.vouched(mac);
        match (tile_fits, mac) {
            _ if vouched => {
                suspects.into_iter().for_each(|suspect| self.name_beside(suspect));
                if mac == Some(false) {
                    self.faults.push(Fault::range(FaultKind::Mac, first, last, MAC_WRONG));
                }
                if tile_fits == Some(false) {
                    self.faults.push(Fault::range(FaultKind::Tile, first, last, TILE_WRONG));
                }
                Opinion::Right
            }
            _ if witnesses(tile_fits, mac, &suspects, self.misfit.is_some()) => {
                self.suspects = suspects;
                Opinion::Changed
            }
            (Some(false), _) => Opinion::Undecided,
            (_, mac) => {
                self.doubt(suspects);
                if mac == Some(false) {
                    self.doubt_mac(first, last);
                }
                Opinion::Right
            }
        }
    }

    /// Whether MACs say that all entries of the unfinished bundle are right: the bundle's, or each its own.
    fn vouched(&mut self, mac: Option<bool>) -> bool {
        let singly = self.tags.close_bundle(self.leaves.len());
        if singly {
            self.macs.vouch();
        }
        singly || mac == Some(true)
    }

    /// Leaves it to the next signed head whether these entries are right.
    fn doubt(&mut self, suspects: Vec<Suspect>) {
        for suspect in suspects {
            if suspect.is_vouched_for() {
                self.name_beside(suspect);
                continue;
            }
            for (otherwise, detail) in suspect.otherwise() {
                let index = suspect.index;
                self.pending.push(Pending { first: index, from: index, last: index, otherwise, detail });
            }
        }
    }

    /// Names the changed entries of a bundle: those that their prefix or MAC gives away, or else the bundle, cut down by the
    /// signed heads inside it.
    fn name_bundle(&mut self, first: u64, last: u64, misfit: Option<u64>) {
        let suspects = std::mem::take(&mut self.suspects);
        let named = suspects.iter().any(|suspect| !suspect.is_vouched_for());
        if !named && !self.leaves.iter().any(Option::is_none) {
            let last = misfit.map_or(last, |size| last.min(size - 1));
            self.name_changed(first.max(self.verified).min(last), last);
        }
        suspects.into_iter().for_each(|suspect| self.name_suspect(suspect));
    }

    fn doubt_mac(&mut self, first: u64, last: u64) {
        let (otherwise, detail, from) = (FaultKind::Mac, MAC_WRONG, first.max(self.verified).min(last));
        self.pending.push(Pending { first, from, last, otherwise, detail });
    }

    /// Puts a bundle's hash into the tree, or into both trees where they part.
    fn grow(&mut self, entries: Option<Hash>, tiles: Option<Hash>) {
        if self.fork.is_none() && entries != tiles {
            self.fork = Some(Fork { edge: self.edge.clone() });
        }
        let completed = self.edge.push(entries);
        let mut other = Vec::new();
        if let Some(fork) = &mut self.fork {
            other = fork.edge.push(tiles);
        }
        for (at, subtree) in completed.iter().enumerate() {
            self.check_subtree(subtree, other.get(at));
        }
    }

    fn check_subtree(&mut self, subtree: &Completed, other: Option<&Completed>) {
        let Completed { level, position, hash } = *subtree;
        let Some(stored) = self.tiles.take(level, position, hash) else { return };
        let fits = hash == Some(stored) || other.is_some_and(|other| other.hash == Some(stored));
        if fits || hash.is_none() || self.lost || self.blind {
            return;
        }
        let (first, last) = span(level, position, self.input.head.size.0);
        let detail = format!("the stored tile hash {level}/{position} is not that of its subtree");
        self.faults.push(Fault::range(FaultKind::Tile, first, last, detail));
    }

    /// Judges the unfinished last bundle and all that is still in doubt. Gives the root over the entries.
    pub(super) fn close_log(&mut self) -> Option<Hash> {
        let bundle = self.next / WIDTH as u64;
        let mac = if self.leaves.is_empty() { None } else { self.macs.judge(bundle, &self.leaves) };
        let root = self.root();
        let fits_head = root == Some(self.input.head.root.0);
        let explained = self.close_tail(mac);
        let doubts = !self.pending.is_empty();
        self.close_doubts(fits_head);
        if !fits_head && root.is_some() && !self.lost && !explained && !doubts {
            self.report_head();
        }
        root
    }

    /// Names what is wrong in the unfinished bundle; `true` if that explains a root that does not fit.
    fn close_tail(&mut self, mac: Option<bool>) -> bool {
        let (first, last) = (self.next - self.next % WIDTH as u64, self.next.saturating_sub(1));
        let misfit = self.misfit.take();
        let suspects = std::mem::take(&mut self.suspects);
        if !self.leaves.is_empty() && self.vouched(mac) {
            suspects.into_iter().for_each(|suspect| self.name_beside(suspect));
            if mac == Some(false) {
                self.faults.push(Fault::range(FaultKind::Mac, first, last, MAC_WRONG));
            }
        } else if witnesses(None, mac, &suspects, misfit.is_some()) {
            self.suspects = suspects;
            self.name_bundle(first, last, misfit.map(|misfit| misfit.size));
            return true;
        } else {
            self.doubt(suspects);
            if mac == Some(false) && self.verified > last {
                self.faults.push(Fault::range(FaultKind::Mac, first, last, MAC_WRONG));
            } else if mac == Some(false) {
                self.doubt_mac(first, last);
            }
        }
        if let Some(misfit) = misfit.filter(|_| !self.lost) {
            self.report_misfit(misfit);
        }
        false
    }

    /// The claimed head is not that of the entries, and nothing else tells why.
    fn report_head(&mut self) {
        let size = self.input.head.size.0;
        if self.verified == size {
            let detail = "the stored head is not that of the entries, which the signed heads confirm";
            self.faults.push(Fault::whole(FaultKind::Root, detail));
        } else {
            self.report_root(self.verified, size, "the stored head", FaultKind::Root);
        }
    }
}
