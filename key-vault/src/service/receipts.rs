//! Receipts of destruction, answered as often as anybody asks while they are kept, and how long the vault remembers what is gone.

use std::time::Duration;

use sealpost_proto::vault::v1::{
    ListReceiptsRequest, ListReceiptsResponse, Receipt, SerialReceipt,
};

use super::Vault;
use crate::{
    VaultError,
    custody::Now,
    datastore::{self, ReceiptRow},
};

/// How long receipts, tags of erased persons and destroyed epochs are remembered: the longest class, after which no record can
/// be of them, and five days for retention and stores to ask.
pub(super) const KEPT: Duration = Duration::from_secs(35 * 86_400);
const MAX_PAGE: u32 = 1_000;

impl From<Receipt> for ReceiptRow {
    fn from(receipt: Receipt) -> Self {
        Self {
            number: None,
            statement: receipt.statement.into(),
            signature: receipt.signature.into(),
        }
    }
}

impl Vault {
    /// Receipts by serial.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], or what failed.
    pub async fn list_receipts(
        &self,
        request: ListReceiptsRequest,
    ) -> Result<ListReceiptsResponse, VaultError> {
        let ListReceiptsRequest { after, limit } = request;
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(VaultError::malformed("limit", "not 1 to 1,000"));
        }
        let rows = self
            .0
            .database
            .read("receipts", move |db| {
                Box::pin(async move { datastore::receipts_list(db, after, limit).await })
            })
            .await
            .map_err(VaultError::Database)?;
        let receipt = |(serial, statement, signature)| SerialReceipt {
            serial,
            receipt: Some(self.0.receipts.receipt(statement, signature)),
        };
        Ok(ListReceiptsResponse {
            receipts: rows.into_iter().map(receipt).collect(),
        })
    }

    /// Forgets receipts, erased tags and destroyed epochs that nothing can refer to any more.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forget_gone(&self, now: Now) -> Result<(), VaultError> {
        let latest = (now.timestamp() - KEPT).as_millis();
        self.0
            .database
            .run_tx("forget_gone", move |tx| {
                Box::pin(async move {
                    datastore::receipts_forget(tx, latest).await?;
                    datastore::erased_forget(tx, latest).await?;
                    datastore::destructions_forget(tx, latest).await?;
                    datastore::pending_delete_past(tx, now.timestamp().as_secs()).await
                })
            })
            .await
            .map_err(VaultError::Database)
    }
}
