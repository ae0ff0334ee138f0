//! Settling: one transaction that says whether what a batch worked out may stand, and writes what may.
//!
//! The work was done before, on conversations that the batch had to itself; this is the only place where its rows are written. It asks,
//! in the transaction: are the shards ours, under the tokens under which the batch began; do the numbers stand as they were used; is
//! each conversation's row where it was left. What fails the first is another vault's, what fails the others is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_database::Tx;
use sealpost_envelope::NumberId;
use sealpost_proto::vault::v1::Refusal;

use super::{Vault, lapse::day, records::Numbers, working_set::Key};
use crate::{
    VaultError,
    custody::Now,
    datastore::{self, ConversationWrite, Door, PendingRow},
    number::Number,
    prekey_shelf::{KemUse, Spent},
    shards::{Fence, Rows, Shard, View},
};

/// What a conversation leaves to write.
pub(super) struct Write {
    pub(super) key: Key,
    pub(super) shard: Shard,
    pub(super) rows: ConversationWrite,
    pub(super) spent: Vec<Spent>,
}

/// What a batch worked out.
pub(super) struct Work {
    /// Its transaction's name.
    pub(super) name: &'static str,
    /// Who held what when it began.
    pub(super) view: View,
    /// The numbers that it used.
    pub(super) numbers: Numbers,
    pub(super) writes: Vec<Write>,
    /// New pending rows, each with the conversation that it stands or falls with.
    pub(super) pending: Vec<(Key, PendingRow)>,
    pub(super) now: Now,
}

/// What became of it.
#[derive(Default)]
pub(super) struct Settled {
    fence: Fence,
    /// Numbers that are others than those that were used.
    moved: BTreeSet<NumberId>,
    /// Conversations that another writer had moved on, of which nothing was written.
    contended: BTreeSet<Key>,
    /// The rows of the shards, when they were read, and at which count of their changes.
    read: Option<(u64, Rows)>,
}

impl Settled {
    /// Whether what was worked out for an item of this conversation stands.
    ///
    /// # Errors
    /// [`Refusal::ShardElsewhere`], or [`Refusal::Contention`]: nothing of it was written.
    pub(super) fn check(&self, key: &Key, shard: Shard) -> Result<(), Refusal> {
        self.fence.admit(shard)?;
        if self.contended.contains(key) || self.moved.contains(&key.0) {
            return Err(Refusal::Contention);
        }
        Ok(())
    }
}

impl Vault {
    /// Writes what may be written of a batch's work, and commits.
    ///
    /// # Errors
    /// When the database fails, or a prekey was used up by another writer: then nothing of it stands.
    pub(super) async fn settle(&self, work: Work) -> Result<Settled, VaultError> {
        let (work, vault) = (Arc::new(work), self.clone());
        let settled = self.0.database.run_tx(work.name, move |tx| {
            let (work, vault) = (work.clone(), vault.clone());
            Box::pin(async move { vault.settle_in(tx, &work).await })
        });
        let settled = settled.await?;
        // Not before the commit: what was seen could still have been undone.
        if let Some((changes, rows)) = &settled.read {
            self.0.leases.read_at(*changes, rows.clone());
        }
        for number in &settled.moved {
            self.0.numbers.forget(number);
        }
        Ok(settled)
    }

    async fn settle_in(&self, tx: &mut Tx, work: &Work) -> Result<Settled, VaultError> {
        let known: BTreeMap<&str, &Arc<Number>> = work
            .numbers
            .values()
            .flatten()
            .map(|number| (number.id.as_str(), number))
            .collect();
        let ids: Vec<&str> = known.keys().copied().collect();
        let door = datastore::door(tx, &ids).await?;
        let (fence, read) = self.fence(tx, &door, &work.view).await?;
        let mut settled = Settled {
            fence,
            read,
            moved: moved(&known, &door),
            contended: BTreeSet::new(),
        };
        let stands = |key, shard| settled.check(key, shard).is_ok();
        let writes: Vec<&Write> = work
            .writes
            .iter()
            .filter(|write| stands(&write.key, write.shard))
            .collect();
        let rows: Vec<_> = writes.iter().map(|write| &write.rows).collect();
        let written = datastore::conversations_write(tx, &rows, day(work.now.timestamp())).await?;
        let is_written = |(number, id): &Key| written.contains(&(number.as_str().to_owned(), *id));
        for write in &writes {
            if is_written(&write.key) {
                for spent in &write.spent {
                    spend(tx, write.key.0.as_str(), spent).await?;
                }
            } else {
                settled.contended.insert(write.key.clone());
            }
        }
        let pending: Vec<&PendingRow> = work
            .pending
            .iter()
            .filter_map(|(key, row)| is_written(key).then_some(row))
            .collect();
        datastore::pending_insert(tx, &pending).await?;
        Ok(settled)
    }

    /// The fence of an open transaction, for work that began under `view`; and the rows, when they had to be read.
    async fn fence(
        &self,
        tx: &mut Tx,
        door: &Door,
        view: &View,
    ) -> Result<(Fence, Option<(u64, Rows)>), VaultError> {
        let leases = &self.0.leases;
        let known = door
            .shard_changes
            .and_then(|changes| leases.rows_at(changes));
        let (rows, read) = match known {
            Some(rows) => (rows, None),
            None => {
                let rows = Arc::new(datastore::shards_of(tx, &leases.name).await?);
                let read = door.shard_changes.map(|changes| (changes, rows.clone()));
                (rows, read)
            }
        };
        let fence = Fence::new(&rows, view);
        if !fence.agrees(&rows, view) {
            leases.look_soon();
        }
        Ok((fence, read))
    }
}

/// Numbers that do not stand as they were used.
fn moved(known: &BTreeMap<&str, &Arc<Number>>, door: &Door) -> BTreeSet<NumberId> {
    let stands = |number: &Number| {
        let row = door.numbers.get(number.id.as_str());
        row.is_some_and(|(facts_version, sealed_key)| number.stands(*facts_version, sealed_key))
    };
    let moved = known.values().filter(|number| !stands(number));
    moved.map(|number| number.id.clone()).collect()
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
