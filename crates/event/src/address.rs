//! IP addresses as they are written in logs.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The canonical form of an address (RFC 5952 for IPv6; IPv4-mapped IPv6 becomes IPv4), or none if
/// the text is not one. Brackets, a port (`1.2.3.4:22`, `[::1]:22`) and a zone (`%eth0`) are left
/// out; `::1:22` is an address without a port.
///
/// ```
/// use sceau_event::canonical_ip;
/// assert_eq!(canonical_ip("[2001:DB8::0:1]:443").as_deref(), Some("2001:db8::1"));
/// assert_eq!(canonical_ip("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
/// assert_eq!(canonical_ip("example.org"), None);
/// ```
#[must_use]
pub fn canonical_ip(text: &str) -> Option<String> {
    parse(text).map(|(ip, _)| ip.into_owned())
}

/// The canonical address, borrowed where the text is canonical already, and the port beside it.
pub(crate) fn parse(text: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    // The longest address with brackets, zone and port; longer texts aren't worth a look.
    if text.is_empty() || text.len() > 72 {
        return None;
    }
    if text.as_bytes()[0].is_ascii_digit()
        && let Some(found) = parse_v4(text)
    {
        return Some(found);
    }
    let (inner, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, tail) = rest.split_once(']')?;
            (inner, if tail.is_empty() { None } else { Some(port(tail.strip_prefix(':')?)?) })
        }
        None => (text, None),
    };
    let bare = inner.split_once('%').map_or(inner, |(address, _)| address);
    let v6: IpAddr = match bare.parse::<Ipv6Addr>() {
        Ok(v6) => IpAddr::V6(v6),
        Err(_) if text.len() != inner.len() => IpAddr::V4(bare.parse().ok()?),
        Err(_) => return None,
    };
    let canonical = v6.to_canonical().to_string();
    Some((if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) }, port))
}

fn parse_v4(text: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    let (address, after) = match text.split_once(':') {
        Some((address, after)) => (address, Some(port(after)?)),
        None => (text, None),
    };
    // `Ipv4Addr` takes only the canonical form (no leading zeros), so the text can be kept.
    address.parse::<Ipv4Addr>().ok().map(|_| (Cow::Borrowed(address), after))
}

fn port(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, wanted) in [
            ("1.2.3.4", Some(("1.2.3.4", None))),
            ("1.2.3.4:5678", Some(("1.2.3.4", Some(5678)))),
            ("[1.2.3.4]:22", Some(("1.2.3.4", Some(22)))),
            ("[1.2.3.4]", Some(("1.2.3.4", None))),
            ("::1", Some(("::1", None))),
            ("[::1]", Some(("::1", None))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("2001:DB8:0:0::1", Some(("2001:db8::1", None))),
            ("2001:db8::1:22", Some(("2001:db8::1:22", None))),
            ("fe80::1%eth0", Some(("fe80::1", None))),
            ("::FFFF:1.2.3.4", Some(("1.2.3.4", None))),
            ("01.2.3.4", None),
            ("1.2.3", None),
            ("1.2.3.4:99999", None),
            ("1.2.3.4:+22", None),
            ("1.2.3.4, 5.6.7.8", None),
            ("", None),
            ("[::1", None),
            ("[::1]x", None),
            ("localhost", None),
        ] {
            let found = parse(text);
            let found = found.as_ref().map(|(ip, port)| (ip.as_ref(), *port));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
