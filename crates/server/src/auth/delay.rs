//! Delays between log-ins that fail: they grow for the address and for the account, end by themselves, and lock nobody out
//! for good.
//!
//! An attempt counts as failed from its beginning, so that many at once gain nothing; what turns out well takes that back.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use sceau_event::Micros;

const SECOND: i64 = 1_000_000;
/// Failures of an address before it has to wait, and the longest that it waits.
const ADDRESS: Limit = Limit { free: 5, longest: 15 * 60 * SECOND };
/// Failures of an account before addresses that it does not know have to wait, and the longest that they wait.
const ACCOUNT: Limit = Limit { free: 10, longest: 60 * SECOND };
/// How long after the last failure all is forgotten.
const FORGET: i64 = 3_600 * SECOND;
/// How many addresses and accounts are remembered each; the least recent go first.
const MAX: usize = 20_000;

#[derive(Clone, Copy)]
struct Limit {
    free: u32,
    longest: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last: i64,
}

impl Failures {
    /// How long it has to wait from `now` on.
    fn wait(&self, limit: Limit, now: Micros) -> Option<i64> {
        let doublings = self.count.checked_sub(limit.free)?;
        let delay = SECOND.checked_shl(doublings.min(30)).unwrap_or(limit.longest).min(limit.longest);
        Some(self.last.saturating_add(delay).saturating_sub(now.0)).filter(|wait| *wait > 0)
    }
}

#[derive(Default)]
struct Tables {
    addresses: HashMap<IpAddr, Failures>,
    accounts: HashMap<String, Failures>,
}

/// What failed lately.
#[derive(Default)]
pub(super) struct Delays(Mutex<Tables>);

/// An attempt that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    address: IpAddr,
    user: String,
}

/// The address that failures are counted of: of IPv6 the network that one customer has.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

fn count<K: Eq + Hash + Clone>(table: &mut HashMap<K, Failures>, key: K, now: Micros) {
    if table.len() >= MAX && !table.contains_key(&key) {
        table.retain(|_, failures| now.0.saturating_sub(failures.last) < FORGET);
        let oldest = table.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest.filter(|_| table.len() >= MAX) {
            table.remove(&oldest);
        }
    }
    let failures = table.entry(key).or_default();
    if now.0.saturating_sub(failures.last) >= FORGET {
        failures.count = 0;
    }
    failures.count = failures.count.saturating_add(1);
    failures.last = failures.last.max(now.0);
}

fn uncount<K: Eq + Hash>(table: &mut HashMap<K, Failures>, key: &K) {
    let Some(failures) = table.get_mut(key) else { return };
    failures.count = failures.count.saturating_sub(1);
    if failures.count == 0 {
        table.remove(key);
    }
}

impl Delays {
    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an attempt begin, or gives the seconds that it has to wait. `known`: the account's user has logged in from
    /// there lately, so what others do to the account is no reason to wait.
    pub fn begin(&self, address: IpAddr, user: &str, known: bool, now: Micros) -> Result<Attempt, u32> {
        let attempt = Attempt { address: counted(address), user: user.to_owned() };
        let mut tables = self.tables();
        let of = |failures: Option<&Failures>, limit| {
            let failures = failures.filter(|failures| now.0.saturating_sub(failures.last) < FORGET);
            failures.and_then(|failures| failures.wait(limit, now)).unwrap_or_default()
        };
        let address = of(tables.addresses.get(&attempt.address), ADDRESS);
        let account = if known { 0 } else { of(tables.accounts.get(user), ACCOUNT) };
        let wait = address.max(account);
        if wait > 0 {
            return Err(u32::try_from(wait.saturating_add(SECOND - 1) / SECOND).unwrap_or(u32::MAX));
        }
        count(&mut tables.addresses, attempt.address, now);
        count(&mut tables.accounts, attempt.user.clone(), now);
        Ok(attempt)
    }

    /// It was no failure, or said nothing about the password.
    pub fn undo(&self, attempt: &Attempt) {
        let mut tables = self.tables();
        uncount(&mut tables.addresses, &attempt.address);
        uncount(&mut tables.accounts, &attempt.user);
    }

