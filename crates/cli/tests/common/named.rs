//! Faults as a verification names them: kind and place.

use super::Said;

pub fn at(kind: &str, index: u64) -> String {
    format!("{kind} at {index}")
}

pub fn range(kind: &str, first: u64, last: u64) -> String {
    format!("{kind} at {first} to {last}")
}

pub fn whole(kind: &str) -> String {
    format!("{kind} of the log as a whole")
}

/// Both outputs must name exactly these faults, in this order; `run` runs a command on the log.
pub fn named(what: &str, run: impl Fn(&[&str]) -> Said, wanted: &[String]) -> Said {
    let people = run(&["verify"]);
    let found: Vec<String> = people.out.lines().filter_map(|line| line.strip_prefix("fault: ")).map(spot).collect();
    assert_eq!((people.code, found.as_slice()), (4, wanted), "{what}: {people:#?}");
    let machines = run(&["verify", "--json"]).with(4);
    assert_eq!(listed(&machines), wanted, "{what}: {machines:#?}");
    people
}

/// Kind and place of a line for people.
fn spot(fault: &str) -> String {
    fault.split_once(": ").map_or(fault, |(spot, _)| spot).to_owned()
}

/// Kind and place of each fault in a verdict, as a line for people has them.
pub fn listed(said: &Said) -> Vec<String> {
    let verdict = said.json();
    let place = |fault: &serde_json::Value| {
        let kind = fault["kind"].as_str().unwrap();
        match (fault["first"].as_u64(), fault["last"].as_u64()) {
            (Some(first), Some(last)) if first != last => range(kind, first, last),
            (Some(first), _) => at(kind, first),
            _ => whole(kind),
        }
    };
    verdict["faults"].as_array().unwrap().iter().map(place).collect()
}
