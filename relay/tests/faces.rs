//! Both faces over real TLS connections: who gets in, and what a slow reader does.

#![allow(clippy::unwrap_used)]

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use sealpost_proto::{
    relay::v1::{
        self as wire, device_service_client::DeviceServiceClient,
        platform_service_client::PlatformServiceClient,
    },
    signal::v1::{DeviceAddress, DeviceCiphertext, KemPrekey, PrekeyUpload, SignedPrekey},
};
use sealpost_relay::{BoundRelay, BundleKey, Config};
use sealpost_runtime::{
    Role,
    config::{PeerConfig, TlsConfig},
    status::reason_of,
    tls::{ServiceTls, connect, connect_public},
};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, transport::Channel};

const NUMBER: &str = "106540352242922";
const PEER: &str = "4915112345678";

/// A relay with certificates, a database and a file of codes in a folder of its own.
struct Running {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    platform: SocketAddr,
    device: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(
            folder.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        let issuer = Issuer::new(params, key);
        write_leaf(folder.path(), &issuer, "relay");
        BundleKey::init(&folder.path().join("bundle.key")).unwrap();
        let (platform, device, shutdown, served) = serve(folder.path()).await;
        Self {
            folder,
            issuer,
            platform,
            device,
            shutdown,
            served,
        }
    }

    /// Stops as a signal does, and starts again over the same files.
    async fn restart(self) -> Self {
        self.shutdown.cancel();
        self.served.await.unwrap().unwrap();
        let (platform, device, shutdown, served) = serve(self.folder.path()).await;
        Self {
            platform,
            device,
            shutdown,
            served,
            ..self
        }
    }

    fn as_role(&self, role: &str) -> PlatformServiceClient<Channel> {
        let tls = write_leaf(self.folder.path(), &self.issuer, role);
        let peer = PeerConfig {
            address: self.platform.into(),
            role: Role::Relay,
            name: None,
        };
        PlatformServiceClient::new(connect(&peer, &ServiceTls::load(&tls).unwrap()).unwrap())
    }

    fn public(&self) -> Channel {
        connect_public(&self.device.into(), &self.folder.path().join("ca.pem")).unwrap()
    }

    /// Registers the number and a device; the device's token.
    async fn furnish(&self) -> String {
        let request = wire::RegisterNumberRequest {
            phone_number_id: NUMBER.into(),
            phone_number: "4930123456".into(),
            display_name: "Bakery".into(),
            upload: Some(upload(9)),
            retention_seconds: 0,
        };
        self.as_role("operator")
            .register_number(request)
            .await
            .unwrap();

        let mut device = DeviceServiceClient::new(self.public());
        let ask = wire::RequestCodeRequest {
            phone_number: PEER.into(),
        };
        device.request_code(ask).await.unwrap();
        let codes = fs::read_to_string(self.folder.path().join("codes")).unwrap();
        let (_, rest) = codes
            .lines()
            .last()
            .unwrap()
            .split_once("\"code\":\"")
            .unwrap();
        let request = wire::RegisterRequest {
            phone_number: PEER.into(),
            code: rest[..6].into(),
            upload: Some(upload(7)),
        };
        device
            .register(request)
            .await
            .unwrap()
            .into_inner()
            .device_token
    }

    async fn receive(
        &self,
        token: &str,
    ) -> (
        mpsc::Sender<wire::ReceiveRequest>,
        tonic::Streaming<wire::ReceiveResponse>,
    ) {
        let (said, hears) = mpsc::channel(8);
        let request = with_token(token, ReceiverStream::new(hears));
        let mut device = DeviceServiceClient::new(self.public());
        let stream = device.receive(request).await.unwrap().into_inner();
        (said, stream)
    }

    async fn submit(&self, items: Vec<wire::SubmitItem>) -> Vec<wire::SubmitOutcome> {
        let batch = wire::SubmitRequest { batch_id: 1, items };
        let mut gateway = self.as_role("gateway");
        let mut answers = gateway
            .submit(tokio_stream::once(batch))
            .await
            .unwrap()
            .into_inner();
        answers
            .message()
            .await
            .unwrap()
            .unwrap()
            .outcomes()
            .collect()
    }
}

async fn serve(
    folder: &Path,
) -> (
    SocketAddr,
    SocketAddr,
    CancellationToken,
    JoinHandle<anyhow::Result<()>>,
) {
    let folder = folder.display();
    let text = format!(
        "development = true
        database = 'sqlite://{folder}/relay.db'
        bundle_key = '{folder}/bundle.key'
        [server]
        listen = '127.0.0.1:0'
        [server.tls]
        certificate = '{folder}/relay.pem'
        private_key = '{folder}/relay.key'
        ca = '{folder}/ca.pem'
        [public]
        listen = '127.0.0.1:0'
        [public.tls]
        certificate = '{folder}/relay.pem'
        private_key = '{folder}/relay.key'
        [codes]
        file = '{folder}/codes'"
    );
    let config: Config = toml::from_str(&text).unwrap();
    let relay = BoundRelay::bind(config).await.unwrap();
    let (platform, device) = (relay.platform_address(), relay.device_address());
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(relay.serve(shutdown.clone()));
    (platform, device, shutdown, served)
}

