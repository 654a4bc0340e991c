//! Counts over whole files, beside those that their README tells.

use crate::{get, record};
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(data: &Path) {
    if let Ok(bytes) = std::fs::read(data.join("logs/openssh_2k.log")) {
        let (mut records, mut attempts, mut addresses) = (0, 0, BTreeMap::<String, u64>::new());
        each(&bytes, |record| {
            if get(record, "event.action") == "ssh_login" && get(record, "event.outcome") == "failure" {
                records += 1;
                attempts += record.count();
                *addresses.entry(get(record, "source.ip")).or_default() += 1;
            }
        });
        println!(
            "openssh_2k: {records} records, {attempts} failed log-ins from {} addresses (520, 528, 23)",
            addresses.len()
        );
    }
    if let Ok(bytes) = std::fs::read(data.join("logs/apache_access_10k.log")) {
        let (mut not_found, mut addresses) = (0, BTreeMap::<String, u64>::new());
        each(&bytes, |record| {
            not_found += u32::from(get(record, "http.response.status_code") == "404");
            *addresses.entry(get(record, "source.ip")).or_default() += 1;
        });
        println!(
            "apache_access_10k: {} addresses, {not_found} not found, 66.249.73.135 has {} (1753, 213, 482)",
            addresses.len(),
            addresses.get("66.249.73.135").copied().unwrap_or(0)
        );
    }
}

fn each(bytes: &[u8], mut each: impl FnMut(&sceau_event::Record<'_>)) {
    let received = "2026-11-22T08:00:00Z".parse().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().filter(|line| !line.is_empty()) {
        each(&record(line, received, "UTC"));
    }
}
