//! The keys of a business, as the relay hands them out.
//!
//! Invariant: a [`Bundle`] was asked for by this device, describes the business's one device, has not expired, and holds no key of
//! low order; libsignal checks its prekeys' signatures when a session starts. The relay's own signature over the statement is for
//! readers who do not talk to it themselves: this device got the bundle from the relay, over TLS.

use libsignal_protocol::{DeviceId, IdentityKey, PreKeyBundle, PublicKey, kem};
use prost::Message;
use sealpost_proto::signal::v1::{BundleStatement, DeviceBundle, SignedBundle};
use sealpost_runtime::Timestamp;

use super::step::bytes_of;
use crate::{
    SignalFault,
    ids::{PhoneNumber, PhoneNumberId},
    low_order,
};

const DOMAIN: &str = "sealpost/prekey-bundle/v1";
const ID_MAX: u32 = 0xFF_FFFF;
const REGISTRATION_ID_MAX: u32 = 0x3FFF;

/// A business's keys, checked.
pub(crate) struct Bundle {
    identity_key: IdentityKey,
    prekeys: PreKeyBundle,
}

impl Bundle {
    /// Reads what the relay answered `asker` about `number`.
    pub(crate) fn read(
        signed: &SignedBundle,
        asker: &PhoneNumber,
        number: &PhoneNumberId,
        now: Timestamp,
    ) -> Result<Self, SignalFault> {
        let statement =
            BundleStatement::decode(signed.statement.clone()).map_err(|_| SignalFault::Bundle)?;
        let [device] = statement.devices.as_slice() else {
            return Err(SignalFault::Bundle);
        };
        let fits = statement.domain == DOMAIN
            && statement.requester == asker.as_str()
            && statement.peer == number.as_str()
            && statement.expires_at_ms > now.as_millis()
            && device.device_id == 1
            && (1..=REGISTRATION_ID_MAX).contains(&device.registration_id);
        if !fits {
            return Err(SignalFault::Bundle);
        }
        let identity_key = IdentityKey::new(curve_key(&statement.identity_key)?);
        let prekeys = prekeys(device, identity_key)?;
        Ok(Self {
            identity_key,
            prekeys,
        })
    }

    /// The business's identity key, as it is pinned.
    pub(crate) fn identity_bytes(&self) -> [u8; 33] {
        bytes_of(&self.identity_key)
    }

    pub(super) fn identity_key(&self) -> &IdentityKey {
        &self.identity_key
    }

    pub(super) fn prekeys(&self) -> &PreKeyBundle {
        &self.prekeys
    }
}

fn prekeys(device: &DeviceBundle, identity_key: IdentityKey) -> Result<PreKeyBundle, SignalFault> {
    let signed = device.signed_prekey.as_ref().ok_or(SignalFault::Bundle)?;
    let kem = device.kem_prekey.as_ref().ok_or(SignalFault::Bundle)?;
    let one_time = match &device.one_time_prekey {
        Some(prekey) => Some((id(prekey.id)?.into(), curve_key(&prekey.public_key)?)),
        None => None,
    };
    let kem_key = kem::PublicKey::deserialize(&kem.public_key).map_err(|_| SignalFault::Bundle)?;
    if kem_key.key_type() != kem::KeyType::Kyber1024 {
        return Err(SignalFault::Bundle);
    }
    PreKeyBundle::new(
        device.registration_id,
        DeviceId::try_from(device.device_id).map_err(|_| SignalFault::Bundle)?,
        one_time,
        id(signed.id)?.into(),
        curve_key(&signed.public_key)?,
        signed.signature.to_vec(),
        id(kem.id)?.into(),
        kem_key,
        kem.signature.to_vec(),
        identity_key,
    )
    .map_err(|_| SignalFault::Bundle)
}

fn id(id: u32) -> Result<u32, SignalFault> {
    (1..=ID_MAX)
        .contains(&id)
        .then_some(id)
        .ok_or(SignalFault::Bundle)
}

/// A public key of exactly 33 bytes and not of low order.
fn curve_key(bytes: &[u8]) -> Result<PublicKey, SignalFault> {
    if bytes.len() != 33 {
        return Err(SignalFault::Bundle);
    }
    let key = PublicKey::deserialize(bytes).map_err(|_| SignalFault::Bundle)?;
    low_order::refuse(&key)?;
    Ok(key)
}
