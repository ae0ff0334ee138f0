//! Erasure of a person: subject key, sessions, identity pin and pending records, gone at once.
//!
//! Invariants: the journal has an erasure before the database does, so that no backup brings anybody back; the receipt is kept in
//! the transaction that erases, so that retention deletes by it whoever asked and died. The tag in it is all that stores can delete
//! by; an answer that was lost can be had again for a day.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sealpost_envelope::Peer;
use sealpost_proto::vault::v1::{
    ErasePersonRequest, ErasePersonResponse, EraseSubjectRequest, EraseSubjectResponse,
    ErasedPerson, ErasedSubject, FindSubjectRequest, FindSubjectResponse, Receipt,
};
use sealpost_runtime::Timestamp;

use super::{FORGOTTEN, MAX_BATCH, Vault, blocking};
use crate::{
    VaultError,
    custody::{Entry, Erased, Now},
    datastore,
    number::Number,
    subject::Tag,
};

/// An erasure is answered again for this long.
const ANSWERED_AGAIN: Duration = Duration::from_secs(86_400);

/// A person who is gone from a number.
struct Gone {
    tag: Tag,
    receipt: Receipt,
}

impl Vault {
    /// Erases a person from a number.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn erase_subject(
        &self,
        request: EraseSubjectRequest,
    ) -> Result<EraseSubjectResponse, VaultError> {
        let peer = peer(&request.peer)?;
        let number = self.number(&request.phone_number_id).await?;
        Ok(match self.erase(&number, &peer).await? {
            Some(gone) => EraseSubjectResponse {
                receipt: Some(gone.receipt),
                tag: Bytes::copy_from_slice(&gone.tag.0),
            },
            None => EraseSubjectResponse::default(),
        })
    }

    /// Erases a person from several numbers.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], or what failed first: what was erased before stands, and a repeat tells of it.
    pub async fn erase_person(
        &self,
        request: ErasePersonRequest,
    ) -> Result<ErasePersonResponse, VaultError> {
        let peer = peer(&request.peer)?;
        if request.phone_number_ids.is_empty() || request.phone_number_ids.len() > MAX_BATCH {
            return Err(VaultError::malformed(
                "phone_number_ids",
                "not 1 to 256 of them",
            ));
        }
        let mut person = ErasedPerson::default();
        let mut subjects = Vec::new();
        for id in request.phone_number_ids {
            let gone = match self.number(&id).await {
                Ok(number) => self.erase(&number, &peer).await?,
                Err(VaultError::NumberUnknown) => None,
                Err(error) => return Err(error),
            };
            let Some(gone) = gone else {
                person.unknown_at.push(id);
                continue;
            };
            subjects.push(gone.receipt);
            person.subjects.push(ErasedSubject {
                phone_number_id: id,
                tag: Bytes::copy_from_slice(&gone.tag.0),
            });
        }
        let now = self.0.time.now()?.timestamp();
        Ok(ErasePersonResponse {
            receipt: Some(self.0.receipts.person_erased(person, now)),
            subjects,
        })
    }

    /// The tag of a person at a number.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn find_subject(
        &self,
        request: FindSubjectRequest,
    ) -> Result<FindSubjectResponse, VaultError> {
        let peer = peer(&request.peer)?;
        let number = self.number(&request.phone_number_id).await?;
        let tag = self.present_tag(&number, &peer).await?;
        let tag = tag.map_or_else(Bytes::new, |tag| Bytes::copy_from_slice(&tag.0));
        Ok(FindSubjectResponse { tag })
    }

    async fn erase(&self, number: &Arc<Number>, peer: &Peer) -> Result<Option<Gone>, VaultError> {
        // Again when another call was faster: then it is gone, or somebody new has come already.
        while let Some(tag) = self.present_tag(number, peer).await? {
            let at = self.0.time.now()?.timestamp();
            let entry = Entry {
                number: number.id.as_str().to_owned(),
                erased: Erased::Subject(tag),
                at,
            };
            let journal = self.0.journal.clone();
            let noted = entry.clone();
            blocking(move || journal.append(&noted)).await??;
            if self.erase_noted(entry, tag).await? {
                // The log still has the rows' old pages. A reader in the way delays that to a later checkpoint.
                let _ = self.0.database.checkpoint().await?;
                metrics::counter!("sealpost_vault_subjects_erased_total").increment(1);
                tracing::info!("an operator erased a person from a number");
                let receipt = self.0.receipts.subject_erased(number.id.as_str(), tag, at);
                return Ok(Some(Gone { tag, receipt }));
            }
        }
        let (id, subject) = (number.id.clone(), number.subject_id(peer));
        let before = self
            .0
            .database
            .read("erased_last", move |db| {
                Box::pin(async move { datastore::erased_last(db, id.as_str(), subject).await })
            })
            .await
            .map_err(VaultError::Database)?;
        Ok(before.map(|(tag, at)| {
            let at = Timestamp::from_millis(at);
            let receipt = self.0.receipts.subject_erased(number.id.as_str(), tag, at);
            Gone { tag, receipt }
        }))
    }

    /// Does in the database what the journal has. False when there is no such subject any more.
    async fn erase_noted(&self, entry: Entry, tag: Tag) -> Result<bool, VaultError> {
        let row = self
            .0
            .receipts
            .subject_erased(&entry.number, tag, entry.at)
            .into();
        let erased = self
            .0
            .database
            .run_tx("erase_subject", move |tx| {
                let (entry, row) = (entry.clone(), datastore::ReceiptRow::clone(&row));
                Box::pin(async move {
                    let at_ms = entry.at.as_millis();
                    if !datastore::subject_erase(tx, &entry.number, tag, at_ms).await? {
                        return Ok(false);
                    }
                    datastore::receipt_keep(tx, &row, at_ms).await?;
                    tx.notify(FORGOTTEN);
                    Ok::<_, VaultError>(true)
                })
            })
            .await;
        // Whatever came of it: another look at the rows costs little.
        self.forget_at_hand();
        erased
    }

    async fn present_tag(&self, number: &Number, peer: &Peer) -> Result<Option<Tag>, VaultError> {
        let (id, subject) = (number.id.clone(), number.subject_id(peer));
        self.0
            .database
            .read("subject_tag", move |db| {
                Box::pin(async move { datastore::subject_tag(db, id.as_str(), subject).await })
            })
            .await
            .map_err(VaultError::Database)
    }

    /// Forgets whom the tags of a day ago were of.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forget_erased(&self, now: Now) -> Result<(), VaultError> {
        let latest = (now.timestamp() - ANSWERED_AGAIN).as_millis();
        self.0
            .database
            .run_tx("erased_forget_subjects", move |tx| {
                Box::pin(async move { datastore::erased_forget_subjects(tx, latest).await })
            })
            .await
            .map_err(VaultError::Database)
    }
}

/// Reads a consumer's phone number.
///
/// # Errors
/// [`VaultError::Malformed`].
pub(super) fn peer(digits: &str) -> Result<Peer, VaultError> {
    Peer::new(digits).map_err(|_| VaultError::malformed("peer", "no E.164 digits"))
}
