//! The plain page at `/`. It holds no data: it asks for a token and fetches the rest with it.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn answer(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

pub(super) async fn html() -> Response {
    answer("text/html; charset=utf-8", include_str!("../page/page.html"))
}

pub(super) async fn script() -> Response {
    answer("text/javascript; charset=utf-8", include_str!("../page/page.js"))
}

pub(super) async fn style() -> Response {
    answer("text/css; charset=utf-8", include_str!("../page/page.css"))
}
