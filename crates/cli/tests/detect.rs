//! Detection as people use it: rules checked and tried, alerts of a real server, SIGKILL in between.
//!
//! `SCEAU_TORTURE_ROUNDS` says how often it is killed (6).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use common::{Place, Server, load::Random, run, sceau, shared, text, until};
use serde_json::Value;

const RULE: &str = "title: Door opened\nid: 7a0c0c5a-6f0d-4b0e-8d3c-3b1f6f3a9c11\nlogsource:\n  product: sceau\ndetection:\n  selection:\n    event.action: open_door\n  condition: selection\nlevel: high\n";

/// Failures of one address, a second apart, in the middle of the day.
fn failures(ip: &str, count: usize) -> String {
    let line = |n| {
        format!(
            "{{\"timestamp\":\"2026-11-21T10:00:{:02}Z\",\"ip\":\"{ip}\",\"user\":\"ann\",\"action\":\"login\",\"status\":\"failed\"}}\n",
            n % 60
        )
    };
    (0..count).map(line).collect()
}

fn json(server: &Server, args: &[&str]) -> Value {
    server.run(args).with(0).json()
}

/// Waits until the server has looked at everything.
fn caught_up(server: &Server) {
    until("the detector's end of the log", || {
        let rules = json(server, &["rules", "list", "--json"]);
        let detector = &rules["detector"];
        assert_eq!(detector["running"], true, "{detector}");
        detector["next_index"] == detector["tree_size"]
    });
}

/// The id of the rule of five failures of one address.
fn brute_force(server: &Server) -> String {
    let rules = json(server, &["rules", "list", "--json"]);
    let rules = rules["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| {
        rule["kind"] == "event_count" && rule["group_by"] == serde_json::json!(["source.ip"]) && rule["threshold"] == 5
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

#[test]
fn no_finding_is_lost_or_doubled_when_the_server_is_killed() {
    let rounds: u64 = std::env::var("SCEAU_TORTURE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6);
    let addresses: Vec<String> = (0..400).map(|n| format!("10.0.{}.{}", n / 200, n % 200 + 1)).collect();
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let lines: String = addresses.iter().map(|ip| failures(ip, 6)).collect();
    let file = text(&place.file("log.ndjson", lines));
    let seed = std::env::var("SCEAU_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or_else(|| u64::from(std::process::id())));
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

/// An answer of the API.
fn get(server: &Server, path: &str) -> Value {
    let answer = std::process::Command::new("curl")
        .args(["-sf", "-H", &format!("Authorization: Bearer {}", common::TOKEN), &format!("{}/{path}", server.url)])
        .output()
        .unwrap();
    assert!(answer.status.success(), "{answer:?}");
    serde_json::from_slice(&answer.stdout).unwrap()
}
