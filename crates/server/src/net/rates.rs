//! How often one may ask: by address before anything is looked at, by token once it is known whose it is. Sending events is
//! counted apart from asking.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use axum::http::{Method, Request};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::HashMapStateStore,
};

use super::address::Peer;
use crate::error::ServerError;

/// Two addresses or tokens that fall into the same of so many places share what one of them may: that bounds the memory,
/// whoever asks from wherever.
const PLACES: u64 = 1 << 16;
/// Probes of a load balancer are always answered: there is no work behind them.
const FREE: [&str; 2] = ["/healthz", "/readyz"];

/// Requests a second, and how many may come at once after a time of rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second in the long run; 0 for no limit.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl Rate {
    const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// How often one may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Everything but sending events, from one address (of IPv6, one /64).
    pub address: Rate,
    /// The same, under one token.
    pub token: Rate,
    /// Sending events, from one address.
    pub ingest_address: Rate,
    /// Sending events, under one token.
    pub ingest_token: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        let (asking, sending) = (Rate::new(200, 4_000), Rate::new(50_000, 200_000));
        Self { address: asking, token: asking, ingest_address: sending, ingest_token: sending }
    }
}

type Limiter = RateLimiter<u16, HashMapStateStore<u16>, DefaultClock>;

/// What was asked lately.
pub(crate) struct RateLimits {
    address: Option<Limiter>,
    token: Option<Limiter>,
    ingest_address: Option<Limiter>,
    ingest_token: Option<Limiter>,
    /// Nobody outside can know who shares a place with whom.
    places: RandomState,
}

impl RateLimits {
    pub fn new(rates: &Rates) -> Self {
        Self {
            address: limiter(rates.address),
            token: limiter(rates.token),
            ingest_address: limiter(rates.ingest_address),
            ingest_token: limiter(rates.ingest_token),
            places: RandomState::new(),
        }
    }

    /// Counts a request by the address that it came from.
    ///
    /// # Errors
    /// [`ServerError::RateLimited`] says how long to wait.
    pub fn by_address<B>(&self, request: &Request<B>) -> Result<(), ServerError> {
        let Some(peer) = request.extensions().get::<Peer>() else { return Ok(()) };
        let limiter = if is_ingest(request) { &self.ingest_address } else { &self.address };
        if FREE.contains(&request.uri().path()) {
            return Ok(());
        }
        self.check(limiter.as_ref(), &neighbourhood(peer.address))
    }

    /// Counts a request by whose token came with it.
    ///
    /// # Errors
    /// [`ServerError::RateLimited`] says how long to wait.
    pub fn by_caller<B>(&self, caller: &str, request: &Request<B>) -> Result<(), ServerError> {
        let limiter = if is_ingest(request) { &self.ingest_token } else { &self.token };
        self.check(limiter.as_ref(), &caller)
    }

    fn check(&self, limiter: Option<&Limiter>, key: &impl Hash) -> Result<(), ServerError> {
        let Some(limiter) = limiter else { return Ok(()) };
        let place = u16::try_from(self.places.hash_one(key) % PLACES).unwrap_or_default();
        limiter.check_key(&place).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            ServerError::RateLimited { wait: wait.max(Duration::from_millis(1)) }
        })
    }
}

fn limiter(rate: Rate) -> Option<Limiter> {
    let per_second = NonZeroU32::new(rate.per_second)?;
    let burst = NonZeroU32::new(rate.burst).unwrap_or(per_second);
    Some(RateLimiter::hashmap(Quota::per_second(per_second).allow_burst(burst)))
}

fn is_ingest<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && request.uri().path() == "/api/v1/events"
}

/// An address of IPv4, or the network of IPv6 that one subscriber has to himself.
fn neighbourhood(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        // Global ones never begin with 32 zero bits, so they don't meet those of IPv4.
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, path: &str, address: &str) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path).body(()).unwrap();
        request.extensions_mut().insert(Peer { address: address.parse().unwrap(), over_tls: false });
        request
    }

    fn few() -> RateLimits {
        let few = Rate::new(1, 3);
        RateLimits::new(&Rates { address: few, token: few, ingest_address: few, ingest_token: few })
    }

    /// How many of `count` such requests are let through.
    fn passed(limits: &RateLimits, count: usize, request: &Request<()>) -> usize {
        (0..count).filter(|_| limits.by_address(request).is_ok()).count()
    }

    #[test]
    fn each_address_has_its_own_share_and_sending_is_counted_apart() {
        let limits = few();
        let asks = request(Method::GET, "/api/v1/events", "192.0.2.1");
        // A slow machine may earn some more on the way.
        assert!((3..30).contains(&passed(&limits, 30, &asks)));
        let Err(ServerError::RateLimited { wait }) = limits.by_address(&asks) else { panic!("it is let through") };
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(passed(&limits, 3, &request(Method::POST, "/api/v1/events", "192.0.2.1")) == 3);
        assert!(passed(&limits, 3, &request(Method::GET, "/api/v1/events", "192.0.2.2")) == 3);
        assert!(passed(&limits, 9, &request(Method::GET, "/healthz", "192.0.2.1")) == 9);
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one() {
        let limits = few();
        let passed: usize = (1..=30u16)
            .map(|host| passed(&limits, 1, &request(Method::GET, "/x", &format!("2001:db8::{host:x}"))))
            .sum();
        assert!((3..30).contains(&passed), "{passed}");
    }

    #[test]
    fn tokens_are_counted_too_and_nought_is_no_limit() {
        let limits = few();
        let asks = request(Method::GET, "/x", "192.0.2.1");
        let passed = |limits: &RateLimits| (0..30).filter(|_| limits.by_caller("abc", &asks).is_ok()).count();
        assert!((3..30).contains(&passed(&limits)));
        let none = Rate::new(0, 0);
        let free = RateLimits::new(&Rates { address: none, token: none, ingest_address: none, ingest_token: none });
        assert_eq!(passed(&free), 30);
    }

    #[test]
    fn memory_is_bounded() {
        let limits = RateLimits::new(&Rates::default());
        for n in 0..200_000u32 {
            let _ = limits.check(limits.address.as_ref(), &n);
        }
        assert!(limits.address.as_ref().unwrap().len() <= PLACES as usize);
    }
}
