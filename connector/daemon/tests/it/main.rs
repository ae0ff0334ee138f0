//! The connector between a gateway over real TLS and an app over real HTTP.

#![allow(clippy::unwrap_used)]

mod app;
mod crash;
#[path = "../../../sdk/tests/it/double/mod.rs"]
mod double;
mod harness;
mod rest;
mod webhooks;
