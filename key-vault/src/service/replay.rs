//! What was erased stays erased: a database that was restored from a backup loses again whom the journal names.
//!
//! At the start, and whenever the database is found to have what the journal names: then somebody restored it beneath us, or put
//! rows back. Nothing that the database says of erasures is taken for a proof.

use std::collections::{BTreeMap, BTreeSet};

use sealpost_runtime::Timestamp;

use super::{FORGOTTEN, Vault, blocking, receipts::KEPT};
use crate::{
    VaultError,
    custody::{Entry, Erased},
    datastore::{self, ReceiptRow},
    subject::Tag,
};

/// Entries done in one transaction.
const PIECE: usize = 200;
/// Of the newest entries and of the older ones, how many are looked for in one round of housekeeping.
const LOOK: usize = 1_000;

impl Vault {
    /// Erases again all that the journal names and the database still has. Where it has nothing of them, as at every ordinary start,
    /// that is a look, some sixty persons a statement.
    ///
    /// # Errors
    /// When the journal or the database fails: the vault must then not serve.
    pub(super) async fn replay_erasures(&self) -> Result<(), VaultError> {
        let (journal, keyring) = (self.0.journal.clone(), self.0.keyring.clone());
        let (entries, mark) = blocking(move || {
            let mark = keyring.mark()?;
            Ok::<_, VaultError>((journal.trimmed(mark)?, mark))
        })
        .await??;
        let told_since = mark - KEPT;
        let mut again = 0;
        for piece in entries.chunks(PIECE) {
            let mut subjects = Vec::new();
            for entry in piece {
                match entry.erased {
                    Erased::Subject(tag) => subjects.push((entry.clone(), tag)),
                    Erased::Number(fingerprint) => {
                        again += u64::from(
                            self.remove_again(&entry.number, fingerprint, entry.at)
                                .await?,
                        );
                    }
                }
            }
            let undone = self.undone(subjects, told_since).await?;
            if undone.is_empty() {
                continue;
            }
            let subjects: Vec<_> = undone
                .into_iter()
                .map(|(entry, tag)| {
                    let receipt = self.0.receipts.subject_erased(&entry.number, tag, entry.at);
                    let is_told = entry.at >= told_since;
                    (entry, tag, is_told, ReceiptRow::from(receipt))
                })
                .collect();
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
                            tx.notify(FORGOTTEN);
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

    /// Of these erasures, those whose person the database has, and those of late that it does not know of.
    async fn undone(
        &self,
        subjects: Vec<(Entry, Tag)>,
        told_since: Timestamp,
    ) -> Result<Vec<(Entry, Tag)>, VaultError> {
        self.0
            .database
            .read("erasures_undone", move |db| {
                Box::pin(async move {
                    let name = |(entry, tag): &(Entry, Tag)| (entry.number.clone(), *tag);
                    let names: Vec<_> = subjects.iter().map(name).collect();
                    let names: Vec<_> = names.iter().map(|(id, tag)| (id.as_str(), *tag)).collect();
                    let there = datastore::subjects_among(db, &names).await?;
                    let there: BTreeSet<_> = there.into_iter().collect();
                    let known = datastore::erased_among(db, &names).await?;
                    let known: BTreeSet<_> = known.into_iter().collect();
                    let is_undone = |one: &(Entry, Tag)| {
                        let name = name(one);
                        there.contains(&name) || (one.0.at >= told_since && !known.contains(&name))
                    };
                    Ok(subjects.into_iter().filter(is_undone).collect())
                })
            })
            .await
            .map_err(VaultError::Database)
    }

    /// Looks whether the database has what the journal names; replays all when it does.
    ///
    /// # Errors
    /// When the journal or the database fails.
    pub(super) async fn replay_when_restored(&self) -> Result<(), VaultError> {
        let journal = self.0.journal.clone();
        let entries = blocking(move || journal.page(LOOK)).await??;
        if self.has_any(entries).await? {
            self.replay_erasures().await?;
        }
        Ok(())
    }

    async fn has_any(&self, entries: Vec<Entry>) -> Result<bool, VaultError> {
        let mut tags = BTreeMap::<String, Vec<Tag>>::new();
        for entry in entries {
            match entry.erased {
                Erased::Subject(tag) => tags.entry(entry.number).or_default().push(tag),
                Erased::Number(fingerprint) => match self.number(&entry.number).await {
                    Ok(number) if number.fingerprint() == fingerprint => return Ok(true),
                    Ok(_) | Err(VaultError::NumberUnknown) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        self.0
            .database
            .read("subjects_have_any", move |db| {
                Box::pin(async move {
                    for (number, tags) in &tags {
                        for piece in tags.chunks(PIECE) {
                            if datastore::subjects_have_any(db, number, piece).await? {
                                return Ok(true);
                            }
                        }
                    }
                    Ok(false)
                })
            })
            .await
            .map_err(VaultError::Database)
    }
}
