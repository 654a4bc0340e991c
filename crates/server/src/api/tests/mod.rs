//! Over a real listener, with the embedded store.

mod access;
pub(super) mod description;
mod headers;
mod ingest;
mod limits;
mod proofs;
mod questions;
mod stream;
mod verification;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use sceau_store::{Expect, StateWrite};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    Config, Ready, Secret, ServerError, serve,
    testing::Fixture,
    verify::{Cancel, VerifyOptions, VerifyReport, verify_dir},
};

const TOKEN: &str = "a-token-for-tests-only";

/// A server at work, and somebody with a token.
struct Server {
    fixture: Fixture,
    base: String,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), ServerError>>>,
}

async fn start(config: Config) -> (Ready, oneshot::Sender<()>, JoinHandle<Result<(), ServerError>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, is_ready) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let task = tokio::spawn(serve(config, shutdown, |told| drop(ready.send(told))));
    (is_ready.await.expect("the server started"), stop, task)
}

impl Server {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut fixture = Fixture::new().await;
        fixture.config.bootstrap_token = Some(Secret::new(TOKEN.to_owned()));
        change(&mut fixture.config);
        let (ready, stop, task) = start(fixture.config.clone()).await;
        let base = format!("http://{}", ready.addr);
        Self { fixture, base, client: reqwest::Client::new(), stop: Some(stop), task: Some(task) }
    }

    /// A request with the token.
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(TOKEN)
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        json(self.ask(Method::GET, path).send().await.unwrap()).await
    }

    async fn good(&self, path: &str) -> Value {
        let (status, value) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn post(&self, query: &str, kind: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let request = self.ask(Method::POST, &format!("/api/v1/events{query}"));
        json(request.header("content-type", kind).body(body).send().await.unwrap()).await
    }

    async fn send(&self, body: &str) -> Value {
        let (status, value) = self.post("", "application/x-ndjson", body.to_owned()).await;
        assert_eq!(status, 200, "{value}");
        value
    }

    /// Stops it in good order.
    async fn stop(&mut self) {
        drop(self.stop.take());
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    async fn verify(&self) -> VerifyReport {
        let pins = vec![self.fixture.report.first_epoch_key.clone()];
        let options = VerifyOptions { pins, ..VerifyOptions::default() };
        verify_dir(&self.fixture.config, options, &|_, _| (), Cancel::new()).await.unwrap()
    }
}

async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let wanted = if status.is_success() { "application/json" } else { "application/problem+json" };
    let text = response.text().await.unwrap();
    assert_eq!(kind, wanted, "{status} {text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    if !status.is_success() {
        assert_eq!(value["status"], status.as_u16());
        assert!(value["code"].is_string() && value["title"].is_string(), "{value}");
    }
    (status, value)
}

#[tokio::test]
async fn the_page_holds_no_data_and_no_inline_script() {
    let server = Server::new().await;
    server.send("{\"user\":\"zoe-4711\"}").await;
    for path in ["/", "/page.js", "/page.css"] {
        let response = server.bare(Method::GET, path).send().await.unwrap();
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = response.text().await.unwrap();
        assert!(!text.contains("zoe-4711"));
        for unsafe_way in ["innerHTML", "onclick", "<script>", "style=", "document.write", "eval("] {
            assert!(!text.contains(unsafe_way), "{path} has {unsafe_way}");
        }
    }
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems_too() {
    let server = Server::new().await;
    let (status, value) = server.get("/nonesuch").await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (404, Some("not_found")));
    let (status, value) = server.get("/api/v1/imports/%FF").await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (400, Some("bad_body")));
    let large = server.ask(Method::POST, "/api/v1/integrity/verify").body(" ".repeat(300_000));
    let (status, value) = json(large.send().await.unwrap()).await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (413, Some("body_too_large")));
    let (status, value) = json(server.ask(Method::DELETE, "/api/v1/events").send().await.unwrap()).await;
    assert_eq!((status.as_u16(), value["code"].as_str()), (405, Some("method_not_allowed")));
}

