//! Who may ask what: every operation of the description, asked by everybody.

use std::sync::Arc;

use axum::{body::Body, http::Request};
use reqwest::Method;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{
    super::{App, router},
    Server,
    description::{operations, permission},
    json,
};
use crate::{
    DetectionConfig,
    auth::{Accounts, Caller, CallerKind, Permission, Role},
    testing::Fixture,
};

/// A path that is there, or could be.
fn filled(path: &str) -> String {
    let rest = if path.starts_with("/log") { "0/000" } else { "index.css" };
    path.replace("{index}", "0").replace("{id}", "x").replace("{path}", rest)
}

/// A person with a role, in a session.
fn somebody(role: Role) -> Caller {
    Caller {
        kind: CallerKind::User,
        id: "who".into(),
        role,
        session: Some("here".into()),
        sources: None,
        by_cookie: false,
        unfinished: false,
        address: [127, 0, 0, 1].into(),
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says_and_no_more() {
    let fixture = Fixture::new().await;
    let log = fixture.log().await;
    let accounts = Accounts::of(&log, &fixture.config.accounts).await.unwrap();
    let app = Arc::new(App::new(log.clone(), accounts, &fixture.config));
    app.detect(&DetectionConfig::default()).await;
    let router = router::routes(&app);
    let mut asked = 0;
    for (method, path, operation) in operations() {
        for role in Role::ALL.into_iter().map(Some).chain([None]) {
            let mut request = Request::builder().method(method.as_str()).uri(filled(path)).body(Body::empty()).unwrap();
            if let Some(role) = role {
                request.extensions_mut().insert(somebody(role));
            }
            let response = router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            let code = if kind.as_deref() == Some("application/problem+json") {
                let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
                serde_json::from_slice::<Value>(&body).unwrap()["code"].as_str().unwrap().to_owned()
            } else {
                String::new()
            };
            let what = format!("{method} {path} by {role:?}");
            match (permission(operation), role) {
                (Some(_), None) => assert_eq!((status, code.as_str()), (401, "unauthorized"), "{what}"),
                (Some(needed), Some(role)) if !role.may(needed) => {
                    assert_eq!((status, code.as_str()), (403, "forbidden"), "{what}");
                }
                // These judge what else is sent with the request.
                (None, _) => assert!(code != "forbidden" && ![405, 500].contains(&status), "{what}: {status} {code}"),
                _ => assert!(![401, 403, 405, 500].contains(&status), "{what}: {status} {code}"),
            }
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked}");
    app.stop_detection().await;
    app.jobs.cancel();
    log.close().await.unwrap();
}

#[tokio::test]
async fn whatever_is_not_open_needs_a_token() {
    let server = Server::new().await;
    for (method, path, operation) in operations() {
        let (method, path): (Method, _) = (method.parse().unwrap(), filled(path));
        for header in [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic YTpi"), Some("a-token-for-tests-only")]
        {
            let mut request = server.bare(method.clone(), &path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let response = request.send().await.unwrap();
            if permission(operation).is_none() {
                let judged = path.starts_with("/api/v1/session");
                assert!(judged || ![401, 403].contains(&response.status().as_u16()), "{method} {path}");
                continue;
            }
            assert!(response.headers().contains_key("www-authenticate"), "{path}");
            let (status, value) = json(response).await;
            assert_eq!((status.as_u16(), value["code"].as_str()), (401, Some("unauthorized")), "{method} {path}");
        }
        let allowed = server.ask(method.clone(), &path).send().await.unwrap();
        if permission(operation) == Some(Permission::OwnAccount) {
            assert_eq!(allowed.status(), 403, "{method} {path}: a token has no account");
            continue;
        }
        let judged = permission(operation).is_none();
        assert!(judged || ![401, 403].contains(&allowed.status().as_u16()), "{method} {path}");
    }
    for (method, path) in [("GET", "/nonesuch"), ("DELETE", "/api/v1/events"), ("GET", "//"), ("POST", "/healthz")] {
        let (status, _) = json(server.bare(method.parse().unwrap(), path).send().await.unwrap()).await;
        assert_eq!(status, 401, "{method} {path}");
        let allowed = server.ask(method.parse().unwrap(), path).send().await.unwrap();
        assert!([404, 405].contains(&allowed.status().as_u16()), "{method} {path}");
    }
}

/// There is no way to mount a path but as an endpoint that says who may ask it.
#[test]
fn the_router_is_made_of_endpoints_alone() {
    let source = include_str!("../router.rs");
    for way in [".route(", ".nest(", ".merge(", ".route_service(", ".nest_service("] {
        assert!(!source.contains(way), "{way}");
    }
    assert_eq!(
        source.matches("routes!(").count(),
        source.matches(".add(open(").count() + source.matches(".add(needs(").count()
    );
}
