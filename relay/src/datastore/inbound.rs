//! The table `inbound`: what waits for the gateways.
//!
//! A row holds the contract's own message, serialised without its queue id: there is one reader of it and one shape.

use futures::TryStreamExt;
use prost::Message;
use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};
use sealpost_proto::relay::v1::{Inbound, inbound::Item};

use super::{INBOUND, damaged};
use crate::ids::{Conversation, PhoneNumber, PhoneNumberId};

/// Something that waits for a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) queue_id: i64,
    pub(crate) conversation: Conversation,
    /// Without its queue id.
    pub(crate) inbound: Inbound,
}

/// Queues something, and tells the gateways' streams; its place.
pub(super) async fn inbound_insert(
    tx: &mut Tx,
    conversation: &Conversation,
    item: Item,
    expires_at: i64,
) -> Result<i64, DatabaseError> {
    let inbound = Inbound {
        queue_id: 0,
        phone_number_id: conversation.number.as_str().to_owned(),
        item: Some(item),
    };
    let queue_id = query_scalar(
        "INSERT INTO inbound (phone_number_id, peer, item, expires_at) VALUES ($1, $2, $3, $4)
         RETURNING queue_id",
    )
    .bind(conversation.number.as_str())
    .bind(conversation.peer_column())
    .bind(inbound.encode_to_vec())
    .bind(expires_at)
    .fetch_one(&mut **tx)
    .await?;
    tx.notify(INBOUND);
    Ok(queue_id)
}

/// The first of a conversation, in order: at most `limit`, and no more once `most_bytes` are reached; and their bytes.
pub(super) async fn inbound_of(
    db: &mut Connection,
    conversation: &Conversation,
    limit: usize,
    most_bytes: usize,
    now: i64,
) -> Result<(Vec<Collected>, usize), DatabaseError> {
    let mut rows = query(
        "SELECT queue_id, item FROM inbound
         WHERE phone_number_id = $1 AND peer = $2 AND expires_at > $3
         ORDER BY queue_id LIMIT $4",
    )
    .bind(conversation.number.as_str())
    .bind(conversation.peer_column())
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch(db);
    let (mut items, mut bytes) = (Vec::new(), 0);
    while bytes < most_bytes
        && let Some(row) = rows.try_next().await?
    {
        let item: &[u8] = row.try_get("item")?;
        bytes += item.len();
        items.push(Collected {
            queue_id: row.try_get("queue_id")?,
            conversation: conversation.clone(),
            inbound: damaged(Inbound::decode(item).ok())?,
        });
    }
    Ok((items, bytes))
}

pub(super) async fn inbound_delete(tx: &mut Tx, ids: &[i64]) -> Result<(), DatabaseError> {
    for id in ids {
        query("DELETE FROM inbound WHERE queue_id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Deletes what a consumer sent to one number; rows deleted.
pub(super) async fn inbound_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let done = query("DELETE FROM inbound WHERE phone_number_id = $1 AND peer = $2")
        .bind(number.as_str())
        .bind(peer.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Datastore, RelayError};

    impl Datastore {
        /// Everything that waits and is not over, by queue id, whoever has it.
        pub(crate) async fn all_inbound(&self, now: i64) -> Vec<Inbound> {
            let read = self.database.read("all_inbound", move |db| {
                Box::pin(async move {
                    let rows =
                        query("SELECT item FROM inbound WHERE expires_at > $1 ORDER BY queue_id")
                            .bind(now)
                            .fetch_all(&mut **db)
                            .await
                            .map_err(DatabaseError::from)?;
                    let item = |row: &sealpost_database::Row| {
                        Inbound::decode(row.get::<&[u8], _>("item")).unwrap()
                    };
                    Ok::<_, RelayError>(rows.iter().map(item).collect())
                })
            });
            read.await.unwrap()
        }
    }
}
