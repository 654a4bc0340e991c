//! MongoDB as the store, end to end: the real binary on a real server, and between them whatever can go wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod away;
#[path = "../common/mod.rs"]
mod common;
mod database;
mod detect;
mod kill;
mod log;
mod migrate;
mod proxy;
mod proxy_tests;
mod roles;
mod secrets;
mod standby;
mod tamper;
