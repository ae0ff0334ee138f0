//! A consumer's device: libsignal as it comes.

use std::time::{Duration, SystemTime};

use futures::FutureExt;
use libsignal_protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, GenericSignedPreKey, IdentityKeyPair,
    InMemSignalProtocolStore, KeyPair, KyberPreKeyRecord, KyberPreKeyStore, PreKeyBundle,
    PreKeySignalMessage, ProtocolAddress, SignalMessage, SignedPreKeyRecord, SignedPreKeyStore,
    Timestamp, kem, message_decrypt, message_encrypt,
};
use sealpost_proto::signal::v1::CiphertextType;

use super::{Ciphertext, NOW, NUMBER, Seeded};
use crate::bundle::{DeviceOffer, VerifiedBundle};

pub(super) const DEVICE: u8 = 1;
const REGISTRATION: u32 = 77;

/// The other end of a [`super::VaultEnd`].
pub struct Device {
    identity: IdentityKeyPair,
    store: InMemSignalProtocolStore,
    prekeys: PreKeyBundle,
    business: ProtocolAddress,
    random: Seeded,
}

impl Device {
    pub(super) fn new(mut random: Seeded) -> Self {
        let rng = &mut random.0;
        let identity = IdentityKeyPair::generate(rng);
        let mut store = InMemSignalProtocolStore::new(identity, REGISTRATION).unwrap();
        let time = Timestamp::from_epoch_millis(NOW.as_millis());
        let device = DeviceId::new(DEVICE).unwrap();

        let signed = KeyPair::generate(rng);
        let private = *identity.private_key();
        let signature = private
            .calculate_signature(&signed.public_key.serialize(), rng)
            .unwrap();
        let record = SignedPreKeyRecord::new(1.into(), time, &signed, &signature);
        now(store.save_signed_pre_key(1.into(), &record)).unwrap();

        let kyber = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
        let kyber_signature = private
            .calculate_signature(&kyber.public_key.serialize(), rng)
            .unwrap();
        let record = KyberPreKeyRecord::new(1.into(), time, &kyber, &kyber_signature);
        now(store.save_kyber_pre_key(1.into(), &record)).unwrap();

        let prekeys = PreKeyBundle::new(
            REGISTRATION,
            device,
            None,
            1.into(),
            signed.public_key,
            signature.to_vec(),
            1.into(),
            kyber.public_key,
            kyber_signature.to_vec(),
            *identity.identity_key(),
        );
        Self {
            identity,
            store,
            prekeys: prekeys.unwrap(),
            business: ProtocolAddress::new(NUMBER.to_owned(), device),
            random,
        }
    }

    /// What a relay would have signed.
    pub(super) fn bundle(&self) -> VerifiedBundle {
        let offer = DeviceOffer {
            registration_id: REGISTRATION,
            prekeys: Some(self.prekeys.clone()),
        };
        VerifiedBundle {
            identity: *self.identity.identity_key(),
            devices: [(DEVICE, offer)].into(),
            issued_at: NOW,
        }
    }

    /// A message to the business.
    ///
    /// # Panics
    /// When libsignal refuses.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Ciphertext {
        let message = now(message_encrypt(
            plaintext,
            &self.business,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.as_millis()),
            &mut self.random.0,
        ));
        let message = message.unwrap();
        let kind = match message.message_type() {
            CiphertextMessageType::PreKey => CiphertextType::PrekeyMessage,
            _ => CiphertextType::Message,
        };
        Ciphertext {
            kind,
            bytes: message.serialize().to_vec(),
        }
    }

    /// A message from the business.
    ///
    /// # Panics
    /// When it does not decrypt.
    pub fn decrypt(&mut self, ciphertext: &Ciphertext) -> Vec<u8> {
        let bytes = ciphertext.bytes.as_slice();
        let message = match ciphertext.kind {
            CiphertextType::PrekeyMessage => CiphertextMessage::PreKeySignalMessage(
                PreKeySignalMessage::try_from(bytes).unwrap(),
            ),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes).unwrap()),
        };
        let store = &mut self.store;
        now(message_decrypt(
            &message,
            &self.business,
            &mut store.session_store,
            &mut store.identity_store,
            &mut store.pre_key_store,
            &store.signed_pre_key_store,
            &mut store.kyber_pre_key_store,
            &mut self.random.0,
        ))
        .unwrap()
    }
}

/// Its stores are in memory: nothing waits.
fn now<T>(step: impl Future<Output = T>) -> T {
    step.now_or_never().unwrap()
}
