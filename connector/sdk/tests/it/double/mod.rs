//! A gateway to test against: the real contract over real TLS, with a vault behind it that is played by `lib/envelope`, and
//! whatever misbehaviour a test asks for.

#![allow(clippy::unwrap_used, dead_code)]

mod service;
mod vault;

use std::{
    collections::{HashMap, VecDeque},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sealpost_proto::{
    FILE_DESCRIPTOR_SET,
    gateway::v1::{self as pb, SendError, gateway_service_server::GatewayServiceServer},
};
use sealpost_runtime::{
    Clock,
    config::{HostPort, PublicServerConfig, PublicTlsConfig},
    server::{Listener, Server, Services},
    tls::PublicTls,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use service::Service;
pub use vault::{Opened, Vault};

pub const TOKEN: &str = "a-token-of-the-business";
pub const NUMBER: &str = "106540352242922";
pub const PEER: &str = "15551234567";

/// A running gateway; stops with the value.
pub struct Gateway {
    pub address: HostPort,
    pub folder: TempDir,
    pub state: Arc<State>,
    stop: CancellationToken,
}

/// What it knows and how it behaves.
pub struct State {
    pub clock: Clock,
    inner: Mutex<Inner>,
    /// Grows when there is more to say to subscribers.
    pub fed: watch::Sender<u64>,
    /// Cancelling it breaks the open streams.
    breaker: Mutex<CancellationToken>,
}

#[derive(Default)]
pub struct Inner {
    pub vaults: HashMap<String, Vault>,
    /// What the vault opened and accepted, in order.
    pub accepted: Vec<Opened>,
    /// What the next items get instead of being looked at.
    pub refusals: VecDeque<(SendError, u32)>,
    /// What broken event streams end with, instead of UNAVAILABLE.
    pub farewell: Option<tonic::Status>,
    /// Break the stream after accepting that many more items, before answering.
    pub break_after: Option<usize>,
    /// What `GetVaultKey` answers instead of the vault's key.
    pub forged_key: Option<sealpost_proto::envelope::v1::PublishedVaultKey>,
    /// Everything for subscribers.
    pub feed: Vec<pb::SubscribeEventsResponse>,
    pub acknowledged: HashMap<String, u64>,
    /// Every acknowledgement as it came.
    pub acknowledgements: Vec<(String, u64)>,
    pub subscriptions: Vec<pb::OpenSubscription>,
    pub wraps_received: usize,
    pub send_streams: usize,
    pub key_fetches: usize,
}

impl State {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Queues a response for subscribers.
    pub fn feed(&self, response: pb::SubscribeEventsResponse) {
        self.lock().feed.push(response);
        self.fed.send_modify(|count| *count += 1);
    }

    /// Ends every open stream as a lost connection would.
    pub fn break_streams(&self) {
        std::mem::take(&mut *self.breaker.lock().unwrap()).cancel();
    }

    pub fn breaker(&self) -> CancellationToken {
        self.breaker.lock().unwrap().clone()
    }
}

impl Gateway {
    /// Starts on a free port with one number, whose vault trusts `business`'s public keys.
    pub async fn start(clock: Clock, business: &Seeds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = certificates(folder.path());
        let state = Arc::new(State {
            clock: clock.clone(),
            inner: Mutex::default(),
            fed: watch::Sender::new(0),
            breaker: Mutex::default(),
        });
        state
            .lock()
            .vaults
            .insert(NUMBER.to_owned(), Vault::new(NUMBER, business));
        let stop = CancellationToken::new();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = HostPort::from(listener.local_addr());
        let config = PublicServerConfig {
            listen: listener.local_addr(),
            tls: tls.clone(),
            max_connection_age_seconds: 3600,
            drain_seconds: 1,
            max_connections: 64,
        };
        let services = Services::new(FILE_DESCRIPTOR_SET)
            .unwrap()
            .add(GatewayServiceServer::new(Service::new(state.clone())));
        let tls = PublicTls::load(&tls).unwrap();
        let server = Server::public(listener, services, &config, tls);
        tokio::spawn(server.serve(stop.clone()));
        Self {
            address,
            folder,
            state,
            stop,
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn fingerprint(&self) -> String {
        let state = self.state.lock();
        let vault = &state.vaults[NUMBER];
        vault.signing.verifying_key().fingerprint().to_string()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        self.state.break_streams();
    }
}

/// The seeds of a business.
pub struct Seeds {
    pub hpke: [u8; 32],
    pub signing: [u8; 32],
    pub message_id: [u8; 32],
}

impl Seeds {
    pub const OURS: Self = Self {
        hpke: [0x11; 32],
        signing: [0x22; 32],
        message_id: [0x33; 32],
    };
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn certificates(folder: &Path) -> PublicTlsConfig {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    fs::write(
        folder.join("ca.pem"),
        authority.self_signed(&authority_key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let config = PublicTlsConfig {
        certificate: folder.join("leaf.pem"),
        private_key: folder.join("leaf.key"),
    };
    fs::write(&config.certificate, leaf.pem()).unwrap();
    write_private(&config.private_key, key.serialize_pem().as_bytes());
    config
}
