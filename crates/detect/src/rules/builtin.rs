//! The rules and mappings that come with Sceau.

use crate::types::RuleFile;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        vec![$(RuleFile {
            path: $name.to_owned(),
            text: include_str!(concat!("../../../../rules/", $name)).to_owned(),
        }),*]
    };
}

/// Rules, then mappings.
pub(super) fn files() -> (Vec<RuleFile>, Vec<RuleFile>) {
    let rules = files!["base/failed_logins.yml", "base/outside_ranges.yml", "base/unusual_hours.yml"];
    let mappings = files![
        "mappings/applications.yml",
        "mappings/aws.yml",
        "mappings/azure.yml",
        "mappings/code.yml",
        "mappings/gcp.yml",
        "mappings/identity.yml",
        "mappings/kubernetes.yml",
        "mappings/linux.yml",
        "mappings/m365.yml",
        "mappings/network.yml",
        "mappings/sceau.yml",
        "mappings/sysmon-linux.yml",
        "mappings/web.yml",
        "mappings/windows.yml",
        "mappings/zeek.yml",
    ];
    (rules, mappings)
}
