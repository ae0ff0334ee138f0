//! EraseSubject: a person's subject key, sessions, identity pin and pending records, gone at once.

use bytes::Bytes;
use sealpost_envelope::Peer;
use sealpost_proto::vault::v1::{EraseSubjectRequest, EraseSubjectResponse};

use super::Vault;
use crate::{VaultError, datastore};

impl Vault {
    /// Erases a person from a number.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn erase_subject(
        &self,
        request: EraseSubjectRequest,
    ) -> Result<EraseSubjectResponse, VaultError> {
        let peer = Peer::new(&request.peer)
            .map_err(|_| VaultError::malformed("peer", "no E.164 digits"))?;
        let number = self.number(&request.phone_number_id).await?;
        let now = self.0.time.now()?.timestamp();
        let subject = number.subject_id(&peer);
        let id = number.id.clone();
        let tag = self
            .0
            .database
            .run_tx("erase_subject", move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    datastore::subject_erase(tx, id.as_str(), subject, now.as_millis()).await
                })
            })
            .await?;
        let Some(tag) = tag else {
            return Ok(EraseSubjectResponse::default());
        };
        // The log still has the rows' old pages. A reader in the way delays that to a later checkpoint.
        let _ = self.0.database.checkpoint().await?;
        metrics::counter!("sealpost_vault_subjects_erased_total").increment(1);
        let receipt = self.0.receipts.subject_erased(number.id.as_str(), tag, now);
        Ok(EraseSubjectResponse {
            receipt: Some(receipt),
            tag: Bytes::copy_from_slice(&tag.0),
        })
    }
}