#[tokio::test]
async fn the_first_token_is_made_once_and_sealed() {
    let mut fixture = Fixture::new().await;
    fixture.config.bootstrap_token = None;
    let (ready, stop, task) = start(fixture.config.clone()).await;
    let token = ready.bootstrap_token.expect("a token was made").expose().to_owned();
    assert!(ready.init.is_none(), "the fixture made the log");
    let url = format!("http://{}/api/v1/events?q=source:sceau.audit", ready.addr);
    let client = reqwest::Client::new();
    let page: Value = client.get(&url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
    let entries = page["events"].as_array().unwrap().iter().map(|event| event["entry"].as_str().unwrap());
    let entry = entries.clone().find(|entry| entry.contains("\"collection\":\"tokens\"")).unwrap();
    assert!(entry.contains("state_change") && entry.contains("\"role\":\"administrator\""), "{entry}");
    let setup = ready.setup.expect("a link was made").expose().to_owned();
    assert!(entries.clone().any(|entry| entry.contains("\"collection\":\"setup\"")) && setup.starts_with("setup_"));
    assert!(!entries.clone().any(|entry| entry.contains(&setup)));
    assert!(!entry.contains(&token[14..]));
    drop(stop);
    task.await.unwrap().unwrap();
    let (ready, stop, task) = start(fixture.config.clone()).await;
    assert!(ready.bootstrap_token.is_none() && ready.setup.is_none());
    let url = format!("http://{}/api/v1/integrity", ready.addr);
    assert_eq!(reqwest::Client::new().get(&url).bearer_auth(&token).send().await.unwrap().status(), 200);
    drop(stop);
    task.await.unwrap().unwrap();
}

/// Removes every token from a closed log, as somebody would who can write the database.
async fn empty_tokens(fixture: &Fixture) {
    let reader = crate::Reader::open(&fixture.config).await.unwrap();
    let store = reader.store();
    let found = store.list(crate::auth::COLLECTION, "", 10).await.unwrap();
    assert_eq!(found.len(), 1);
    let removed = |document: sceau_store::Document| StateWrite {
        collection: crate::auth::COLLECTION.to_owned(),
        key: document.key,
        value: None,
        expect: Expect::Any,
        expires: None,
        mac: None,
    };
    store.write(found.into_iter().map(removed).collect()).await.unwrap();
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_log_whose_tokens_were_taken_away_makes_none() {
    for chosen in [None, Some(Secret::new(TOKEN.to_owned()))] {
        let mut fixture = Fixture::new().await;
        fixture.config.bootstrap_token = chosen;
        let (ready, stop, task) = start(fixture.config.clone()).await;
        let first = ready.bootstrap_token.map_or(TOKEN.to_owned(), |token| token.expose().to_owned());
        drop(stop);
        task.await.unwrap().unwrap();
        empty_tokens(&fixture).await;
        let (ready, stop, task) = start(fixture.config.clone()).await;
        assert!(ready.bootstrap_token.is_none());
        let url = format!("http://{}/api/v1/integrity", ready.addr);
        assert_eq!(reqwest::Client::new().get(&url).bearer_auth(&first).send().await.unwrap().status(), 401);
        drop(stop);
        task.await.unwrap().unwrap();
        // Whoever has the key directory gets one.
        let log = fixture.log().await;
        let token = log.new_admin_token("test").await.unwrap().secret.expose().to_owned();
        log.close().await.unwrap();
        drop(log);
        let (ready, stop, task) = start(fixture.config.clone()).await;
        let url = format!("http://{}/api/v1/integrity", ready.addr);
        assert_eq!(reqwest::Client::new().get(&url).bearer_auth(&token).send().await.unwrap().status(), 200);
        drop(stop);
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn other_machines_are_refused_without_being_asked_for() {
    let mut fixture = Fixture::new().await;
    fixture.config.listen = "0.0.0.0:0".parse().unwrap();
    let refused = serve(fixture.config.clone(), async {}, |_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("--insecure-http"), "{refused}");
    fixture.config.insecure_http = true;
    serve(fixture.config.clone(), async {}, |_| ()).await.unwrap();
    fixture.config.bootstrap_token = Some(Secret::new("short".into()));
    let refused = serve(fixture.config, async {}, |_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("SCEAU_BOOTSTRAP_TOKEN"), "{refused}");
}
