//! The durable queue between the gateway and the app, and what is remembered beside it.
//!
//! Owns the transactions. Invariants: content and phone numbers are on the disk only sealed under the queue key; an event is in the
//! queue once, however often it comes; of each conversation only the oldest delivery is due.

mod sealing;
mod tables;

use std::sync::Arc;

use sealpost_connector_sdk::{MessageId, NumberId, Peer};
use sealpost_database::{Database, DatabaseConfig, DatabaseError, Migration, PoolOptions};
use sealpost_envelope::EnvelopeError;
use sealpost_runtime::Timestamp;
use serde_json::Value;
use thiserror::Error;
use zeroize::Zeroizing;

pub use sealing::{Digest, QueueKey};
use sealing::{Room, fresh_id};
pub use tables::deliveries::Due;

/// The queue's schema. Append only.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "queue",
    include_str!("../../migrations/sqlite/0001_queue.sql"),
    include_str!("../../migrations/postgres/0001_queue.sql"),
)];

/// How long repeats are recognised and notes are kept: longer than any event lives at the gateway.
pub const MEMORY: std::time::Duration = std::time::Duration::from_secs(35 * 24 * 3600);
/// Rows that one statement forgets.
const FORGET: i64 = 1_000;

/// What can go wrong.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A row does not open: another queue key, or a damaged row.
    #[error("a row of the queue does not open: {0}")]
    Sealed(#[from] EnvelopeError),
}

/// An event to queue.
#[derive(Debug)]
pub struct Arrival {
    /// Recognises the event when it comes again; none for one that may come twice.
    pub once: Option<Digest>,
    /// Who sent it, for a message.
    pub sender: Option<(Digest, Peer)>,
    /// Where the app's own data for its message is, for a status.
    pub callback: Option<Digest>,
    /// Events of one conversation go to the app one after another.
    pub conversation: Digest,
    /// The webhook's body; none for an event that is only remembered.
    pub body: Option<Value>,
}

/// The queue. Clones share it.
#[derive(Clone)]
pub struct Queue {
    database: Database,
    key: Arc<QueueKey>,
}

impl Queue {
    /// Opens the `database`.
    ///
    /// # Errors
    /// When it cannot be opened or brought to the schema.
    pub async fn open(database: DatabaseConfig, key: QueueKey) -> Result<Self, QueueError> {
        let database = Database::open(database, MIGRATIONS, PoolOptions::default()).await?;
        Ok(Self {
            database,
            key: Arc::new(key),
        })
    }

    /// The key, for digests.
    #[must_use]
    pub fn key(&self) -> &QueueKey {
        &self.key
    }

    /// Queues events in their order, all or none; answers how many were new. Once it answers they may be acknowledged.
    ///
    /// # Errors
    /// When nothing was kept, or it is unknown whether.
    pub async fn keep(&self, arrivals: Vec<Arrival>, now: Timestamp) -> Result<usize, QueueError> {
        let arrivals = Arc::new(arrivals);
        let key = self.key.clone();
        self.database
            .run_tx("queue_keep", move |tx| {
                let (arrivals, key) = (arrivals.clone(), key.clone());
                Box::pin(async move {
                    let mut fresh = 0;
                    for arrival in arrivals.iter() {
                        if let Some(once) = &arrival.once
                            && !tables::seen::seen_insert(tx, once, now).await?
                        {
                            continue;
                        }
                        if let Some((digest, peer)) = &arrival.sender {
                            let sealed = key.seal(Room::Notes, digest, peer.expose().as_bytes())?;
                            tables::notes::note_insert(tx, digest, &sealed, now).await?;
                        }
                        if let Some(body) = &arrival.body {
                            let note = match &arrival.callback {
                                Some(digest) => tables::notes::note_find(tx, digest)
                                    .await?
                                    // A damaged note must not hold its status back.
                                    .and_then(|sealed| key.open(Room::Notes, digest, &sealed).ok()),
                                None => None,
                            };
                            let body = crate::webhook::payload::bytes(body, note.as_deref());
                            let id = fresh_id()?;
                            let sealed = key.seal(Room::Deliveries, &id, &body)?;
                            tables::deliveries::delivery_insert(
                                tx,
                                &id,
                                &arrival.conversation,
                                &sealed,
                                now,
                            )
                            .await?;
                        }
                        fresh += 1;
                    }
                    Ok(fresh)
                })
            })
            .await
    }

