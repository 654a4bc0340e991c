//! Whom a client believes to be the server: an authority of the system's, one that was named, or a pinned certificate.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use sceau_server::Fingerprint;
use tokio_rustls::TlsConnector;

use crate::error::CliError;

/// Where systems keep the authorities that they believe.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to believe behind `https://`.
#[derive(Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// For --url https://…: a file of authorities (PEM) that are believed instead of the system's [env: SCEAU_CA_FILE].
    #[arg(long, value_name = "FILE", conflicts_with = "tls_fingerprint")]
    pub ca_file: Option<PathBuf>,
    /// For --url https://…: the only certificate that is accepted, as `sceau serve` prints it: sha256:…
    /// [env: SCEAU_TLS_FINGERPRINT].
    #[arg(long, value_name = "FINGERPRINT")]
    pub tls_fingerprint: Option<String>,
}

/// Prepares handshakes with such servers only.
pub fn connector(trust: &TrustArgs) -> Result<TlsConnector, CliError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let refused = |error: Error| CliError::Failed(format!("TLS can't be set up: {error}"));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?;
    let mut config = match &trust.tls_fingerprint {
        Some(text) => {
            let fingerprint = text.parse().map_err(|error| CliError::Usage(format!("--tls-fingerprint: {error}")))?;
            let pinned = Arc::new(Pinned { fingerprint, provider });
            builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
        }
        None => builder.with_root_certificates(authorities(trust.ca_file.as_deref())?).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, CliError> {
    let mut roots = RootCertStore::empty();
    let path = match file {
        Some(path) => path.to_owned(),
        None => {
            let named = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
            let found = named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|path| path.exists());
            found.ok_or_else(|| {
                CliError::Usage(
                    "no authorities are known to this system; give --ca-file FILE or --tls-fingerprint FINGERPRINT"
                        .into(),
                )
            })?
        }
    };
    let text = std::fs::read(&path).map_err(CliError::file("reading", &path))?;
    let found: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
    match roots.add_parsable_certificates(found) {
        (0, _) => Err(CliError::Usage(format!("{} holds no certificate (PEM)", path.display()))),
        _ => Ok(roots),
    }
}

/// Accepts one certificate, whatever name and end it has: whoever pins it knows the server by it.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!("the server's certificate is {found}, not the pinned one")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
