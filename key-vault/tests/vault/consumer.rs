//! A consumer's device: libsignal as it comes, and the frame written once more from its description.

use std::time::{Duration, SystemTime};

use libsignal_protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, GenericSignedPreKey, IdentityKey,
    IdentityKeyPair, IdentityKeyStore, InMemSignalProtocolStore, KeyPair, KyberPreKeyRecord,
    KyberPreKeyStore, PreKeyBundle, PreKeyRecord, PreKeySignalMessage, PreKeyStore,
    ProtocolAddress, PublicKey, SignalMessage, SignedPreKeyRecord, SignedPreKeyStore,
    Timestamp as SignalTime, kem, message_decrypt, message_encrypt, process_prekey_bundle,
};
use prost::Message;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_envelope::{PaddedContent, SigningKey, pad, unpad};
use sealpost_proto::{
    signal::v1::{
        BundleStatement, CiphertextType, DeviceBundle, DeviceCiphertext, KemPrekey, OneTimePrekey,
        PrekeyUpload, SignedBundle, SignedPrekey,
    },
    vault::v1::DecryptItem,
};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

pub const PHONE: &str = "15551234567";

pub struct Consumer {
    pub phone: &'static str,
    pub device: u8,
    pub registration_id: u32,
    pub identity: IdentityKeyPair,
    number: String,
    store: InMemSignalProtocolStore,
    next_prekey: u32,
    /// What the relay says of it, put beside what may begin a session.
    pub voucher: Option<SignedBundle>,
}

/// A frame taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub message_id: [u8; 16],
    pub from: String,
    pub to: String,
    pub time_ms: u64,
    pub category: u8,
    pub text: String,
}

impl Consumer {
    pub fn new(phone: &'static str, number: &str) -> Self {
        Self::device(
            phone,
            number,
            1,
            77,
            IdentityKeyPair::generate(&mut OsRng.unwrap_err()),
        )
    }

    pub fn device(
        phone: &'static str,
        number: &str,
        device: u8,
        registration_id: u32,
        identity: IdentityKeyPair,
    ) -> Self {
        let store = InMemSignalProtocolStore::new(identity, registration_id).unwrap();
        Self {
            phone,
            device,
            registration_id,
            identity,
            number: number.to_owned(),
            store,
            next_prekey: 1,
            voucher: None,
        }
    }

    fn business(&self) -> ProtocolAddress {
        ProtocolAddress::new(self.number.clone(), DeviceId::new(1).unwrap())
    }

    /// Makes new prekeys and answers them as the relay would hand them out.
    pub async fn offer(&mut self, now: Timestamp) -> DeviceBundle {
        let rng = &mut OsRng.unwrap_err();
        let id = self.next_prekey;
        self.next_prekey += 1;
        let private = *self.identity.private_key();
        let time = SignalTime::from_epoch_millis(now.as_millis());
        let signed = KeyPair::generate(rng);
        let signature = private
            .calculate_signature(&signed.public_key.serialize(), rng)
            .unwrap();
        let record = SignedPreKeyRecord::new(id.into(), time, &signed, &signature);
        self.store
            .save_signed_pre_key(id.into(), &record)
            .await
            .unwrap();
        let one_time = KeyPair::generate(rng);
        self.store
            .save_pre_key(id.into(), &PreKeyRecord::new(id.into(), &one_time))
            .await
            .unwrap();
        let kyber = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
        let kyber_signature = private
            .calculate_signature(&kyber.public_key.serialize(), rng)
            .unwrap();
        let record = KyberPreKeyRecord::new(id.into(), time, &kyber, &kyber_signature);
        self.store
            .save_kyber_pre_key(id.into(), &record)
            .await
            .unwrap();
        DeviceBundle {
            signed_prekey: Some(SignedPrekey {
                id,
                public_key: signed.public_key.serialize().to_vec().into(),
                signature: signature.to_vec().into(),
            }),
            one_time_prekey: Some(OneTimePrekey {
                id,
                public_key: one_time.public_key.serialize().to_vec().into(),
            }),
            kem_prekey: Some(KemPrekey {
                id,
                public_key: kyber.public_key.serialize().to_vec().into(),
                signature: kyber_signature.to_vec().into(),
            }),
            ..self.listed()
        }
    }

