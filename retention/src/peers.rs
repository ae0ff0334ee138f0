//! The services that retention calls, each call with a deadline.

use std::{future::Future, time::Duration};

use sealpost_proto::{
    relay::v1::{
        DeleteExpiredRequest, DeleteExpiredResponse, platform_service_client::PlatformServiceClient,
    },
    store::v1::{
        DeleteEpochsRequest, DeleteEpochsResponse, DeleteNumberRequest, DeleteNumberResponse,
        DeleteSubjectRequest, DeleteSubjectResponse, MarkNumberRequest,
        store_service_client::StoreServiceClient,
    },
    vault::v1::{
        DestroyExpiredEpochsRequest, ListReceiptsRequest, Receipt, SerialReceipt,
        key_vault_service_client::KeyVaultServiceClient,
    },
};
use tokio::time::timeout;
use tonic::{Response, Status, transport::Channel};

/// How long one bounded deletion or listing may take.
const DELETION_DEADLINE: Duration = Duration::from_secs(30);
/// How long the vault may take to destroy every key that is due.
const DESTRUCTION_DEADLINE: Duration = Duration::from_secs(120);

/// Whom retention calls.
#[derive(Clone, Debug)]
pub struct Peers {
    vault: KeyVaultServiceClient<Channel>,
    /// Every store.
    pub(crate) stores: Vec<StorePeer>,
    /// Every relay.
    pub(crate) relays: Vec<RelayPeer>,
}

/// A store.
#[derive(Clone, Debug)]
pub(crate) struct StorePeer(StoreServiceClient<Channel>);

/// A relay.
#[derive(Clone, Debug)]
pub(crate) struct RelayPeer(PlatformServiceClient<Channel>);

impl Peers {
    /// Over these channels.
    #[must_use]
    pub fn new(vault: Channel, stores: Vec<Channel>, relays: Vec<Channel>) -> Self {
        let stores = stores.into_iter().map(StoreServiceClient::new);
        let relays = relays.into_iter().map(PlatformServiceClient::new);
        Self {
            vault: KeyVaultServiceClient::new(vault),
            stores: stores.map(StorePeer).collect(),
            relays: relays.map(RelayPeer).collect(),
        }
    }

    /// Has the vault destroy what is due; answers its receipts.
    pub(crate) async fn destroy_expired(&self, dry_run: bool) -> Result<Vec<Receipt>, Status> {
        let mut vault = self.vault.clone();
        let call = vault.destroy_expired_epochs(DestroyExpiredEpochsRequest { dry_run });
        Ok(answer(DESTRUCTION_DEADLINE, call).await?.receipts)
    }

    /// The vault's receipts after a serial.
    pub(crate) async fn receipts(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<SerialReceipt>, Status> {
        let mut vault = self.vault.clone();
        let call = vault.list_receipts(ListReceiptsRequest { after, limit });
        Ok(answer(DELETION_DEADLINE, call).await?.receipts)
    }
}

impl StorePeer {
    pub(crate) async fn delete_epochs(
        &self,
        request: DeleteEpochsRequest,
    ) -> Result<DeleteEpochsResponse, Status> {
        let mut store = self.0.clone();
        answer(DELETION_DEADLINE, store.delete_epochs(request)).await
    }

    pub(crate) async fn delete_subject(
        &self,
        request: DeleteSubjectRequest,
    ) -> Result<DeleteSubjectResponse, Status> {
        let mut store = self.0.clone();
        answer(DELETION_DEADLINE, store.delete_subject(request)).await
    }

    pub(crate) async fn mark_number(&self, number: &str, departed: bool) -> Result<(), Status> {
        let mut store = self.0.clone();
        let request = MarkNumberRequest {
            phone_number_id: number.to_owned(),
            departed,
        };
        answer(DELETION_DEADLINE, store.mark_number(request)).await?;
        Ok(())
    }

    pub(crate) async fn delete_number(
        &self,
        request: DeleteNumberRequest,
    ) -> Result<DeleteNumberResponse, Status> {
        let mut store = self.0.clone();
        answer(DELETION_DEADLINE, store.delete_number(request)).await
    }
}

impl RelayPeer {
    pub(crate) async fn delete_expired(
        &self,
        request: DeleteExpiredRequest,
    ) -> Result<DeleteExpiredResponse, Status> {
        let mut relay = self.0.clone();
        answer(DELETION_DEADLINE, relay.delete_expired(request)).await
    }
}

async fn answer<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(deadline, call).await {
        Ok(answered) => Ok(answered?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
