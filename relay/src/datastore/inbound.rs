//! The table `inbound`: what waits for the gateway.
//!
//! A row holds the contract's own message, serialised without its queue id: there is one reader of it and one shape.

use futures::TryStreamExt;
use prost::Message;
use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};
use sealpost_proto::relay::v1::{Inbound, inbound::Item};

use super::{PAGE_BYTES, damaged};
use crate::{
    ids::{PhoneNumber, PhoneNumberId},
    validate::MAX_LIFE_MS,
};

/// Something that waits for the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Collected {
    pub(crate) queue_id: i64,
    /// Without its queue id.
    pub(crate) inbound: Inbound,
}

/// Queues something; its place. `peer` is `None` for what is the relay's own.
pub(super) async fn inbound_insert(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: Option<&PhoneNumber>,
    item: Item,
    now: i64,
) -> Result<i64, DatabaseError> {
    let inbound = Inbound {
        queue_id: 0,
        phone_number_id: number.as_str().to_owned(),
        item: Some(item),
    };
    let queue_id = query_scalar(
        "INSERT INTO inbound (phone_number_id, peer, item, expires_at) VALUES ($1, $2, $3, $4)
         RETURNING queue_id",
    )
    .bind(number.as_str())
    .bind(peer.map(PhoneNumber::as_str))
    .bind(inbound.encode_to_vec())
    .bind(now + MAX_LIFE_MS)
    .fetch_one(&mut **tx)
    .await?;
    Ok(queue_id)
}

/// What waits after `after`, in order: at most `limit`, and no more once a page's bytes are reached.
pub(super) async fn inbound_page(
    db: &mut Connection,
    after: i64,
    limit: usize,
    now: i64,
) -> Result<Vec<Collected>, DatabaseError> {
    let mut rows = query(
        "SELECT queue_id, item FROM inbound WHERE queue_id > $1 AND expires_at > $2
         ORDER BY queue_id LIMIT $3",
    )
    .bind(after)
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch(db);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        let item: &[u8] = row.try_get("item")?;
        bytes += item.len();
        page.push(Collected {
            queue_id: row.try_get("queue_id")?,
            inbound: damaged(Inbound::decode(item).ok())?,
        });
    }
    Ok(page)
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
