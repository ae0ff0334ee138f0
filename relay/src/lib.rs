//! The relay: forwards ciphertext between consumers' devices and the gateway.
//!
//! Owns consumers' phone numbers, everybody's public keys, and what waits. It must never know content or a private
//! Signal key; phone numbers stay in its database and out of its logs and metrics. Invariants: what was accepted is
//! durable; a one-time prekey is handed out once; what waits is given in order and again until it is acknowledged.

mod access;
mod auth;
mod bundle;
mod code_sender;
mod codes;
mod config;
mod datastore;
mod delivery;
mod device;
mod error;
mod hub;
mod ids;
mod platform;
mod rate;
mod relay;
mod server;
mod status;
#[cfg(test)]
mod testing;
mod together;
mod tokens;
mod upkeep;
mod upload;
mod validate;
mod wakes;

pub use access::ACCESS;
pub use bundle::{BundleKey, KeyFileError};
pub use code_sender::{CodeSender, CodeSenderError, CommandSender, FileSender};
pub use config::{CodesConfig, Config, LimitsConfig};
pub use datastore::{Datastore, MIGRATIONS};
pub use device::DeviceFace;
pub use error::RelayError;
pub use platform::PlatformFace;
pub use relay::Relay;
pub use server::BoundRelay;
