//! Retention as its callers see it: the real jobs and service over a real database, among a vault, stores and relays that this
//! test keeps in memory (services do not link each other; the real ones meet in the workspace's end-to-end tests).

#![allow(clippy::unwrap_used)]

mod bench;
mod doubles;
mod forget;
mod runs;
