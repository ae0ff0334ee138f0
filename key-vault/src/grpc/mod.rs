//! The gRPC face: each RPC handed to the service, its error mapped once. Beside it, the face of the seal ([`seal`]).

pub mod seal;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use sealpost_proto::vault::v1::{
    AdmitRequest, AdmitResponse, CheckRequest, CheckResponse, ConfirmClockRequest,
    ConfirmClockResponse, ConfirmRequest, ConfirmResponse, DecryptRequest, DecryptResponse,
    DeliverRequest, DeliverResponse, DestroyExpiredEpochsRequest, DestroyExpiredEpochsResponse,
    EncryptRequest, EncryptResponse, ErasePersonRequest, ErasePersonResponse, EraseSubjectRequest,
    EraseSubjectResponse, ExportSubjectRequest, ExportSubjectResponse, FindSubjectRequest,
    FindSubjectResponse, GetNumberRequest, GetNumberResponse, GetPublishedKeyRequest,
    GetPublishedKeyResponse, ListPendingRequest, ListPendingResponse, ListReceiptsRequest,
    ListReceiptsResponse, ProvisionNumberRequest, ProvisionNumberResponse,
    RegisterBusinessKeysRequest, RegisterBusinessKeysResponse, RemoveNumberRequest,
    RemoveNumberResponse, ReplenishPrekeysRequest, ReplenishPrekeysResponse, ResealRequest,
    ResealResponse, SetRetentionRequest, SetRetentionResponse, WatchEpochsRequest,
    WatchEpochsResponse, WatchShardsRequest, WatchShardsResponse,
    key_vault_service_server::{KeyVaultService, KeyVaultServiceServer},
};
use sealpost_runtime::{
    MAX_MESSAGE_BYTES,
    batch::{BatchAnswers, serve_batches},
    server::draining,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Keeper, Vault, VaultError,
    service::{EpochWatch, StreamState},
};

