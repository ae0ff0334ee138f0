//! The encrypted message store of one region.
//!
//! Owns sealed records, their statuses, the queue of what waits to be sent, and events by cursor. It must never hold a key,
//! plaintext or a consumer's phone number: it knows a conversation by a business's number and a blind tag. Its
//! invariants: accepted means committed; every write may be repeated; statuses and cursors only move forward; what the
//! vault has destroyed is refused at once and deleted soon.

pub mod access;
pub mod announce;
mod budget;
pub mod config;
pub mod datastore;
pub mod epoch;
pub mod error;
pub mod ids;
pub mod progress;
pub mod record;
pub mod service;
mod status;
mod tables;
pub mod upkeep;
pub mod vault_watch;

pub use tables::{
    MIGRATIONS,
    events::{Event, EventKind},
    outbound::OutboundRecord,
    outbound_leases::Leased,
};
