//! Collectors' streams: which conversations each has in hand, and what it is given.
//!
//! Invariants: a conversation is in the hands of one collector at a time, from its first item until all that was given are
//! acknowledged, the stream ends, or its lease lapses; what was given and not acknowledged is then given again, in order. A clock
//! that is off can cost a second delivery, never an order: a collector ends one item before it begins the next of a conversation.

use std::collections::HashMap;

use sealpost_database::{DatabaseError, Kind, Tx};

use super::{
    Datastore, INBOUND, PAGE_BYTES,
    collectors::{
        collector_delete, collector_put, collector_renew, collector_stream, collectors_lapsed,
    },
    conversations::{
        conversation_waits, conversations_free, conversations_free_all, conversations_hold,
        conversations_yield,
    },
    inbound::{Collected, inbound_at, inbound_delete, inbound_first},
};
use crate::{
    RelayError,
    ids::{CollectorName, Conversation, StreamToken},
};

/// How long a collector keeps what it has without a sign of life, milliseconds.
pub(crate) const LEASE_MS: i64 = 10_000;

/// Items of one conversation that are given at a time, so that none fills a stream alone.
pub(crate) const CHUNK: usize = 32;

/// Conversations taken in one transaction.
const AT_ONCE: usize = 64;

impl Datastore {
    /// Opens a stream of `collector`; an older one of that name has nothing from then on.
    pub(crate) async fn collector_open(
        &self,
        collector: CollectorName,
        stream: StreamToken,
        now: i64,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("collector_open", move |tx| {
                let collector = collector.clone();
                Box::pin(async move {
                    collector_put(tx, &collector, stream, now + LEASE_MS).await?;
                    conversations_free_all(tx, &collector).await?;
                    // Also for the older stream, which learns by it that it is over.
                    tx.notify(INBOUND);
                    Ok(())
                })
            })
            .await
    }

    /// Says that a stream lives, and frees what lapsed collectors had.
    ///
    /// # Errors
    /// `StreamReplaced` or `LeaseLapsed` when the stream is no more the collector's.
    pub(crate) async fn collector_keep(
        &self,
        collector: CollectorName,
        stream: StreamToken,
        now: i64,
    ) -> Result<(), RelayError> {
        let freed = self
            .database
            .run_tx("collector_keep", move |tx| {
                let collector = collector.clone();
                Box::pin(async move {
                    check(tx, &collector, stream).await?;
                    collector_renew(tx, &collector, now + LEASE_MS).await?;
                    let mut freed = 0;
                    for lapsed in collectors_lapsed(tx, now).await? {
                        freed += conversations_free_all(tx, &lapsed).await?;
                        collector_delete(tx, &lapsed).await?;
                    }
                    if freed > 0 {
                        tx.notify(INBOUND);
                    }
                    Ok::<_, RelayError>(freed)
                })
            })
            .await?;
        if freed > 0 {
            metrics::counter!("sealpost_relay_conversations_lapsed_total").increment(freed);
        }
        Ok(())
    }

    /// Ends a stream: others may have what it had.
    pub(crate) async fn collector_close(
        &self,
        collector: CollectorName,
        stream: StreamToken,
    ) -> Result<(), RelayError> {
        self.database
            .run_tx("collector_close", move |tx| {
                let collector = collector.clone();
                Box::pin(async move {
                    if collector_stream(tx, &collector).await? == Some(stream) {
                        conversations_free_all(tx, &collector).await?;
                        collector_delete(tx, &collector).await?;
                        tx.notify(INBOUND);
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Takes free conversations in turn and gives at most `room` items of them, by queue id; and whether more may be free. None
    /// when nothing is free.
    ///
    /// # Errors
    /// `StreamReplaced` or `LeaseLapsed` when the stream is no more the collector's.
    pub(crate) async fn collect(
        &self,
        collector: CollectorName,
        stream: StreamToken,
        room: usize,
        now: i64,
    ) -> Result<(Vec<Collected>, bool), RelayError> {
        // Most wakes are for another's conversation: looking first keeps them off the writer.
        let waits = self.database.read("collect_look", move |db| {
            Box::pin(async move { Ok::<_, RelayError>(conversation_waits(db, now).await?) })
        });
        if !waits.await? {
            return Ok((Vec::new(), false));
        }
        let kind = self.database.kind();
        self.database
            .run_tx("collect", move |tx| {
                let collector = collector.clone();
                Box::pin(async move {
                    check(tx, &collector, stream).await?;
                    Ok(take(tx, kind, &collector, room, now).await?)
                })
            })
            .await
    }

    /// Forgets what a collector keeps, frees the conversations of which it has `done` all that it was given, and gives at most
    /// `room` items of what is free then, as [`Self::collect`] does. None when it did not look.
    ///
    /// Whose the items are is not asked: that they are kept is true whoever says it, and of whatever stream.
    pub(crate) async fn forget_collected(
        &self,
        ids: Vec<i64>,
        done: Vec<Conversation>,
        collector: CollectorName,
        stream: StreamToken,
        room: usize,
        now: i64,
    ) -> Result<Option<(Vec<Collected>, bool)>, RelayError> {
        let kind = self.database.kind();
        self.database
            .run_tx_soon("collect_acknowledge", move |tx| {
                let (ids, done, collector) = (ids.clone(), done.clone(), collector.clone());
                Box::pin(async move {
                    inbound_delete(tx, &ids).await?;
                    let freed = conversations_yield(tx, &done, &collector, stream).await?;
                    let is_ours = collector_stream(tx, &collector).await? == Some(stream);
                    if room == 0 || !is_ours || !conversation_waits(tx, now).await? {
                        if !freed.is_empty() {
                            tx.notify(INBOUND);
                        }
                        return Ok(None);
                    }
                    let (given, more) = take(tx, kind, &collector, room, now).await?;
                    let kept = |one: &Conversation| given.iter().any(|g| g.conversation == *one);
                    if more || !freed.iter().all(kept) {
                        tx.notify(INBOUND);
                    }
                    Ok(Some((given, more)))
                })
            })
            .await
    }
}

/// Takes free conversations in turn into the hands of `collector`: at most `room` items of them, and no more once a page's bytes are
/// reached; and whether more may be free.
async fn take(
    tx: &mut Tx,
    kind: Kind,
    collector: &CollectorName,
    room: usize,
    now: i64,
) -> Result<(Vec<Collected>, bool), DatabaseError> {
    let most = AT_ONCE.min(room);
    let free = conversations_free(tx, most, now).await?;
    let mut more = free.len() == most;
    let first = inbound_first(tx, kind, &free, now).await?;
    let (mut held, mut places, mut bytes) = (Vec::new(), HashMap::new(), 0);
    for (conversation, first) in free.into_iter().zip(first) {
        if places.len() >= room || bytes >= PAGE_BYTES {
            more = true;
            break;
        }
        for (queue_id, size) in first {
            if places.len() < room && bytes < PAGE_BYTES {
                bytes += size;
                places.insert(queue_id, conversation.clone());
            }
        }
        held.push(conversation);
    }
    conversations_hold(tx, &held, collector).await?;
    Ok((inbound_at(tx, places).await?, more))
}

/// Whether `stream` is the collector's, now and until the transaction ends.
async fn check(
    tx: &mut Tx,
    collector: &CollectorName,
    stream: StreamToken,
) -> Result<(), RelayError> {
    match collector_stream(tx, collector).await? {
        Some(newest) if newest == stream => Ok(()),
        Some(_) => Err(RelayError::StreamReplaced),
        None => Err(RelayError::LeaseLapsed),
    }
}