    /// The device without prekeys.
    pub fn listed(&self) -> DeviceBundle {
        DeviceBundle {
            device_id: self.device.into(),
            registration_id: self.registration_id,
            ..DeviceBundle::default()
        }
    }

    /// A statement about these devices of this consumer.
    pub fn statement(&self, devices: Vec<DeviceBundle>, now: Timestamp) -> BundleStatement {
        BundleStatement {
            domain: "sealpost/prekey-bundle/v1".to_owned(),
            requester: self.number.clone(),
            peer: self.phone.to_owned(),
            identity_key: self.identity.public_key().serialize().to_vec().into(),
            devices,
            issued_at_ms: now.as_millis(),
            expires_at_ms: now.as_millis() + 3_600_000,
        }
    }

    /// A relay's bundle with fresh prekeys of this one device.
    pub async fn bundle(&mut self, relay: &SigningKey, now: Timestamp) -> SignedBundle {
        let offer = self.offer(now).await;
        sign(relay, &self.statement(vec![offer], now))
    }

    /// Begins a session from the number's upload. The relay vouches for this device alone.
    pub async fn begin(
        &mut self,
        relay: &SigningKey,
        upload: &PrekeyUpload,
        with_one_time: Option<usize>,
        now: Timestamp,
    ) {
        self.voucher = Some(sign(relay, &self.statement(vec![self.listed()], now)));
        let signed = upload.signed_prekey.as_ref().unwrap();
        let one_time = with_one_time.map(|at| &upload.one_time_prekeys[at]);
        let last_resort = || upload.last_resort_kem_prekey.as_ref().unwrap();
        let kem = with_one_time.map_or_else(last_resort, |at| &upload.kem_prekeys[at]);
        let bundle = PreKeyBundle::new(
            upload.registration_id,
            DeviceId::new(1).unwrap(),
            one_time.map(|prekey| {
                (
                    prekey.id.into(),
                    PublicKey::deserialize(&prekey.public_key).unwrap(),
                )
            }),
            signed.id.into(),
            PublicKey::deserialize(&signed.public_key).unwrap(),
            signed.signature.to_vec(),
            kem.id.into(),
            kem::PublicKey::deserialize(&kem.public_key).unwrap(),
            kem.signature.to_vec(),
            IdentityKey::decode(&upload.identity_key).unwrap(),
        )
        .unwrap();
        let address = self.business();
        let InMemSignalProtocolStore {
            session_store,
            identity_store,
            ..
        } = &mut self.store;
        process_prekey_bundle(
            &address,
            session_store,
            identity_store,
            &bundle,
            time(now),
            &mut OsRng.unwrap_err(),
        )
        .await
        .unwrap();
    }

    /// A text to the number.
    pub async fn send(&mut self, id: u8, text: &str, now: Timestamp) -> DecryptItem {
        let frame = frame(id, self.phone, &self.number, now, text);
        self.send_raw(&frame, now).await
    }

    pub async fn send_raw(&mut self, plaintext: &[u8], now: Timestamp) -> DecryptItem {
        let address = self.business();
        let InMemSignalProtocolStore {
            session_store,
            identity_store,
            ..
        } = &mut self.store;
        let rng = &mut OsRng.unwrap_err();
        let message = message_encrypt(
            plaintext,
            &address,
            session_store,
            identity_store,
            time(now),
            rng,
        )
        .await
        .unwrap();
        let kind = match message.message_type() {
            CiphertextMessageType::PreKey => CiphertextType::PrekeyMessage,
            _ => CiphertextType::Message,
        };
        DecryptItem {
            phone_number_id: self.number.clone(),
            peer: self.phone.to_owned(),
            device_id: self.device.into(),
            r#type: kind.into(),
            ciphertext: message.serialize().to_vec().into(),
            bundle: self
                .voucher
                .clone()
                .filter(|_| kind == CiphertextType::PrekeyMessage),
        }
    }