    /// The user has logged in. The account begins anew; what else failed from that address still counts, or somebody with
    /// an account of his own could guess at others for ever.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut tables = self.tables();
        uncount(&mut tables.addresses, &attempt.address);
        tables.accounts.remove(&attempt.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Micros {
        Micros(1_795_000_000 * SECOND + seconds * SECOND)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_waits_longer_and_longer_up_to_a_quarter_of_an_hour() {
        let delays = Delays::default();
        let here = ip("192.0.2.1");
        for n in 0..5 {
            // Each time another account, so that only the address counts.
            delays.begin(here, &format!("u{n}"), false, at(0)).unwrap();
        }
        let mut now = 0;
        for (n, wait) in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900].into_iter().enumerate() {
            assert_eq!(delays.begin(here, "other", false, at(now)), Err(wait), "{n}");
            assert_eq!(delays.begin(here, "other", true, at(now)), Err(wait), "known to an account, but it guesses");
            assert!(delays.begin(ip("192.0.2.2"), &format!("o{n}"), false, at(now)).is_ok() || n >= 5);
            now += i64::from(wait);
            delays.begin(here, &format!("v{n}"), false, at(now)).unwrap();
        }
        delays.begin(here, "w", false, at(now + 3_600)).unwrap();
        delays.begin(here, "w", false, at(now + 3_600)).unwrap();
    }

    #[test]
    fn an_account_that_many_guess_at_stays_open_to_the_addresses_it_knows() {
        let delays = Delays::default();
        let mut now = 0;
        for n in 0..2_000u32 {
            let from = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            match delays.begin(from, "admin", false, at(now)) {
                Ok(_) => {}
                Err(wait) => {
                    assert!(wait <= 60);
                    now += i64::from(wait);
                    delays.begin(from, "admin", false, at(now)).unwrap();
                }
            }
            let home = delays.begin(ip("203.0.113.9"), "admin", true, at(now)).unwrap();
            delays.undo(&home);
        }
        // Nobody else suffers, and a minute of peace is enough for the user from anywhere.
        assert!(delays.begin(ip("203.0.113.8"), "bob", false, at(now)).is_ok());
        assert!(delays.begin(ip("203.0.113.7"), "admin", false, at(now + 60)).is_ok());
    }

    #[test]
    fn attempts_at_once_count_before_they_are_known_to_fail() {
        let delays = Delays::default();
        let begun = (0..100).filter(|_| delays.begin(ip("192.0.2.1"), "admin", false, at(0)).is_ok()).count();
        assert_eq!(begun, 5);
    }

    #[test]
    fn a_log_in_clears_the_account_but_not_the_address() {
        let delays = Delays::default();
        let here = ip("192.0.2.1");
        for _ in 0..4 {
            delays.begin(here, "bob", false, at(0)).unwrap();
        }
        for _ in 0..50 {
            let own = delays.begin(here, "mallory", false, at(0)).unwrap();
            delays.succeeded(&own);
        }
        delays.begin(here, "bob", false, at(0)).unwrap();
        assert_eq!(delays.begin(here, "mallory", false, at(0)), Err(1));
        let none = Delays::default();
        for _ in 0..50 {
            let attempt = none.begin(here, "bob", false, at(0)).unwrap();
            none.undo(&attempt);
        }
        assert!(none.tables().addresses.is_empty() && none.tables().accounts.is_empty());
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let delays = Delays::default();
        for n in 0..5 {
            delays.begin(ip(&format!("2001:db8::{n}")), &format!("u{n}"), false, at(0)).unwrap();
        }
        assert_eq!(delays.begin(ip("2001:db8::ffff"), "x", false, at(0)), Err(1));
        assert!(delays.begin(ip("2001:db8:0:1::1"), "x", false, at(0)).is_ok());
        for n in 0..5 {
            delays.begin(ip("::ffff:192.0.2.7"), &format!("v{n}"), false, at(0)).unwrap();
        }
        assert_eq!(delays.begin(ip("192.0.2.7"), "x", false, at(0)), Err(1));
    }

    #[test]
    fn tables_are_bounded() {
        let delays = Delays::default();
        for n in 0..MAX as u32 + 500 {
            let from = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            delays.begin(from, &n.to_string(), false, Micros(at(0).0 + i64::from(n))).unwrap();
        }
        let tables = delays.tables();
        assert_eq!((tables.addresses.len(), tables.accounts.len()), (MAX, MAX));
        assert!(!tables.accounts.contains_key("0") && tables.accounts.contains_key(&(MAX + 499).to_string()));
    }
}
