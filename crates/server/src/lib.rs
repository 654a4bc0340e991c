//! The server: from received bytes to sealed entries, the questions that can be asked about them, and HTTP in front of
//! both.
//!
//! The command line uses the same functions on a log that no server holds: [`Log`] to write, [`Reader`] to
//! ask, [`verify_dir`] to check.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used))]

mod admin;
mod api;
mod audit_entry;
mod auth;
mod body;
mod clock;
mod config;
mod detect;
mod disk;
mod entries;
mod epochs;
mod error;
mod guard;
mod history;
mod imports;
mod ingest;
mod init;
mod interval;
mod jobs;
mod keydir;
mod lease;
mod log;
mod metrics;
mod migrate;
mod net;
mod patient;
mod place;
mod problem;
mod prover;
mod publisher;
mod reader;
mod replace;
mod retention;
mod rotation;
mod sandbox;
mod schedule;
mod sequencer;
mod serve;
mod standby;
mod takeover;
#[cfg(test)]
mod testing;
mod thinning;
mod verify;
mod views;

pub use admin::{new_admin_token, rotate_key};
pub use auth::{
    Accounts, By, Caller, CallerKind, Credentials, Enrolment, LoggedIn, NewLink, NewToken, Permission, Presented, Role,
    SessionView, TokenSpec, TokenView, Tokens, UserChange, UserView,
};
pub use body::{Encoding, Format};
pub use clock::Clock;
pub use config::{AccountsConfig, Config, DetectionConfig, Limits, Retention, Schedule, Secret, size};
pub use detect::{DetectionFiles, ReplayParams, read_rules, replay_log};
pub use error::{LineError, Refusals, ServerError};
pub use imports::{ImportMove, ImportPosition};
pub use ingest::{IngestAnswer, IngestRequest, MAX_EVENTS};
pub use init::{InitReport, init};
pub use interval::duration;
pub use keydir::KeyDir;
pub use log::Log;
pub use metrics::Metrics;
pub use migrate::{Migrated, migrate};
pub use net::{Fingerprint, ForwardedHeader, Proxies, Rate, Rates, TlsSource, check_tls};
pub use place::Place;
pub use problem::Problem;
pub use publisher::{Published, Publisher};
pub use reader::{Filtered, HistogramParams, Reader, Rebuilt, SearchParams, TopParams, load_deriver};
pub use replace::{Replaced, replace_keys};
pub use rotation::{Rotated, RotatedKey};
pub use sandbox::{Sandbox, confine};
pub(crate) use sequencer::hex;
pub use sequencer::{AppendOptions, Appended, Health, Idempotency};
pub use serve::{Ready, check_exposure, serve};
pub use standby::{Joined, join};
pub use verify::{AUDITED, Cancel, VerifyOptions, VerifyReport, verify_dir};
pub use views::{
    Bucket, ChainView, CountView, EventView, HeadView, HistogramView, IntegrityView, KeyChangeView, LogKeyView,
    ProofView, SealView, SearchPage, TopValue, TopView,
};
