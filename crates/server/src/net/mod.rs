//! The network: accepting connections, TLS, who is at the other end, and how often one may ask.

pub(crate) mod accept;
pub(crate) mod address;
mod certificate;
mod fingerprint;
pub(crate) mod rates;
mod self_signed;
pub(crate) mod tls;
pub(crate) mod watch;

pub use address::{ForwardedHeader, Proxies};
pub use fingerprint::Fingerprint;
pub use rates::{Rate, Rates};
pub use tls::{TlsSource, check_tls};
