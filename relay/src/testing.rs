//! What this crate's tests share: well-formed requests, and a relay over a real database of its own.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use sealpost_database::{
    Kind,
    testing::{TestDatabase, kinds},
};
use sealpost_proto::{
    relay::v1 as wire,
    signal::v1::{
        CiphertextType, DeviceAddress, DeviceCiphertext, KemPrekey, OneTimePrekey, PrekeyUpload,
        SignedPrekey,
    },
};
use sealpost_runtime::{Clock, Timestamp};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Request;
use wire::{device_service_server::DeviceService, platform_service_server::PlatformService};

use crate::{
    BundleKey, CodeSender, CodeSenderError, Datastore, DeviceFace, LimitsConfig, PlatformFace,
    Relay, ids::DeviceIdentity, wakes,
};

pub(crate) const NUMBER: &str = "106540352242922";
pub(crate) const PEER: &str = "4915112345678";

/// Keys of the right shape: `seed` fills the identity key and is the registration id.
pub(crate) fn upload(seed: u8, one_time: u32, kem: u32) -> PrekeyUpload {
    PrekeyUpload {
        identity_key: key(33, 5, seed),
        registration_id: seed.into(),
        signed_prekey: Some(SignedPrekey {
            id: 1,
            public_key: key(33, 5, seed),
            signature: vec![seed; 64].into(),
        }),
        one_time_prekeys: (1..=one_time).map(|id| one_time_prekey(id, seed)).collect(),
        kem_prekeys: (2..2 + kem).map(|id| kem_prekey(id, seed)).collect(),
        last_resort_kem_prekey: Some(kem_prekey(1, seed)),
    }
}

fn one_time_prekey(id: u32, seed: u8) -> OneTimePrekey {
    OneTimePrekey {
        id,
        public_key: key(33, 5, seed),
    }
}

fn kem_prekey(id: u32, seed: u8) -> KemPrekey {
    KemPrekey {
        id,
        public_key: key(1569, 8, seed),
        signature: vec![seed; 64].into(),
    }
}

fn key(length: usize, kind: u8, seed: u8) -> bytes::Bytes {
    let mut key = vec![seed; length];
    key[0] = kind;
    key.into()
}

/// A message from [`NUMBER`] to `peer`, whose devices are `(device id, registration id)`.
pub(crate) fn submit_item(
    peer: &str,
    message_id: [u8; 16],
    devices: &[(u32, u32)],
    now: i64,
) -> wire::SubmitItem {
    let ciphertext = |&(device_id, registration_id): &(u32, u32)| DeviceCiphertext {
        device: Some(DeviceAddress {
            device_id,
            registration_id,
        }),
        r#type: CiphertextType::Message as i32,
        ciphertext: message_id.to_vec().into(),
    };
    wire::SubmitItem {
        phone_number_id: NUMBER.into(),
        peer: peer.into(),
        message_id: message_id.to_vec().into(),
        attempt: 0,
        category: 2,
        ciphertexts: devices.iter().map(ciphertext).collect(),
        expires_at_ms: u64::try_from(now).unwrap() + 3_600_000,
        one_device: false,
    }
}

/// Keeps the last code.
#[derive(Default)]
pub(crate) struct LastCode(pub(crate) Mutex<Option<String>>);

#[tonic::async_trait]
impl CodeSender for LastCode {
    async fn send(&self, _: &str, code: &str, _: u64) -> Result<(), CodeSenderError> {
        *self.0.lock().unwrap() = Some(code.to_owned());
        Ok(())
    }
}

fn manual_clock() -> Clock {
    Clock::manual(Timestamp::from_secs(1_800_000_000))
}

