//! TLS 1.3 between services (both sides present a SPIFFE certificate) and towards the public.
//!
//! Owns certificates, their reloading and revocation, and the channels of clients. Its invariants: ring is the only
//! provider; no session is ever resumed; a peer is who its certificate says, signed by our authority, of our trust
//! domain and not revoked, at the handshake and at every call after it.

mod connect;
mod guard;
mod material;
mod public;
mod reload;
mod revocation;
mod service;
mod verify;

use std::{io, path::PathBuf, sync::Arc};

use rustls::crypto::CryptoProvider;
use thiserror::Error;

use crate::identity::IdentityError;

pub use connect::{connect, connect_public};
pub(crate) use guard::{Guarded, Leash};
pub use public::PublicTls;
pub use revocation::{Refusal, Revocations};
pub use service::ServiceTls;

/// How long a TCP connection and its handshake may take, each.
pub(crate) const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

const ALPN_H2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why there is no usable TLS configuration.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {message}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: &'static str,
    },
    /// Our own certificate names no identity.
    #[error("our own certificate: {0}")]
    Identity(#[from] IdentityError),
    /// rustls refused the material.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities or revocation lists cannot verify a client.
    #[error("client verification: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A revocation list is not well formed.
    #[error("a revocation list is not well formed")]
    Revocations,
    /// The address of a peer cannot be used.
    #[error("the address of a peer cannot be used")]
    Address,
}
