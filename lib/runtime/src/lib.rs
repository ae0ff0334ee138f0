//! What every process shares: configuration, TLS and peer identity, servers and channels, telemetry, shutdown.
//!
//! Owns the shell around a service and no domain logic: it must never know a message, a number, a key of the
//! vault, a table or a generated proto.
//!
//! A service's `main` reads, in order: [`process::harden`], [`args::ServiceArgs`], [`config::load`],
//! [`telemetry::init`], [`shutdown::on_signals`], [`tls::ServiceTls::load`], [`server::Server`].

pub mod args;
pub mod batch;
pub mod clock;
pub mod config;
pub mod identity;
pub mod process;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod tls;

#[cfg(test)]
mod testing;

pub use clock::{Clock, Timestamp};
pub use identity::{PeerIdentity, Role, TrustDomain};

/// Of every process, for what libraries in C allocate too: SQLite's pages and messages come and go by the thousand a second, which
/// the C library's own allocator is slow at (`docs/performance.md`). Each program names it as its global allocator.
pub use mimalloc::MiMalloc as Allocator;

/// The largest gRPC message any face of Sealpost decodes, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
