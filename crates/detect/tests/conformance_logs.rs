//! The shipped rules on logs that others have judged, which lie beside the repository.
#![allow(clippy::unwrap_used)]

#[path = "../examples/conformance_detection/alerts.rs"]
mod alerts;
mod common;
#[path = "../examples/conformance_detection/crowdsec.rs"]
mod crowdsec;
#[path = "../examples/conformance_detection/fail2ban.rs"]
mod fail2ban;
#[path = "../examples/conformance_detection/openssh.rs"]
mod openssh;

use alerts::{FAULT, Product, Table};

/// Whatever the reasons: five failures within ten minutes, as the records tell them, are found.
fn no_fault(table: &Table) {
    assert_eq!(table.disagree.get(FAULT), None);
}

#[test]
fn a_real_attack_is_found_line_by_line() {
    let Some(log) = common::shared("logs/openssh_2k.log") else { return };
    let table = openssh::run(log.parent().unwrap().parent().unwrap(), &Product::new());
    table.print("openssh_2k");
    assert_eq!((table.agree.len(), table.compared()), (11, 11));
}

#[test]
fn addresses_of_crowdsec_scenarios() {
    let Some(tests) = common::shared("crowdsec/tests") else { return };
    let sums = crowdsec::run(tests.parent().unwrap().parent().unwrap(), &Product::new());
    crowdsec::print(&sums);
    no_fault(&sums.brute_force);
    no_fault(&sums.others);
    assert!(sums.brute_force.agree.len() >= 7, "{:?}", sums.brute_force.agree);
    assert!(sums.quiet.compared() >= 21 && sums.quiet.disagree.is_empty(), "{:?}", sums.quiet.disagree);
}

#[test]
fn hosts_of_fail2ban_lines() {
    let Some(files) = common::shared("fail2ban") else { return };
    let table = fail2ban::run(files.parent().unwrap(), &Product::new());
    table.print("fail2ban");
    no_fault(&table);
    assert!(!table.agree.is_empty(), "{:?}", table.agree);
    assert!(table.disagree.keys().all(|reason| !reason.starts_with("only ours")), "{:?}", table.disagree);
}
