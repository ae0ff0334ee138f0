//! The jobs that make retention promises true.
//!
//! Owns the schedule, the vault's receipts and the list of runs; and carries numbers' rows from one region's store to another's. It must never know a key, content or a consumer's phone
//! number: it works by epochs and blind tags. Its invariants: rows go only on a receipt whose signature holds; a
//! receipt stays open until no store has rows of it; everything it does may be done again.

pub mod access;
pub mod config;
pub mod datastore;
pub mod error;
pub mod findings;
pub mod jobs;
pub mod moves;
pub mod peers;
pub mod receipt;
pub mod schedule;
pub mod service;
mod status;
mod tables;

pub use tables::{
    MIGRATIONS,
    receipts::{Kept, SETTLING},
    runs::Run,
};
