//! Networks that a token may come from: those of searches, written more strictly.

use std::{fmt, net::IpAddr, str::FromStr};

use sceau_store::query;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::ServerError;

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(query::Network);

/// Bits of such an address.
fn size(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Network {
    /// Whether an address is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }
}

impl FromStr for Network {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let wrong = |what: &str| {
            ServerError::parameter(
                "addresses",
                format!("{text:?} {what}; write 192.0.2.0/24, 2001:db8::/32 or an address"),
            )
        };
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong("is no address and no network"))?;
        let address = address.to_canonical();
        let most = size(address);
        let bits: Option<u8> = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
        let bits = bits.ok_or_else(|| wrong("has more bits than such an address"))?;
        let network = query::Network::parse(&format!("{address}/{bits}"));
        let network = network.ok_or_else(|| wrong("is no address and no network"))?;
        if network.address != address {
            return Err(wrong("has bits behind its network's"));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix == size(self.0.address) { self.0.address.fmt(f) } else { self.0.fmt(f) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_or_not() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::192.0.2.1"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.has(inside.parse().unwrap()) && !network.has(outside.parse().unwrap()), "{network}");
            assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
        for wrong in ["", "x", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.1/24", "::1/129", "192.0.2/24"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
