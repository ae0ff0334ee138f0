//! Prekey bundles that the relay signed.
//!
//! Owns the check that a bundle is the relay's, fresh, about this peer and for this number. Knows no session. Invariant: a
//! [`VerifiedBundle`] exists only when every check has passed; a gateway, which carries bundles, cannot make one or use one
//! made for another. The prekeys' own signatures are libsignal's to verify when a session begins.

use std::{collections::BTreeMap, time::Duration};

use libsignal_protocol::{DeviceId, IdentityKey, PreKeyBundle};
use prost::Message;
use sealpost_envelope::{NumberId, Peer, VerifyingKey};
use sealpost_proto::signal::v1::{BundleStatement, DeviceBundle, SignedBundle};
use sealpost_runtime::Timestamp;

use crate::signal::{InboundMessage, identity_key, kem_key, public_key};

const DOMAIN: &str = "sealpost/prekey-bundle/v1";
/// No bundle is valid for longer.
const MAX_LIFE: Duration = Duration::from_secs(86_400);
/// How far ahead of ours the relay's clock may be.
const MAX_SKEW: Duration = Duration::from_secs(300);
const MAX_DEVICE_ID: u32 = 127;
const MAX_REGISTRATION_ID: u32 = 0x3fff;
const MAX_PREKEY_ID: u32 = 0xff_ffff;

/// A bundle that passed every check.
pub(crate) struct VerifiedBundle {
    /// The one identity of all the peer's devices.
    pub(crate) identity: IdentityKey,
    /// By device id; never empty.
    pub(crate) devices: BTreeMap<u8, DeviceOffer>,
    /// When the relay said so.
    pub(crate) issued_at: Timestamp,
}

impl VerifiedBundle {
    /// Whether it names the device that made `message` and shows the identity key that `message` shows.
    pub(crate) fn vouches_for(&self, device: u8, message: &InboundMessage) -> bool {
        let listed = self.devices.get(&device).map(|offer| offer.registration_id);
        message.identity() == Some(self.identity) && message.registration_id() == listed
    }
}

/// One device of the peer.
pub(crate) struct DeviceOffer {
    pub(crate) registration_id: u32,
    /// Absent when the relay was told that there is a session already.
    pub(crate) prekeys: Option<PreKeyBundle>,
}

/// Checks a bundle: one of `relay_keys` signed it, `requester` asked for it, it is about `peer`, and `now` is within its life.
///
/// None for any fault: every one is the same refusal.
pub(crate) fn verify(
    bundle: &SignedBundle,
    relay_keys: &[VerifyingKey],
    requester: &NumberId,
    peer: &Peer,
    now: Timestamp,
) -> Option<VerifiedBundle> {
    let signature = bundle.signature[..].try_into().ok()?;
    if !relay_keys
        .iter()
        .any(|key| key.verify(&bundle.statement, signature).is_ok())
    {
        return None;
    }
    let statement = BundleStatement::decode(&bundle.statement[..]).ok()?;
    let (issued, expires) = (
        Timestamp::from_millis(statement.issued_at_ms),
        Timestamp::from_millis(statement.expires_at_ms),
    );
    let in_time = issued <= now + MAX_SKEW && now < expires && expires.since(issued) <= MAX_LIFE;
    let ours = statement.domain == DOMAIN
        && statement.requester == requester.as_str()
        && statement.peer == peer.expose();
    if !(in_time && ours) {
        return None;
    }
    let identity = identity_key(&statement.identity_key).ok()?;
    let mut devices = BTreeMap::new();
    for device in &statement.devices {
        let id = device_id(device.device_id)?;
        if devices.insert(id, offer(id, device, identity)?).is_some() {
            return None;
        }
    }
    (!devices.is_empty()).then_some(VerifiedBundle {
        identity,
        devices,
        issued_at: issued,
    })
}

/// A device id in range, 1 to 127.
pub(crate) fn device_id(id: u32) -> Option<u8> {
    (1..=MAX_DEVICE_ID)
        .contains(&id)
        .then(|| u8::try_from(id).ok())
        .flatten()
}

fn offer(id: u8, device: &DeviceBundle, identity: IdentityKey) -> Option<DeviceOffer> {
    let registration_id = device.registration_id;
    if !(1..=MAX_REGISTRATION_ID).contains(&registration_id) {
        return None;
    }
    let prekeys = match (&device.signed_prekey, &device.kem_prekey) {
        (Some(signed), Some(kem)) => {
            let one_time = match &device.one_time_prekey {
                Some(prekey) => Some((
                    prekey_id(prekey.id)?.into(),
                    public_key(&prekey.public_key).ok()?,
                )),
                None => None,
            };
            let bundle = PreKeyBundle::new(
                registration_id,
                DeviceId::new(id).ok()?,
                one_time,
                prekey_id(signed.id)?.into(),
                public_key(&signed.public_key).ok()?,
                signed.signature.to_vec(),
                prekey_id(kem.id)?.into(),
                kem_key(&kem.public_key).ok()?,
                kem.signature.to_vec(),
                identity,
            );
            Some(bundle.ok()?)
        }
        (None, None) if device.one_time_prekey.is_none() => None,
        _ => return None,
    };
    Some(DeviceOffer {
        registration_id,
        prekeys,
    })
}