    /// Decrypts a ciphertext that must be for this device.
    pub async fn receive(&mut self, ciphertext: &DeviceCiphertext) -> Frame {
        let device = ciphertext.device.unwrap();
        assert_eq!(
            (device.device_id, device.registration_id),
            (self.device.into(), self.registration_id)
        );
        self.try_receive(ciphertext).await.unwrap()
    }

    pub async fn try_receive(&mut self, ciphertext: &DeviceCiphertext) -> Option<Frame> {
        let bytes = &ciphertext.ciphertext[..];
        let message = match CiphertextType::try_from(ciphertext.r#type).unwrap() {
            CiphertextType::PrekeyMessage => CiphertextMessage::PreKeySignalMessage(
                PreKeySignalMessage::try_from(bytes).unwrap(),
            ),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes).unwrap()),
        };
        let address = self.business();
        let InMemSignalProtocolStore {
            session_store,
            identity_store,
            pre_key_store,
            signed_pre_key_store,
            kyber_pre_key_store,
            ..
        } = &mut self.store;
        let plaintext = message_decrypt(
            &message,
            &address,
            session_store,
            identity_store,
            pre_key_store,
            signed_pre_key_store,
            kyber_pre_key_store,
            &mut OsRng.unwrap_err(),
        )
        .await
        .ok()?;
        Some(Frame::parse(&plaintext))
    }

    /// The number's identity key, as pinned here.
    pub async fn pinned(&self) -> Option<Vec<u8>> {
        let address = self.business();
        let identity = self
            .store
            .identity_store
            .get_identity(&address)
            .await
            .unwrap();
        identity.map(|key| key.serialize().to_vec())
    }
}

impl Frame {
    fn parse(bytes: &[u8]) -> Self {
        assert_eq!(bytes[0], 1);
        let message_id = bytes[1..17].try_into().unwrap();
        let text = |at: usize| {
            let len = usize::from(bytes[at]);
            (
                String::from_utf8(bytes[at + 1..at + 1 + len].to_vec()).unwrap(),
                at + 1 + len,
            )
        };
        let (from, at) = text(17);
        let (to, at) = text(at);
        let time_ms = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let category = bytes[at + 8];
        let len = u32::from_be_bytes(bytes[at + 9..at + 13].try_into().unwrap());
        let padded = &bytes[at + 13..];
        assert_eq!(padded.len(), usize::try_from(len).unwrap());
        let padded = PaddedContent::from_bytes(Zeroizing::new(padded.to_vec())).unwrap();
        let text = String::from_utf8(unpad(&padded).unwrap().as_bytes().to_vec()).unwrap();
        Self {
            message_id,
            from,
            to,
            time_ms,
            category,
            text,
        }
    }
}

/// A frame's bytes.
pub fn frame(id: u8, from: &str, to: &str, now: Timestamp, text: &str) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&[id; 16]);
    for end in [from, to] {
        out.push(u8::try_from(end.len()).unwrap());
        out.extend_from_slice(end.as_bytes());
    }
    out.extend_from_slice(&now.as_millis().to_be_bytes());
    out.push(1);
    let padded = pad(text.as_bytes()).unwrap();
    out.extend_from_slice(
        &u32::try_from(padded.as_bytes().len())
            .unwrap()
            .to_be_bytes(),
    );
    out.extend_from_slice(padded.as_bytes());
    out
}

pub fn sign(relay: &SigningKey, statement: &BundleStatement) -> SignedBundle {
    let statement = statement.encode_to_vec();
    let signature = relay.sign(&statement).to_vec().into();
    SignedBundle {
        statement: statement.into(),
        signature,
    }
}

fn time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.as_millis())
}