/// Both faces of one relay.
pub(crate) struct Fixture {
    pub(crate) relay: Arc<Relay>,
    pub(crate) device: DeviceFace,
    pub(crate) platform: PlatformFace,
    pub(crate) clock: Clock,
    pub(crate) public_key: [u8; 32],
    codes: Arc<LastCode>,
    _stop: DropGuard,
    _place: Arc<TestDatabase>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with_limits(LimitsConfig::default()).await
    }

    pub(crate) async fn with_limits(limits: LimitsConfig) -> Self {
        let place = Arc::new(TestDatabase::chosen().await);
        Self::over(place, limits, manual_clock()).await
    }

    /// Over this database.
    pub(crate) async fn at(place: TestDatabase) -> Self {
        Self::over(Arc::new(place), LimitsConfig::default(), manual_clock()).await
    }

    /// Two relays over one database of a server, with one clock; none when the environment leaves servers out.
    pub(crate) async fn two() -> Option<(Self, Self)> {
        if !kinds().contains(&Kind::Postgres) {
            return None;
        }
        let place = Arc::new(TestDatabase::postgres().await);
        let clock = manual_clock();
        let limits = LimitsConfig::default();
        Some((
            Self::over(place.clone(), limits.clone(), clock.clone()).await,
            Self::over(place, limits, clock).await,
        ))
    }

    async fn over(place: Arc<TestDatabase>, limits: LimitsConfig, clock: Clock) -> Self {
        let datastore = Datastore::open(place.config()).await.unwrap();
        let key = BundleKey::init(&place.folder().join("bundle.key")).unwrap();
        let public_key = key.public_key();
        let codes = Arc::new(LastCode::default());
        let relay = Relay::new(datastore, clock.clone(), key, codes.clone(), limits);
        let relay = Arc::new(relay);
        let stop = CancellationToken::new();
        wakes::start(&relay, &stop).await.unwrap();
        Self {
            device: DeviceFace::new(relay.clone()),
            platform: PlatformFace::new(relay.clone()),
            relay,
            clock,
            public_key,
            codes,
            _stop: stop.drop_guard(),
            _place: place,
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap()
    }

    /// [`NUMBER`], with that many prekeys of each kind.
    pub(crate) async fn number(&self, one_time: u32, kem: u32) {
        let request = wire::RegisterNumberRequest {
            phone_number_id: NUMBER.into(),
            phone_number: "4930123456".into(),
            display_name: "Bakery".into(),
            upload: Some(upload(99, one_time, kem)),
            retention_seconds: 0,
        };
        self.platform
            .register_number(Request::new(request))
            .await
            .unwrap();
    }

    pub(crate) async fn code(&self, phone_number: &str) -> String {
        let request = wire::RequestCodeRequest {
            phone_number: phone_number.into(),
        };
        self.device
            .request_code(Request::new(request))
            .await
            .unwrap();
        self.codes.0.lock().unwrap().take().unwrap()
    }

    /// Registers a device through a code; `seed` is its registration id.
    pub(crate) async fn register(
        &self,
        phone_number: &str,
        seed: u8,
        prekeys: u32,
    ) -> DeviceIdentity {
        let answer = self.try_register(phone_number, seed, prekeys).await;
        self.relay.authenticate(&answer.device_token).await.unwrap()
    }

    pub(crate) async fn register_for_token(&self, phone_number: &str, seed: u8) -> String {
        self.try_register(phone_number, seed, 1).await.device_token
    }

    async fn try_register(
        &self,
        phone_number: &str,
        seed: u8,
        prekeys: u32,
    ) -> wire::RegisterResponse {
        let request = wire::RegisterRequest {
            phone_number: phone_number.into(),
            code: self.code(phone_number).await,
            upload: Some(upload(seed, prekeys, prekeys)),
        };
        self.device
            .register(Request::new(request))
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn submit(&self, items: Vec<wire::SubmitItem>) -> Vec<wire::SubmitOutcome> {
        let request = wire::SubmitRequest { batch_id: 7, items };
        let answer = self.relay.submit(request).await.unwrap();
        assert_eq!(answer.batch_id, 7);
        answer.outcomes().collect()
    }
}

/// A request of an authenticated device.
pub(crate) fn of<T>(device: &DeviceIdentity, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(device.clone());
    request
}
