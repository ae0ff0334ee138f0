//! The gateway: the API edge that businesses call; it moves messages between business, vault, store and relay.
//!
//! Owns the order of every conversation, the retries, and the cursors' pace. It must never hold a key, plaintext or a database;
//! consumers' phone numbers pass through its memory only. Its invariant: what was answered "accepted" stands in the store,
//! and one message of a conversation is under way at a time.
//!
//! [`outbound`] takes messages from businesses to consumers, [`inbound`] the other way, [`events`] tells businesses;
//! [`service`] is the face that they call, behind [`layers`].

pub mod access;
pub mod authentication;
pub mod backoff;
pub mod config;
pub mod conversations;
pub mod events;
pub mod gateway;
pub mod ids;
pub mod inbound;
pub mod lanes;
pub mod layers;
pub mod limits;
pub mod meters;
pub mod outbound;
pub mod peers;
pub mod readiness;
pub mod record;
pub mod regions;
pub mod service;
pub mod status;
pub mod vault;
