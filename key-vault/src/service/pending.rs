//! Confirm and ListPending: inbound records between the vault's commit and the store's.

use bytes::Bytes;
use prost::Message;
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{
        ConfirmOutcome, ConfirmRequest, ConfirmResponse, ListPendingRequest, ListPendingResponse,
        PendingRecord,
    },
};

use super::{MAX_BATCH, Vault, batch};
use crate::{VaultError, datastore};

const DIGEST_LEN: usize = 32;

impl Vault {
    /// Forgets pending records that the store has.
    ///
    /// # Errors
    /// What failed the whole batch.
    pub async fn confirm(&self, request: ConfirmRequest) -> Result<ConfirmResponse, VaultError> {
        let ConfirmRequest { batch_id, items } = request;
        batch::check_len(items.len())?;
        let outcomes = vec![ConfirmOutcome {}; items.len()];
        self.0
            .database
            .run_tx("confirm", move |tx| {
                let items = items.clone();
                Box::pin(async move {
                    let names: Vec<(&[u8], &str)> = items
                        .iter()
                        .map(|item| (&item.ciphertext_sha256[..], item.phone_number_id.as_str()))
                        .collect();
                    datastore::pending_delete(tx, &names).await?;
                    Ok::<_, VaultError>(())
                })
            })
            .await?;
        Ok(ConfirmResponse { batch_id, outcomes })
    }

    /// Lists pending records that nobody confirmed.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], or what failed.
    pub async fn list_pending(
        &self,
        request: ListPendingRequest,
    ) -> Result<ListPendingResponse, VaultError> {
        let ListPendingRequest {
            limit,
            after,
            older_than_seconds,
        } = request;
        if limit == 0 || usize::try_from(limit).is_ok_and(|limit| limit > MAX_BATCH) {
            return Err(VaultError::malformed("limit", "not 1 to 256"));
        }
        if !after.is_empty() && after.len() != DIGEST_LEN {
            return Err(VaultError::malformed("after", "neither empty nor 32 bytes"));
        }
        let age = std::time::Duration::from_secs(older_than_seconds.into());
        let latest = (self.0.time.now()?.timestamp() - age).as_millis();
        let rows = self
            .0
            .database
            .read("pending", move |db| {
                Box::pin(async move { datastore::pending_list(db, &after, latest, limit).await })
            })
            .await?;
        let pending = |(digest, record): (Vec<u8>, Vec<u8>)| PendingRecord {
            ciphertext_sha256: Bytes::from(digest),
            record: Record::decode(&record[..]).ok(),
        };
        Ok(ListPendingResponse {
            pending: rows.into_iter().map(pending).collect(),
        })
    }
}
