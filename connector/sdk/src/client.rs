//! A business's connection to its gateway: the SDK's front door.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sealpost_envelope::{MessageId, NumberId, UnixMillis};
use sealpost_proto::gateway::v1::{GetMessageStatusRequest, ListNumbersRequest};
use sealpost_runtime::{Clock, config::HostPorts};

use crate::{
    Accepted, BusinessKeys, DeliveryStatus, EventStream, IdempotencyKey, Outbound, Pins, SdkError,
    Subscription, Token,
    gateway::{Gateway, gateway},
    receive,
    sealing::Sealer,
    send::Sender,
    vault_keys::VaultKeys,
};

/// What a client needs.
#[derive(Debug)]
pub struct Settings {
    /// The gateway's public face, or those of its replicas.
    pub address: HostPorts,
    /// PEM file of the authority that signs its certificate.
    pub ca: PathBuf,
    /// The business's token.
    pub token: Token,
    /// The business's keys.
    pub keys: BusinessKeys,
    /// The numbers to act for, each with its vault's fingerprint.
    pub pins: Pins,
    /// What time it is.
    pub clock: Clock,
}

/// One of the business's numbers, as the gateway describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its id.
    pub phone_number_id: NumberId,
    /// The number itself, E.164 digits.
    pub phone_number: String,
    /// The name that consumers see.
    pub display_name: String,
    /// Where its records are kept.
    pub region: String,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it is.
    pub status: DeliveryStatus,
    /// When it got there.
    pub time: UnixMillis,
    /// With [`DeliveryStatus::Failed`]: the error code as in the Cloud API, else 0.
    pub error_code: u32,
}

/// A business's client; clones share its connection.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    gateway: Gateway,
    keys: Arc<BusinessKeys>,
    vaults: Arc<VaultKeys>,
    sender: Sender,
}

impl Client {
    /// Prepares a connection, which is made with the first call.
    ///
    /// # Errors
    /// When the address, the authority or the token cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(settings: Settings) -> Result<Self, SdkError> {
        let gateway = gateway(&settings.address, &settings.ca, &settings.token)?;
        let keys = Arc::new(settings.keys);
        let vaults = Arc::new(VaultKeys::new(
            gateway.clone(),
            settings.clock,
            settings.pins,
        ));
        let sealer = Sealer::new(keys.clone(), vaults.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                sender: Sender::new(gateway.clone(), sealer),
                gateway,
                keys,
                vaults,
            }),
        })
    }

    /// The id that a message with this key has or will have.
    #[must_use]
    pub fn message_id(&self, number: &NumberId, key: &IdempotencyKey) -> MessageId {
        MessageId::derive(&self.inner.keys.message_id, number, key.as_bytes())
    }

    /// Sends one message and answers when it is durable; tries again, under the same id, for as long as `within`.
    ///
    /// Messages of one conversation are accepted in the order in which these futures are first polled; a message that fails does
    /// not stop those after it. At most 4,096 are on their way at one time: one more fails at once with [`SdkError::Overloaded`]. Call it for many conversations at once: what queues while a batch is under way is the next batch.
    /// After an error that leaves the outcome open, or after this future is dropped, the message may yet be accepted: send it
    /// again with the same idempotency key.
    ///
    /// # Errors
    /// When it was refused, or not accepted in time.
    pub async fn send(&self, outbound: Outbound, within: Duration) -> Result<Accepted, SdkError> {
        let inner = &self.inner;
        let id = self.message_id(&outbound.phone_number_id, &outbound.idempotency_key);
        let now = inner.vaults.now();
        inner.sender.send(id, outbound, now, within).await
    }

    /// Receives the events of a subscription, from the last acknowledged one on, for as long as the stream is held.
    ///
    /// # Errors
    /// When the subscription names a number without a pinned fingerprint.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn subscribe(&self, subscription: Subscription) -> Result<EventStream, SdkError> {
        let inner = &self.inner;
        receive::subscribe(
            subscription,
            inner.gateway.clone(),
            inner.keys.clone(),
            inner.vaults.clone(),
        )
    }

    /// How far a message is.
    ///
    /// # Errors
    /// [`SdkError::NotFound`] for one that the number did not send, [`SdkError::Expired`] for one past its time.
    pub async fn status(&self, number: &NumberId, id: MessageId) -> Result<Progress, SdkError> {
        let request = GetMessageStatusRequest {
            phone_number_id: number.as_str().to_owned(),
            message_id: id.as_bytes().to_vec().into(),
        };
        let mut gateway = self.inner.gateway.clone();
        let answer = gateway
            .get_message_status(request)
            .await
            .map_err(|status| SdkError::from_status(&status))?
            .into_inner();
        Ok(Progress {
            status: DeliveryStatus::from_wire(answer.status).ok_or(SdkError::Malformed)?,
            time: UnixMillis(answer.time_ms),
            error_code: answer.error_code,
        })
    }

    /// The numbers that the token may act for, whether or not a fingerprint is pinned for them.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn numbers(&self) -> Result<Vec<Number>, SdkError> {
        let mut gateway = self.inner.gateway.clone();
        let answer = gateway
            .list_numbers(ListNumbersRequest {})
            .await
            .map_err(|status| SdkError::from_status(&status))?
            .into_inner();
        let read = |number: sealpost_proto::gateway::v1::NumberInfo| {
            Ok(Number {
                phone_number_id: number.phone_number_id.parse()?,
                phone_number: number.phone_number,
                display_name: number.display_name,
                region: number.region,
            })
        };
        answer.numbers.into_iter().map(read).collect()
    }

    /// Fetches the vault key of every pinned number and checks it: a wrong pin shows at once rather than with the first message.
    ///
    /// # Errors
    /// The first number's, by its id.
    pub async fn verify_pins(&self) -> Result<(), SdkError> {
        for number in self.inner.vaults.numbers() {
            self.inner.vaults.fresh(number).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}
