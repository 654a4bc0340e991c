//! Every parser's own sample lines.

use sceau_event::Deriver;

#[test]
fn the_example_of_the_documentation_works() {
    let page = include_str!("../../../docs/parsers.md");
    let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or("");
    let deriver = Deriver::with_parsers(&[("docs/parsers.md".to_owned(), yaml.to_owned())]);
    let faults = deriver.map(|deriver| deriver.check_samples()).map_err(|e| e.to_string());
    assert_eq!(faults, Ok(Vec::new()));
}

#[test]
fn every_sample_is_as_expected_and_every_rule_has_one() {
    let faults = Deriver::builtin().check_samples();
    for fault in &faults {
        eprintln!("{fault}");
    }
    assert!(faults.is_empty(), "{} faults", faults.len());
}
