//! Headers that every answer has: what a browser may do with it.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

/// Answers of the API are never a page: nothing in them is run, shown in a frame or fetched for.
const API_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A year.
const HSTS: &str = "max-age=31536000";

const ALWAYS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
];

/// Adds what is missing. `secure`: the request came over TLS. Over plain HTTP nobody may be told to use nothing else: there
/// may be nothing else.
pub(super) fn protect(mut response: Response, secure: bool) -> Response {
    let headers = response.headers_mut();
    headers.reserve(ALWAYS.len() + 3);
    for (name, value) in &ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(API_POLICY));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn tls_is_asked_for_only_over_tls_and_a_page_keeps_its_own_policy() {
        let page = || {
            let mut response = Response::new(Body::empty());
            response
                .headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
            response
        };
        let plain = protect(Response::new(Body::empty()), false);
        assert!(!plain.headers().contains_key("strict-transport-security"));
        assert_eq!(plain.headers()["content-security-policy"], API_POLICY);
        let secure = protect(page(), true);
        assert_eq!(secure.headers()["strict-transport-security"], HSTS);
        assert_eq!(secure.headers()["content-security-policy"], "default-src 'self'");
    }
}
