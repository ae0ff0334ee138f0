//! Makes up for lost confirmations: asks the vault what is pending for long, and confirms what the store keeps.
//!
//! What the store does not keep is left alone: the relay still has its ciphertext and brings it again.

use std::time::Duration;

use bytes::Bytes;
use sealpost_proto::{
    store::v1::HasEnvelopeRequest,
    vault::v1::{ConfirmItem, ListPendingRequest, PendingRecord},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    backoff::{Backoff, Patience},
    ids::PhoneNumberId,
    peers::{CallError, called},
    readiness::Readiness,
};

const PAGE: u32 = 256;
const INTERVAL: Duration = Duration::from_secs(60);
const OLD_SECONDS: u32 = 60;

/// Sweeps until `stop`. The first sweep that the vault answers counts for `readiness`.
pub async fn sweep_pending(context: Context, readiness: Readiness, stop: CancellationToken) {
    let mut patience = Patience::new(Backoff::LINK);
    let mut answered = false;
    loop {
        let wait = match sweep(&context, &mut answered, &readiness).await {
            Ok(()) => {
                patience.reset();
                INTERVAL
            }
            Err(_) if answered => INTERVAL,
            Err(_) => patience.next_delay(),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

async fn sweep(
    context: &Context,
    answered: &mut bool,
    readiness: &Readiness,
) -> Result<(), CallError> {
    let mut after = Bytes::new();
    loop {
        let request = ListPendingRequest {
            limit: PAGE,
            after: after.clone(),
            older_than_seconds: OLD_SECONDS,
        };
        let page = called(context.peers.vault.client.clone().list_pending(request)).await?;
        if !*answered {
            *answered = true;
            readiness.one_more();
        }
        let Some(last) = page.pending.last() else {
            return Ok(());
        };
        after = last.ciphertext_sha256.clone();
        for pending in page.pending {
            confirm(context, pending).await?;
        }
    }
}

async fn confirm(context: &Context, pending: PendingRecord) -> Result<(), CallError> {
    let phone_number_id = pending.record.unwrap_or_default().phone_number_id;
    let Ok(number) = PhoneNumberId::parse(&phone_number_id) else {
        return Ok(());
    };
    let store = context.regions.store_of(&number).await?;
    let request = HasEnvelopeRequest {
        phone_number_id: phone_number_id.clone(),
        ciphertext_sha256: pending.ciphertext_sha256.clone(),
    };
    if called(store.client.clone().has_envelope(request))
        .await?
        .kept
    {
        let item = ConfirmItem {
            phone_number_id,
            ciphertext_sha256: pending.ciphertext_sha256,
        };
        // One that is lost again is found again.
        let _ = context.peers.vault.confirm.call(item).await;
    }
    Ok(())
}
