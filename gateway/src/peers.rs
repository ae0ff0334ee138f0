//! The services that the gateway calls, and which store keeps which region.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use sealpost_proto::{
    directory::v1::directory_service_client::DirectoryServiceClient,
    relay::v1::platform_service_client::PlatformServiceClient,
    store::v1::store_service_client::StoreServiceClient,
};
use sealpost_runtime::status::reason_of;
use thiserror::Error;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status, transport::Channel};

use crate::{
    lanes::{AdvanceStatusHop, AppendInboundHop, AppendOutboundHop, Lane, SubmitHop, settings},
    vault::{Vault, VaultChannels},
};

/// The largest answer taken from a service: a page of the largest records.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long a single call to a service may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A channel to each service.
#[derive(Clone, Debug)]
pub struct Channels {
    /// The key vaults.
    pub vault: VaultChannels,
    /// The store of every region not in `stores`.
    pub store: Channel,
    /// Stores by region.
    pub stores: BTreeMap<String, Channel>,
    /// The directory.
    pub directory: Channel,
    /// The relay.
    pub relay: Channel,
}

/// Every service, ready to be called.
pub struct Peers {
    /// The key vaults.
    pub vault: Vault,
    /// The stores.
    pub stores: Stores,
    /// The directory.
    pub directory: DirectoryServiceClient<Channel>,
    /// The relay.
    pub relay: Relay,
}

impl Peers {
    /// Starts the lanes, which end once `stop` is cancelled.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(channels: Channels, stop: &CancellationToken) -> Self {
        let others = channels
            .stores
            .into_iter()
            .map(|(region, channel)| (region, Arc::new(Store::start(channel, stop))))
            .collect();
        Self {
            vault: Vault::start(channels.vault, stop),
            stores: Stores {
                usual: Arc::new(Store::start(channels.store, stop)),
                others,
            },
            directory: DirectoryServiceClient::new(channels.directory)
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            relay: Relay::start(channels.relay, stop),
        }
    }
}

/// The store of one region.
pub struct Store {
    /// For single calls.
    pub client: StoreServiceClient<Channel>,
    /// Keeps outbound records.
    pub append_outbound: Lane<AppendOutboundHop>,
    /// Keeps inbound records.
    pub append_inbound: Lane<AppendInboundHop>,
    /// Moves statuses.
    pub advance_status: Lane<AdvanceStatusHop>,
    /// Tells its recovery that it may keep something that no queue holds.
    pub nudge: Nudge,
    /// Tells its recovery that a message waits for another gateway to end with its conversation.
    pub handed_on: Nudge,
}

/// A word to one listener: look soon.
#[derive(Debug, Default)]
pub struct Nudge(Notify);

impl Nudge {
    /// Says it; before the listener hears it, once is as good as often.
    pub fn now(&self) {
        self.0.notify_one();
    }

    /// Waits for it.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}

impl Store {
    fn start(channel: Channel, stop: &CancellationToken) -> Self {
        let client = StoreServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Self {
            append_outbound: Lane::start(
                AppendOutboundHop(client.clone()),
                settings("append_outbound"),
                stop.clone(),
            ),
            append_inbound: Lane::start(
                AppendInboundHop(client.clone()),
                settings("append_inbound"),
                stop.clone(),
            ),
            advance_status: Lane::start(
                AdvanceStatusHop(client.clone()),
                settings("advance_status"),
                stop.clone(),
            ),
            nudge: Nudge::default(),
            handed_on: Nudge::default(),
            client,
        }
    }
}

/// Every store.
pub struct Stores {
    usual: Arc<Store>,
    others: BTreeMap<String, Arc<Store>>,
}

impl Stores {
    /// The store that keeps `region`.
    #[must_use]
    pub fn of_region(&self, region: &str) -> &Arc<Store> {
        self.others.get(region).unwrap_or(&self.usual)
    }

    /// The only store, when there is no other.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<Store>> {
        self.others.is_empty().then_some(&self.usual)
    }

    /// Each store.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Store>> {
        std::iter::once(&self.usual).chain(self.others.values())
    }
}

/// The relay.
pub struct Relay {
    /// For single calls and Collect.
    pub client: PlatformServiceClient<Channel>,
    /// Hands over ciphertexts.
    pub submit: Lane<SubmitHop>,
}

impl Relay {
    fn start(channel: Channel, stop: &CancellationToken) -> Self {
        let client =
            PlatformServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Self {
            submit: Lane::start(SubmitHop(client.clone()), settings("submit"), stop.clone()),
            client,
        }
    }
}

/// Why a single call to a service has no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// It has no such thing.
    #[error("not found")]
    NotFound,
    /// What was asked for is past its time (reason EPOCH_EXPIRED).
    #[error("past its time")]
    Expired,
    /// The subscription was opened anew since (reason SUBSCRIPTION_REPLACED).
    #[error("opened anew since")]
    Replaced,
    /// It does not answer, or not now.
    #[error("the peer does not answer")]
    Unreachable(Code),
}

/// Waits for a single call, but not for ever.
///
/// # Errors
/// What is not found, past its time or replaced apart, every failure is one that time may heal.
pub async fn called<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match timeout(CALL_DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) if status.code() == Code::NotFound => Err(CallError::NotFound),
        Ok(Err(status)) => Err(match reason_of(&status).as_deref() {
            Some("EPOCH_EXPIRED") => CallError::Expired,
            Some("SUBSCRIPTION_REPLACED") => CallError::Replaced,
            _ => CallError::Unreachable(status.code()),
        }),
        Err(_) => Err(CallError::Unreachable(Code::DeadlineExceeded)),
    }
}
