//! Passwords: which are good enough (NIST SP 800-63B-4, section 3.1.1), and how they are kept.
//!
//! They are taken as the bytes that were sent. There are no rules about kinds of characters, and none expires.

use std::sync::OnceLock;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use subtle::ConstantTimeEq as _;

use crate::{error::ServerError, keydir::random};

/// The least characters of a password that is all that a log-in needs.
pub(super) const MIN_ALONE: usize = 15;
/// The least characters of one beside a second factor.
pub(super) const MIN_WITH_FACTOR: usize = 8;
/// The most characters.
const MAX_CHARACTERS: usize = 256;
/// The most bytes; a character can have four.
pub(super) const MAX_BYTES: usize = 4 * MAX_CHARACTERS;

/// Argon2id, as OWASP asks for at least: 19 MiB, two passes, one lane.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// What a stored hash may ask for at most: the work that somebody who can write it can make us do.
const MOST: (u32, u32, u32) = (1 << 18, 16, 4);

/// The pieces of the keyboard that people run a finger along.
const ROWS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
];

/// Words of which the commonest passwords are made, in the form that [`letters`] gives them.
const COMMON: [&str; 58] = [
    "password",
    "passwort",
    "motdepasse",
    "contrasena",
    "welcome",
    "bienvenue",
    "letmein",
    "iloveyou",
    "jetaime",
    "admin",
    "administrator",
    "administrateur",
    "root",
    "toor",
    "login",
    "secret",
    "changeme",
    "default",
    "qwerty",
    "azerty",
    "qwertz",
    "asdfgh",
    "zxcvbn",
    "monkey",
    "dragon",
    "master",
    "football",
    "baseball",
    "basketball",
    "superman",
    "batman",
    "sunshine",
    "princess",
    "shadow",
    "trustno",
    "starwars",
    "pokemon",
    "whatever",
    "hello",
    "bonjour",
    "doudou",
    "chouchou",
    "loulou",
    "soleil",
    "marseille",
    "liverpool",
    "chelsea",
    "summer",
    "winter",
    "autumn",
    "spring",
    "computer",
    "internet",
    "server",
    "testtest",
    "guest",
    "user",
    "logging",
];

/// Letters that a word needs beside a forbidden one, so that this is no longer what the password is about.
const OTHER_LETTERS: usize = 6;

/// Refuses a password that is too short for what it is for, or that a guesser tries early. `own` are words that belong
/// to its user: the name, the parts of an address.
///
/// # Errors
/// [`ServerError::WeakPassword`] says why.
pub(super) fn check(password: &str, with_factor: bool, own: &[&str]) -> Result<(), ServerError> {
    let weak = |reason: String| Err(ServerError::WeakPassword(reason));
    let count = password.chars().count();
    let least = if with_factor { MIN_WITH_FACTOR } else { MIN_ALONE };
    if count < least {
        return weak(format!("it needs at least {least} characters; several words are easy to remember"));
    }
    if count > MAX_CHARACTERS {
        return weak(format!("it may have {MAX_CHARACTERS} characters"));
    }
    let lower: Vec<char> = password.to_lowercase().chars().collect();
    if repeats(&lower) {
        return weak("it repeats a few characters".into());
    }
    if runs(&lower) {
        return weak("it is a row of characters in the order of the alphabet, of numbers or of a keyboard".into());
    }
    let letters = letters(password);
    let own = own.iter().flat_map(|words| words.split(|c: char| !c.is_alphanumeric()).chain([*words]));
    let own: Vec<String> = own.map(self::letters).filter(|word| word.len() >= 3).collect();
    let names = own.iter().map(String::as_str).chain(["sceau"]);
    if is_decoration(&letters, names) {
        return weak("it is little more than your own name or the product's".into());
    }
    if is_decoration(&letters, COMMON.into_iter()) {
        return weak("it is little more than a word that is among the commonest passwords".into());
    }
    Ok(())
}

/// Whether it is one to four characters over and over.
fn repeats(characters: &[char]) -> bool {
    (1..=4).any(|period| characters.iter().zip(characters.iter().skip(period)).all(|(one, other)| one == other))
}

/// Whether every piece of it runs along a row, forward or backward, so that hardly anything else is left.
fn runs(characters: &[char]) -> bool {
    let steps = characters.windows(2).filter(|pair| matches!(pair, [one, other] if follows(*one, *other))).count();
    // Two runs joined have one step that is none.
    steps.saturating_mul(5) >= characters.len().saturating_sub(1).saturating_mul(4)
}

fn follows(one: char, other: char) -> bool {
    ROWS.iter().any(|row| {
        let next = |from: char, to: char| row.chars().zip(row.chars().skip(1)).any(|pair| pair == (from, to));
        next(one, other) || next(other, one)
    })
}

/// Its letters alone, in lower case, with the digits and signs that are commonly written for letters taken as those.
fn letters(password: &str) -> String {
    let plain = |character: char| match character {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    password.to_lowercase().chars().map(plain).filter(|character| character.is_alphabetic()).collect()
}

/// Whether some of these words are in it and hardly any other letters. What may be digits taken for letters counts for
/// nothing.
fn is_decoration<'a>(letters: &str, words: impl Iterator<Item = &'a str>) -> bool {
    let (mut rest, mut found) = (letters.to_owned(), false);
    for word in words.filter(|word| !word.is_empty()) {
        if rest.contains(word) {
            found = true;
            rest = rest.replace(word, " ");
        }
    }
    let left = rest.split(' ').filter(|piece| !piece.chars().all(|c| "oieast".contains(c)));
    found && left.map(|piece| piece.chars().count()).sum::<usize>() < OTHER_LETTERS
}

