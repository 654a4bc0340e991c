//! What attackers do to tokens.

use super::*;

const NOW: Micros = Micros(1_795_000_000_000_000);
const ISSUER: &str = "example.org/log";

fn seconds(micros: i64) -> Micros {
    Micros(NOW.0 + micros * 1_000_000)
}

fn signer() -> Signer {
    let signer = Signer::new(ISSUER);
    signer.begin(Fresh::new(NOW).unwrap(), NOW);
    signer
}

fn encoded(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The key that a signer signs with.
fn private(signer: &Signer) -> (String, EncodingKey) {
    let keys = signer.read();
    let present = keys.present.as_ref().unwrap();
    (present.kid.clone(), present.key.clone())
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let at = NOW.0 / 1_000_000;
    let mut claims =
        json!({"iss": ISSUER, "aud": "sceau", "sub": "alice", "sid": "s1", "iat": at, "nbf": at, "exp": at + 900});
    change(&mut claims);
    claims
}

/// A token that the signer's own key signs, whatever it says.
fn signed(signer: &Signer, header: impl FnOnce(&mut Header), claims: &Value) -> String {
    let (kid, key) = private(signer);
    let mut head = Header::new(Algorithm::EdDSA);
    (head.typ, head.kid) = (Some(TYPE.into()), Some(kid));
    header(&mut head);
    jsonwebtoken::encode(&head, claims, &key).unwrap()
}

/// What is wrong about a token, and how it is made so.
type Case<'a, T> = (&'a str, &'a dyn Fn(&mut T));

#[test]
fn a_token_is_good_for_a_quarter_of_an_hour() {
    let signer = signer();
    let (token, expires) = signer.sign("alice", "s1", NOW).unwrap();
    let token = token.expose();
    assert_eq!(expires, seconds(900));
    let claims = signer.check(token, NOW).unwrap();
    assert_eq!((claims.sub.as_str(), claims.sid.as_str()), ("alice", "s1"));
    assert!(signer.check(token, seconds(899)).is_some() && signer.check(token, seconds(900)).is_none());
    assert!(signer.check(token, seconds(-5)).is_some() && signer.check(token, seconds(-6)).is_none());
    assert!(Signer::new(ISSUER).sign("alice", "s1", NOW).is_err() && Signer::new(ISSUER).check(token, NOW).is_none());
}

#[test]
fn claims_that_are_not_ours_are_refused_though_the_key_is() {
    let signer = signer();
    assert!(signer.check(&signed(&signer, |_| (), &claims(|_| ())), NOW).is_some());
    let at = NOW.0 / 1_000_000;
    let wrong: [Case<'_, Value>; 17] = [
        ("expired", &|it| it["exp"] = (at - 1).into()),
        ("too long", &|it| it["exp"] = (at + 901).into()),
        ("no end", &|it| it["exp"] = Value::Null),
        ("an end that is no number", &|it| it["exp"] = "never".into()),
        ("a great end", &|it| it["exp"] = json!(u64::MAX)),
        ("not yet", &|it| it["nbf"] = (at + 60).into()),
        ("no beginning", &|it| it["nbf"] = Value::Null),
        ("issued in the future", &|it| it["iat"] = (at + 60).into()),
        ("long ago", &|it| it["iat"] = 0.into()),
        ("another audience", &|it| it["aud"] = "other".into()),
        ("several audiences", &|it| it["aud"] = json!(["sceau", "other"])),
        ("no audience", &|it| it["aud"] = Value::Null),
        ("another issuer", &|it| it["iss"] = "example.org/other".into()),
        ("several issuers", &|it| it["iss"] = json!([ISSUER])),
        ("no issuer", &|it| it["iss"] = Value::Null),
        ("no user", &|it| it["sub"] = Value::Null),
        ("no session", &|it| it["sid"] = Value::Null),
    ];
    for (what, change) in wrong {
        assert!(signer.check(&signed(&signer, |_| (), &claims(change)), NOW).is_none(), "{what}");
    }
}

#[test]
fn headers_that_are_not_ours_are_refused_though_the_key_is() {
    let signer = signer();
    let mine = |header: &dyn Fn(&mut Header)| signed(&signer, header, &claims(|_| ()));
    let jwk: jsonwebtoken::jwk::Jwk =
        serde_json::from_value(jwk("k", &BASE64_URL_SAFE_NO_PAD.encode([1; 32]))).unwrap();
    let wrong: [Case<'_, Header>; 10] = [
        ("another type", &|it| it.typ = Some("JWT".into())),
        ("no type", &|it| it.typ = None),
        ("no key named", &|it| it.kid = None),
        ("another key named", &|it| it.kid = Some("0000000000000000".into())),
        ("a path for a key", &|it| it.kid = Some("../../../../dev/null".into())),
        ("a question for a key", &|it| it.kid = Some("' UNION SELECT 'x' --".into())),
        ("a key brought along", &|it| it.jwk = Some(jwk.clone())),
        ("a key elsewhere", &|it| it.jku = Some("https://evil.example/jwks.json".into())),
        ("a certificate elsewhere", &|it| it.x5u = Some("https://evil.example/x".into())),
        ("something critical", &|it| it.crit = Some(vec!["exp".into()])),
    ];
    for (what, header) in wrong {
        assert!(signer.check(&mine(header), NOW).is_none(), "{what}");
    }
}

#[test]
fn other_algorithms_are_refused() {
    let signer = signer();
    let (kid, _) = private(&signer);
    let public = BASE64_URL_SAFE_NO_PAD.decode(&signer.read().known[&kid].x).unwrap();
    let body = encoded(&claims(|_| ()));
    for none in ["none", "None", "NONE", "nOnE"] {
        let head = encoded(&json!({"alg": none, "typ": TYPE, "kid": kid}));
        for signature in ["", "AAAA", &BASE64_URL_SAFE_NO_PAD.encode([0; 64])] {
            assert!(signer.check(&format!("{head}.{body}.{signature}"), NOW).is_none(), "{none}");
        }
    }
    // The public key as if it were a shared secret, in every form that a library may take it in.
    let text = BASE64_URL_SAFE_NO_PAD.encode(&public);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    for secret in [public.as_slice(), text.as_bytes(), pem.as_bytes()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            (header.typ, header.kid) = (Some(TYPE.into()), Some(kid.clone()));
            let token = jsonwebtoken::encode(&header, &claims(|_| ()), &EncodingKey::from_secret(secret)).unwrap();
            assert!(signer.check(&token, NOW).is_none(), "{algorithm:?}");
            // The same signature under our algorithm's name.
            let head = encoded(&json!({"alg": "EdDSA", "typ": TYPE, "kid": kid}));
            let signature = token.rsplit('.').next().unwrap();
            assert!(signer.check(&format!("{head}.{body}.{signature}"), NOW).is_none(), "{algorithm:?}");
        }
    }
}