/// How often a watcher's epochs are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// The vault as a gRPC service. While it is sealed every call fails with FAILED_PRECONDITION.
#[must_use]
pub fn server(keeper: Keeper) -> KeyVaultServiceServer<Face> {
    KeyVaultServiceServer::new(Face { keeper }).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// What tonic calls.
pub struct Face {
    keeper: Keeper,
}

/// Runs a call, or one batch, on the vault while it is unsealed.
async fn on<T, F>(keeper: &Keeper, call: impl FnOnce(Vault) -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, VaultError>>,
{
    let vault = keeper.vault()?;
    let answer = call(vault.clone()).await;
    // What was sealed meanwhile finds nothing that opens: whole calls would look like damage, and items like what is lost.
    if vault.is_wiped() {
        return Err(VaultError::Sealed.into());
    }
    Ok(answer?)
}

/// Answers one call.
macro_rules! answer {
    ($self:ident.$method:ident($request:ident)) => {
        on(&$self.keeper, |vault| async move {
            vault.$method($request.into_inner()).await
        })
        .await
        .map(Response::new)
    };
}

/// Answers the batches of a stream that has no state of its own.
macro_rules! batches {
    ($self:ident.$method:ident($request:ident)) => {{
        $self.keeper.vault()?;
        let (keeper, stop) = ($self.keeper.clone(), draining(&$request));
        Ok(Response::new(serve_batches(
            $request.into_inner(),
            stop,
            move |batch| {
                let keeper = keeper.clone();
                async move { on(&keeper, |vault| async move { vault.$method(batch).await }).await }
            },
        )))
    }};
}

/// Answers the batches of a stream that remembers which wraps went over it.
macro_rules! stateful_batches {
    ($self:ident.$method:ident($request:ident)) => {{
        $self.keeper.vault()?;
        let (keeper, stop) = ($self.keeper.clone(), draining(&$request));
        let state = Arc::new(StreamState::new());
        Ok(Response::new(serve_batches(
            $request.into_inner(),
            stop,
            move |batch| {
                let (keeper, state) = (keeper.clone(), state.clone());
                async move {
                    on(&keeper, |vault| async move {
                        vault.$method(&state, batch).await
                    })
                    .await
                }
            },
        )))
    }};
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl KeyVaultService for Face {
    type AdmitStream = BatchAnswers<AdmitResponse>;
    type EncryptStream = BatchAnswers<EncryptResponse>;
    type DecryptStream = BatchAnswers<DecryptResponse>;
    type ConfirmStream = BatchAnswers<ConfirmResponse>;
    type DeliverStream = BatchAnswers<DeliverResponse>;
    type WatchEpochsStream =
        Pin<Box<dyn Stream<Item = Result<WatchEpochsResponse, Status>> + Send>>;
    type WatchShardsStream =
        Pin<Box<dyn Stream<Item = Result<WatchShardsResponse, Status>> + Send>>;

    async fn provision_number(
        &self,
        request: Request<ProvisionNumberRequest>,
    ) -> Reply<ProvisionNumberResponse> {
        answer!(self.provision_number(request))
    }

    async fn register_business_keys(
        &self,
        request: Request<RegisterBusinessKeysRequest>,
    ) -> Reply<RegisterBusinessKeysResponse> {
        answer!(self.register_business_keys(request))
    }

    async fn get_number(&self, request: Request<GetNumberRequest>) -> Reply<GetNumberResponse> {
        answer!(self.get_number(request))
    }

    async fn set_retention(
        &self,
        request: Request<SetRetentionRequest>,
    ) -> Reply<SetRetentionResponse> {
        answer!(self.set_retention(request))
    }

    async fn replenish_prekeys(
        &self,
        request: Request<ReplenishPrekeysRequest>,
    ) -> Reply<ReplenishPrekeysResponse> {
        answer!(self.replenish_prekeys(request))
    }

    async fn get_published_key(
        &self,
        request: Request<GetPublishedKeyRequest>,
    ) -> Reply<GetPublishedKeyResponse> {
        answer!(self.published_key(request))
    }

    async fn watch_shards(
        &self,
        request: Request<WatchShardsRequest>,
    ) -> Reply<Self::WatchShardsStream> {
        let stop = draining(&request);
        let mut watch = self.keeper.vault()?.watch_shards();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut stopping = false;
            while !stopping {
                tokio::select! {
                    () = answers.closed() => return,
                    // The last news of a vault that goes is where its shards went.
                    () = stop.cancelled() => stopping = true,
                    there = watch.changed() => stopping |= !there,
                }
                if let Some(news) = watch.news()
                    && answers.send(Ok(news)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn admit(&self, request: Request<Streaming<AdmitRequest>>) -> Reply<Self::AdmitStream> {
        batches!(self.admit(request))
    }

    async fn encrypt(
        &self,
        request: Request<Streaming<EncryptRequest>>,
    ) -> Reply<Self::EncryptStream> {
        batches!(self.encrypt(request))
    }

    async fn decrypt(
        &self,
        request: Request<Streaming<DecryptRequest>>,
    ) -> Reply<Self::DecryptStream> {
        stateful_batches!(self.decrypt(request))
    }

    async fn confirm(
        &self,
        request: Request<Streaming<ConfirmRequest>>,
    ) -> Reply<Self::ConfirmStream> {
        batches!(self.confirm(request))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Reply<Self::DeliverStream> {
        stateful_batches!(self.deliver(request))
    }

    async fn list_pending(
        &self,
        request: Request<ListPendingRequest>,
    ) -> Reply<ListPendingResponse> {
        answer!(self.list_pending(request))
    }

    async fn reseal(&self, request: Request<ResealRequest>) -> Reply<ResealResponse> {
        answer!(self.reseal(request))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Reply<CheckResponse> {
        answer!(self.check(request))
    }

    async fn watch_epochs(
        &self,
        request: Request<WatchEpochsRequest>,
    ) -> Reply<Self::WatchEpochsStream> {
        let (keeper, stop) = (self.keeper.clone(), draining(&request));
        keeper.vault()?;
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut watch = EpochWatch::new();
            let mut tick = tokio::time::interval(WATCH);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = answers.closed() => return,
                    _ = tick.tick() => {}
                }
                let told = match keeper.vault() {
                    Ok(vault) => vault.epoch_changes(&mut watch).await,
                    Err(sealed) => Err(sealed),
                };
                let said = match told {
                    Ok(Some(changes)) => Ok(changes),
                    // Nothing new; nor does anything happen while the clock is not trusted.
                    Ok(None) | Err(VaultError::ClockUnconfirmed) => continue,
                    Err(error) => Err(Status::from(error)),
                };
                let failed = said.is_err();
                if answers.send(said).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn destroy_expired_epochs(
        &self,
        request: Request<DestroyExpiredEpochsRequest>,
    ) -> Reply<DestroyExpiredEpochsResponse> {
        answer!(self.destroy_expired_epochs(request))
    }

    async fn erase_subject(
        &self,
        request: Request<EraseSubjectRequest>,
    ) -> Reply<EraseSubjectResponse> {
        answer!(self.erase_subject(request))
    }

    async fn erase_person(
        &self,
        request: Request<ErasePersonRequest>,
    ) -> Reply<ErasePersonResponse> {
        answer!(self.erase_person(request))
    }

    async fn remove_number(
        &self,
        request: Request<RemoveNumberRequest>,
    ) -> Reply<RemoveNumberResponse> {
        answer!(self.remove_number(request))
    }

    async fn list_receipts(
        &self,
        request: Request<ListReceiptsRequest>,
    ) -> Reply<ListReceiptsResponse> {
        answer!(self.list_receipts(request))
    }

    async fn find_subject(
        &self,
        request: Request<FindSubjectRequest>,
    ) -> Reply<FindSubjectResponse> {
        answer!(self.find_subject(request))
    }

    async fn export_subject(
        &self,
        request: Request<ExportSubjectRequest>,
    ) -> Reply<ExportSubjectResponse> {
        answer!(self.export_subject(request))
    }

    async fn confirm_clock(
        &self,
        request: Request<ConfirmClockRequest>,
    ) -> Reply<ConfirmClockResponse> {
        answer!(self.confirm_clock(request))
    }
}
