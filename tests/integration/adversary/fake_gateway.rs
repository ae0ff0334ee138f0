//! A gateway of the adversary's own: the right address and certificate, and the vault key that it chose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use sealpost_connector_sdk::{Category, Client, IdempotencyKey, Outbound, Peer, content};
use sealpost_envelope::{
    HpkeSecretKey, OsEntropy, SigningKey, UnixMillis, Validity, VaultKeyStatement,
};
use sealpost_proto::envelope::v1::PublishedVaultKey;
use sealpost_proto::gateway::v1 as wire;
use sealpost_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use sealpost_proto::gateway::v1::gateway_service_server::{GatewayService, GatewayServiceServer};
use sealpost_runtime::config::{PublicServerConfig, PublicTlsConfig};
use sealpost_runtime::server::{Listener, Server, Services};
use sealpost_runtime::tls::PublicTls;
use sealpost_tests::Suite;
use sealpost_tests::business::now;
use sealpost_tests::program::settings;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What it does to the vault's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Nothing: the vault's own answer.
    Nothing,
    /// A key of its own, stated and signed by itself.
    OwnKeys,
    /// A key of its own, under the vault's signing key but its own signature.
    OwnSignature,
    /// The vault's own answer for another number.
    OtherNumber,
    /// The vault's statement with a byte changed.
    ChangedByte,
    /// No key.
    NoKey,
}

impl Swap {
    /// Every dishonest one.
    pub const ALL: [Self; 5] = [
        Self::OwnKeys,
        Self::OwnSignature,
        Self::OtherNumber,
        Self::ChangedByte,
        Self::NoKey,
    ];
}

/// The running gateway.
pub struct FakeGateway {
    address: String,
    seen: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl FakeGateway {
    /// Starts one that answers with this key.
    pub async fn start(suite: &Suite, swap: Swap) -> anyhow::Result<Self> {
        let key = swap.of(
            honest_key(suite, 0).await?,
            honest_key(suite, 1).await?,
            suite,
        )?;
        let seen = Arc::<AtomicUsize>::default();
        let service = GatewayServiceServer::new(Dishonest {
            key,
            seen: seen.clone(),
        });
        let issued = suite.dir().join("pki/issued/gateway");
        let tls = PublicTls::load(&PublicTlsConfig {
            certificate: issued.join("public.pem"),
            private_key: issued.join("public.key"),
        })?;
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await?;
        let address = listener.local_addr().to_string();
        let config: PublicServerConfig = serde_json::from_value(serde_json::json!({
            "listen": address,
            "tls": {"certificate": issued.join("public.pem"), "private_key": issued.join("public.key")},
        }))?;
        let services = Services::new(sealpost_proto::FILE_DESCRIPTOR_SET)?.add(service);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let served = Server::public(listener, services, &config, tls)
                .serve(stopped)
                .await;
            served.expect("the fake gateway serves");
        });
        Ok(Self {
            address,
            seen,
            stop,
        })
    }

    /// Lets the SDK send a message through it, as the suite's business.
    pub async fn try_to_send(&self, suite: &Suite) -> anyhow::Result<()> {
        let client = Client::connect(settings(suite, &self.address)?)?;
        let outbound = Outbound {
            phone_number_id: suite.number(0).parse()?,
            to: Peer::new("15550288888")?,
            category: Category::Utility,
            content: content::text("for the vault's eyes only"),
            idempotency_key: IdempotencyKey::new("through a fake")?,
        };
        client.send(outbound, Duration::from_secs(3)).await?;
        Ok(())
    }

    /// Messages that reached it.
    pub fn messages_seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the real gateway says.
async fn honest_key(suite: &Suite, number: usize) -> anyhow::Result<PublishedVaultKey> {
    let mut gateway = GatewayServiceClient::new(suite.gateway_public()?);
    let mut request = Request::new(wire::GetVaultKeyRequest {
        phone_number_id: suite.number(number).to_owned(),
    });
    let token = format!("Bearer {}", suite.facts().gateway.token).parse()?;
    request.metadata_mut().insert("authorization", token);
    gateway
        .get_vault_key(request)
        .await?
        .into_inner()
        .key
        .context("a key")
}

impl Swap {
    fn of(
        self,
        honest: PublishedVaultKey,
        other_number: PublishedVaultKey,
        suite: &Suite,
    ) -> anyhow::Result<Option<PublishedVaultKey>> {
        let own = SigningKey::generate(&mut OsEntropy)?;
        let statement = VaultKeyStatement {
            number: suite.number(0).parse()?,
            sequence: u64::from(u32::MAX),
            validity: Validity::new(now(), UnixMillis(now().0 + 3_600_000))?,
            public_key: HpkeSecretKey::generate(&mut OsEntropy)?
                .public_key()
                .clone(),
        };
        let forged = bytes::Bytes::from(statement.sign(&own));
        Ok(Some(match self {
            Self::Nothing => honest,
            Self::OwnKeys => PublishedVaultKey {
                statement: forged,
                signing_key: own.verifying_key().as_bytes().to_vec().into(),
                signing_key_rotations: Vec::new(),
            },
            Self::OwnSignature => PublishedVaultKey {
                statement: forged,
                ..honest
            },
            Self::OtherNumber => other_number,
            Self::ChangedByte => {
                let mut bytes = honest.statement.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                PublishedVaultKey {
                    statement: bytes.into(),
                    ..honest
                }
            }
            Self::NoKey => return Ok(None),
        }))
    }
}

struct Dishonest {
    key: Option<PublishedVaultKey>,
    seen: Arc<AtomicUsize>,
}

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl GatewayService for Dishonest {
    type SendStreamStream = Answers<wire::SendStreamResponse>;
    type SubscribeEventsStream = Answers<wire::SubscribeEventsResponse>;

    async fn send(
        &self,
        _: Request<wire::SendRequest>,
    ) -> Result<Response<wire::SendResponse>, Status> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        Err(Status::unavailable("seen"))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<wire::SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let seen = self.seen.clone();
        let answers = request.into_inner().map(move |batch| {
            seen.fetch_add(batch?.items.len(), Ordering::SeqCst);
            Err(Status::unavailable("seen"))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn subscribe_events(
        &self,
        _: Request<Streaming<wire::SubscribeEventsRequest>>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        Err(Status::unavailable("no events"))
    }

    async fn get_message_status(
        &self,
        _: Request<wire::GetMessageStatusRequest>,
    ) -> Result<Response<wire::GetMessageStatusResponse>, Status> {
        Err(Status::not_found("no status"))
    }

    async fn list_numbers(
        &self,
        _: Request<wire::ListNumbersRequest>,
    ) -> Result<Response<wire::ListNumbersResponse>, Status> {
        Ok(Response::new(wire::ListNumbersResponse::default()))
    }

    async fn get_vault_key(
        &self,
        _: Request<wire::GetVaultKeyRequest>,
    ) -> Result<Response<wire::GetVaultKeyResponse>, Status> {
        Ok(Response::new(wire::GetVaultKeyResponse {
            key: self.key.clone(),
        }))
    }
}
