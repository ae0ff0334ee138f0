//! The business's side of Signal: what the key vault does, over libsignal's own stores in memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use libsignal_protocol::*;
use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use sealpost_consumer::{Category, MessageId, content, frame::Frame, padding};
use sealpost_proto::{
    content::v1::{Content, content::Body},
    relay::v1::{DeviceEnvelope, DeviceMessage, FetchBusinessBundleResponse},
    signal::v1::{
        BundleStatement, DeviceBundle, KemPrekey, OneTimePrekey, PrekeyUpload, SignedBundle,
        SignedPrekey,
    },
};
use sealpost_runtime::Timestamp;

use super::{BUSINESS, CONSUMER, NUMBER};

pub struct Business {
    store: InMemSignalProtocolStore,
    rng: StdRng,
    consumer: ProtocolAddress,
}

impl Business {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let pair = IdentityKeyPair::generate(&mut rng);
        let mut store = InMemSignalProtocolStore::new(pair, 77).unwrap();
        for id in 1..=5u32 {
            let record = PreKeyRecord::new(id.into(), &KeyPair::generate(&mut rng));
            now(store.save_pre_key(id.into(), &record)).unwrap();
        }
        let time = libsignal_protocol::Timestamp::from_epoch_millis(1_700_000_000_000);
        let signed = KeyPair::generate(&mut rng);
        let signature = pair
            .private_key()
            .calculate_signature(&signed.public_key.serialize(), &mut rng)
            .unwrap();
        let record = SignedPreKeyRecord::new(1.into(), time, &signed, &signature);
        now(store.save_signed_pre_key(1.into(), &record)).unwrap();
        let kem = kem::KeyPair::generate(kem::KeyType::Kyber1024, &mut rng);
        let signature = pair
            .private_key()
            .calculate_signature(&kem.public_key.serialize(), &mut rng)
            .unwrap();
        let record = KyberPreKeyRecord::new(1.into(), time, &kem, &signature);
        now(store.save_kyber_pre_key(1.into(), &record)).unwrap();
        let consumer = ProtocolAddress::new("subject".into(), DeviceId::try_from(1u32).unwrap());
        Self {
            store,
            rng,
            consumer,
        }
    }

    /// Statements that the relay can hand out, each with another one-time prekey.
    pub fn bundles(&self) -> Vec<FetchBusinessBundleResponse> {
        (1..=5).map(|id| self.bundle(id)).collect()
    }

    fn bundle(&self, one_time: u32) -> FetchBusinessBundleResponse {
        let store = &self.store;
        let signed = now(store.get_signed_pre_key(1.into())).unwrap();
        let kem = now(store.get_kyber_pre_key(1.into())).unwrap();
        let once = now(store.get_pre_key(one_time.into())).unwrap();
        let pair = now(store.get_identity_key_pair()).unwrap();
        let statement = BundleStatement {
            domain: "sealpost/prekey-bundle/v1".into(),
            requester: CONSUMER.into(),
            peer: NUMBER.into(),
            identity_key: pair.identity_key().serialize().into_vec().into(),
            devices: vec![DeviceBundle {
                device_id: 1,
                registration_id: 77,
                signed_prekey: Some(SignedPrekey {
                    id: 1,
                    public_key: signed.public_key().unwrap().serialize().into_vec().into(),
                    signature: signed.signature().unwrap().into(),
                }),
                one_time_prekey: Some(OneTimePrekey {
                    id: one_time,
                    public_key: once.public_key().unwrap().serialize().into_vec().into(),
                }),
                kem_prekey: Some(KemPrekey {
                    id: 1,
                    public_key: kem.public_key().unwrap().serialize().into_vec().into(),
                    signature: kem.signature().unwrap().into(),
                }),
            }],
            issued_at_ms: 1_700_000_000_000,
            expires_at_ms: 1_700_000_000_000 + 24 * 3600 * 1000,
        };
        FetchBusinessBundleResponse {
            bundle: Some(SignedBundle {
                statement: statement.encode_to_vec().into(),
                signature: vec![0; 64].into(),
            }),
            phone_number_id: NUMBER.into(),
            display_name: "Corner Shop".into(),
        }
    }

    pub fn read(&mut self, message: &DeviceMessage) -> Frame {
        let ciphertext = match message.r#type {
            2 => CiphertextMessage::SignalMessage(
                SignalMessage::try_from(&*message.ciphertext).unwrap(),
            ),
            3 => CiphertextMessage::PreKeySignalMessage(
                PreKeySignalMessage::try_from(&*message.ciphertext).unwrap(),
            ),
            other => panic!("type {other}"),
        };
        let store = &mut self.store;
        let plain = now(message_decrypt(
            &ciphertext,
            &self.consumer,
            &mut store.session_store,
            &mut store.identity_store,
            &mut store.pre_key_store,
            &store.signed_pre_key_store,
            &mut store.kyber_pre_key_store,
            &mut self.rng,
        ))
        .unwrap();
        let frame = Frame::decode(&plain).unwrap();
        assert_eq!((&*frame.from, &*frame.to), (CONSUMER, NUMBER));
        frame
    }

    pub fn read_content(&mut self, message: &DeviceMessage) -> Content {
        let frame = self.read(message);
        Content::decode(padding::unpad(&frame.padded).unwrap()).unwrap()
    }

    pub fn read_text(&mut self, message: &DeviceMessage) -> String {
        match self.read_content(message).body {
            Some(Body::Text(text)) => text.body,
            other => panic!("{other:?}"),
        }
    }

    /// A session from the device's public keys: its first one-time prekeys.
    pub fn start(&mut self, upload: &PrekeyUpload) {
        let signed = upload.signed_prekey.as_ref().unwrap();
        let once = &upload.one_time_prekeys[0];
        let kem = upload
            .kem_prekeys
            .first()
            .or(upload.last_resort_kem_prekey.as_ref())
            .unwrap();
        let bundle = PreKeyBundle::new(
            upload.registration_id,
            DeviceId::try_from(1u32).unwrap(),
            Some((
                once.id.into(),
                PublicKey::deserialize(&once.public_key).unwrap(),
            )),
            signed.id.into(),
            PublicKey::deserialize(&signed.public_key).unwrap(),
            signed.signature.to_vec(),
            kem.id.into(),
            kem::PublicKey::deserialize(&kem.public_key).unwrap(),
            kem.signature.to_vec(),
            IdentityKey::decode(&upload.identity_key).unwrap(),
        )
        .unwrap();
        now(process_prekey_bundle(
            &self.consumer,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            &bundle,
            time(),
            &mut self.rng,
        ))
        .unwrap();
    }

    pub fn write_text(&mut self, id: u8, text: &str) -> DeviceEnvelope {
        self.write(id, &content::text(text))
    }

    pub fn write(&mut self, id: u8, content: &Content) -> DeviceEnvelope {
        let padded = padding::pad(&content.encode_to_vec()).unwrap();
        self.write_frame(&Frame {
            message_id: MessageId([id; 16]),
            from: NUMBER.into(),
            to: CONSUMER.into(),
            time: Timestamp::from_millis(1_700_000_000_000),
            category: Category::Utility,
            padded,
        })
    }

    pub fn write_frame(&mut self, frame: &Frame) -> DeviceEnvelope {
        let message = now(message_encrypt(
            &frame.encode().unwrap(),
            &self.consumer,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            time(),
            &mut self.rng,
        ))
        .unwrap();
        DeviceEnvelope {
            queue_id: 0,
            phone_number_id: NUMBER.into(),
            message_id: frame.message_id.0.to_vec().into(),
            attempt: 0,
            r#type: message.message_type() as i32,
            ciphertext: message.serialize().to_vec().into(),
            received_at_ms: 0,
            category: frame.category as u32,
        }
    }
}

fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_000)
}

fn now<T>(step: impl Future<Output = T>) -> T {
    step.now_or_never().unwrap()
}

/// The business's phone number, for readers of failures.
pub const PHONE: &str = BUSINESS;
