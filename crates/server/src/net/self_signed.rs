//! A certificate that the server signs itself, where nobody has made one for it. It is made once and kept in the key
//! directory, so that clients can pin it.

use std::{net::SocketAddr, path::Path};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use sceau_event::Micros;
use zeroize::Zeroizing;

use crate::{
    error::ServerError,
    keydir::{keep_file, read_file},
};

/// The certificate's file in the key directory.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// Its key's file.
pub(super) const KEY: &str = "tls.key";
/// How many years it is valid.
const YEARS: i32 = 10;

/// Certificate and key, in PEM; made if they are not there.
///
/// # Errors
/// One of them is there and the other is not, a name can't stand in a certificate, or they can't be read or written.
pub(super) fn certificate(
    key_dir: &Path,
    names: &[String],
    listen: SocketAddr,
    now: Micros,
) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), ServerError> {
    match (read_file(key_dir, CERTIFICATE)?, read_file(key_dir, KEY)?) {
        (Some(certificate), Some(key)) => Ok((certificate.to_vec(), key)),
        (Some(_), None) => Err(ServerError::KeyDir {
            path: key_dir.join(KEY),
            reason: format!("is missing: restore it, or remove {CERTIFICATE} too, and both are made anew"),
        }),
        // The key comes first, so that one without a certificate belongs to none that was ever shown.
        (None, _) => {
            let (certificate, key) = make(&all_names(names, listen), now)?;
            keep_file(key_dir, KEY, &key)?;
            keep_file(key_dir, CERTIFICATE, &certificate)?;
            tracing::info!("made a self-signed certificate for TLS");
            Ok((certificate, key))
        }
    }
}

/// What the certificate is for: what was said, or what this machine is called as far as it is known.
fn all_names(names: &[String], listen: SocketAddr) -> Vec<String> {
    if !names.is_empty() {
        return names.to_vec();
    }
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        all.push(listen.ip().to_string());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let can_stand = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    if can_stand(&host) && !all.contains(&host) {
        all.push(host);
    }
    all
}

fn make(names: &[String], now: Micros) -> Result<(Vec<u8>, Zeroizing<Vec<u8>>), ServerError> {
    let failed = |error: rcgen::Error| ServerError::Config(format!("making a certificate for {names:?}: {error}"));
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "sceau");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = now.to_string();
    let part =
        |range: std::ops::Range<usize>| today.get(range).and_then(|digits| digits.parse::<u8>().ok()).unwrap_or(1);
    let year = today.get(..4).and_then(|digits| digits.parse::<i32>().ok()).unwrap_or(2026);
    // Machines whose clocks are a little behind must take it, too; and there is no 29 February in most years.
    params.not_before = date_time_ymd(year - 1, part(5..7), part(8..10).min(28));
    params.not_after = date_time_ymd(year + YEARS, part(5..7), part(8..10).min(28));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem().into_bytes(), Zeroizing::new(key.serialize_pem().into_bytes())))
}
