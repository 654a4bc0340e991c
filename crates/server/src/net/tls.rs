//! TLS 1.2 and 1.3, with a certificate that can be replaced while the server runs.

use std::{
    fs::File,
    io::Read as _,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use sceau_event::Micros;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::{Fingerprint, certificate::not_after, self_signed};
use crate::{config::Config, error::ServerError};

/// The most bytes of a file of certificates, or of a key.
const MAX_FILE: u64 = 1 << 20;

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Files in PEM, which are looked at again while the server runs.
    Files {
        /// The server's certificate, followed by those that lead to its authority.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// The server makes one and keeps it in the key directory.
    SelfSigned {
        /// What it is for; what this machine is called if empty.
        names: Vec<String>,
    },
}

/// What is presented to clients.
pub(super) struct Pair {
    presented: Arc<CertifiedKey>,
    /// Tells whether the files hold something else by now.
    content: [u8; 32],
    pub fingerprint: Fingerprint,
    pub ends: Option<Micros>,
}

/// TLS, as a server offers it.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    source: TlsSource,
    key_dir: PathBuf,
    listen: SocketAddr,
}

struct Current(RwLock<Pair>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).presented.clone())
    }
}

/// What another look at the files showed.
pub(super) enum Look {
    /// They are as they were.
    Same,
    /// Another pair is presented from now on.
    Renewed,
}

impl Tls {
    /// TLS as the settings want it.
    ///
    /// # Errors
    /// [`ServerError`] says which file can't be used and why.
    pub fn new(source: &TlsSource, config: &Config, now: Micros) -> Result<Self, ServerError> {
        let pair = load(source, &config.key_dir, config.listen, now)?;
        let current = Arc::new(Current(RwLock::new(pair)));
        let refused = |error: rustls::Error| ServerError::Config(format!("TLS can't be set up: {error}"));
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(refused)?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (source, key_dir, listen) = (source.clone(), config.key_dir.clone(), config.listen);
        let tls = Self { acceptor, current, source, key_dir, listen };
        tls.warn_of_readers();
        Ok(tls)
    }

    /// Does the handshakes.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// That of the certificate that is presented now.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).fingerprint
    }

    /// When that certificate ends, if it says so.
    pub(super) fn ends(&self) -> Option<Micros> {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).ends
    }

    /// Presents what the files hold now. They are small, so this may block for a moment.
    ///
    /// # Errors
    /// They hold no pair that can be used: the former one stays.
    pub(super) fn look(&self, now: Micros) -> Result<Look, ServerError> {
        let pair = load(&self.source, &self.key_dir, self.listen, now)?;
        let mut current = self.current.0.write().unwrap_or_else(PoisonError::into_inner);
        if pair.content == current.content {
            return Ok(Look::Same);
        }
        *current = pair;
        Ok(Look::Renewed)
    }

    /// Tells if the key is no secret on this machine.
    pub(super) fn warn_of_readers(&self) {
        let TlsSource::Files { key, .. } = &self.source else { return };
        if std::fs::metadata(key).is_ok_and(|found| found.mode() & 0o007 != 0) {
            tracing::warn!(path = %key.display(), "every user of this machine may read or write the certificate's key");
        }
    }
}

/// The cryptography that is used, whatever else in this process has chosen.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Whether a server could offer TLS from these files, before anything is made or begun.
///
/// # Errors
/// [`ServerError`] says which file can't be used and why.
pub fn check_tls(config: &Config) -> Result<(), ServerError> {
    let now = Micros(0);
    match &config.tls {
        Some(source @ TlsSource::Files { .. }) => load(source, &config.key_dir, config.listen, now).map(|_| ()),
        _ => Ok(()),
    }
}

fn load(source: &TlsSource, key_dir: &Path, listen: SocketAddr, now: Micros) -> Result<Pair, ServerError> {
    match source {
        TlsSource::Files { certificate, key } => {
            pair(&read(certificate)?, &read(key)?, &certificate.display().to_string(), &key.display().to_string())
        }
        TlsSource::SelfSigned { names } => {
            let (certificate, key) = self_signed::certificate(key_dir, names, listen, now)?;
            let shown = |name: &str| key_dir.join(name).display().to_string();
            pair(&certificate, &key, &shown(self_signed::CERTIFICATE), &shown(self_signed::KEY))
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ServerError> {
    let failed = || ServerError::io(format!("reading {}", path.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(failed())?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ServerError::Config(format!("{} has more than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}

fn pair(certificates: &[u8], key: &[u8], shown: &str, shown_key: &str) -> Result<Pair, ServerError> {
    let refused = |what: &str, why: String| ServerError::Config(format!("{what}: {why}"));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(|error| refused(shown, format!("is not PEM: {error}")))?;
    let first = chain.first().ok_or_else(|| refused(shown, "holds no certificate (PEM)".to_owned()))?;
    let (fingerprint, ends) = (Fingerprint::of(first), not_after(first));
    // The error tells nothing of the key.
    let key_bytes = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| refused(shown_key, "holds no private key (PEM, not encrypted)".to_owned()))?;
    let content = Sha256::new().chain_update(certificates).chain_update([0u8]).chain_update(key).finalize().into();
    let presented = CertifiedKey::from_der(chain, key_bytes, &provider())
        .map_err(|error| refused(shown, format!("can't be used with {shown_key}: {error}")))?;
    Ok(Pair { presented: Arc::new(presented), content, fingerprint, ends })
}

#[cfg(test)]
#[path = "tls_tests.rs"]
pub(crate) mod tests;
