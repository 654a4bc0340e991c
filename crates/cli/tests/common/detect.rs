//! Detection on a log of whichever store, killed while it works.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};

use super::{Said, Server, http::Client, load::Random, text, until};

/// Addresses that attack in one round.
const ADDRESSES: u64 = 40;

/// So many alerts fit onto one page of the list.
pub const MOST_ROUNDS: u64 = 500 / ADDRESSES;

/// Failures of one address, a second apart, in the middle of the day, from the one that is number `first`.
pub fn failures(ip: &str, first: usize, count: usize) -> String {
    let line = |n| {
        format!(
            "{{\"timestamp\":\"2026-11-21T10:00:{:02}Z\",\"ip\":\"{ip}\",\"user\":\"ann\",\"action\":\"login\",\"status\":\"failed\"}}\n",
            n % 60
        )
    };
    (first..first + count).map(line).collect()
}

pub fn json(server: &Server, args: &[&str]) -> Value {
    server.run(args).with(0).json()
}

/// What is told of the detector.
fn detector(server: &Server) -> Value {
    let told = json(server, &["rules", "list", "--json"])["detector"].take();
    assert_eq!(told["running"], true, "{told}");
    told
}

/// Waits until the server has looked at everything.
pub fn caught_up(server: &Server) {
    until("the detector's end of the log", || {
        let told = detector(server);
        told["next_index"] == told["tree_size"]
    });
}

/// The id of a rule by its title.
pub fn rule(server: &Server, title: &str) -> String {
    let rules = json(server, &["rules", "list", "--json"]);
    let found = rules["rules"].as_array().unwrap().iter().find(|rule| rule["title"] == title);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

/// A log that detects.
pub struct Detecting<'l> {
    pub start: &'l dyn Fn() -> Server,
    /// Runs a command on the log while no server holds it.
    pub run: &'l dyn Fn(&[&str]) -> Said,
    pub file: &'l dyn Fn(&str, String) -> PathBuf,
    /// What the servers have logged.
    pub logged: &'l dyn Fn() -> String,
}

impl Detecting<'_> {
    fn import(&self, name: &str, lines: String) -> Vec<String> {
        let file = text(&(self.file)(name, lines));
        ["import", &file, "--source", "app"].map(str::to_owned).to_vec()
    }

    /// Kills servers of which the windows were kept in the middle of bursts that then went on. At the end, what is sealed is
    /// what a detector finds that was never killed.
    pub fn is_killed_behind_snapshots(&self, rounds: u64, random: &mut Random) {
        let mut imports = Vec::new();
        for round in 0..rounds {
            let server = (self.start)();
            let part = |first| (0..ADDRESSES).map(|n| failures(&format!("10.0.{round}.{n}"), first, 3)).collect();
            let begin = self.import(&format!("begin-{round}.ndjson"), part(0));
            run(&server, &begin);
            caught_up(&server);
            keep(&server, round);
            let rest = self.import(&format!("rest-{round}.ndjson"), part(3));
            let mut import = server.command(&rest.iter().map(String::as_str).collect::<Vec<_>>());
            let mut import = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if round % 2 == 0 {
                import.wait().unwrap();
                caught_up(&server);
            } else {
                // The moment of the kill is what is tried.
                std::thread::sleep(Duration::from_millis(random.below(300)));
            }
            server.kill();
            let _ = import.kill();
            import.wait().unwrap();
            imports.push(rest);
        }
        let server = (self.start)();
        imports.iter().for_each(|import| run(&server, import));
        // Much later: all bursts are over.
        let end = failures("10.0.200.1", 0, 1).replace("T10", "T15");
        run(&server, &self.import("end.ndjson", end));
        caught_up(&server);
        let brute = rule(&server, "Brute force from one address");
        let page = json(&server, &["alerts", "list", "--rule", &brute, "--limit", "500", "--json"]);
        server.stop();
        let alerts = page["alerts"].as_array().unwrap();
        assert_eq!(alerts.len() as u64, rounds * ADDRESSES);
        for alert in alerts {
            assert_eq!((&alert["count"], &alert["going_on"]), (&json!(6), &json!({})), "{alert}");
        }
        let again = (self.logged)();
        let again: Vec<&str> = again.lines().filter(|line| line.contains("reads again")).collect();
        let behind = |line: &&&str| !line.contains("from=0 ") && line.contains("same=true");
        assert!(again.iter().filter(behind).count() as u64 >= rounds / 2, "no windows were restored: {again:?}");
        let made = (self.run)(&["rebuild"]).with(0).out;
        assert!(made.contains(&format!("made {} alerts again", alerts_in_all(&page))), "{made}");
        let server = (self.start)();
        let again = json(&server, &["alerts", "list", "--rule", &brute, "--limit", "500", "--json"]);
        assert_eq!(again["alerts"], page["alerts"], "alerts that were made again");
        server.stop();
        let sealed = self.sealed();
        let replayed = (self.run)(&["rules", "replay", "--json"]).with(0).lines();
        let told = |finding: &Value| ["id", "phase", "rule", "count", "evidence"].map(|name| finding[name].to_string());
        let replayed: BTreeSet<_> = replayed.iter().map(told).collect();
        assert_eq!(sealed.iter().map(told).collect::<BTreeSet<_>>(), replayed);
        assert_eq!(sealed.len(), replayed.len(), "a finding is there twice");
    }

    /// The findings of all rules in the log, each with its rule's id as replays tell it.
    fn sealed(&self) -> Vec<Value> {
        let entries = (self.run)(&["export"]).with(0).lines();
        let findings = entries.into_iter().filter(|entry| entry["source"] == "sceau.finding");
        findings
            .map(|mut entry| {
                let mut data = entry["data"].take();
                data["rule"] = data["rule"]["id"].take();
                data
            })
            .collect()
    }
}

fn run(server: &Server, args: &[String]) {
    server.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).with(0);
}

/// One for each address, and those of the user that all of them try: by failures, and by addresses.
fn alerts_in_all(page: &Value) -> usize {
    page["alerts"].as_array().unwrap().len() + 2
}

/// Makes the server keep its windows now: it does so when settings change. No rule uses the list that does.
fn keep(server: &Server, round: u64) {
    let before = detector(server);
    let mut client = Client::connect(&server.url).unwrap();
    let mut settings = client.get("/api/v1/rules/settings").unwrap().json();
    settings["lists"]["rounds"] = json!([round.to_string()]);
    let headers = [("Content-Type", "application/json")];
    let body = settings.to_string();
    let answer = client.send("PUT", "/api/v1/rules/settings", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    until("windows that are kept", || {
        let told = detector(server);
        told["kept_index"].as_u64() >= before["next_index"].as_u64() && told["kept_index"] != before["kept_index"]
    });
    let bursts = detector(server)["windows"]["bursts"].as_u64();
    assert!(bursts.is_some_and(|bursts| bursts > 0) || round == 0, "no burst is open");
}
