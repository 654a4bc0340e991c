//! The server: from received bytes to sealed entries, the questions that can be asked about them, and HTTP in front of
//! both.
//!
//! The command line uses the same functions on a data directory that no server holds: [`Log`] to write, [`Reader`] to
//! ask, [`verify_dir`] to check.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::expect_used, clippy::unwrap_used))]

mod admin;
mod api;
mod auth;
mod body;
mod clock;
mod config;
mod disk;
mod epochs;
mod error;
mod imports;
mod ingest;
mod init;
mod interval;
mod jobs;
mod keydir;
mod log;
mod metrics;
mod problem;
mod prover;
mod publisher;
mod reader;
mod retention;
mod schedule;
mod sequencer;
mod serve;
#[cfg(test)]
mod testing;
mod verify;
mod views;

pub use admin::new_admin_token;
pub use auth::{NewToken, Tokens};
pub use body::{Encoding, Format};
pub use clock::Clock;
pub use config::{Config, Limits, Retention, Schedule, Secret, size};
pub use error::{LineError, Refusals, ServerError};
pub use imports::{ImportMove, ImportPosition};
pub use ingest::{IngestAnswer, IngestRequest, MAX_EVENTS};
pub use init::{InitReport, init};
pub use interval::duration;
pub use keydir::KeyDir;
pub use log::Log;
pub use metrics::Metrics;
pub use problem::Problem;
pub use publisher::{Published, Publisher};
pub use reader::{Filtered, HistogramParams, Reader, SearchParams, TopParams, load_deriver};
pub(crate) use sequencer::hex;
pub use sequencer::{AppendOptions, Appended, Health, Idempotency};
pub use serve::{Ready, serve};
pub use verify::{AUDITED, Cancel, VerifyOptions, VerifyReport, verify_dir};
pub use views::{
    Bucket, CountView, EventView, HeadView, HistogramView, IntegrityView, ProofView, SealView, SearchPage, TopValue,
    TopView,
};
