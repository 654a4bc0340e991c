//! Detection as people use it: rules checked and tried, alerts of a real server, SIGKILL in between.
//!
//! `SCEAU_TORTURE_ROUNDS` says how often it is killed (6).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use common::{
    Place, Server,
    detect::{Detecting, MOST_ROUNDS, caught_up, json},
    load::Random,
    run, sceau, shared, text, until,
};
use serde_json::{Value, json};

const RULE: &str = "title: Door opened\nid: 7a0c0c5a-6f0d-4b0e-8d3c-3b1f6f3a9c11\nlogsource:\n  product: sceau\ndetection:\n  selection:\n    event.action: open_door\n  condition: selection\nlevel: high\n";

/// Failures of one address, a second apart, in the middle of the day.
fn failures(ip: &str, count: usize) -> String {
    common::detect::failures(ip, 0, count)
}

/// The id of the rule of five failures of one address.
fn brute_force(server: &Server) -> String {
    let rules = json(server, &["rules", "list", "--json"]);
    let rules = rules["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| {
        rule["kind"] == "event_count" && rule["group_by"] == json!(["source.ip"]) && rule["threshold"] == 5
    });
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn rules_are_checked_and_what_is_refused_is_named_with_its_line() {
    let shipped = run(sceau().args(["rules", "check"])).with(0);
    assert!(shipped.out.contains(" 0 refused"), "{shipped:?}");
    let place = Place::new();
    let dir = place.root.join("rules");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("good.yml"), RULE).unwrap();
    let check = |code| run(sceau().args(["rules", "check", "--json"]).arg(&dir)).with(code).json();
    let before = check(0);
    std::fs::write(
        dir.join("bad.yml"),
        RULE.replace("event.action:", "event.action|nonsense:").replace("7a0c", "7a0d"),
    )
    .unwrap();
    let after = check(4);
    assert_eq!(after["loaded"], before["loaded"]);
    let refused = after["refused"].as_array().unwrap();
    assert_eq!((refused.len(), &refused[0]["path"]), (1, &"bad.yml".into()));
    assert!(refused[0]["reason"].as_str().unwrap().contains("nonsense"), "{after}");
    assert!(refused[0]["line"].as_u64().unwrap() >= 1);
    let told = run(sceau().args(["rules", "check"]).arg(&dir)).with(4);
    assert!(told.out.contains("bad.yml:") && told.out.contains("1 refused"), "{told:?}");
    run(sceau().args(["rules", "check", "/absent/rules"])).with(1);
}

#[test]
fn a_rule_is_tried_on_events() {
    let place = Place::new();
    let rule = text(&place.file("door.yml", RULE));
    let events = text(
        &place.file("events.ndjson", "{\"action\":\"open_door\",\"user\":\"ann\"}\n{\"action\":\"close_door\"}\n"),
    );
    let test = |expect: &str| run(sceau().args(["rules", "test", &rule, "--events", &events, "--expect", expect]));
    let said = test("1").with(0);
    assert!(said.out.contains("Door opened") && said.out.contains("2 events, 1 findings"), "{said:?}");
    test("2").with(4);
    let bad = text(&place.file("bad.yml", "title: ["));
    let said = run(sceau().args(["rules", "test", &bad, "--events", &events])).with(1);
    assert!(said.err.contains("no rule"), "{said:?}");
}

#[test]
fn alerts_of_a_running_server_are_worked_on_and_everything_is_sealed() {
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let server = place.detect(&[]);
    let rule = brute_force(&server);
    let file = text(&place.file("log.ndjson", failures("10.0.9.9", 7)));
    server.run(&["import", &file]).with(0);
    caught_up(&server);
    let page = json(&server, &["alerts", "list", "--rule", &rule, "--json"]);
    let alerts = page["alerts"].as_array().unwrap();
    assert_eq!((alerts.len(), &alerts[0]["group"]["source.ip"]), (1, &"10.0.9.9".into()), "{page}");
    let id = alerts[0]["id"].as_str().unwrap();
    let set =
        ["alerts", "set", id, "--state", "acknowledged", "--assignee", "ann", "--comment", "looking \u{1b}[31m at it"];
    let said = server.run(&set).with(0);
    assert!(said.out.contains("acknowledged") && !said.out.contains('\u{1b}'), "{said:?}");
    assert!(server.run(&["alerts", "list", "--state", "open", "--rule", &rule]).with(0).out.lines().count() == 1);
    server.run(&["alerts", "show", "0000"]).with(1);
    // Both are entries of the log.
    let found = server.run(&["search", "source:sceau.finding", "--all", "--json"]).with(0).out;
    assert!(found.contains(id), "{found}");
    let changed = server.run(&["search", "source:sceau.audit action:alert_change", "--all", "--json"]).with(0).out;
    assert!(changed.contains(id), "{changed}");
    let replayed = server.run(&["rules", "replay", "--rule", &rule, "--json"]).with(0);
    assert_eq!(replayed.lines().iter().filter(|finding| finding["phase"] == "fired").count(), 1);
    server.stop();
    // The same from the directory.
    let offline = place.run(&["rules", "replay", "--rule", &rule, "--json"]).with(0);
    assert_eq!(offline.out, replayed.out);
    place.run(&["verify", "--pin", &pin]).with(0);
    let again = place.detect(&[]);
    assert_eq!(json(&again, &["alerts", "show", id, "--json"])["state"], "acknowledged");
    again.stop();
}

