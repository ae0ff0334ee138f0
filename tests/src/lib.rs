//! What the integration tests share: a whole suite of real processes, the people and programs around it, and what they saw.
//!
//! Owns starting, stopping and killing the binaries, the business's app (REST and webhooks), consumers, certificates of every
//! role, and raw calls over the contracts. It links no service: what it knows of one is its address and its contract.
//! Invariant: whatever a test started ends with the test process, however that ends.

pub mod binaries;
pub mod boot;
pub mod business;
pub mod channel;
pub mod chat;
pub mod consumer;
pub mod contracts;
pub mod database;
pub mod device;
pub mod failpoints;
pub mod garbage;
pub mod identity;
pub mod journal;
mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod rest;
pub mod run_file;
pub mod search;
mod server;
pub mod suite;
pub mod traffic;
pub mod trouble;
pub mod webhook;

pub use boot::Options;
pub use suite::Suite;

/// Tells whoever watches the test how far it is.
#[expect(
    clippy::print_stderr,
    reason = "the harness speaks to the person who runs the tests"
)]
pub fn progress(text: &str) {
    eprintln!("  {text}");
}
