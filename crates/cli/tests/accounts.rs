//! People at the real server: log-in in a browser's way, an attack on log-ins, hostile texts everywhere, and the description
//! of the API held against what is answered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};

use common::{Place, Server, TOKEN, run_within, shared, skip};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const PASSWORD: &str = "seven quiet otters count the tides";

/// A client of one server, as somebody.
struct Asking {
    client: Client,
    url: String,
}

impl Asking {
    fn of(server: &Server) -> Self {
        // A connection that was idle for long may be closed in the moment in which it is used again.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { client, url: server.url.clone() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Response {
        let request = self.request(Method::POST, path).body(body.to_string());
        token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap()
    }

    /// Makes the first administrator by the link that the server has printed.
    async fn set_up(&self, server: &Server, user: &str) {
        let secret = server.said.iter().find_map(|line| line.split_once("/setup#")).expect("no link was printed").1;
        let body = json!({"secret": secret.trim(), "user": user, "password": PASSWORD});
        assert_eq!(self.post("/api/v1/setup", None, body).await.status(), 200);
    }

    async fn log_in(&self, user: &str, password: &str, from: Option<&str>) -> Response {
        let body = json!({"user": user, "password": password}).to_string();
        let mut request = self.request(Method::POST, "/api/v1/session").body(body);
        if let Some(from) = from {
            request = request.header("X-Forwarded-For", from);
        }
        request.send().await.unwrap()
    }
}

async fn json_of(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {status} {text}"))
}

#[tokio::test]
async fn a_browser_logs_in_by_cookies_that_only_its_own_page_can_use() {
    let place = Place::new();
    let server = place.serve();
    let asking = Asking::of(&server);
    asking.set_up(&server, "alice").await;
    let body = json!({"user": "alice", "password": PASSWORD, "cookies": true}).to_string();
    let log_in = |csrf: bool| {
        let request = asking.request(Method::POST, "/api/v1/session").body(body.clone());
        if csrf { request.header("Sceau-CSRF", "1") } else { request }
    };
    assert_eq!(log_in(false).send().await.unwrap().status(), 403);
    let begun = log_in(true).send().await.unwrap();
    let cookies: Vec<String> =
        begun.headers().get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap().to_owned()).collect();
    assert_eq!(cookies.len(), 2);
    assert!(
        cookies.iter().all(|cookie| cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict")),
        "{cookies:?}"
    );
    let answer = json_of(begun).await;
    assert!(answer.get("access_token").is_none() && answer.get("refresh_token").is_none(), "{answer}");
    let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let jar = pairs.join("; ");
    let with = |method: Method, path: &str| asking.request(method, path).header("Cookie", &jar);
    assert_eq!(json_of(with(Method::GET, "/api/v1/me").send().await.unwrap()).await["id"], "alice");
    let new_user = json!({"id": "bob", "role": "auditor"}).to_string();
    let hostile: [&[(&str, &str)]; 4] = [
        &[],
        &[("Sceau-CSRF", "1"), ("Origin", "https://evil.example")],
        &[("Sceau-CSRF", "1"), ("Sec-Fetch-Site", "cross-site")],
        &[("Sceau-CSRF", "0")],
    ];
    for headers in hostile {
        let request = with(Method::POST, "/api/v1/users").body(new_user.clone());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(json_of(request.send().await.unwrap()).await["code"], "csrf", "{headers:?}");
    }
    let own = with(Method::POST, "/api/v1/users").body(new_user).header("Sceau-CSRF", "1");
    assert_eq!(own.header("Origin", &server.url).send().await.unwrap().status(), 201);
    // Nobody can fix a session beforehand: each log-in has a new one, and the old one goes on until it is ended.
    let ended = with(Method::DELETE, "/api/v1/session").header("Sceau-CSRF", "1").send().await.unwrap();
    assert_eq!(ended.status(), 204);
    assert_eq!(with(Method::GET, "/api/v1/me").send().await.unwrap().status(), 401);
    server.stop();
}