/// A certificate of `role`, for both sides of a connection to this machine.
fn write_leaf(folder: &Path, issuer: &Issuer<'static, KeyPair>, role: &str) -> TlsConfig {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let uri = format!("spiffe://sealpost.test/{role}");
    params
        .subject_alt_names
        .push(SanType::URI(uri.try_into().unwrap()));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let config = TlsConfig {
        certificate: folder.join(format!("{role}.pem")),
        private_key: folder.join(format!("{role}.key")),
        ca: folder.join("ca.pem"),
        crl: None,
    };
    fs::write(
        &config.certificate,
        params.signed_by(&key, issuer).unwrap().pem(),
    )
    .unwrap();
    fs::write(&config.private_key, key.serialize_pem()).unwrap();
    config
}

fn upload(seed: u8) -> PrekeyUpload {
    let key = |length: usize, kind: u8| {
        let mut key = vec![seed; length];
        key[0] = kind;
        Bytes::from(key)
    };
    PrekeyUpload {
        identity_key: key(33, 5),
        registration_id: seed.into(),
        signed_prekey: Some(SignedPrekey {
            id: 1,
            public_key: key(33, 5),
            signature: vec![1; 64].into(),
        }),
        last_resort_kem_prekey: Some(KemPrekey {
            id: 1,
            public_key: key(1569, 8),
            signature: vec![1; 64].into(),
        }),
        ..Default::default()
    }
}

fn item(message_id: u8, length: usize) -> wire::SubmitItem {
    wire::SubmitItem {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        message_id: vec![message_id; 16].into(),
        category: 1,
        ciphertexts: vec![DeviceCiphertext {
            device: Some(DeviceAddress {
                device_id: 1,
                registration_id: 7,
            }),
            r#type: 2,
            ciphertext: vec![message_id; length].into(),
        }],
        expires_at_ms: u64::MAX,
        ..Default::default()
    }
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_role_that_the_table_does_not_list_is_refused() {
    let relay = Running::start().await;
    relay.furnish().await;
    let request = || wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
        without_prekeys: false,
    };
    for role in ["store", "operator", "retention"] {
        let status = relay
            .as_role(role)
            .fetch_bundle(request())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{role}");
        assert_eq!(
            reason_of(&status).as_deref(),
            Some("ROLE_NOT_ALLOWED"),
            "{role}"
        );
    }
    relay
        .as_role("gateway")
        .fetch_bundle(request())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_device_face_wants_a_token_and_offers_nothing_of_the_platform() {
    let relay = Running::start().await;
    let token = relay.furnish().await;
    let mut device = DeviceServiceClient::new(relay.public());
    let count = wire::GetPrekeyCountRequest {};
    let status = device.get_prekey_count(count).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&status).as_deref(), Some("DEVICE_UNKNOWN"));
    let status = device
        .get_prekey_count(with_token("sd_wrong", count))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    device
        .get_prekey_count(with_token(&token, count))
        .await
        .unwrap();

    let mut platform = PlatformServiceClient::new(relay.public());
    let erase = wire::ErasePeerRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        dry_run: false,
    };
    let status = platform.erase_peer(erase.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = platform
        .erase_peer(with_token(&token, erase))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_client_that_reads_late_gets_everything_in_order() {
    let relay = Running::start().await;
    let token = relay.furnish().await;
    // Twenty times half a MiB is far more than the windows of a connection hold.
    for batch in 0..4 {
        let items = (0..20)
            .map(|index| item(batch * 20 + index, 128 * 1024))
            .collect();
        let outcomes = relay.submit(items).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == wire::SubmitOutcome::Accepted)
        );
    }
    let (_said, mut stream) = relay.receive(&token).await;
    sleep(Duration::from_millis(500)).await;
    let mut got = Vec::new();
    while got.len() < 80 {
        let page = stream.message().await.unwrap().unwrap();
        got.extend(
            page.envelopes
                .into_iter()
                .map(|envelope| envelope.message_id[0]),
        );
    }
    assert_eq!(got, (0..80).collect::<Vec<u8>>());
}

#[tokio::test]
async fn what_was_accepted_outlives_the_process_and_what_was_acknowledged_does_not_come_back() {
    let relay = Running::start().await;
    let token = relay.furnish().await;
    relay.submit(vec![item(1, 10), item(2, 10)]).await;
    {
        let (said, mut stream) = relay.receive(&token).await;
        let first = stream.message().await.unwrap().unwrap().envelopes;
        let acknowledge = vec![first[0].queue_id];
        said.send(wire::ReceiveRequest {
            acknowledge,
            receipts: Vec::new(),
        })
        .await
        .unwrap();
        // The half-closed stream ends once the acknowledgement was handled.
        drop(said);
        while stream.message().await.unwrap().is_some() {}
    }
    let relay = relay.restart().await;
    let repeated = relay.submit(vec![item(1, 10), item(3, 10)]).await;
    assert_eq!(repeated, [wire::SubmitOutcome::Accepted; 2]);
    let (_said, mut stream) = relay.receive(&token).await;
    let mut got = Vec::new();
    while got.len() < 2 {
        let page = stream.message().await.unwrap().unwrap();
        got.extend(
            page.envelopes
                .into_iter()
                .map(|envelope| envelope.message_id[0]),
        );
    }
    assert_eq!(got, [2, 3]);
}
