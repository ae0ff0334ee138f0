//! The directory: businesses, their numbers, regions and access tokens.
//!
//! Owns business information and who may act for a number. It must never know a consumer, a message or a key of
//! the vault. Invariant: a token's text is answered once and kept nowhere.

mod access;
mod config;
mod datastore;
mod error;
mod ids;
mod server;
mod service;
mod status;
mod token;
mod upkeep;
mod validate;

pub use access::ACCESS;
pub use config::Config;
pub use datastore::{Datastore, MIGRATIONS};
pub use error::DirectoryError;
pub use server::serve;
pub use service::Directory;
pub use upkeep::{TOKEN_MEMORY, forget_tokens};
