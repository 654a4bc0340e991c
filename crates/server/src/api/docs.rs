//! The API's description, and Swagger UI to read it with. Both hold no data of the log, and ask for it with whatever token
//! the reader gives.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Redirect, Response},
};
use utoipa_swagger_ui::Config;

use super::{Answer, Failure, Shared, params::Params};
use crate::error::ServerError;

/// Where the description is.
const DESCRIPTION: &str = "/api/v1/openapi.json";

/// Swagger UI runs no script and has no styles but those of its files; only pictures are within its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// This description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "operation", operation_id = "getDescription",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json")),
)]
pub(super) async fn openapi(State(app): Shared, uri: Uri) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let Some(description) = app.description.get() else {
        return Err(ServerError::Internal("the API has no description".to_owned()).into());
    };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, description.clone()).into_response())
}

/// Leads to Swagger UI.
#[utoipa::path(
    get, path = "/api/docs", tag = "pages", operation_id = "findDocs",
    responses((status = 308, description = "It is at /api/docs/")),
)]
pub(super) async fn entrance() -> Redirect {
    Redirect::permanent("/api/docs/")
}

/// Swagger UI.
#[utoipa::path(
    get, path = "/api/docs/", tag = "pages", operation_id = "getDocs",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")),
)]
pub(super) async fn index() -> Answer<Response> {
    file("")
}

/// A file of Swagger UI.
#[utoipa::path(
    get, path = "/api/docs/{*path}", tag = "pages", operation_id = "getDocsFile",
    params(("path" = String, Path, description = "The file's name.")),
    responses((status = 200, description = "The file", content(
        (String = "text/html"), (String = "text/css"), (String = "text/javascript"), (Vec<u8> = "image/png"),
    ))),
)]
pub(super) async fn asset(Path(path): Path<String>) -> Answer<Response> {
    file(&path)
}

fn file(path: &str) -> Answer<Response> {
    let config = Config::new([DESCRIPTION]).validator_url("none").try_it_out_enabled(true);
    let found = utoipa_swagger_ui::serve(path, Arc::new(config));
    let found = found.map_err(|error| ServerError::Internal(format!("Swagger UI: {error}")))?;
    let found = found.ok_or_else(|| Failure(ServerError::NotFound("A file of this name".to_owned())))?;
    let kind = HeaderValue::from_str(&found.content_type);
    let kind = kind.map_err(|error| ServerError::Internal(format!("Swagger UI: {error}")))?;
    let mut response = found.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
