//! A gateway between doubles, behind its own layers, on a plain port.

use std::{collections::BTreeMap, future::Future, time::Duration};

use bytes::Bytes;
use sealpost_gateway::{
    config::LimitsConfig,
    gateway::Gateway,
    layers::{Authenticate, Concurrency, Deadline},
    peers::Channels,
    vault::VaultChannels,
};
use sealpost_proto::{
    envelope::v1::SealedMessage,
    gateway::v1::{OutboundMessage, gateway_service_client::GatewayServiceClient},
};
use sealpost_runtime::{Clock, Timestamp};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Server},
};

use crate::doubles::{
    directory::Directory, lock, relay::Relay, shards::Place, store::Store, vault::Vault,
};

pub const NUMBER: &str = "100000000000001";
pub const ANNA: &str = "4915111111111";
pub const BERT: &str = "4915122222222";
pub const TOKEN: &str = "token";
pub const NAME: &str = "gateway-1";

/// When every test begins, in seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

pub struct Suite {
    pub vault: Vault,
    pub store: Store,
    pub relay: Relay,
    pub directory: Directory,
    pub clock: Clock,
}

pub struct Running {
    pub gateway: Gateway,
    channel: Channel,
    pub stop: CancellationToken,
    _stop: DropGuard,
}

/// Puts a token on every call.
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub type Client = GatewayServiceClient<InterceptedService<Channel, Bearer>>;

impl Suite {
    /// One number with a token, Anna with one device and Bert with two.
    pub fn new() -> Self {
        let suite = Self {
            vault: Vault::default(),
            store: Store::default(),
            relay: Relay::default(),
            directory: Directory::default(),
            clock: Clock::manual(Timestamp::from_secs(NOW)),
        };
        lock(&suite.vault.state).epoch_start = NOW;
        suite.directory.issue(TOKEN, &[NUMBER], 0);
        suite.relay.set_devices(ANNA, &[1]);
        suite.relay.set_devices(BERT, &[1, 2]);
        suite
    }

    pub async fn start(&self) -> Running {
        let limits = LimitsConfig {
            messages_per_second: 0,
            token_cache_seconds: 1,
            ..LimitsConfig::default()
        };
        self.start_with(limits).await
    }

    pub async fn start_with(&self, limits: LimitsConfig) -> Running {
        self.start_before(&[Place::default()], limits).await
    }

    /// Before several vaults.
    pub async fn start_among(&self, places: &[Place]) -> Running {
        let limits = LimitsConfig {
            messages_per_second: 0,
            ..LimitsConfig::default()
        };
        self.start_before(places, limits).await
    }

    async fn start_before(&self, places: &[Place], limits: LimitsConfig) -> Running {
        let stop = CancellationToken::new();
        let mut vaults = BTreeMap::new();
        for place in places {
            let vault = Vault {
                place: place.clone(),
                ..self.vault.clone()
            };
            vaults.insert(place.name.clone(), vault.serve().await);
        }
        let channels = Channels {
            vault: VaultChannels {
                any: vaults.values().next_back().unwrap().clone(),
                each: vaults,
            },
            store: self.store.serve().await,
            stores: BTreeMap::new(),
            directory: self.directory.serve().await,
            relay: self.relay.serve().await,
        };
        let gateway = Gateway::start(channels, &limits, NAME, &self.clock, &stop);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            Server::builder()
                .layer(Concurrency::new(limits.calls, limits.streams))
                .layer(Deadline(Duration::from_secs(limits.call_seconds)))
                .layer(Authenticate::new(gateway.tokens()))
                .add_service(gateway.server())
                .serve_with_incoming_shutdown(
                    TcpListenerStream::new(listener),
                    stop.clone().cancelled_owned(),
                ),
        );
        within(gateway.readiness().ready()).await;
        Running {
            gateway,
            channel: Endpoint::from_shared(format!("http://{address}"))
                .unwrap()
                .connect_lazy(),
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }
}

impl Running {
    pub fn client(&self, token: &str) -> Client {
        let bearer = Bearer(format!("Bearer {token}").parse().unwrap());
        GatewayServiceClient::with_interceptor(self.channel.clone(), bearer)
    }
}

/// The n-th message to a consumer.
pub fn message(peer: &str, n: u64) -> OutboundMessage {
    let header = [message_id(peer, n).as_ref(), peer.as_bytes()].concat();
    OutboundMessage {
        phone_number_id: NUMBER.into(),
        message: Some(SealedMessage {
            header: header.into(),
            body: n.to_be_bytes().to_vec().into(),
        }),
        wrap: Bytes::new(),
    }
}

pub fn message_id(peer: &str, n: u64) -> Bytes {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id[8..].copy_from_slice(&peer.as_bytes()[..8]);
    Bytes::copy_from_slice(&id)
}

/// Waits for what must come soon.
pub async fn within<T>(coming: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), coming)
        .await
        .expect("it took too long")
}

/// Waits until something is so.
pub async fn until(so: impl Fn() -> bool) {
    within(async {
        while !so() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
