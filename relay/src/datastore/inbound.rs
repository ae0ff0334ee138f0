//! The table `inbound`: what waits for the gateways.
//!
//! A row holds the contract's own message, serialised without its queue id: there is one reader of it and one shape.

use std::collections::HashMap;

use prost::Message;
use sealpost_database::{
    Connection, DatabaseError, Kind, Many, Tx,
    sqlx::{Row as _, query},
};
use sealpost_proto::relay::v1::{Inbound, inbound::Item};

use super::{
    INBOUND,
    collecting::CHUNK,
    collectors::collector_stream,
    conversations::{conversation_waits, conversations_begin},
    damaged, places,
};
use crate::ids::{CollectorName, Conversation, PhoneNumber, PhoneNumberId, StreamToken};

/// Something that waits for a gateway.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) queue_id: i64,
    pub(crate) conversation: Conversation,
    /// Without its queue id.
    pub(crate) inbound: Inbound,
}

/// Something to be queued.
#[derive(Clone, Debug)]
pub(super) struct Coming {
    pub(super) conversation: Conversation,
    pub(super) item: Item,
    pub(super) expires_at: i64,
}

/// Room that a collector's stream of this process has for what nobody has to read again.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) collector: CollectorName,
    pub(crate) stream: StreamToken,
    /// Items.
    pub(crate) room: usize,
}

/// Queues one thing; its place.
pub(super) async fn inbound_insert(
    tx: &mut Tx,
    coming: Coming,
    now: i64,
) -> Result<i64, DatabaseError> {
    let (places, _) = inbound_put(tx, vec![coming], None, now).await?;
    damaged(places.first().copied())
}

/// Queues things; their places, in their order, and what of them is in the hands of the stream that `offered` room. The other
/// gateways' streams are told of what is not.
///
/// That stream is given conversations that began with this, whole or their first [`CHUNK`], while none waits that came before.
pub(super) async fn inbound_put(
    tx: &mut Tx,
    coming: Vec<Coming>,
    offered: Option<&Offered>,
    now: i64,
) -> Result<(Vec<i64>, Vec<Collected>), DatabaseError> {
    if coming.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut room = match offered {
        Some(offered) if stream_has_all(tx, offered, now).await? => offered.room,
        _ => 0,
    };
    let mut items: HashMap<_, usize> = HashMap::new();
    for one in &coming {
        *items.entry(&one.conversation).or_default() += 1;
    }
    let conversations = items.len();
    let (mut wanted, mut others) = (Vec::new(), Vec::new());
    for (conversation, items) in items {
        let items = items.min(CHUNK);
        if items <= room {
            room -= items;
            wanted.push(conversation);
        } else {
            others.push(conversation);
        }
    }
    let collector = offered.map(|offered| &offered.collector);
    let held = conversations_begin(tx, &wanted, collector).await?;
    let free = conversations_begin(tx, &others, None).await?;

    let inbound = |one: Coming| Inbound {
        queue_id: 0,
        phone_number_id: one.conversation.number.as_str().to_owned(),
        item: Some(one.item),
    };
    let rows: Vec<_> = coming
        .into_iter()
        .map(|one| {
            let (conversation, expires_at) = (one.conversation.clone(), one.expires_at);
            let inbound = inbound(one);
            (conversation, expires_at, inbound.encode_to_vec(), inbound)
        })
        .collect();
    let inserted = INSERT.fetch(tx, &[], &rows, |(conversation, expires_at, item, _)| {
        [
            conversation.number.as_str().into(),
            conversation.peer_column().into(),
            item.as_slice().into(),
            (*expires_at).into(),
        ]
    });
    let places = places(&inserted.await?)?;
    damaged((places.len() == rows.len()).then_some(()))?;
    // One that was there may be free, with nothing but what is over until now.
    let all_began = held.len() + free.len() == conversations;
    if !free.is_empty() || !all_began && conversation_waits(tx, now).await? {
        tx.notify(INBOUND);
    }
    let mut left: HashMap<_, _> = held.into_iter().map(|held| (held, CHUNK)).collect();
    let mut given = Vec::new();
    for ((conversation, _, _, inbound), queue_id) in rows.into_iter().zip(&places) {
        if let Some(left) = left.get_mut(&conversation).filter(|left| **left > 0) {
            *left -= 1;
            given.push(Collected {
                queue_id: *queue_id,
                conversation,
                inbound,
            });
        }
    }
    Ok((places, given))
}

