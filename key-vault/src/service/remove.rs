//! Removal of a number: its keys at once, and so all that was sealed under them; then its rows, piece by piece.
//!
//! Invariant: the journal has it first, so that no backup brings the number back. What a crash interrupts, housekeeping finishes.

use std::sync::Arc;

use sealpost_proto::vault::v1::{RemoveNumberRequest, RemoveNumberResponse};
use sealpost_runtime::Timestamp;

use super::{FORGOTTEN, Vault, blocking, records::number_id};
use crate::{
    VaultError,
    custody::{Entry, Erased},
    datastore::{self, ReceiptRow},
    number::Number,
};

impl Vault {
    /// Removes a number. One that is removed already answers the receipt of that.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], or what failed: a repeat goes on.
    pub async fn remove_number(
        &self,
        request: RemoveNumberRequest,
    ) -> Result<RemoveNumberResponse, VaultError> {
        let id = number_id(&request.phone_number_id)?;
        match self.number(id.as_str()).await {
            Ok(number) => {
                let entry = Entry {
                    number: id.as_str().to_owned(),
                    erased: Erased::Number(number.fingerprint()),
                    at: self.0.time.now()?.timestamp(),
                };
                let at = entry.at;
                let journal = self.0.journal.clone();
                blocking(move || journal.append(&entry)).await??;
                self.remove_keys(&number, at).await?;
                tracing::info!("an operator removed a number");
            }
            Err(VaultError::NumberUnknown) => {}
            Err(error) => return Err(error),
        }
        self.remove_rows(id.as_str()).await?;
        let receipt = self
            .0
            .database
            .read("receipt_of_number", move |db| {
                Box::pin(async move { datastore::receipt_of_number(db, id.as_str()).await })
            })
            .await
            .map_err(VaultError::Database)?;
        let receipt =
            receipt.map(|(statement, signature)| self.0.receipts.receipt(statement, signature));
        Ok(RemoveNumberResponse { receipt })
    }

    /// Removes a number again that the journal names, when it is there as it was: with this signing key. Answers whether it was.
    ///
    /// # Errors
    /// What failed.
    pub(super) async fn remove_again(
        &self,
        id: &str,
        fingerprint: [u8; 16],
        at: Timestamp,
    ) -> Result<bool, VaultError> {
        let number = match self.number(id).await {
            Ok(number) if number.fingerprint() == fingerprint => number,
            Ok(_) | Err(VaultError::NumberUnknown) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.remove_keys(&number, at).await?;
        self.remove_rows(id).await?;
        Ok(true)
    }

    /// Finishes what a crash interrupted.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn finish_removals(&self) -> Result<(), VaultError> {
        let begun = self
            .0
            .database
            .read("numbers_removed", |db| {
                Box::pin(async move { datastore::numbers_removed(db).await })
            })
            .await
            .map_err(VaultError::Database)?;
        for id in begun {
            self.remove_rows(&id).await?;
        }
        Ok(())
    }

    async fn remove_keys(&self, number: &Arc<Number>, at: Timestamp) -> Result<(), VaultError> {
        let number = number.clone();
        let receipt = self.0.receipts.number_removed(
            number.id.as_str(),
            *number.signing.verifying_key().fingerprint().as_bytes(),
            at,
        );
        let row = ReceiptRow {
            number: Some(number.id.as_str().to_owned()),
            ..receipt.into()
        };
        self.0
            .database
            .run_tx("number_keys_delete", move |tx| {
                let (id, row) = (number.id.clone(), row.clone());
                Box::pin(async move {
                    let at_ms = at.as_millis();
                    let found = datastore::number_find(tx, id.as_str()).await?;
                    // Another call was faster.
                    let Some(found) = found else { return Ok(()) };
                    if datastore::number_keys_delete(tx, id.as_str(), &found.sealed_key, at_ms)
                        .await?
                    {
                        datastore::receipt_keep(tx, &row, at_ms).await?;
                        tx.notify(FORGOTTEN);
                    }
                    Ok::<_, VaultError>(())
                })
            })
            .await?;
        self.forget_at_hand();
        let _ = self.0.database.checkpoint().await?;
        Ok(())
    }

    async fn remove_rows(&self, id: &str) -> Result<(), VaultError> {
        let mut deleted = false;
        loop {
            let number = id.to_owned();
            let more = self
                .0
                .database
                .run_tx("number_rows_delete", move |tx| {
                    let number = number.clone();
                    Box::pin(async move { datastore::number_rows_delete(tx, &number).await })
                })
                .await
                .map_err(VaultError::Database)?;
            if !more {
                break;
            }
            deleted = true;
        }
        if deleted {
            let _ = self.0.database.checkpoint().await?;
        }
        Ok(())
    }
}
