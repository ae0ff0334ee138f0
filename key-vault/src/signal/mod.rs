//! Signal's operations, one pure step each: records in memory go in, changed records come out.
//!
//! Owns every call of libsignal. Knows neither rows nor wires. Invariants: a public key that is not of prime order never
//! reaches libsignal, whose version here would compute on with it; a step that fails changes nothing; no error carries
//! libsignal's text, which may name keys and addresses.
//!
//! libsignal's private keys are `Copy` and do not wipe themselves: they are made inside a step, from secrets that do, and
//! live no longer than it.

mod identity;
mod inbound;
mod keys;
mod prekeys;
mod session;
mod store;

pub(crate) use identity::LocalIdentity;
pub(crate) use inbound::InboundMessage;
pub(crate) use keys::{identity_key, kem_key, pinned_identity_key, public_key};
pub(crate) use prekeys::{KemPrekeyPair, OneTimePrekeyPair, SignedPrekeyPair};
pub(crate) use session::{Ends, Session, StepPrekeys, Used};

use std::panic::{self, AssertUnwindSafe};

use libsignal_protocol::{ProtocolAddress, SignalProtocolError};

use crate::subject::SubjectId;

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignalError {
    /// The bytes do not parse, or a public key in them is not acceptable.
    #[error("malformed")]
    Malformed,
    /// Authentication or decryption failed, a prekey is gone, or there is no session.
    #[error("undecryptable")]
    Undecryptable,
    /// The message key was used before.
    #[error("duplicate")]
    Duplicate,
    /// A signature in a bundle does not verify.
    #[error("bundle")]
    Bundle,
    /// Our own side of it cannot be right.
    #[error("state")]
    State,
}

/// How libsignal fails on the way in.
fn inbound_error(error: &SignalProtocolError) -> SignalError {
    match error {
        SignalProtocolError::DuplicatedMessage(..) => SignalError::Duplicate,
        _ => SignalError::Undecryptable,
    }
}

/// The remote end's address: the subject, never the phone number.
fn address(subject: SubjectId, device: u8) -> Result<ProtocolAddress, SignalError> {
    let device = libsignal_protocol::DeviceId::new(device).map_err(|_| SignalError::Malformed)?;
    Ok(ProtocolAddress::new(hex::encode(subject.0), device))
}

/// Runs what computes on bytes of others. If it panics, its one message is bad: the batch, and whoever retries it, must not stop
/// over a message that somebody made for that.
fn guarded<T>(step: impl FnOnce() -> T) -> Result<T, SignalError> {
    panic::catch_unwind(AssertUnwindSafe(step)).map_err(|_| {
        metrics::counter!("sealpost_vault_steps_panicked_total").increment(1);
        SignalError::State
    })
}

#[cfg(test)]
pub(crate) use keys::bad_keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_panics_is_one_failed_step() {
        let panics = || -> u8 { panic!("as libsignal might") };
        assert_eq!(guarded(panics), Err(SignalError::State));
        assert_eq!(guarded(|| 1), Ok(1));
    }
}