#[test]
fn other_curves_and_other_keys_are_refused() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let signer = signer();
    let (kid, _) = private(&signer);
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let mut header = Header::new(Algorithm::ES256);
    (header.typ, header.kid) = (Some(TYPE.into()), Some(kid.clone()));
    let token = jsonwebtoken::encode(&header, &claims(|_| ()), &EncodingKey::from_ec_der(key.as_ref())).unwrap();
    assert!(signer.check(&token, NOW).is_none());
    let head = encoded(&json!({"alg": "EdDSA", "typ": TYPE, "kid": kid}));
    let rest = token.split_once('.').unwrap().1;
    assert!(signer.check(&format!("{head}.{rest}"), NOW).is_none());
    // Another server's key under the number of ours.
    let other = Signer::new(ISSUER);
    other.begin(Fresh::new(NOW).unwrap(), NOW);
    let token = signed(&other, |it| it.kid = Some(kid), &claims(|_| ()));
    assert!(signer.check(&token, NOW).is_none());
    assert!(signer.check(other.sign("alice", "s1", NOW).unwrap().0.expose(), NOW).is_none());
}

#[test]
fn cut_and_mixed_tokens_are_refused() {
    let signer = signer();
    let alice = signer.sign("alice", "s1", NOW).unwrap().0;
    let admin = signer.sign("admin", "s2", NOW).unwrap().0;
    let (alice, admin) = (alice.expose(), admin.expose());
    for end in 0..alice.len() {
        assert!(signer.check(&alice[..end], NOW).is_none(), "{end} bytes");
    }
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (alice, admin) = (parts(alice), parts(admin));
    assert!(signer.check(&format!("{}.{}.{}", alice[0], admin[1], alice[2]), NOW).is_none());
    let payload = encoded(&claims(|it| it["sub"] = "admin".into()));
    assert!(signer.check(&format!("{}.{payload}.{}", alice[0], alice[2]), NOW).is_none());
    let mut signature = BASE64_URL_SAFE_NO_PAD.decode(&alice[2]).unwrap();
    for at in 0..signature.len() {
        signature[at] ^= 1;
        let changed = BASE64_URL_SAFE_NO_PAD.encode(&signature);
        assert!(signer.check(&format!("{}.{}.{changed}", alice[0], alice[1]), NOW).is_none(), "byte {at}");
        signature[at] ^= 1;
    }
    let whole = alice.join(".");
    for odd in
        ["", ".", "..", "...", &format!("{whole}.x"), &format!(" {whole}"), &format!("{whole}="), &"a".repeat(9_000)]
    {
        assert!(signer.check(odd, NOW).is_none(), "{odd}");
    }
    assert!(signer.check(&whole, NOW).is_some());
}

#[test]
fn keys_change_and_old_tokens_stay_good_as_long_as_they_live() {
    let signer = signer();
    let day = 24 * 3_600;
    assert!(!signer.wants_key(seconds(day - 1)) && signer.wants_key(seconds(day)));
    let last = signer.sign("alice", "s1", seconds(day)).unwrap().0;
    let fresh = Fresh::new(seconds(day)).unwrap();
    let kept = fresh.write();
    signer.begin(fresh, seconds(day));
    assert!(!signer.wants_key(seconds(day)));
    assert_eq!(signer.jwks()["keys"].as_array().unwrap().len(), 2);
    assert!(signer.check(last.expose(), seconds(day + 899)).is_some());
    let newer = signer.sign("alice", "s1", seconds(day)).unwrap().0;
    // A server that waits has the public half only.
    let waiting = Signer::new(ISSUER);
    let (key, value) = (kept.key, kept.value.unwrap());
    let text = value.to_string();
    waiting.know(&[Document { key, value, text, version: 1, expires: kept.expires, mac: None }], seconds(day));
    assert!(waiting.check(newer.expose(), seconds(day)).is_some() && waiting.sign("alice", "s1", NOW).is_err());
    assert!(!waiting.jwks().to_string().contains("\"d\""));
    // Long after, the first is forgotten.
    signer.begin(Fresh::new(seconds(3 * day)).unwrap(), seconds(3 * day));
    assert_eq!(signer.jwks()["keys"].as_array().unwrap().len(), 1);
}
