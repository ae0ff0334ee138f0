//! Numbers and epoch keys for a batch, fetched once for all its items.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_database::{Connection, DatabaseError};
use sealpost_envelope::NumberId;
use sealpost_proto::vault::v1::Refusal;

use super::{Vault, blocking};
use crate::{
    VaultError,
    custody::{EpochKey, KeyringError, Now},
    datastore::{self, ConversationRows},
    epoch::{EpochId, Retention},
    number::Number,
    subject::Tag,
};

/// The open numbers of a batch.
pub(super) type Numbers = BTreeMap<NumberId, Result<Arc<Number>, Refusal>>;

/// The epoch keys that a batch opens with.
pub(super) type OpeningKeys = BTreeMap<EpochId, Result<Arc<EpochKey>, Refusal>>;

/// The epochs and keys that a batch seals under, by retention class.
pub(super) type SealingKeys = BTreeMap<Retention, (EpochId, Arc<EpochKey>)>;

/// A subject by its tag.
pub(super) type Tagged = BTreeMap<(NumberId, Tag), Result<ConversationRows, Refusal>>;

impl Vault {
    /// Loads and opens numbers, as they are now.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn numbers(&self, ids: BTreeSet<NumberId>) -> Result<Numbers, VaultError> {
        let rows = self
            .0
            .database
            .read("numbers", move |db| {
                Box::pin(async move {
                    let mut rows = Vec::new();
                    for id in ids {
                        let row = datastore::number_find(db, id.as_str()).await?;
                        rows.push((id, row));
                    }
                    Ok::<_, VaultError>(rows)
                })
            })
            .await?;
        let root = self.0.root.clone();
        let numbers: Numbers = blocking(move || {
            let open = |row: Option<_>| {
                let row = row.ok_or(Refusal::NumberUnknown)?;
                Number::open(&root, &row).map(Arc::new).map_err(|_| {
                    metrics::counter!("sealpost_vault_rows_refused_total").increment(1);
                    Refusal::Undecryptable
                })
            };
            rows.into_iter().map(|(id, row)| (id, open(row))).collect()
        })
        .await?;
        self.0.numbers.keep(&numbers);
        Ok(numbers)
    }

    /// Numbers as this vault knew them last, for work whose transaction asks whether they still stand so
    /// ([`super::settling`]); those that it does not know are loaded.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn numbers_at_hand(
        &self,
        mut ids: BTreeSet<NumberId>,
    ) -> Result<Numbers, VaultError> {
        let mut numbers = self.0.numbers.take(&mut ids);
        if !ids.is_empty() {
            numbers.append(&mut self.numbers(ids).await?);
        }
        Ok(numbers)
    }

    /// One number, for a call that is about it.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub(super) async fn number(&self, id: &str) -> Result<Arc<Number>, VaultError> {
        let id = number_id(id)?;
        let found = self.numbers([id.clone()].into()).await?.remove(&id);
        match found {
            Some(Ok(number)) => Ok(number),
            Some(Err(Refusal::NumberUnknown)) | None => Err(VaultError::NumberUnknown),
            Some(Err(_)) => Err(VaultError::Number(crate::number::NumberCorrupt)),
        }
    }

    /// Keys of the epochs that are open now, made when they are not there yet.
    ///
    /// # Errors
    /// When the keyring fails.
    pub(super) async fn sealing_keys(
        &self,
        classes: BTreeSet<Retention>,
        now: Now,
    ) -> Result<SealingKeys, VaultError> {
        let keyring = self.0.keyring.clone();
        let epochs: Vec<(Retention, EpochId)> = classes
            .into_iter()
            .map(|class| (class, EpochId::at(class, now.timestamp())))
            .collect();
        let at_hand = |(class, epoch): &(_, _)| Some((*class, (*epoch, keyring.at_hand(*epoch)?)));
        if let Some(keys) = epochs.iter().map(at_hand).collect() {
            return Ok(keys);
        }
        blocking(move || {
            let key = |(class, epoch)| Ok((class, (epoch, keyring.for_sealing(epoch)?)));
            epochs.into_iter().map(key).collect()
        })
        .await?
    }

    /// Keys of epochs whose records are to be opened. A key that is gone refuses as expired, whatever the clock says.
    ///
    /// # Errors
    /// When the keyring's files fail: that must never look like an expired epoch.
    pub(super) async fn opening_keys(
        &self,
        epochs: BTreeSet<EpochId>,
        now: Now,
    ) -> Result<OpeningKeys, VaultError> {
        let keyring = self.0.keyring.clone();
        blocking(move || {
            let key = |epoch| match keyring.for_opening(epoch, now) {
                Ok(Some(key)) => Ok((epoch, Ok(key))),
                Ok(None) => Ok((epoch, Err(Refusal::EpochExpired))),
                Err(KeyringError::Sealed) => {
                    metrics::counter!("sealpost_vault_rows_refused_total").increment(1);
                    Ok((epoch, Err(Refusal::Undecryptable)))
                }
                Err(error) => Err(error.into()),
            };
            epochs.into_iter().map(key).collect()
        })
        .await?
    }
}

/// Loads subjects by tag, without their sessions.
///
/// # Errors
/// When the database fails.
pub(super) async fn tagged(
    db: &mut Connection,
    tags: &BTreeSet<(NumberId, Tag)>,
) -> Result<Tagged, DatabaseError> {
    let names: Vec<(&str, Tag)> = tags
        .iter()
        .map(|(number, tag)| (number.as_str(), *tag))
        .collect();
    let mut found = BTreeMap::new();
    for (number, rows) in datastore::conversations_by_tag(db, &names).await? {
        found.insert((number, rows.subject.tag), Ok(rows));
    }
    if found.len() < names.len() {
        for name in datastore::erased_among(db, &names).await? {
            found.insert(name, Err(Refusal::SubjectErased));
        }
    }
    let answer = |(number, tag): &(NumberId, Tag)| {
        let rows = found.remove(&(number.as_str().to_owned(), *tag));
        let rows = rows.unwrap_or(Err(Refusal::Undecryptable));
        ((number.clone(), *tag), rows)
    };
    Ok(tags.iter().map(answer).collect())
}

/// Reads a phone_number_id.
///
/// # Errors
/// [`VaultError::Malformed`].
pub(super) fn number_id(id: &str) -> Result<NumberId, VaultError> {
    NumberId::new(id).map_err(|_| VaultError::malformed("phone_number_id", "not 1 to 32 digits"))
}

/// An open number of the batch.
///
/// # Errors
/// Why it is not there.
pub(super) fn number_of(numbers: &Numbers, id: &NumberId) -> Result<Arc<Number>, Refusal> {
    numbers
        .get(id)
        .cloned()
        .unwrap_or(Err(Refusal::NumberUnknown))
}

/// An epoch key of the batch.
///
/// # Errors
/// Why it is not there.
pub(super) fn key_of(keys: &OpeningKeys, epoch: EpochId) -> Result<Arc<EpochKey>, Refusal> {
    keys.get(&epoch)
        .cloned()
        .unwrap_or(Err(Refusal::EpochExpired))
}
