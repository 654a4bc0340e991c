//! A browser's session: its cookies, and the proof that a request by cookie comes from our own page.
//!
//! Over TLS the names have prefixes that no other host and no plain page can set cookies for (RFC 6265bis, section 4.1.3),
//! and only these are read: whoever plants another name changes nothing.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
};
use cookie::{Cookie, SameSite, time::Duration};
use sceau_event::Micros;

use crate::{
    auth::{Caller, LoggedIn},
    error::ServerError,
};

/// What every request by cookie that changes something carries: no other page can make a browser send it.
pub(super) const CSRF: HeaderName = HeaderName::from_static("sceau-csrf");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Where the refresh token is sent, and nowhere else.
const REFRESH_PATH: &str = "/api/v1/session";

fn access_name(secure: bool) -> &'static str {
    if secure { "__Host-sceau" } else { "sceau" }
}

fn refresh_name(secure: bool) -> &'static str {
    if secure { "__Secure-sceau-refresh" } else { "sceau-refresh" }
}

fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|header| header.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, value)| *found == name && !value.is_empty()).map(|(_, value)| value)
}

/// The access token that a browser sends.
pub(super) fn access(headers: &HeaderMap, secure: bool) -> Option<&str> {
    find(headers, access_name(secure))
}

/// The refresh token that a browser sends.
pub(super) fn refresh(headers: &HeaderMap, secure: bool) -> Option<&str> {
    find(headers, refresh_name(secure))
}

fn made(name: &'static str, path: &'static str, value: &str, life: Duration, secure: bool) -> Option<HeaderValue> {
    let cookie = Cookie::build((name, value))
        .path(path)
        .http_only(true)
        .secure(secure)
        .same_site(SameSite::Strict)
        .max_age(life)
        .build();
    let mut header = HeaderValue::try_from(cookie.to_string()).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The headers that give a browser its session.
pub(super) fn given(session: &LoggedIn, now: Micros, secure: bool) -> Vec<HeaderValue> {
    let life = |until: Micros| Duration::microseconds(until.0.saturating_sub(now.0).max(0));
    let access = made(access_name(secure), "/", session.access.expose(), life(session.access_expires), secure);
    let refresh =
        made(refresh_name(secure), REFRESH_PATH, session.refresh.expose(), life(session.refresh_expires), secure);
    access.into_iter().chain(refresh).collect()
}

/// The headers that take it away.
pub(super) fn taken(secure: bool) -> Vec<HeaderValue> {
    let access = made(access_name(secure), "/", "", Duration::ZERO, secure);
    let refresh = made(refresh_name(secure), REFRESH_PATH, "", Duration::ZERO, secure);
    access.into_iter().chain(refresh).collect()
}

/// Makes sure that a request which a cookie lets in, and which changes something, comes from our own page.
///
/// # Errors
/// [`ServerError::Csrf`].
pub(super) fn check_caller(caller: &Caller, request: &Request) -> Result<(), ServerError> {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if caller.by_cookie && !reads { check_page(request.headers()) } else { Ok(()) }
}

/// The same for a request that asks for cookies, or is let in by a refresh token in one.
///
/// # Errors
/// [`ServerError::Csrf`].
pub(super) fn check_page(headers: &HeaderMap) -> Result<(), ServerError> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own_site = text(&FETCH_SITE).is_none_or(|site| site == "same-origin");
    let own_origin = text(&header::ORIGIN).is_none_or(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text(&header::HOST)
    });
    if text(&CSRF) == Some("1") && own_site && own_origin { Ok(()) } else { Err(ServerError::Csrf) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_page_passes() {
        let good: [&[(&str, &str)]; 4] = [
            &[("sceau-csrf", "1")],
            &[("sceau-csrf", "1"), ("origin", "https://logs.example.org"), ("host", "logs.example.org")],
            &[("sceau-csrf", "1"), ("sec-fetch-site", "same-origin")],
            &[("sceau-csrf", "1"), ("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")],
        ];
        for pairs in good {
            assert!(check_page(&headers(pairs)).is_ok(), "{pairs:?}");
        }
        let bad: [&[(&str, &str)]; 7] = [
            &[],
            &[("sceau-csrf", "0")],
            &[("sceau-csrf", "1"), ("origin", "https://evil.example"), ("host", "logs.example.org")],
            &[("sceau-csrf", "1"), ("origin", "null"), ("host", "logs.example.org")],
            &[("sceau-csrf", "1"), ("origin", "https://logs.example.org")],
            &[("sceau-csrf", "1"), ("sec-fetch-site", "same-site")],
            &[("sceau-csrf", "1"), ("sec-fetch-site", "cross-site")],
        ];
        for pairs in bad {
            assert!(check_page(&headers(pairs)).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn over_tls_only_names_with_a_prefix_are_read() {
        let both =
            headers(&[("cookie", "a=b; sceau=plain; __Host-sceau=good"), ("cookie", "__Secure-sceau-refresh=r")]);
        assert_eq!((access(&both, true), access(&both, false)), (Some("good"), Some("plain")));
        assert_eq!((refresh(&both, true), refresh(&both, false)), (Some("r"), None));
        assert_eq!(access(&headers(&[("cookie", "sceau=planted")]), true), None);
        assert_eq!(access(&headers(&[("cookie", "__Host-sceau=")]), true), None);
    }

    #[test]
    fn a_cookie_is_for_this_server_alone() {
        let set: Vec<String> = taken(true).iter().map(|value| value.to_str().unwrap().to_owned()).collect();
        for (cookie, path) in set.iter().zip(["Path=/", "Path=/api/v1/session"]) {
            for wanted in ["HttpOnly", "Secure", "SameSite=Strict", "Max-Age=0", path] {
                assert!(cookie.split("; ").any(|part| part == wanted), "{wanted}: {cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
        assert!(!taken(false)[0].to_str().unwrap().contains("Secure"));
    }
}
