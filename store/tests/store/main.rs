//! The store as its callers see it: a real service over a real database, called by gRPC.

#![allow(clippy::unwrap_used)]

mod append;
mod batches;
mod bench;
mod cursors;
mod dispatch;
mod epochs;
mod erasure;
mod events;
mod last_call;
mod moving;
mod status;
mod vault;
