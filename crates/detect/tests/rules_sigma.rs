//! The rules of SigmaHQ and their own events, which lie beside the repository.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../examples/conformance_detection/regression.rs"]
mod regression;
#[path = "../examples/conformance_detection/rules.rs"]
mod rules;

#[test]
fn every_rule_loads_or_is_refused_by_name() {
    let Some(sigma) = common::shared("sigma") else { return };
    let set = rules::load(&sigma);
    rules::print(&set, true);
    let mut paths = Vec::new();
    rules::walk(&sigma.join("rules"), ".yml", &mut paths);
    assert!(set.rules().len() + set.refusals().len() >= paths.len());
    for refusal in set.refusals() {
        assert!(!refusal.rule.is_empty() && !refusal.reason.is_empty() && refusal.line > 0, "{refusal:?}");
    }
    assert_eq!(set.refusals(), [], "all of them can be honoured today; what is refused one day needs a true reason");
}

#[test]
fn rules_fire_on_their_own_events() {
    let Some(sigma) = common::shared("sigma") else { return };
    let pairs = regression::run(&sigma, &rules::load(&sigma));
    regression::print(&pairs);
    // Of these, the data says 1: but each has three events that meet all that the rule asks for.
    let known = ["Anydesk Temporary Artefact", "IE Change Domain Zone"];
    let wrong = pairs.iter().filter(|pair| pair.loaded && !pair.agrees());
    let wrong: Vec<String> =
        wrong.map(|pair| format!("{}: {} not {:?}", pair.title, pair.found, pair.wanted)).collect();
    assert_eq!(wrong, known.map(|title| format!("{title}: 3 not Some(1)")));
    assert!(pairs.iter().filter(|pair| pair.loaded).count() > 90);
}
