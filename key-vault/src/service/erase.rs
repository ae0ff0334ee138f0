//! EraseSubject: a person's subject key, sessions, identity pin and pending records, gone at once.
//!
//! The tag in the receipt is all that stores can delete by, so an answer that was lost can be had again for a day.

use std::time::Duration;

use bytes::Bytes;
use sealpost_envelope::Peer;
use sealpost_proto::vault::v1::{EraseSubjectRequest, EraseSubjectResponse};
use sealpost_runtime::Timestamp;

use super::Vault;
use crate::{VaultError, custody::Now, datastore};

/// An erasure is answered again for this long.
const ANSWERED_AGAIN: Duration = Duration::from_secs(86_400);

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
        let erased = self
            .0
            .database
            .run_tx("erase_subject", move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    datastore::subject_erase(tx, id.as_str(), subject, now.as_millis()).await
                })
            })
            .await?;
        let Some((tag, at)) = erased else {
            return Ok(EraseSubjectResponse::default());
        };
        // The log still has the rows' old pages. A reader in the way delays that to a later checkpoint.
        let _ = self.0.database.checkpoint().await?;
        metrics::counter!("sealpost_vault_subjects_erased_total").increment(1);
        let at = Timestamp::from_millis(at);
        let receipt = self.0.receipts.subject_erased(number.id.as_str(), tag, at);
        Ok(EraseSubjectResponse {
            receipt: Some(receipt),
            tag: Bytes::copy_from_slice(&tag.0),
        })
    }

    /// Forgets whom the tags of a day ago were of.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forget_erased(&self, now: Now) -> Result<(), VaultError> {
        let latest = (now.timestamp() - ANSWERED_AGAIN).as_millis();
        self.0
            .database
            .run_tx("erased_forget", move |tx| {
                Box::pin(async move { datastore::erased_forget(tx, latest).await })
            })
            .await
            .map_err(VaultError::Database)
    }
}
