//! The parsers that come with Sceau, in the order in which they are tried.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../parsers/", $name)))),*]
    };
}

pub(super) const FILES: &[(&str, &str)] = files![
    "sshd.yml",
    "sudo.yml",
    "su.yml",
    "systemd-logind.yml",
    "cron.yml",
    "apache-access.yml",
    "apache-error.yml",
    "nginx-error.yml",
    "pam.yml",
];
