//! What every answer tells a browser, and the description for people.

use reqwest::Method;

use super::Server;

#[tokio::test]
async fn every_answer_is_guarded() {
    let server = Server::new().await;
    server.send("{\"a\":1}").await;
    for (method, path) in [
        ("GET", "/api/v1/events"),
        ("GET", "/healthz"),
        ("GET", "/"),
        ("GET", "/api/docs/"),
        ("GET", "/api/docs/swagger-ui.css"),
        ("GET", "/nonesuch"),
        ("DELETE", "/api/v1/events"),
        ("GET", "/api/v1/events?limit=0"),
        ("GET", "/api/v1/stream"),
    ] {
        for request in [server.ask(method.parse().unwrap(), path), server.bare(method.parse().unwrap(), path)] {
            let response = request.send().await.unwrap();
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cross-origin-embedder-policy", "require-corp"),
            ] {
                assert_eq!(header(name).as_deref(), Some(value), "{method} {path}");
            }
            let policy = header("content-security-policy").unwrap();
            assert!(
                policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
            let page = path == "/" || path.starts_with("/api/docs");
            assert_eq!(policy.contains("script-src 'self'"), page, "{path}: {policy}");
            assert!(header("cache-control").is_some() && header("strict-transport-security").is_none(), "{path}");
        }
    }
}

#[tokio::test]
async fn the_description_can_be_read_by_everybody_and_holds_no_data() {
    let server = Server::new().await;
    server.send("{\"user\":\"zoe-4711\"}").await;
    let text = |path: &'static str| {
        let request = server.bare(Method::GET, path);
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            response.text().await.unwrap()
        }
    };
    let description = text("/api/v1/openapi.json").await;
    assert_eq!(
        description,
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json")).unwrap()
    );
    assert!(!description.contains("zoe-4711"));
    let page = text("/api/docs/").await;
    assert!(
        page.contains("swagger-initializer.js") && !page.contains("<script>") && !page.contains("style="),
        "{page}"
    );
    let begin = text("/api/docs/swagger-initializer.js").await;
    assert!(begin.contains("/api/v1/openapi.json") && !begin.contains("petstore"), "{begin}");
    let moved = server.bare(Method::GET, "/api/docs").send().await.unwrap();
    assert_eq!(moved.url().path(), "/api/docs/");
    for absent in ["/api/docs/nonesuch", "/api/docs/..%2f..%2fetc%2fpasswd", "/api/docs/%2e%2e/swagger-ui.css"] {
        let (status, problem) = super::json(server.bare(Method::GET, absent).send().await.unwrap()).await;
        assert!([401, 404].contains(&status.as_u16()), "{absent}: {problem}");
    }
}
