use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate and its key in files of their own.
pub(crate) struct Files {
    _dir: tempfile::TempDir,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Files {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Self { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem"), _dir: dir };
        files.renew();
        files
    }

    /// Another certificate under another key.
    pub fn renew(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        std::fs::write(&self.certificate, certificate.pem()).unwrap();
        std::fs::write(&self.key, key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new("data", "keys");
        config.tls = Some(TlsSource::Files { certificate: self.certificate.clone(), key: self.key.clone() });
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config
    }
}

fn offered(config: &Config) -> Result<Tls, ServerError> {
    Tls::new(config.tls.as_ref().unwrap(), config, Micros(0))
}

#[test]
fn a_renewed_pair_is_presented_and_a_bad_one_is_not() {
    let files = Files::new();
    let tls = offered(&files.config()).unwrap();
    let first = tls.fingerprint();
    assert!(matches!(tls.look(Micros(0)), Ok(Look::Same)));
    let renewed = Fingerprint::of(&files.renew());
    assert!(matches!(tls.look(Micros(0)), Ok(Look::Renewed)));
    assert!(tls.fingerprint() == renewed && renewed != first);
    let key = std::fs::read(&files.key).unwrap();
    files.renew();
    std::fs::write(&files.key, &key).unwrap();
    let error = tls.look(Micros(0)).err().unwrap().to_string();
    assert!(error.contains("cert.pem") && error.contains("key.pem"), "{error}");
    for (path, bad) in [(&files.certificate, "nothing"), (&files.key, "-----BEGIN PRIVATE KEY-----\n")] {
        files.renew();
        std::fs::write(path, bad).unwrap();
        let error = tls.look(Micros(0)).err().unwrap().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    std::fs::remove_file(&files.key).unwrap();
    assert!(tls.look(Micros(0)).is_err());
    assert_eq!(tls.fingerprint(), renewed, "the former one stays");
}

#[test]
fn what_can_not_be_used_is_refused_before_anything_begins() {
    let files = Files::new();
    check_tls(&files.config()).unwrap();
    std::fs::write(&files.certificate, vec![b'x'; (MAX_FILE + 1) as usize]).unwrap();
    let error = check_tls(&files.config()).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn a_self_signed_certificate_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path().join("data"), dir.path());
    let now: Micros = "2024-02-29T12:00:00Z".parse().unwrap();
    config.tls = Some(TlsSource::SelfSigned { names: Vec::new() });
    let made = |config: &Config| Tls::new(config.tls.as_ref().unwrap(), config, now);
    let first = made(&config).unwrap();
    assert!(first.ends().unwrap().to_string().starts_with("2034-02-28"), "{:?}", first.ends());
    assert_eq!(made(&config).unwrap().fingerprint(), first.fingerprint());
    for name in [self_signed::CERTIFICATE, self_signed::KEY] {
        assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    std::fs::remove_file(dir.path().join(self_signed::KEY)).unwrap();
    assert!(made(&config).is_err_and(|error| error.to_string().contains("tls.key")));
    std::fs::remove_file(dir.path().join(self_signed::CERTIFICATE)).unwrap();
    assert_ne!(made(&config).unwrap().fingerprint(), first.fingerprint());
    config.tls = Some(TlsSource::SelfSigned { names: vec!["not a name\u{e9}".to_owned()] });
    for name in [self_signed::CERTIFICATE, self_signed::KEY] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(made(&config).is_err());
}