/// 100 addresses, one of them with a proxy's list of others.
fn attacker(number: usize) -> String {
    format!("203.0.{}.{}", number % 100 / 10, number % 10 + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_on_log_ins_locks_nobody_out_and_slows_no_sender() {
    const ATTEMPTS: usize = 10_000;
    let place = Place::new();
    let mut serve = place.serving("127.0.0.1:0");
    let server = place.serve_as(serve.args(["--trusted-proxy", "127.0.0.1"]));
    let asking = Arc::new(Asking::of(&server));
    asking.set_up(&server, "alice").await;
    let home = Some("198.51.100.7");
    assert_eq!(asking.log_in("alice", PASSWORD, home).await.status(), 200);
    let mut attack = tokio::task::JoinSet::new();
    for part in 0..20 {
        let asking = asking.clone();
        attack.spawn(async move {
            let mut told = BTreeMap::new();
            for number in (part..ATTEMPTS).step_by(20) {
                let user = if number.is_multiple_of(3) { "nobody" } else { "alice" };
                let answer = asking.log_in(user, "wrong wrong wrong wrong", Some(&attacker(number))).await;
                *told.entry(answer.status()).or_insert(0) += 1;
            }
            told
        });
    }
    let mut accepted = 0;
    let mut told: BTreeMap<StatusCode, usize> = BTreeMap::new();
    while !attack.is_empty() {
        let event = json!({"n": accepted, "action": "work"});
        let answer = asking.post("/api/v1/events?source=app", Some(TOKEN), event).await;
        assert_eq!(answer.status(), 200, "an event in the middle of the attack");
        accepted += 1;
        while let Some(part) = attack.try_join_next() {
            part.unwrap().into_iter().for_each(|(status, count)| *told.entry(status).or_default() += count);
        }
    }
    assert_eq!(told.values().sum::<usize>(), ATTEMPTS);
    assert!(told.keys().all(|status| [401, 429, 503].contains(&status.as_u16())), "{told:?}");
    // Nearly all were refused before any password was looked at.
    assert!(told.get(&StatusCode::UNAUTHORIZED).copied().unwrap_or(0) < ATTEMPTS / 5, "{told:?}");
    assert!(accepted > 20, "{accepted}");
    assert_eq!(
        asking.log_in("alice", PASSWORD, home).await.status(),
        200,
        "the administrator, from where he always is"
    );
    let search = ["count", "source:sceau.audit AND event.action:login AND event.outcome:failure", "--json"];
    let sealed = server.run(&search).with(0).json();
    assert!(sealed["count"].as_u64().or(sealed["entries"].as_u64()).unwrap() > 0, "{sealed}");
    server.stop();
}

/// All hostile texts of the test data; `None` if it is not there.
fn payloads() -> Option<Vec<String>> {
    let directory = shared("payloads")?;
    let (mut texts, mut directories) = (Vec::new(), vec![directory]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            if path.extension().is_some_and(|extension| extension == "json") {
                texts.extend(serde_json::from_str::<Vec<String>>(&text).unwrap_or_default());
            } else {
                texts.extend(text.lines().map(str::to_owned));
            }
        }
    }
    texts.retain(|text| !text.is_empty());
    texts.sort();
    texts.dedup();
    Some(texts)
}

#[tokio::test]
async fn hostile_texts_come_out_as_they_went_in() {
    let Some(texts) = payloads() else { return };
    assert!(texts.len() > 500, "{}", texts.len());
    let place = Place::new();
    let server = place.serve();
    let asking = Asking::of(&server);
    let lines: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| json!({"n": number, "user": text, "msg": text, "action": "payload"}).to_string())
        .collect();
    for part in lines.chunks(500) {
        let request = asking.request(Method::POST, "/api/v1/events?source=hostile").bearer_auth(TOKEN);
        let answer = request.header("Content-Type", "application/x-ndjson").body(part.join("\n")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // The export: one line an entry, whatever is in it.
    let export = server.run(&["export"]).with(0).out;
    let found: Vec<String> = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|entry| entry["source"] == "hostile")
        .map(|entry| entry["data"]["msg"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, texts);
    // The API: JSON that nothing takes for a page, and the same texts.
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let path = format!("/api/v1/events?q=source:hostile&limit=500&cursor={cursor}");
        let path = if cursor.is_empty() { path.replace("&cursor=", "") } else { path };
        let answer = asking.request(Method::GET, &path).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let page = json_of(answer).await;
        for event in page["events"].as_array().unwrap() {
            let entry: Value = serde_json::from_str(event["entry"].as_str().unwrap()).unwrap();
            let number = usize::try_from(entry["data"]["n"].as_u64().unwrap()).unwrap();
            assert_eq!(entry["data"]["user"], *texts[number]);
            seen += 1;
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    assert_eq!(seen, texts.len());
    // Names of users, tokens and sources are refused or kept, never cut or run.
    for text in texts.iter().step_by(7) {
        let made = asking.post("/api/v1/tokens", Some(TOKEN), json!({"name": text, "role": "auditor"})).await;
        match made.status().as_u16() {
            201 => {
                let id = json_of(made).await["id"].as_str().unwrap().to_owned();
                let request = asking.request(Method::GET, "/api/v1/tokens?limit=500").bearer_auth(TOKEN);
                let all = json_of(request.send().await.unwrap()).await;
                let token = all["tokens"].as_array().unwrap().iter().find(|token| token["id"] == *id).unwrap();
                assert_eq!(token["name"], **text);
                let path = format!("/api/v1/tokens/{id}");
                asking.request(Method::DELETE, &path).bearer_auth(TOKEN).send().await.unwrap();
            }
            status => assert!([400, 429].contains(&status), "{text:?}: {status}"),
        }
    }
    // No text has broken a line of the server's own log.
    let log = place.log();
    assert!(log.lines().all(|line| line.is_empty() || line.starts_with("20")), "{log}");
    server.stop();
}

/// Asks for everything that the description has, as one role, and takes no answer that it has not.
fn conforms(server: &Server, token: &str, role: &str) {
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let mut command = Command::new("schemathesis");
    command.args(["run", &format!("{}/api/v1/openapi.json", server.url), "--checks", checks]);
    command.args(["-H", &format!("Authorization: Bearer {token}"), "--max-examples", "4", "--seed", "1"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color"]);
    // A stream without end; and whatever would end what the others need: the tokens, the keys.
    for path in ["/api/v1/stream", "/api/v1/keys/rotate", "/api/v1/tokens/{id}"] {
        command.args(["--exclude-path", path]);
    }
    let said = run_within(command.env("HYPOTHESIS_STORAGE_DIRECTORY", std::env::temp_dir()), Duration::from_secs(280));
    assert_eq!(said.code, 0, "{role}: {}\n{}", said.out, said.err);
    assert!(said.out.contains("passed"), "{role}: {}", said.out);
    assert!(!said.out.contains("401 Unauthorized ("), "{role}: the token was not valid: {}", said.out);
}

#[tokio::test]
async fn no_role_is_answered_what_is_not_described() {
    if Command::new("schemathesis").arg("--version").output().is_err() {
        return skip(
            "answers against the API's description",
            "`schemathesis` is not installed: pip install schemathesis",
        );
    }
    let place = Place::new();
    let server = place.detect(&[]);
    let asking = Asking::of(&server);
    for role in ["administrator", "analyst", "auditor", "ingest"] {
        let made = asking.post("/api/v1/tokens", Some(TOKEN), json!({"name": role, "role": role})).await;
        let token = json_of(made).await["token"].as_str().unwrap().to_owned();
        conforms(&server, &token, role);
    }
    server.stop();
}
