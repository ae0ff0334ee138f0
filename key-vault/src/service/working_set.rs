//! The working set: the conversations that one batch works on, which nobody else works on meanwhile.
//!
//! Owns their coming (from the cache, or from rows), their opening and their sealing. A row that does not open costs its own items
//! and nobody else's. What is written, and who may keep it, [`super::settling`] decides.

use std::{collections::BTreeMap, sync::Arc};

use sealpost_database::{Connection, DatabaseError};
use sealpost_envelope::OsEntropy;
use sealpost_proto::vault::v1::Refusal;

use super::{
    Vault,
    settling::{Settled, Write},
};
use crate::{
    VaultError,
    conversation::Conversation,
    datastore::{self, ConversationRows},
    number::Number,
    session_cache::{CheckedOut, Kept},
    shards::{Shard, View},
    subject::SubjectId,
};

pub(super) use crate::session_cache::Key;

/// Conversations on their way: those at hand, and of the others the rows, if they have any yet.
pub(super) struct Gathered {
    view: View,
    out: CheckedOut,
    numbers: BTreeMap<Key, Arc<Number>>,
    at_hand: BTreeMap<Key, Conversation>,
    rows: BTreeMap<Key, ConversationRows>,
}

/// Conversations at work.
pub(super) struct WorkingSet {
    view: View,
    out: CheckedOut,
    conversations: BTreeMap<Key, Result<Conversation, Refusal>>,
    /// Of those that were worked on.
    shards: BTreeMap<Key, Shard>,
}

impl Vault {
    /// Takes conversations for a batch, once no other batch has one of them.
    pub(super) async fn gather(&self, numbers: BTreeMap<Key, Arc<Number>>) -> Gathered {
        let view = self.0.leases.view().clone();
        let keys = numbers.keys().cloned().collect();
        let (out, at_hand) = self.0.sessions.check_out(keys, &view).await;
        Gathered {
            view,
            out,
            numbers,
            at_hand,
            rows: BTreeMap::new(),
        }
    }

    /// The same, with the rows of those that are not at hand.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn gather_all(
        &self,
        numbers: BTreeMap<Key, Arc<Number>>,
    ) -> Result<Gathered, VaultError> {
        let mut gathered = self.gather(numbers).await;
        let missing = gathered.missing();
        if !missing.is_empty() {
            let rows = self.0.database.read("conversations", move |db| {
                Box::pin(async move { load(db, &missing).await })
            });
            gathered.bring(rows.await?);
        }
        Ok(gathered)
    }
}

/// Loads the rows of conversations that have any.
///
/// # Errors
/// When the database fails.
pub(super) async fn load(
    db: &mut Connection,
    keys: &[Key],
) -> Result<BTreeMap<Key, ConversationRows>, DatabaseError> {
    let names: Vec<(&str, SubjectId)> = keys
        .iter()
        .map(|(number, id)| (number.as_str(), *id))
        .collect();
    let mut rows: BTreeMap<(String, SubjectId), ConversationRows> = BTreeMap::new();
    for (number, found) in datastore::conversations_by_id(db, &names).await? {
        rows.insert((number, found.subject.id), found);
    }
    let of = |key: &Key| {
        let found = rows.remove(&(key.0.as_str().to_owned(), key.1))?;
        Some((key.clone(), found))
    };
    Ok(keys.iter().filter_map(of).collect())
}

impl Gathered {
    /// A conversation that is at hand.
    pub(super) fn at_hand(&self, key: &Key) -> Option<&Conversation> {
        self.at_hand.get(key)
    }

    /// Those that are not.
    pub(super) fn missing(&self) -> Vec<Key> {
        let missing = self.numbers.keys();
        let missing = missing.filter(|key| !self.at_hand.contains_key(*key));
        missing.cloned().collect()
    }

    /// Their rows.
    pub(super) fn bring(&mut self, rows: BTreeMap<Key, ConversationRows>) {
        self.rows = rows;
    }

    /// Opens what is not open yet.
    ///
    /// # Errors
    /// When there is no randomness for a new subject.
    pub(super) fn open(self) -> Result<WorkingSet, VaultError> {
        let Self {
            view,
            out,
            numbers,
            mut at_hand,
            mut rows,
        } = self;
        let mut conversations = BTreeMap::new();
        for (key, number) in numbers {
            let conversation = match (at_hand.remove(&key), rows.remove(&key)) {
                (Some(mut conversation), _) => {
                    conversation.set_number(number);
                    Ok(conversation)
                }
                (None, Some(rows)) => Conversation::open(number, &rows).map_err(|_| {
                    metrics::counter!("sealpost_vault_rows_refused_total").increment(1);
                    Refusal::Undecryptable
                }),
                (None, None) => Ok(Conversation::begin(number, key.1, &mut OsEntropy)?),
            };
            conversations.insert(key, conversation);
        }
        Ok(WorkingSet {
            view,
            out,
            conversations,
            shards: BTreeMap::new(),
        })
    }
}

impl WorkingSet {
    /// A conversation to look into.
    ///
    /// # Errors
    /// [`Refusal::Undecryptable`] when its rows did not open.
    pub(super) fn look(&self, key: &Key) -> Result<&Conversation, Refusal> {
        match self.conversations.get(key) {
            Some(Ok(conversation)) => Ok(conversation),
            Some(Err(refusal)) => Err(*refusal),
            None => Err(Refusal::Undecryptable),
        }
    }

    /// A conversation of `shard` to work on.
    ///
    /// # Errors
    /// [`Refusal::ShardElsewhere`], and [`Refusal::Undecryptable`] when its rows did not open.
    pub(super) fn conversation(
        &mut self,
        key: &Key,
        shard: Shard,
    ) -> Result<&mut Conversation, Refusal> {
        if !self.view.holds(shard) {
            return Err(Refusal::ShardElsewhere);
        }
        match self.conversations.get_mut(key) {
            Some(Ok(conversation)) => {
                self.shards.insert(key.clone(), shard);
                Ok(conversation)
            }
            Some(Err(refusal)) => Err(*refusal),
            // It was another vault's when the batch looked.
            None => Err(Refusal::ShardElsewhere),
        }
    }

    /// Who holds what, as it was when the conversations were taken.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Seals what changed.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn seal(&mut self) -> Result<Vec<Write>, VaultError> {
        let mut writes = Vec::new();
        for (key, shard) in &self.shards {
            if let Some(Ok(conversation)) = self.conversations.get_mut(key)
                && let Some((rows, spent)) = conversation.seal(&mut OsEntropy)?
            {
                writes.push(Write {
                    key: key.clone(),
                    shard: *shard,
                    rows,
                    spent,
                });
            }
        }
        Ok(writes)
    }

    /// Keeps at hand what a committed transaction left; `settled` is what became of it.
    pub(super) fn keep(self, settled: &Settled) {
        let Self {
            view,
            out,
            conversations,
            shards,
        } = self;
        let kept = conversations.into_iter().filter_map(|(key, conversation)| {
            let shard = *shards.get(&key)?;
            settled.check(&key, shard).ok()?;
            let kept = Kept {
                conversation: conversation.ok()?,
                shard,
                token: view.token(shard)?,
            };
            Some((key, kept))
        });
        out.keep(kept);
    }
}