/// Findings of a rule in the log, by address.
fn fired(place: &Place, rule: &str) -> BTreeMap<String, u64> {
    let export = place.run(&["export"]).with(0).out;
    let mut found = BTreeMap::new();
    for line in export.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let data = &entry["data"];
        if entry["source"] == "sceau.finding" && data["rule"]["id"] == rule && data["phase"] == "fired" {
            *found.entry(data["group"]["source.ip"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    found
}

fn rounds() -> u64 {
    std::env::var("SCEAU_TORTURE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6)
}

fn random() -> Random {
    let seed = std::env::var("SCEAU_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok());
    Random(seed.unwrap_or_else(|| u64::from(std::process::id())))
}

#[test]
fn windows_that_were_kept_in_mid_burst_go_on_after_a_kill() {
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let killed = Detecting {
        start: &|| place.detect(&["--segment-entries", "1024"]),
        run: &|args| place.run(args),
        file: &|name, lines| place.file(name, lines),
        logged: &|| place.log(),
    };
    killed.is_killed_behind_snapshots(rounds().min(MOST_ROUNDS), &mut random());
    place.run(&["verify", "--pin", &pin]).with(0);
}

#[test]
fn no_finding_is_lost_or_doubled_when_the_server_is_killed() {
    let rounds = rounds();
    let addresses: Vec<String> = (0..400).map(|n| format!("10.0.{}.{}", n / 200, n % 200 + 1)).collect();
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let lines: String = addresses.iter().map(|ip| failures(ip, 6)).collect();
    let file = text(&place.file("log.ndjson", lines));
    let mut random = random();
    for _ in 0..rounds {
        let server = place.detect(&["--segment-entries", "1024"]);
        let mut import = server.command(&["import", &file]);
        let mut import = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment of the kill is what is tried.
        std::thread::sleep(Duration::from_millis(random.below(400)));
        server.kill();
        let _ = import.kill();
        import.wait().unwrap();
    }
    let server = place.detect(&["--segment-entries", "1024"]);
    let rule = brute_force(&server);
    server.run(&["import", &file]).with(0);
    caught_up(&server);
    server.stop();
    let wanted: BTreeMap<String, u64> = addresses.into_iter().map(|ip| (ip, 1)).collect();
    assert_eq!(fired(&place, &rule), wanted);
    place.run(&["verify", "--pin", &pin]).with(0);
}

/// The figures that others reckoned for a real log: with repeated messages counted, 11 of 23 addresses reach 5 failures
/// within some 10 minutes, and 10 exceed 5 in a bucket of the clock.
#[test]
fn a_real_log_of_attacks_gives_exactly_the_known_counts() {
    let Some(log) = shared("logs/openssh_2k.log") else { return };
    let place = Place::new();
    place.init();
    let server = place.detect(&[]);
    let rule = brute_force(&server);
    server.run(&["import", &text(&log), "--source", "sshd"]).with(0);
    caught_up(&server);
    let page = json(&server, &["alerts", "list", "--rule", &rule, "--limit", "100", "--json"]);
    let analysis = get(&server, "api/v1/analyses/failures-per-address-10m");
    server.stop();
    let alerts = page["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 11, "{page}");
    let export = place.run(&["export"]).with(0).out;
    let entries: Vec<&str> = export.lines().collect();
    for alert in alerts {
        let address = alert["group"]["source.ip"].as_str().unwrap();
        let evidence = alert["evidence"].as_array().unwrap();
        assert!(!evidence.is_empty() && alert["count"].as_u64().unwrap() >= 5, "{alert}");
        for index in evidence {
            let entry = entries[usize::try_from(index.as_u64().unwrap()).unwrap()];
            assert!(entry.contains(address) && entry.contains("Failed password"), "{address}: {entry}");
        }
    }
    let rows = analysis["rows"].as_array().unwrap();
    let addresses: std::collections::BTreeSet<&str> = rows.iter().map(|row| row["value"].as_str().unwrap()).collect();
    assert_eq!(addresses.len(), 10, "{analysis}");
}

/// A request to the API: status and answer.
fn ask(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = std::process::Command::new("curl")
        .args(["-s", "-X", method, "-H", "Content-Type: application/json", "-w", "\n%{http_code}"])
        .args(["-H", &format!("Authorization: Bearer {}", common::TOKEN), "-d", &body.to_string()])
        .arg(format!("{}/{path}", server.url))
        .output()
        .unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A replay's end.
fn replayed(server: &Server, id: &Value) -> Value {
    let path = format!("api/v1/rules/replay/{}", id.as_str().unwrap());
    let mut view = Value::Null;
    until("the replay's end", || {
        view = get(server, &path);
        view["state"] != "running"
    });
    assert_eq!(view["state"], "done", "{view}");
    view
}

#[test]
fn what_is_set_over_http_counts_is_checked_and_can_be_taken_back() {
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let server = place.detect(&[]);
    let rule = brute_force(&server);
    let path = format!("api/v1/rules/overrides/{rule}");
    assert_eq!(ask(&server, "PUT", &path, &json!({"threshold": 3})).0, 204);
    for wrong in
        [json!({"threshold": 0}), json!({"threshold": 1_000_000}), json!({"level": "loud"}), json!({"on": true})]
    {
        let (status, problem) = ask(&server, "PUT", &path, &wrong);
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
    assert_eq!(ask(&server, "PUT", "api/v1/rules/overrides/none", &json!({"enabled": false})).0, 404);
    // A setting that would make a rule impossible is refused, and the rule runs on.
    let mut settings = get(&server, "api/v1/rules/settings");
    settings["lists"]["allowed_ranges"] = json!(["10.0.0.0/33"]);
    let (status, problem) = ask(&server, "PUT", "api/v1/rules/settings", &settings);
    assert_eq!(status, 400, "{problem}");
    settings["lists"]["allowed_ranges"] = json!(["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(ask(&server, "PUT", "api/v1/rules/settings", &settings).0, 200);
    let recent = |ip: &str| failures(ip, 4).replace("2026-11-21T10:00", &now_to_the_minute());
    server.run(&["import", &text(&place.file("a.ndjson", recent("10.0.9.9")))]).with(0);
    caught_up(&server);
    let alerts = |server: &Server| {
        json(server, &["alerts", "list", "--rule", &rule, "--json"])["alerts"].as_array().unwrap().clone()
    };
    assert_eq!(alerts(&server).len(), 1);
    // What an exception would have hidden, and then hides.
    for mode in ["exclude", "suppress"] {
        let exception =
            json!({"fields": {"source.ip": "10.0.9.0/24"}, "rule": rule, "mode": mode, "reason": "a scanner"});
        let (status, preview) = ask(&server, "POST", "api/v1/rules/exceptions/preview", &exception);
        assert_eq!(status, 202, "{preview}");
        let without = replayed(&server, &preview["without"]["id"]);
        assert_eq!(without["count"], 1, "{without}");
        if mode == "exclude" {
            assert_eq!(replayed(&server, &preview["with"]["id"])["count"], 0);
        } else {
            assert_eq!(without["suppressed"], 1, "{without}");
        }
    }
    let (status, added) = ask(
        &server,
        "POST",
        "api/v1/rules/exceptions",
        &json!({"fields": {"source.ip": "10.0.8.0/24"}, "rule": rule, "mode": "suppress"}),
    );
    assert_eq!(status, 201, "{added}");
    server.run(&["import", &text(&place.file("b.ndjson", recent("10.0.8.8")))]).with(0);
    caught_up(&server);
    let states: Vec<Value> = alerts(&server).iter().map(|alert| alert["state"].clone()).collect();
    assert_eq!((states.len(), states.contains(&json!("closed"))), (2, true), "{states:?}");
    let one = format!("api/v1/rules/exceptions/{}", added["id"].as_str().unwrap());
    assert_eq!(ask(&server, "DELETE", &one, &Value::Null).0, 204);
    assert_eq!(ask(&server, "DELETE", &one, &Value::Null).0, 404);
    assert_eq!(ask(&server, "PUT", &path, &json!({})).0, 204);
    assert!(get(&server, "api/v1/analyses")["analyses"].as_array().unwrap().len() >= 3);
    server.stop();
    place.run(&["verify", "--pin", &pin]).with(0);
}

/// Today, up to the minute, an hour ago: `2026-11-28T03:15`.
fn now_to_the_minute() -> String {
    let out = std::process::Command::new("date").args(["-u", "-d", "1 hour ago", "+%Y-%m-%dT%H:%M"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// An answer of the API.
fn get(server: &Server, path: &str) -> Value {
    let answer = std::process::Command::new("curl")
        .args(["-sf", "-H", &format!("Authorization: Bearer {}", common::TOKEN), &format!("{}/{path}", server.url)])
        .output()
        .unwrap();
    assert!(answer.status.success(), "{answer:?}");
    serde_json::from_slice(&answer.stdout).unwrap()
}

/// Whoever guesses tokens is found like any other brute force.
#[test]
fn guessed_tokens_are_sealed_and_found() {
    let place = Place::new();
    place.init();
    let server = place.detect(&[]);
    let rule = brute_force(&server);
    for n in 0..7 {
        let mut guess = sceau();
        guess.args(["count"]).env("SCEAU_URL", &server.url).env("SCEAU_TOKEN", format!("sceau_guess_{n}"));
        run(&mut guess).with(1);
    }
    let mut page = Value::Null;
    until("the alert", || {
        page = json(&server, &["alerts", "list", "--rule", &rule, "--json"]);
        page["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty())
    });
    assert_eq!(page["alerts"][0]["group"]["source.ip"], "127.0.0.1", "{page}");
    assert!(page["alerts"][0]["count"].as_u64().unwrap() >= 5, "{page}");
    server.stop();
}