fn prekey_id(id: u32) -> Option<u32> {
    (1..=MAX_PREKEY_ID).contains(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use libsignal_protocol::{IdentityKeyPair, KeyPair, kem};
    use rand::{TryRngCore, rngs::OsRng};
    use sealpost_envelope::{OsEntropy, SigningKey};
    use sealpost_proto::signal::v1::{KemPrekey, OneTimePrekey, SignedPrekey};

    use super::*;
    use crate::signal::bad_keys;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn statement() -> BundleStatement {
        let rng = &mut OsRng.unwrap_err();
        let identity = IdentityKeyPair::generate(rng);
        let sign = |bytes: &[u8]| {
            identity
                .private_key()
                .calculate_signature(bytes, &mut OsRng.unwrap_err())
                .unwrap()
        };
        let signed = KeyPair::generate(rng).public_key.serialize();
        let kem = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng)
            .public_key
            .serialize();
        BundleStatement {
            domain: DOMAIN.to_owned(),
            requester: "1065".to_owned(),
            peer: "15551234567".to_owned(),
            identity_key: identity.public_key().serialize().to_vec().into(),
            devices: vec![DeviceBundle {
                device_id: 1,
                registration_id: 7,
                signed_prekey: Some(SignedPrekey {
                    id: 1,
                    public_key: signed.to_vec().into(),
                    signature: sign(&signed).to_vec().into(),
                }),
                one_time_prekey: Some(OneTimePrekey {
                    id: 1,
                    public_key: KeyPair::generate(rng)
                        .public_key
                        .serialize()
                        .to_vec()
                        .into(),
                }),
                kem_prekey: Some(KemPrekey {
                    id: 1,
                    public_key: kem.to_vec().into(),
                    signature: sign(&kem).to_vec().into(),
                }),
            }],
            issued_at_ms: NOW.as_millis(),
            expires_at_ms: NOW.as_millis() + 60_000,
        }
    }

    fn passes(
        relay: &SigningKey,
        key: &VerifyingKey,
        statement: &BundleStatement,
        now: Timestamp,
    ) -> bool {
        let bytes = statement.encode_to_vec();
        let signature = relay.sign(&bytes).to_vec().into();
        let bundle = SignedBundle {
            statement: bytes.into(),
            signature,
        };
        let (number, peer) = (
            NumberId::new("1065").unwrap(),
            Peer::new("15551234567").unwrap(),
        );
        verify(&bundle, &[*key], &number, &peer, now).is_some()
    }

    #[test]
    fn a_bundle_passes_only_under_the_relays_key_and_within_its_life() {
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let key = relay.verifying_key();
        let good = statement();
        assert!(passes(&relay, &key, &good, NOW));
        let other = SigningKey::generate(&mut OsEntropy).unwrap();
        assert!(!passes(&other, &key, &good, NOW));
        assert!(passes(
            &relay,
            &key,
            &good,
            NOW + Duration::from_millis(59_999)
        ));
        assert!(!passes(&relay, &key, &good, NOW + Duration::from_secs(60)));
        assert!(!passes(
            &relay,
            &key,
            &good,
            NOW - MAX_SKEW - Duration::from_millis(1)
        ));
        let long = BundleStatement {
            expires_at_ms: NOW.as_millis() + 86_400_001,
            ..good
        };
        assert!(!passes(&relay, &key, &long, NOW));
    }

    #[test]
    fn a_bundle_for_another_requester_or_about_another_peer_is_refused() {
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let key = relay.verifying_key();
        let good = statement();
        for bad in [
            BundleStatement {
                domain: "sealpost/receipt/v1".to_owned(),
                ..good.clone()
            },
            BundleStatement {
                requester: "1066".to_owned(),
                ..good.clone()
            },
            BundleStatement {
                peer: "15551234568".to_owned(),
                ..good.clone()
            },
            BundleStatement {
                devices: Vec::new(),
                ..good.clone()
            },
            BundleStatement {
                devices: vec![good.devices[0].clone(); 2],
                ..good.clone()
            },
        ] {
            assert!(!passes(&relay, &key, &bad, NOW));
        }
    }

    #[test]
    fn a_device_with_half_its_prekeys_or_an_id_out_of_range_is_refused() {
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let key = relay.verifying_key();
        let changes: [fn(&mut DeviceBundle); 7] = [
            |device| device.signed_prekey = None,
            |device| device.kem_prekey = None,
            |device| (device.signed_prekey, device.kem_prekey) = (None, None),
            |device| device.device_id = 0,
            |device| device.device_id = 128,
            |device| device.registration_id = 0,
            |device| device.registration_id = 0x4000,
        ];
        for change in changes {
            let mut bad = statement();
            change(&mut bad.devices[0]);
            assert!(!passes(&relay, &key, &bad, NOW));
        }
        let mut none = statement();
        let device = &mut none.devices[0];
        (
            device.signed_prekey,
            device.kem_prekey,
            device.one_time_prekey,
        ) = (None, None, None);
        assert!(passes(&relay, &key, &none, NOW));
    }

    #[test]
    fn low_order_keys_are_refused_in_every_place_of_a_bundle() {
        let relay = SigningKey::generate(&mut OsEntropy).unwrap();
        let key = relay.verifying_key();
        for (what, point) in bad_keys() {
            let point: bytes::Bytes = [&[5][..], &point].concat().into();
            let mut identity = statement();
            identity.identity_key = point.clone();
            let mut signed = statement();
            signed.devices[0].signed_prekey.as_mut().unwrap().public_key = point.clone();
            let mut one_time = statement();
            one_time.devices[0]
                .one_time_prekey
                .as_mut()
                .unwrap()
                .public_key = point.clone();
            for bad in [identity, signed, one_time] {
                assert!(!passes(&relay, &key, &bad, NOW), "{what}");
            }
        }
    }
}
