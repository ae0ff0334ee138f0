//! A Cloud-API-compatible REST face over the SDK.
//!
//! Owns the business's side of the conversation with programs that know the Cloud API: requests in, webhooks out, a durable queue
//! between. It must never know a Signal key, nor write content or a phone number to a disk in clear.
//!
//! Invariant: a request is answered with success only after the gateway said that the message is durable; an event is acknowledged
//! to the gateway only after it is durable here.

pub mod config;
pub mod connector;
pub mod open_export;
pub mod queue;
pub mod rest;
pub mod webhook;

mod intake;
mod listener;
mod upkeep;
