//! The gateway in one process, between doubles of the services that it calls.

#![allow(clippy::unwrap_used)]

mod doubles;
mod harness;
mod receiving;
mod sending;
mod subscribing;
mod tokens;
mod vaults;