/// Makes the text that is kept: a PHC string.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn hash(password: &[u8]) -> Result<String, ServerError> {
    let salt = random::<16>()?;
    let hash = derive((MEMORY, PASSES, LANES), salt.as_slice(), password);
    let hash = hash.ok_or_else(|| ServerError::Internal("Argon2 does not work".into()))?;
    let (salt, hash) = (BASE64_STANDARD_NO_PAD.encode(salt.as_slice()), BASE64_STANDARD_NO_PAD.encode(hash));
    Ok(format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${salt}${hash}"))
}

/// Whether it is the password of which `kept` is left.
pub(super) fn verify(kept: &str, password: &[u8]) -> bool {
    let Some((costs, salt, wanted)) = parse(kept) else { return false };
    derive(costs, &salt, password).is_some_and(|hash| bool::from(hash.as_slice().ct_eq(&wanted)))
}

/// What stands for the hash of a user that there is none of: as much work to compare with, and nothing fits.
pub(super) fn of_nobody() -> &'static str {
    static NOBODY: OnceLock<String> = OnceLock::new();
    NOBODY.get_or_init(|| {
        let salt = BASE64_STANDARD_NO_PAD.encode([0; 16]);
        let hash = BASE64_STANDARD_NO_PAD.encode([0; 32]);
        format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}${salt}${hash}")
    })
}

/// Memory in KiB, passes, lanes.
type Costs = (u32, u32, u32);

/// Costs, salt and hash of a PHC string.
fn parse(kept: &str) -> Option<(Costs, Vec<u8>, [u8; 32])> {
    let mut parts = kept.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut costs = costs.split(',').zip(["m=", "t=", "p="]);
    let mut cost = || costs.next().and_then(|(cost, name)| cost.strip_prefix(name)?.parse::<u32>().ok());
    let costs = (cost()?, cost()?, cost()?);
    let within = costs.0 <= MOST.0 && costs.1 <= MOST.1 && costs.2 <= MOST.2;
    let salt = BASE64_STANDARD_NO_PAD.decode(salt).ok()?;
    let hash = BASE64_STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?;
    within.then_some((costs, salt, hash))
}

fn derive((memory, passes, lanes): Costs, salt: &[u8], password: &[u8]) -> Option<[u8; 32]> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut hash = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_opens_and_nothing_else_does() {
        let kept = hash("correct horse battery".as_bytes()).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(verify(&kept, b"correct horse battery"));
        for wrong in ["", "correct horse batterY", "correct horse battery "] {
            assert!(!verify(&kept, wrong.as_bytes()), "{wrong}");
        }
        assert_ne!(kept, hash(b"correct horse battery").unwrap(), "each has a salt of its own");
        assert!(!verify(of_nobody(), b"") && !verify(of_nobody(), b"correct horse battery"));
        // As much work as any.
        let (nobody, somebody) = (parse(of_nobody()).unwrap(), parse(&kept).unwrap());
        assert_eq!((nobody.0, nobody.1.len()), (somebody.0, somebody.1.len()));
    }

    /// A vector of RFC 9106's reference implementation (argon2 -id -v 13 -k 65536 -t 2 -p 1).
    #[test]
    fn it_is_argon2id_as_others_know_it() {
        let kept = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(kept, b"password") && !verify(kept, b"passwords"));
    }

    #[test]
    fn damaged_or_costly_texts_open_nothing() {
        let kept = hash(b"x").unwrap();
        for broken in [
            "",
            "x",
            &kept[1..],
            &kept[..kept.len() - 1],
            &format!("{kept}$"),
            &kept.replace("argon2id", "argon2i"),
            &kept.replace("v=19", "v=16"),
            &kept.replace("m=19456", "m=4000000"),
            &kept.replace("t=2", "t=99"),
            &kept.replace("p=1", "p=0"),
            &kept.replace("m=19456", "t=19456"),
        ] {
            assert!(!verify(broken, b"x"), "{broken}");
        }
    }

    #[test]
    fn what_a_guesser_tries_early_is_refused() {
        for weak in [
            "short",
            "fourteen chars",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabcabc",
            "12341234123412341234",
            "1234567890123456",
            "abcdefghijklmnopqr",
            "zyxwvutsrqponmlk",
            "qwertyuiopasdfgh",
            "1qaz2wsx3edc4rfv",
            "alicealicealice",
            "Alice-2026-11-28!!",
            "4lice.martin.1987.06",
            "martin-martin-2026",
            "Sceau-Sceau-12345",
            "sceau20261128000",
            "Password12345678",
            "P@ssw0rd!P@ssw0rd!",
            "Welcome-2026-2026-01",
            "MotDePasse-12345678",
            &"long ".repeat(60),
        ] {
            let refused = check(weak, false, &["alice", "alice.martin@example.org"]);
            assert!(matches!(refused, Err(ServerError::WeakPassword(_))), "{weak}");
        }
    }

    #[test]
    fn no_rule_asks_for_kinds_of_characters() {
        for good in [
            "correct horse battery staple",
            "onzeoiseauxbleus",
            "九百九十九只红色的鸟在树上唱歌呢",
            "alice likes eleven blue birds",
            "8472 9130 5581 2067",
            "\u{0}\u{1} control \u{7f} bytes",
        ] {
            check(good, false, &["alice"]).unwrap();
        }
        check("tr7#kQ9x", true, &["alice"]).unwrap();
        assert!(check("tr7#kQ9", true, &[]).is_err() && check("tr7#kQ9x", false, &[]).is_err());
    }
}
