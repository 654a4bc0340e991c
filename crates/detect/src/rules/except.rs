//! Exceptions: what a rule doesn't count though it matches.

use super::clock::Clock;
use super::names::{self, Place, Slots};
use crate::types::Exception;
use sceau_event::{Micros, Record};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An exception, ready to be tried.
#[derive(Debug)]
pub(super) struct Except {
    /// `None`: every rule.
    pub rule: Option<String>,
    fields: Vec<(String, Vec<Place>, Wanted)>,
    until: Option<Micros>,
}

#[derive(Debug)]
enum Wanted {
    Value(String),
    Network(IpAddr, u8),
}

impl Except {
    pub fn all(exceptions: &BTreeMap<String, Exception>, slots: &mut Slots) -> Vec<Self> {
        let make = |exception: &Exception, slots: &mut Slots| Self {
            rule: exception.rule.clone(),
            fields: exception
                .fields
                .iter()
                .map(|(name, value)| (name.clone(), Place::unmapped(name, slots), Wanted::new(value)))
                .collect(),
            until: exception.until,
        };
        exceptions.values().map(|exception| make(exception, slots)).collect()
    }

    /// Whether the record is left out. `mapped` finds a field through a rule's mapping, if it has one.
    pub fn covers<'r>(
        &self,
        record: &'r Record<'_>,
        clock: &Clock,
        mapped: impl Fn(&str) -> Vec<std::borrow::Cow<'r, str>>,
    ) -> bool {
        self.until.is_none_or(|until| record.received < until)
            && self.fields.iter().all(|(name, places, wanted)| {
                let own = names::values(places, record, clock);
                own.iter().chain(&mapped(name)).any(|value| wanted.fits(value))
            })
    }
}

/// Whether a value is the one that an exception wants: equal, or an address in the network.
#[must_use]
pub fn value_fits(wanted: &str, value: &str) -> bool {
    Wanted::new(wanted).fits(value)
}

impl Wanted {
    fn new(value: &str) -> Self {
        let network = value.split_once('/').and_then(|(address, bits)| {
            let address: IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
        });
        match network {
            Some((address, bits)) => Self::Network(address, bits),
            None => Self::Value(value.to_owned()),
        }
    }

    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Value(wanted) => value == wanted,
            Self::Network(network, bits) => value.parse().is_ok_and(|address| within(address, *network, *bits)),
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address.to_canonical(), network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let fits = |wanted: &str, value: &str| Wanted::new(wanted).fits(value);
        assert!(fits("10.0.0.0/8", "10.255.0.1") && !fits("10.0.0.0/8", "11.0.0.1"));
        assert!(fits("0.0.0.0/0", "1.2.3.4") && fits("1.2.3.4/32", "1.2.3.4") && !fits("1.2.3.4/32", "1.2.3.5"));
        assert!(fits("2001:db8::/32", "2001:db8:1::1") && !fits("2001:db8::/32", "2001:db9::1") && fits("::/0", "::1"));
        assert!(fits("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(fits("/etc/x", "/etc/x") && fits("10.0.0.0/33", "10.0.0.0/33") && !fits("10.0.0.0/8", "host"));
    }
}
