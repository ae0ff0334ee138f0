//! Listens to what one vault says of the shards.

use std::sync::Arc;

use sealpost_proto::vault::v1::{
    WatchShardsRequest, key_vault_service_client::KeyVaultServiceClient,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use super::Holders;
use crate::backoff::{Backoff, Patience};

/// Listens until `stop`, over a stream that is opened anew when it breaks.
pub(super) async fn follow(
    name: String,
    vault: KeyVaultServiceClient<Channel>,
    holders: Arc<Holders>,
    stop: CancellationToken,
) {
    let mut patience = Patience::new(Backoff::LINK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = listen(&name, vault.clone(), &holders, &mut patience) => {}
        }
        holders.silence(&name);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(patience.next_delay()) => {}
        }
    }
}

/// One stream, to its end.
async fn listen(
    name: &str,
    mut vault: KeyVaultServiceClient<Channel>,
    holders: &Holders,
    patience: &mut Patience,
) -> Result<(), Status> {
    let mut news = vault
        .watch_shards(WatchShardsRequest {})
        .await?
        .into_inner();
    let mut anew = true;
    while let Some(said) = news.message().await? {
        patience.reset();
        holders.tell(name, anew, &said.shards);
        anew = false;
    }
    Ok(())
}
