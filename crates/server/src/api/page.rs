//! The plain page at `/`. It holds no data: it asks for a token and fetches the rest with it.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn answer(kind: &'static str, text: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

/// The plain page.
#[utoipa::path(
    get, path = "/", tag = "pages", operation_id = "getPage",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
)]
pub(super) async fn html() -> Response {
    answer("text/html; charset=utf-8", include_str!("../page/page.html"))
}

/// Its script.
#[utoipa::path(
    get, path = "/page.js", tag = "pages", operation_id = "getPageScript",
    responses((status = 200, description = "A script", body = String, content_type = "text/javascript")),
)]
pub(super) async fn script() -> Response {
    answer("text/javascript; charset=utf-8", include_str!("../page/page.js"))
}

/// Its style sheet.
#[utoipa::path(
    get, path = "/page.css", tag = "pages", operation_id = "getPageStyle",
    responses((status = 200, description = "A style sheet", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> Response {
    answer("text/css; charset=utf-8", include_str!("../page/page.css"))
}
