//! The plain pages at `/` and `/setup`. They hold no data: one asks for a token and fetches the rest with it, the other
//! uses a set-up link.

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

/// The page of set-up links: what follows `#` in them never leaves the browser but to be used.
#[utoipa::path(
    get, path = "/setup", tag = "pages", operation_id = "getSetUpPage",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
)]
pub(super) async fn setup() -> Response {
    answer("text/html; charset=utf-8", include_str!("../page/setup.html"))
}

/// Its script.
#[utoipa::path(
    get, path = "/setup.js", tag = "pages", operation_id = "getSetUpScript",
    responses((status = 200, description = "A script", body = String, content_type = "text/javascript")),
)]
pub(super) async fn setup_script() -> Response {
    answer("text/javascript; charset=utf-8", include_str!("../page/setup.js"))
}

/// Its style sheet.
#[utoipa::path(
    get, path = "/page.css", tag = "pages", operation_id = "getPageStyle",
    responses((status = 200, description = "A style sheet", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> Response {
    answer("text/css; charset=utf-8", include_str!("../page/page.css"))
}