const INSERT: Many = Many::new(
    "INSERT INTO inbound (phone_number_id, peer, item, expires_at) VALUES {rows} RETURNING queue_id",
);

/// Whether the stream is its collector's newest, and nothing that waits could be given before what comes now.
async fn stream_has_all(
    db: &mut Connection,
    offered: &Offered,
    now: i64,
) -> Result<bool, DatabaseError> {
    let stream = collector_stream(db, &offered.collector).await?;
    Ok(stream == Some(offered.stream) && !conversation_waits(db, now).await?)
}

/// The first of each conversation, in order, at most [`CHUNK`]: places and bytes, by conversation.
pub(super) async fn inbound_first(
    db: &mut Connection,
    kind: Kind,
    conversations: &[Conversation],
    now: i64,
) -> Result<Vec<Vec<(i64, usize)>>, DatabaseError> {
    // Each database finds the first few of each conversation in an index in its own words alone.
    const SQLITE: Many = Many::new(
        "SELECT v.column1 AS place, i.queue_id, length(i.item) AS bytes
         FROM (VALUES {rows}) AS v CROSS JOIN inbound AS i
         WHERE i.queue_id IN (
             SELECT f.queue_id FROM inbound AS f
             WHERE f.phone_number_id = v.column2 AND f.peer = v.column3 AND f.expires_at > $1
             ORDER BY f.queue_id LIMIT $2)",
    );
    const POSTGRES: Many = Many::new(
        "SELECT v.column1 AS place, i.queue_id, length(i.item)::BIGINT AS bytes
         FROM (VALUES {rows}) AS v CROSS JOIN LATERAL (
             SELECT f.queue_id, f.item FROM inbound AS f
             WHERE f.phone_number_id = v.column2 AND f.peer = v.column3 AND f.expires_at > $1
             ORDER BY f.queue_id LIMIT $2) AS i",
    );
    let find = match kind {
        Kind::Sqlite => SQLITE,
        _ => POSTGRES,
    };
    let chunk = i64::try_from(CHUNK).unwrap_or(i64::MAX);
    let placed: Vec<_> = (0_i64..).zip(conversations).collect();
    let rows = find
        .fetch(db, &[now.into(), chunk.into()], &placed, |(place, of)| {
            [
                (*place).into(),
                of.number.as_str().into(),
                of.peer_column().into(),
            ]
        })
        .await?;
    let mut found = vec![Vec::new(); conversations.len()];
    for row in rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).ok();
        let of = damaged(place.and_then(|place| found.get_mut(place)))?;
        let bytes = damaged(usize::try_from(row.try_get::<i64, _>("bytes")?).ok())?;
        of.push((row.try_get("queue_id")?, bytes));
    }
    for first in &mut found {
        first.sort_unstable();
    }
    Ok(found)
}

/// What is at these places, by queue id.
pub(super) async fn inbound_at(
    db: &mut Connection,
    mut places: HashMap<i64, Conversation>,
) -> Result<Vec<Collected>, DatabaseError> {
    const FIND: Many =
        Many::new("SELECT queue_id, item FROM inbound WHERE queue_id IN (VALUES {rows})");
    let ids: Vec<_> = places.keys().copied().collect();
    let rows = FIND.fetch(db, &[], &ids, |id| [(*id).into()]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let queue_id = row.try_get("queue_id")?;
        let item: &[u8] = row.try_get("item")?;
        found.push(Collected {
            queue_id,
            conversation: damaged(places.remove(&queue_id))?,
            inbound: damaged(Inbound::decode(item).ok())?,
        });
    }
    found.sort_by_key(|one| one.queue_id);
    Ok(found)
}

pub(super) async fn inbound_delete(tx: &mut Tx, ids: &[i64]) -> Result<(), DatabaseError> {
    const DELETE: Many = Many::new("DELETE FROM inbound WHERE queue_id IN (VALUES {rows})");
    DELETE.execute(tx, &[], ids, |id| [(*id).into()]).await?;
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
