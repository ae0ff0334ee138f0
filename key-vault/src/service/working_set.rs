//! The working set: the conversations that one batch works on.
//!
//! Owns their opening, their sealing and their writing. A row that does not open costs its own items and nobody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_database::Tx;
use sealpost_envelope::{NumberId, OsEntropy};
use sealpost_proto::vault::v1::Refusal;

use super::lapse::day;
use crate::{
    VaultError,
    conversation::Conversation,
    custody::Now,
    datastore::{self, ConversationRows, ConversationWrite},
    number::Number,
    prekey_shelf::{KemUse, Spent},
    subject::SubjectId,
};

/// Which conversation; also the order in which rows are read and written.
pub(super) type Key = (NumberId, SubjectId);

/// A conversation's rows, if it has any yet.
pub(super) struct Loaded {
    pub(super) number: Arc<Number>,
    pub(super) id: SubjectId,
    pub(super) rows: Option<ConversationRows>,
}

/// Conversations at work.
pub(super) struct WorkingSet(BTreeMap<Key, Result<Conversation, Refusal>>);

/// What a conversation leaves to write.
#[derive(Clone)]
pub(super) struct Write {
    key: Key,
    rows: ConversationWrite,
    spent: Vec<Spent>,
}

impl WorkingSet {
    /// Opens what was loaded.
    ///
    /// # Errors
    /// When there is no randomness for a new subject.
    pub(super) fn open(loaded: Vec<Loaded>) -> Result<Self, VaultError> {
        let mut conversations = BTreeMap::new();
        for Loaded { number, id, rows } in loaded {
            let key = (number.id.clone(), id);
            let conversation = match rows {
                Some(rows) => Conversation::open(number, &rows).map_err(|_| {
                    metrics::counter!("sealpost_vault_rows_refused_total").increment(1);
                    Refusal::Undecryptable
                }),
                None => Ok(Conversation::begin(number, id, &mut OsEntropy)?),
            };
            conversations.insert(key, conversation);
        }
        Ok(Self(conversations))
    }

    /// A conversation to work on.
    ///
    /// # Errors
    /// [`Refusal::Undecryptable`] when its rows did not open.
    pub(super) fn conversation(&mut self, key: &Key) -> Result<&mut Conversation, Refusal> {
        match self.0.get_mut(key) {
            Some(Ok(conversation)) => Ok(conversation),
            Some(Err(refusal)) => Err(*refusal),
            None => Err(Refusal::Undecryptable),
        }
    }

    /// Seals what changed.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn seal(self) -> Result<Vec<Write>, VaultError> {
        let mut writes = Vec::new();
        for (key, conversation) in self.0 {
            let Ok(conversation) = conversation else {
                continue;
            };
            if let Some((rows, spent)) = conversation.seal(&mut OsEntropy)? {
                writes.push(Write { key, rows, spent });
            }
        }
        Ok(writes)
    }
}

/// Writes in key order; answers the conversations that another writer had moved on, of which nothing is written.
///
/// # Errors
/// When the database fails, or a prekey was used up by another writer: the whole transaction must then go.
pub(super) async fn write_all(
    tx: &mut Tx,
    writes: &[Write],
    now: Now,
) -> Result<BTreeSet<Key>, VaultError> {
    let mut contended = BTreeSet::new();
    for write in writes {
        if !datastore::conversation_write(tx, &write.rows, day(now.timestamp())).await? {
            contended.insert(write.key.clone());
            continue;
        }
        for spent in &write.spent {
            spend(tx, write.key.0.as_str(), spent).await?;
        }
    }
    Ok(contended)
}

async fn spend(tx: &mut Tx, number: &str, spent: &Spent) -> Result<(), VaultError> {
    let ours = match &spent.kem {
        KemUse::OneTime(id) => datastore::kem_prekey_delete(tx, number, *id).await?,
        KemUse::Marked {
            kem,
            signed,
            base_key,
        } => datastore::kem_used_insert(tx, number, *kem, *signed, base_key).await?,
    };
    let ours = match spent.one_time {
        Some(id) => ours && datastore::one_time_prekey_delete(tx, number, id).await?,
        None => ours,
    };
    if ours {
        Ok(())
    } else {
        Err(VaultError::Contention)
    }
}
