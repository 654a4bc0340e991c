//! The second factor: codes by time (RFC 6238), and recovery codes for a lost device.

use sceau_event::Micros;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::{config::Secret, error::ServerError, hex, keydir::random};

/// Bytes of a secret, as RFC 4226 recommends.
const SECRET: usize = 20;
/// How many recovery codes there are.
const RECOVERY: usize = 10;
/// Letters and digits that can't be taken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A new secret.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn secret() -> Result<Zeroizing<Vec<u8>>, ServerError> {
    Ok(Zeroizing::new(random::<SECRET>()?.to_vec()))
}

fn totp(secret: &[u8], user: &str) -> Option<Totp> {
    // A colon parts the two names.
    let issuer = Some("Sceau");
    Builder::new()
        .with_secret(secret.to_vec())
        .with_account_name(user.replace(':', "_"))
        .with_issuer(issuer)
        .build()
        .ok()
}

/// The secret as an authenticator wants it: in base32, and as an `otpauth` URI.
///
/// # Errors
/// The secret is none.
pub(super) fn shown(secret: &[u8], user: &str) -> Result<(Secret, Secret), ServerError> {
    let none = || ServerError::Internal("a secret of the second factor can't be used".into());
    let totp = totp(secret, user).ok_or_else(none)?;
    let uri = totp.to_url().map_err(|_| none())?;
    Ok((Secret::new(totp.secret().to_base32()), Secret::new(uri)))
}

/// The step that a code is of: the present one, or the one before or behind it.
pub(super) fn step(secret: &[u8], code: &str, now: Micros) -> Option<u64> {
    let time = u64::try_from(now.0.div_euclid(1_000_000)).ok()?;
    totp(secret, "x")?.check(code, time)
}

/// Whether it looks like a code by time rather than a recovery code.
pub(super) fn is_timed(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// New recovery codes, and what is kept of each.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn recovery() -> Result<(Vec<Secret>, Vec<String>), ServerError> {
    let mut codes = Vec::with_capacity(RECOVERY);
    for _ in 0..RECOVERY {
        let bytes = random::<16>()?;
        let letters: Vec<char> = bytes
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
            .map(|byte| char::from(*byte))
            .collect();
        let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
        codes.push(Secret::new(groups.join("-")));
    }
    let kept = codes.iter().map(|code| recovery_hash(code.expose())).collect();
    Ok((codes, kept))
}

/// What is kept of a recovery code; blanks, dashes and capital letters make no difference.
pub(super) fn recovery_hash(code: &str) -> String {
    let plain: Zeroizing<String> =
        Zeroizing::new(code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect());
    hex(&Sha256::digest(plain.as_bytes()))
}

/// The place of a recovery code among those that are left.
pub(super) fn find_recovery(kept: &[String], code: &str) -> Option<usize> {
    let hash = recovery_hash(code);
    kept.iter().position(|kept| bool::from(kept.as_bytes().ct_eq(hash.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238's appendix B.
    const KNOWN: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(step(KNOWN, code, at(seconds)), Some(seconds as u64 / 30), "{code}");
        }
    }

    #[test]
    fn a_code_holds_one_step_before_and_behind() {
        for seconds in [30, 59, 60, 89, 0] {
            assert_eq!(step(KNOWN, "287082", at(seconds)), Some(1), "{seconds}");
        }
        for seconds in [90, 200, -1] {
            assert_eq!(step(KNOWN, "287082", at(seconds)), None, "{seconds}");
        }
        for wrong in ["", "287083", "28708", "2870820", " 287082", "+87082", "２８７０８２"] {
            assert_eq!(step(KNOWN, wrong, at(59)), None, "{wrong}");
        }
        assert!(is_timed("000000") && !is_timed("00000a") && !is_timed("0000000"));
    }

    #[test]
    fn an_authenticator_gets_the_same_secret() {
        let secret = secret().unwrap();
        let (text, uri) = shown(&secret, "alice@example.org").unwrap();
        let read = Totp::from_url(uri.expose()).unwrap();
        assert_eq!(read.secret().as_ref(), secret.as_slice());
        assert!(uri.expose().starts_with("otpauth://totp/Sceau:alice%40example.org?secret="), "{}", uri.expose());
        assert!(uri.expose().contains(text.expose()));
    }

    #[test]
    fn recovery_codes_are_found_however_they_are_written() {
        let (codes, mut kept) = recovery().unwrap();
        assert_eq!((codes.len(), kept.len()), (10, 10));
        let code = codes[3].expose();
        assert_eq!((code.len(), code.matches('-').count()), (19, 3), "{code}");
        for written in
            [code.to_owned(), code.to_uppercase(), code.replace('-', ""), format!(" {} ", code.replace('-', " "))]
        {
            assert_eq!(find_recovery(&kept, &written), Some(3));
        }
        kept.remove(3);
        assert_eq!(find_recovery(&kept, code), None);
        assert_eq!(find_recovery(&kept, ""), None);
    }
}
