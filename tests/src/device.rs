//! A consumer's device at the wire: keys made with libsignal, calls by hand, the token in the open. For tests that do what the
//! reference client never would.

use std::time::Duration;

use anyhow::Context;
use libsignal_protocol::{IdentityKeyPair, KeyPair, kem};
use rand::rngs::OsRng;
use rand::{CryptoRng, Rng, TryRngCore};
use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
use sealpost_proto::relay::v1::{RegisterRequest, RequestCodeRequest};
use sealpost_proto::signal::v1::{
    DeviceBundle, KemPrekey, OneTimePrekey, PrekeyUpload, SignedPrekey,
};
use sealpost_runtime::tls::connect_public;
use serde::Deserialize;
use tonic::transport::Channel;

use crate::Suite;

/// A registered device.
pub struct Device {
    /// E.164 digits.
    pub phone: String,
    /// Its device id.
    pub id: u32,
    /// Its token.
    pub token: String,
    /// A channel to the relay's device face.
    pub channel: Channel,
}

#[derive(Deserialize)]
struct SentCode {
    phone_number: String,
    code: String,
}

impl Suite {
    /// A channel to the relay's device face.
    ///
    /// # Errors
    /// When its address or authority does not read.
    pub fn relay_devices(&self) -> anyhow::Result<Channel> {
        self.public_face(self.facts().public("relay")?)
    }

    /// A channel to the gateway's public face.
    ///
    /// # Errors
    /// When its address or authority does not read.
    pub fn gateway_public(&self) -> anyhow::Result<Channel> {
        self.public_face(self.facts().public("gateway")?)
    }

    fn public_face(&self, address: &str) -> anyhow::Result<Channel> {
        let address = address
            .parse()
            .map_err(|reason| anyhow::anyhow!("{address}: {reason}"))?;
        Ok(connect_public(&address, &self.facts().tls.ca)?)
    }

    /// Registers a device under `phone`, which replaces earlier ones.
    ///
    /// # Errors
    /// When the relay refuses, or sends no code.
    pub async fn register(&self, phone: &str) -> anyhow::Result<Device> {
        let channel = self.relay_devices()?;
        let mut relay = DeviceServiceClient::new(channel.clone());
        let before = self.codes_for(phone).len();
        relay
            .request_code(RequestCodeRequest {
                phone_number: phone.to_owned(),
            })
            .await?;
        let mut code = None;
        for _ in 0..500 {
            code = self.codes_for(phone).into_iter().nth(before);
            if code.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let code = code.context("the relay sent no code")?;
        let upload = Some(device_keys());
        let request = RegisterRequest {
            phone_number: phone.to_owned(),
            code,
            upload,
        };
        let registered = relay.register(request).await?.into_inner();
        Ok(Device {
            phone: phone.to_owned(),
            id: registered.device_id,
            token: registered.device_token,
            channel,
        })
    }

    /// Codes that were sent to `phone`, oldest first.
    #[must_use]
    pub fn codes_for(&self, phone: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.facts().relay.codes_file).unwrap_or_default();
        let sent = text
            .lines()
            .filter_map(|line| serde_json::from_str::<SentCode>(line).ok());
        sent.filter(|sent| sent.phone_number == phone)
            .map(|sent| sent.code)
            .collect()
    }
}

/// Public keys of a new device; nobody keeps the private halves.
#[must_use]
pub fn device_keys() -> PrekeyUpload {
    let mut rng = OsRng.unwrap_err();
    let pair = IdentityKeyPair::generate(&mut rng);
    PrekeyUpload {
        identity_key: pair.identity_key().serialize().into_vec().into(),
        registration_id: rng.random_range(1..=0x3FFF),
        signed_prekey: Some(signed_prekey(&pair, &mut rng)),
        one_time_prekeys: (1..=10).map(|id| one_time_prekey(id, &mut rng)).collect(),
        kem_prekeys: (1..=2).map(|id| kem_prekey(id, &pair, &mut rng)).collect(),
        last_resort_kem_prekey: Some(kem_prekey(3, &pair, &mut rng)),
    }
}

/// A device of an attacker, as it would stand in a bundle.
#[must_use]
pub fn device_bundle(device_id: u32) -> DeviceBundle {
    let keys = device_keys();
    DeviceBundle {
        device_id,
        registration_id: keys.registration_id,
        signed_prekey: keys.signed_prekey,
        one_time_prekey: keys.one_time_prekeys.into_iter().next(),
        kem_prekey: keys.last_resort_kem_prekey,
    }
}

fn signed_prekey(pair: &IdentityKeyPair, rng: &mut (impl Rng + CryptoRng)) -> SignedPrekey {
    let public_key = KeyPair::generate(rng).public_key.serialize();
    SignedPrekey {
        id: 1,
        signature: sign(pair, &public_key, rng),
        public_key: public_key.into_vec().into(),
    }
}

fn one_time_prekey(id: u32, rng: &mut (impl Rng + CryptoRng)) -> OneTimePrekey {
    OneTimePrekey {
        id,
        public_key: KeyPair::generate(rng)
            .public_key
            .serialize()
            .into_vec()
            .into(),
    }
}

fn kem_prekey(id: u32, pair: &IdentityKeyPair, rng: &mut (impl Rng + CryptoRng)) -> KemPrekey {
    let public_key = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng)
        .public_key
        .serialize();
    KemPrekey {
        id,
        signature: sign(pair, &public_key, rng),
        public_key: public_key.into_vec().into(),
    }
}

fn sign(pair: &IdentityKeyPair, message: &[u8], rng: &mut (impl Rng + CryptoRng)) -> bytes::Bytes {
    // A fresh private key signs any message.
    let signature = pair.private_key().calculate_signature(message, rng);
    signature
        .map(|signature| signature.to_vec().into())
        .unwrap_or_default()
}
