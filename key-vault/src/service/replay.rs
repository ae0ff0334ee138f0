//! What was erased stays erased: a database that was restored from a backup loses again whom the journal names.
//!
//! At the start, and whenever the newest entry is found to be missing from the database: then somebody restored it beneath us.

use super::{Vault, blocking, receipts::KEPT};
use crate::{
    VaultError,
    custody::{Entry, Erased, Now},
    datastore::{self, ReceiptRow},
};

/// Entries done in one transaction.
const PIECE: usize = 200;

impl Vault {
    /// Erases again all that the journal names and the database still has.
    ///
    /// # Errors
    /// When the journal or the database fails: the vault must then not serve.
    pub(super) async fn replay_erasures(&self) -> Result<(), VaultError> {
        let (journal, keyring) = (self.0.journal.clone(), self.0.keyring.clone());
        let (entries, mark) = blocking(move || {
            let mark = keyring.mark()?;
            journal.trim(mark)?;
            Ok::<_, VaultError>((journal.entries()?, mark))
        })
        .await??;
        let told_since = mark - KEPT;
        let mut again = 0;
        for piece in entries.chunks(PIECE) {
            let mut subjects = Vec::new();
            for entry in piece {
                match entry.erased {
                    Erased::Subject(tag) => {
                        let receipt = self.0.receipts.subject_erased(&entry.number, tag, entry.at);
                        let is_told = entry.at >= told_since;
                        subjects.push((entry.clone(), tag, is_told, ReceiptRow::from(receipt)));
                    }
                    Erased::Number(fingerprint) => {
                        again += u64::from(
                            self.remove_again(&entry.number, fingerprint, entry.at)
                                .await?,
                        );
                    }
                }
            }
            again += self
                .0
                .database
                .run_tx("erasures_replay", move |tx| {
                    let subjects = subjects.clone();
                    Box::pin(async move {
                        let mut again = 0;
                        for (entry, tag, is_told, receipt) in &subjects {
                            let (number, at_ms) = (&entry.number, entry.at.as_millis());
                            let erased = datastore::subject_erase(tx, number, *tag, at_ms).await?;
                            again += u64::from(erased);
                            let told = *is_told
                                && (erased
                                    || datastore::erased_mark(tx, number, *tag, at_ms).await?);
                            if told {
                                datastore::receipt_keep(tx, receipt, at_ms).await?;
                            }
                        }
                        Ok::<_, VaultError>(again)
                    })
                })
                .await?;
        }
        if again > 0 {
            let _ = self.0.database.checkpoint().await?;
            metrics::counter!("sealpost_vault_erasures_replayed_total").increment(again);
            tracing::warn!(
                count = again,
                "the database had what was erased before, as a backup has; it is erased again"
            );
        }
        Ok(())
    }

    /// Looks whether the database knows of the newest erasure; replays all when it does not.
    ///
    /// # Errors
    /// When the journal or the database fails.
    pub(super) async fn replay_when_restored(&self, now: Now) -> Result<(), VaultError> {
        let journal = self.0.journal.clone();
        let Some(newest) = blocking(move || journal.newest()).await?? else {
            return Ok(());
        };
        if newest.at < now.timestamp() - KEPT || self.is_done(newest).await? {
            return Ok(());
        }
        self.replay_erasures().await
    }

    async fn is_done(&self, entry: Entry) -> Result<bool, VaultError> {
        match entry.erased {
            Erased::Number(fingerprint) => match self.number(&entry.number).await {
                Ok(number) => Ok(number.fingerprint() != fingerprint),
                Err(VaultError::NumberUnknown) => Ok(true),
                Err(error) => Err(error),
            },
            Erased::Subject(tag) => self
                .0
                .database
                .read("erased_exists", move |db| {
                    Box::pin(async move {
                        let number = &entry.number;
                        let known = datastore::number_find(db, number).await?.is_some();
                        Ok(!known || datastore::erased_exists(db, number, tag).await?)
                    })
                })
                .await
                .map_err(VaultError::Database),
        }
    }
}
