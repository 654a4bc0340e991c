//! Who is at the other end: the address of the connection, or, behind a proxy that is trusted, the one that the proxy names.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use sceau_store::query::Network;

use crate::error::ServerError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address.
    pub address: IpAddr,
    /// Whether nobody on the way could read along: it came over TLS, to this server or to a trusted proxy.
    pub over_tls: bool,
}

/// Which header the trusted proxies write. Only that one is read: a proxy passes on whatever else a client sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<Network>,
    /// What they write.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// The most networks.
    const MAX: usize = 256;

    /// Believes those in `networks`: addresses, or networks as `10.0.0.0/8`.
    ///
    /// # Errors
    /// [`ServerError::Config`] names the one that is none.
    pub fn new<T: AsRef<str>>(networks: &[T], header: ForwardedHeader) -> Result<Self, ServerError> {
        if networks.len() > Self::MAX {
            return Err(ServerError::Config(format!("at most {} trusted proxies can be listed", Self::MAX)));
        }
        let networks = networks.iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { networks, header })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

fn network(text: &str) -> Result<Network, ServerError> {
    let whole = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{text}/32"),
        Ok(IpAddr::V6(_)) => format!("{text}/128"),
        Err(_) => text.to_owned(),
    };
    Network::parse(&whole).ok_or_else(|| {
        ServerError::Config(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8 or fd00::/8"))
    })
}

/// Where a request came from, given the address of its connection: the rightmost address in the proxies' header that is not a
/// trusted proxy's own, since each proxy adds on the right, and whatever is left of that was the client's to write.
pub(crate) fn client_address(connection: Peer, headers: &HeaderMap, proxies: &Proxies) -> Peer {
    let mut peer = Peer { address: connection.address.to_canonical(), ..connection };
    if !proxies.trusts(peer.address) {
        return peer;
    }
    peer.over_tls = match proxies.header {
        ForwardedHeader::XForwardedFor => last(headers, &X_FORWARDED_PROTO).map(str::to_owned),
        ForwardedHeader::Forwarded => last(headers, &header::FORWARDED).and_then(|hop| member(hop, "proto")),
    }
    .is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let name = match proxies.header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    for hop in hops(headers, &name) {
        let named = match proxies.header {
            ForwardedHeader::XForwardedFor => address(hop),
            ForwardedHeader::Forwarded => member(hop, "for").and_then(|node| address(&node)),
        };
        // A proxy that hides where it had it from is itself where it came from.
        let Some(named) = named else { break };
        peer.address = named;
        if !proxies.trusts(named) {
            break;
        }
    }
    peer
}

/// The elements of a header's lists, the last first. A comma in quotes divides, too: none is in what a proxy writes, and what
/// a client left open must not swallow that.
fn hops<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let mut lines: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    lines.reverse();
    lines.into_iter().flat_map(|line| line.rsplit(',')).map(str::trim)
}

fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    hops(headers, name).next()
}

/// A parameter of an element of `Forwarded`, out of its quotes.
fn member(hop: &str, wanted: &str) -> Option<String> {
    hop.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case(wanted);
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if text.matches(':').count() == 1 => text.split(':').next().unwrap_or_default(),
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(proxies: &Proxies, connection: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let connection = Peer { address: connection.parse().unwrap(), over_tls: false };
        let peer = client_address(connection, &headers, proxies);
        (peer.address.to_string(), peer.over_tls)
    }

    fn at(address: &str, over_tls: bool) -> (String, bool) {
        (address.to_owned(), over_tls)
    }

    #[test]
    fn only_a_listed_proxy_is_believed() {
        let spoofed = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        assert_eq!(seen(&Proxies::default(), "127.0.0.1", &spoofed), at("127.0.0.1", false));
        let proxies = Proxies::new(&["10.0.0.0/8", "::1"], ForwardedHeader::XForwardedFor).unwrap();
        assert_eq!(seen(&proxies, "11.0.0.1", &spoofed), at("11.0.0.1", false));
        for proxy in ["10.0.0.1", "::1", "::ffff:10.0.0.1"] {
            assert_eq!(seen(&proxies, proxy, &spoofed), at("192.0.2.1", true), "{proxy}");
        }
    }

    #[test]
    fn what_the_client_wrote_left_of_it_does_not_count() {
        let proxies = Proxies::new(&["10.0.0.0/8"], ForwardedHeader::XForwardedFor).unwrap();
        let from = |lines: &[(&'static str, &str)]| seen(&proxies, "10.0.0.1", lines).0;
        assert_eq!(from(&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.0.0.2")]), "192.0.2.1");
        assert_eq!(from(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1:4711")]), "192.0.2.1");
        assert_eq!(from(&[("x-forwarded-for", "[2001:db8::1]:80")]), "2001:db8::1");
        assert_eq!(from(&[("x-forwarded-for", "2001:db8::1")]), "2001:db8::1");
        assert_eq!(from(&[("x-forwarded-for", "1.1.1.1, unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(from(&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
        assert_eq!(from(&[("x-forwarded-for", "")]), "10.0.0.1");
        assert_eq!(from(&[("forwarded", "for=192.0.2.9")]), "10.0.0.1", "the other header is the client's");
        let proto = seen(&proxies, "10.0.0.1", &[("x-forwarded-proto", "https, http")]);
        assert!(!proto.1, "the proxy's own word is the last");
    }

    #[test]
    fn forwarded_is_read_as_well() {
        let proxies = Proxies::new(&["10.0.0.1"], ForwardedHeader::Forwarded).unwrap();
        let from = |value: &str| seen(&proxies, "10.0.0.1", &[("forwarded", value), ("x-forwarded-for", "1.1.1.1")]);
        assert_eq!(from("for=1.1.1.1, for=192.0.2.1;proto=https;by=10.0.0.1"), at("192.0.2.1", true));
        assert_eq!(from("proto=http; For=\"[2001:db8::7]:99\""), at("2001:db8::7", false));
        assert_eq!(from("for=\"1.1.1.1, for=192.0.2.1"), at("192.0.2.1", false), "an open quote swallows nothing");
        assert_eq!(from("for=_hidden"), at("10.0.0.1", false));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "10.0.0.0/33", "proxy.example.org", "10.0.0"] {
            let error = Proxies::new(&[text], ForwardedHeader::default()).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