    /// Deliveries whose time has come, oldest first, one of each conversation.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due(&self, most: usize, now: Timestamp) -> Result<Vec<Due>, QueueError> {
        self.database
            .read("queue_due", move |reader| {
                Box::pin(
                    async move { Ok(tables::deliveries::deliveries_due(reader, most, now).await?) },
                )
            })
            .await
    }

    /// When the next delivery that waits for its time is due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        self.database
            .read("queue_next_due", move |reader| {
                Box::pin(async move { Ok(tables::deliveries::next_due(reader, now).await?) })
            })
            .await
    }

    /// The body of a delivery.
    ///
    /// # Errors
    /// When it does not open.
    pub fn body(&self, due: &Due) -> Result<Zeroizing<Vec<u8>>, QueueError> {
        Ok(self.key.open(Room::Deliveries, &due.id, &due.sealed)?)
    }

    /// Notes how attempts went: what is finished leaves, and the next of its conversation is due; the rest waits.
    ///
    /// # Errors
    /// When nothing was noted, or it is unknown whether: the same deliveries are then due again.
    pub async fn settle(&self, settled: Vec<Settled>, now: Timestamp) -> Result<(), QueueError> {
        let settled = Arc::new(settled);
        self.database
            .run_tx("queue_settle", move |tx| {
                let settled = settled.clone();
                Box::pin(async move {
                    for one in settled.iter() {
                        match one.again_at {
                            None => tables::deliveries::delivery_finish(tx, &one.id, now).await?,
                            Some(at) => {
                                tables::deliveries::delivery_put_off(tx, &one.id, at).await?;
                            }
                        }
                    }
                    Ok(())
                })
            })
            .await
    }

    /// How many deliveries stand.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(&self) -> Result<u64, QueueError> {
        self.database
            .read("queue_count", move |reader| {
                Box::pin(async move { Ok(tables::deliveries::deliveries_count(reader).await?) })
            })
            .await
    }

    /// Keeps the app's own data for a message's statuses; a later one takes its place.
    ///
    /// # Errors
    /// When it is not known to be kept.
    pub async fn callback_keep(
        &self,
        number: &NumberId,
        id: MessageId,
        data: &str,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let digest = self.key.callback(number, id);
        let sealed = self.key.seal(Room::Notes, &digest, data.as_bytes())?;
        self.database
            .run_tx("callback_keep", move |tx| {
                let sealed = sealed.clone();
                Box::pin(async move {
                    Ok(tables::notes::note_replace(tx, &digest, &sealed, now).await?)
                })
            })
            .await
    }

    /// Who sent the message with this id to the number.
    ///
    /// # Errors
    /// When the database does not answer or the row does not open.
    pub async fn sender(
        &self,
        number: &NumberId,
        id: MessageId,
    ) -> Result<Option<Peer>, QueueError> {
        let digest = self.key.sender(number, id);
        let sealed = self
            .database
            .read("sender_find", move |reader| {
                Box::pin(async move {
                    Ok::<_, QueueError>(tables::notes::note_find(reader, &digest).await?)
                })
            })
            .await?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let digits = self.key.open(Room::Notes, &digest, &sealed)?;
        let digits = std::str::from_utf8(&digits).map_err(|_| EnvelopeError::Malformed("peer"))?;
        Ok(Some(Peer::new(digits)?))
    }

    /// Forgets what is older than [`MEMORY`], a bounded part at a time; answers whether more is left.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn forget(&self, now: Timestamp) -> Result<bool, QueueError> {
        let before = now - MEMORY;
        let gone = self
            .database
            .run_tx("queue_forget", move |tx| {
                Box::pin(async move {
                    let seen = tables::seen::seen_forget(tx, before, FORGET).await?;
                    let notes = tables::notes::notes_forget(tx, before, FORGET).await?;
                    Ok::<_, QueueError>(seen.max(notes))
                })
            })
            .await?;
        Ok(gone >= FORGET.unsigned_abs())
    }

    /// Gives the pages of deleted rows back and empties the log of them.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn tidy(&self) -> Result<(), QueueError> {
        self.database.incremental_vacuum(10_000).await?;
        // Blocked by a reader, it is done the next time.
        let _ = self.database.checkpoint().await?;
        Ok(())
    }

    /// Finishes what has begun and closes the database.
    ///
    /// # Errors
    /// When the log could not be emptied; nothing committed is lost.
    pub async fn close(&self) -> Result<(), QueueError> {
        Ok(self.database.close().await?)
    }
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The delivery.
    pub id: Vec<u8>,
    /// When to try again; none when it is delivered or given up.
    pub again_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests;
