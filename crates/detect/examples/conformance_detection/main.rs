//! How the Sigma rules of others fare with Sceau, and how Sceau's own rules fare with the logs of others.
//!
//! `cargo run --release -p sceau-detect --example conformance_detection [--verbose] [DATA]`
//!
//! Prints how many rules load, why the others are refused, and whether the rules fire on their own sample events; then
//! whether brute force is found where CrowdSec and fail2ban find it, and why not; with `--verbose` each refusal. The data is not part of Sceau; without it there is nothing to say, aloud.
#![allow(clippy::unwrap_used)]

mod alerts;
mod crowdsec;
mod fail2ban;
mod openssh;
mod regression;
mod rules;

use std::path::PathBuf;

fn main() {
    let (mut verbose, mut data) = (false, None);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--verbose" => verbose = true,
            _ => data = Some(PathBuf::from(argument)),
        }
    }
    let data = data
        .or_else(|| std::env::var_os("SCEAU_SHARED").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")));
    if !data.exists() {
        eprintln!("SKIPPED: no test data at {}", data.display());
        return;
    }
    let sigma = data.join("sigma");
    let set = rules::load(&sigma);
    rules::print(&set, verbose);
    let pairs = regression::run(&sigma, &set);
    regression::print(&pairs);
    let product = alerts::Product::new();
    openssh::run(&data, &product).print("openssh_2k, addresses with five failures within ten minutes");
    crowdsec::print(&crowdsec::run(&data, &product));
    fail2ban::run(&data, &product).print("fail2ban, hosts with five failures within ten minutes");
}
