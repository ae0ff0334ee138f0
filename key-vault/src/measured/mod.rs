//! What measurements need of the vault's inside: the session step on one conversation, and the seals of records and rows.
//!
//! Only under the feature `measured`, which no ordinary build has (a wall checks it): these types stay the vault's own, and what is
//! timed and counted is the very code that serves, without a database and a network around it. Owns fixed inputs; nothing here is
//! random, so it must never seal anything real.

#![allow(clippy::unwrap_used, reason = "a measurement that fails stops")]

mod device;
mod record;
mod vault_end;

use rand::{RngCore, SeedableRng, rngs::StdRng};
use sealpost_envelope::{Entropy, EnvelopeError, NumberId};
use sealpost_runtime::Timestamp;

pub use device::Device;
pub use record::Records;
pub use vault_end::VaultEnd;

use crate::{epoch::Retention, number::Number, number_facts::Facts};

/// When all of it happens.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const NUMBER: &str = "106540352242922";
const PEER: &str = "15551234567";

/// Bytes that are the same each time.
pub struct Seeded(StdRng);

impl Seeded {
    /// The source of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

/// A message's ciphertext.
pub struct Ciphertext {
    kind: sealpost_proto::signal::v1::CiphertextType,
    bytes: Vec<u8>,
}

/// A vault's end and a device that have written to each other, so that no further message begins a session.
///
/// The vault sends frames of `content` bytes, before padding.
#[must_use]
pub fn acquainted(content: usize) -> (VaultEnd, Device) {
    let mut device = Device::new(Seeded::new(1));
    let mut vault = VaultEnd::new(content, Seeded::new(2));
    let first = vault.begin(&device);
    device.decrypt(&first);
    let answer = device.encrypt(b"received");
    vault.decrypt(&answer);
    vault.keep();
    (vault, device)
}

fn number(random: &mut Seeded) -> Number {
    let facts = Facts {
        retention: Retention::new(86_400).unwrap(),
        business: None,
    };
    let mut entropy = Seeded::new(3);
    Number::generate(
        NumberId::new(NUMBER).unwrap(),
        facts,
        &mut random.0,
        &mut entropy,
    )
    .unwrap()
}
