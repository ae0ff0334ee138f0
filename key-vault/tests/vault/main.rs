//! The vault as a whole, without gRPC: a real database and keyring in a folder, and libsignal on the consumer's side.
#![allow(clippy::unwrap_used)]

mod business;
mod consumer;
mod containment;
mod custody;
mod durability;
mod erasure;
mod export;
mod fixture;
mod idle;
mod inbound;
mod outbound;
mod refusals;
mod removal;
mod replay;
mod seal;
mod senders;
mod shards;
mod tampering;
