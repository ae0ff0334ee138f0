//! The one process that touches Signal keys.
//!
//! Owns every Signal key operation, the keys that records are sealed under, and the vault's half of the transport seal
//! towards a business. It sees a message's plaintext for as long as one step takes and never parses it; it never writes a
//! phone number anywhere. Invariant: what leaves the vault was committed first.
//!
//! ```text
//! grpc ─▶ keeper: is it unsealed? ─▶ service (one file per family) ─▶ datastore: load rows ─▶ step on rows in memory ─▶ write rows, commit ─▶ answer
//!                                                                      │                        │
//!                                                            custody: seal and open      signal, record, frame, bundle: pure
//! ```

pub mod access;
pub mod config;
pub mod containment;
pub mod custody;
pub mod error;
pub mod grpc;
#[doc(hidden)]
#[cfg(feature = "measured")]
pub mod measured;
pub mod service;
pub mod status;

mod bundle;
mod connector_keys;
mod conversation;
mod datastore;
mod epoch;
mod frame;
mod keeper;
mod layout;
mod number;
mod number_cache;
mod number_facts;
mod own_keys;
mod prekey_shelf;
mod record;
mod session_cache;
mod shards;
mod signal;
mod subject;

pub use config::Config;
pub use datastore::MIGRATIONS;
pub use error::VaultError;
pub use keeper::{Keeper, Proof, SealStatus};
pub use service::Vault;
