//! The API's description (OpenAPI 3.1). It comes from the handlers; what they have in common (who may ask, and how errors
//! are told) is added here.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        extensions::ExtensionsBuilder,
        path::{Operation, ParameterIn, PathItem, Paths},
        schema::{Schema, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{access::Terms, schemas::ProblemSchema};
use crate::auth::{Permission, Role};
#[cfg(test)]
use crate::config::Limits;

/// What the handler takes with a star: OpenAPI knows no such thing.
const STAR: &str = "{*";

/// Answers that are the same wherever they occur: status, name, and when they come.
const PROBLEMS: [(u16, &str, &str); 8] = [
    (
        400,
        "BadRequest",
        "A parameter or the body can't be understood: `bad_parameter`, `unknown_parameter`, `bad_body`, …",
    ),
    (401, "Unauthorized", "No valid token or session: `unauthorized`."),
    (403, "Forbidden", "The caller's role has no permission for it: `forbidden`."),
    (404, "NotFound", "There is none of that name: `not_found`."),
    (413, "TooLarge", "The body is too large: `body_too_large`."),
    (429, "TooMany", "Too many requests at once; `Retry-After` says when to come again."),
    (500, "Failed", "The server failed; its own log says more: `internal`, `store_damaged`."),
    (
        503,
        "Unavailable",
        "It can't be done now: `standby`, `overloaded`, `store_unavailable`, `query_timeout`, …; `Retry-After` where waiting \
         helps.",
    ),
];

/// Answers that come from below the API, without a document.
const BELOW: [(u16, &str, &str); 2] = [
    (414, "UriTooLong", "The address is too long; the connection is closed."),
    (431, "HeadTooLarge", "The request's head has more than 64 KiB; the connection is closed."),
];

/// The groups that Swagger UI shows, in this order.
const TAGS: [(&str, &str); 11] = [
    ("events", "Sending events, and asking about them"),
    ("stream", "What is committed, as it is committed"),
    ("proofs", "Entries, proofs, checkpoint and tiles"),
    ("integrity", "How well the log is sealed; verifying it; its keys"),
    ("alerts", "What was found, and what people do about it"),
    ("rules", "Rules, and what is set about them"),
    ("analyses", "Saved questions"),
    ("account", "Log-in, sessions, and one's own account"),
    ("users", "Users and tokens, for those who manage them"),
    ("operation", "For those who run the server"),
    ("pages", "Files for browsers; no data of the log is in them"),
];

/// The operations of a path.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("GET", get), ("PUT", put), ("POST", post), ("DELETE", delete), ("PATCH", patch)];
    all.into_iter().filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Writes into the description of a path who may ask, and how errors are told.
pub(super) fn terms(paths: &mut Paths, terms: &Terms) {
    for operation in paths.paths.values_mut().flat_map(operations).map(|(_, operation)| operation) {
        let word = terms.permission.map_or("none", Permission::as_str);
        operation.extensions = Some(ExtensionsBuilder::new().add("x-permission", json!(word)).build());
        let none: [&str; 0] = [];
        let schemes = if terms.permission.is_some() { &["bearer", "cookie"][..] } else { &[] };
        operation.security = Some(schemes.iter().map(|name| SecurityRequirement::new(*name, none)).collect());
        let who = match terms.permission {
            None => "Open to everybody.".to_owned(),
            Some(permission) => {
                let roles = Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str);
                format!("Needs the permission `{}`: {}.", permission.as_str(), roles.collect::<Vec<_>>().join(", "))
            }
        };
        operation.description = Some(match operation.description.take().filter(|text| !text.is_empty()) {
            Some(text) => format!("{text}\n\n{who}"),
            None => who,
        });
        never_null(operation);
        problems(operation, terms);
    }
}

/// What may be left out is left out: a parameter is never null.
fn never_null(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        match &mut parameter.schema {
            Some(RefOr::T(Schema::Object(object))) => {
                if let SchemaType::Array(types) = &mut object.schema_type {
                    types.retain(|kind| *kind != Type::Null);
                    if let [kind] = types.as_slice() {
                        object.schema_type = SchemaType::Type(kind.clone());
                    }
                }
            }
            Some(RefOr::T(Schema::OneOf(one))) => {
                let schema = one.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
                parameter.schema = schema.or(parameter.schema.take());
            }
            _ => {}
        }
    }
}

fn problems(operation: &mut Operation, terms: &Terms) {
    let in_path = operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Path,
        RefOr::Ref(_) => false,
    });
    let has_body = operation.request_body.is_some();
    let held = |status: u16| match status {
        401 | 403 => terms.permission.is_some(),
        404 => in_path,
        413 => has_body,
        _ => true,
    };
    let responses = &mut operation.responses.responses;
    for (status, name, _) in PROBLEMS.into_iter().filter(|(status, ..)| held(*status)) {
        responses.entry(status.to_string()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
    }
    for (status, name, _) in BELOW {
        responses.insert(status.to_string(), RefOr::Ref(Ref::from_response_name(name)));
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        let status: u16 = status.parse().unwrap_or_default();
        if status >= 400 && response.content.is_empty() {
            response.content.insert(PROBLEM.to_owned(), RefOr::T(problem()));
        }
        if response.description.is_empty() {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            response.description = reason.unwrap_or("Answered").to_owned();
        }
    }
}

const PROBLEM: &str = "application/problem+json";

fn problem() -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemSchema::name()))).build()
}

/// The whole description out of what the endpoints gave.
pub(super) fn finish(mut openapi: OpenApi) -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    openapi.info = InfoBuilder::new()
        .title("Sceau")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A secure log server: events in, sealed entries, questions, proofs, alerts. Errors are problem details (RFC \
             9457) with a stable `code`. docs/api.md tells it in words.",
        ))
        .license(Some(license))
        .build();
    let tag = |(name, text): (&str, &str)| TagBuilder::new().name(name).description(Some(text)).build();
    openapi.tags = Some(TAGS.into_iter().map(tag).collect());
    for starred in openapi.paths.paths.keys().filter(|path| path.contains(STAR)).cloned().collect::<Vec<_>>() {
        if let Some(item) = openapi.paths.paths.remove(&starred) {
            openapi.paths.paths.insert(starred.replace(STAR, "{"), item);
        }
    }
    let components = openapi.components.get_or_insert_default();
    components.schemas.insert(ProblemSchema::name().into_owned(), ProblemSchema::schema());
    for (_, name, text) in PROBLEMS {
        let response: Response = ResponseBuilder::new().description(text).content(PROBLEM, problem()).build();
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
    for (_, name, text) in BELOW {
        let response: Response = ResponseBuilder::new().description(text).build();
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("A token (`sceau_…`), or the access token of a session.".to_owned());
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::with_description(
        "__Host-sceau",
        "A browser's session. Whatever is not GET needs the header `Sceau-CSRF: 1` too.",
    );
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    openapi
}

/// The description as it is served.
pub(super) fn json(openapi: &OpenApi) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(openapi)?;
    text.push(b'\n');
    Ok(text)
}

/// The description of all endpoints.
#[cfg(test)]
pub(super) fn document() -> OpenApi {
    finish(super::router::endpoints(&Limits::default()).into_parts().1)
}
