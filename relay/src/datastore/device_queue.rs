//! The table `device_queue`: what waits for devices.

use bytes::Bytes;
use futures::TryStreamExt;
use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx,
    sqlx::{Row as _, query, query_as, query_scalar},
};

use super::{DEVICE_QUEUE, PAGE_BYTES, damaged, places, small};
use crate::{
    ids::{HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::{EnvelopeRequest, ForPeer},
};

/// The type of a request for a message of the device's own.
const REQUEST: i64 = 0;

/// A message that waits for a device, or a request for one of its own.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) queue_id: i64,
    pub(crate) number: PhoneNumberId,
    pub(crate) message: MessageId,
    pub(crate) attempt: u32,
    pub(crate) category: u32,
    /// libsignal's; of a request 0.
    pub(crate) kind: i32,
    pub(crate) ciphertext: Bytes,
    pub(crate) received_at: i64,
}

/// What one device gets of a message.
pub(super) struct Fresh<'i> {
    pub(super) item: &'i ForPeer,
    pub(super) holder: HolderId,
    pub(super) kind: i32,
    pub(super) ciphertext: &'i Bytes,
    pub(super) received_at: i64,
    pub(super) expires_at: i64,
}

/// Queues messages; their places, in their order.
pub(super) async fn waiting_insert(
    tx: &mut Tx,
    fresh: &[Fresh<'_>],
) -> Result<Vec<i64>, DatabaseError> {
    const INSERT: Many = Many::new(
        "INSERT INTO device_queue (holder_id, phone_number_id, message_id, attempt, category, type,
                                   ciphertext, received_at, expires_at)
         VALUES {rows} RETURNING queue_id",
    );
    if fresh.is_empty() {
        return Ok(Vec::new());
    }
    let rows = INSERT.fetch(tx, &[], fresh, |fresh| {
        [
            fresh.holder.0.into(),
            fresh.item.number.as_str().into(),
            fresh.item.message.as_bytes().into(),
            i64::from(fresh.item.attempt).into(),
            i64::from(fresh.item.category).into(),
            i64::from(fresh.kind).into(),
            fresh.ciphertext.as_ref().into(),
            fresh.received_at.into(),
            fresh.expires_at.into(),
        ]
    });
    let places = places(&rows.await?)?;
    tx.notify(DEVICE_QUEUE);
    Ok(places)
}

/// Queues a request for a message that the device handed over.
pub(super) async fn request_insert(
    tx: &mut Tx,
    holder: HolderId,
    request: &EnvelopeRequest,
    now: i64,
    expires_at: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO device_queue (holder_id, phone_number_id, message_id, attempt, category, type,
                                   ciphertext, received_at, expires_at)
         VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)",
    )
    .bind(holder.0)
    .bind(request.number.as_str())
    .bind(request.envelope.as_bytes())
    .bind(i64::from(request.failed_attempt))
    .bind(REQUEST)
    .bind(&[] as &[u8])
    .bind(now)
    .bind(expires_at)
    .execute(&mut **tx)
    .await?;
    tx.notify(DEVICE_QUEUE);
    Ok(())
}

/// What waits after `after`, in order: at most `limit`, and no more once a page's bytes are reached.
pub(super) async fn waiting_page(
    db: &mut Connection,
    holder: HolderId,
    after: i64,
    limit: usize,
    now: i64,
) -> Result<Vec<Waiting>, DatabaseError> {
    let mut rows = query(
        "SELECT queue_id, phone_number_id, message_id, attempt, category, type, ciphertext, received_at
         FROM device_queue WHERE holder_id = $1 AND queue_id > $2 AND expires_at > $3
         ORDER BY queue_id LIMIT $4",
    )
    .bind(holder.0)
    .bind(after)
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch(db);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        let waiting = from_row(&row)?;
        bytes += waiting.ciphertext.len();
        page.push(waiting);
    }
    Ok(page)
}

/// The newest place in any queue; 0 when nothing waits.
pub(super) async fn waiting_newest(db: &mut Connection) -> Result<i64, DatabaseError> {
    let newest: Option<i64> = query_scalar("SELECT max(queue_id) FROM device_queue")
        .fetch_one(db)
        .await?;
    Ok(newest.unwrap_or(0))
}

/// Places after `after` and whose they are, in order.
pub(super) async fn waiting_since(
    db: &mut Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, HolderId)>, DatabaseError> {
    let rows: Vec<(i64, i64)> = query_as(
        "SELECT queue_id, holder_id FROM device_queue WHERE queue_id > $1 ORDER BY queue_id LIMIT $2",
    )
    .bind(after)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, holder)| (id, HolderId(holder)))
        .collect())
}

/// Deletes places of devices; what is not in that device's queue is passed over.
pub(super) async fn waiting_delete(
    tx: &mut Tx,
    kept: &[(i64, HolderId)],
) -> Result<(), DatabaseError> {
    const DELETE: Many = Many::new(
        "DELETE FROM device_queue WHERE queue_id IN (
             SELECT q.queue_id FROM (VALUES {rows}) AS v CROSS JOIN device_queue AS q
             WHERE q.queue_id = v.column1 AND q.holder_id = v.column2)",
    );
    let row = |(id, holder): &(i64, HolderId)| [(*id).into(), holder.0.into()];
    DELETE.execute(tx, &[], kept, row).await?;
    Ok(())
}

/// Deletes what waits for a consumer's devices from one number; rows deleted.
pub(super) async fn waiting_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let done = query(
        "DELETE FROM device_queue WHERE phone_number_id = $1
         AND holder_id IN (SELECT holder_id FROM devices WHERE phone_number = $2)",
    )
    .bind(number.as_str())
    .bind(peer.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

impl Waiting {
    /// Whether it asks for a message of the device's own.
    pub(crate) fn is_request(&self) -> bool {
        i64::from(self.kind) == REQUEST
    }
}

fn from_row(row: &Row) -> Result<Waiting, DatabaseError> {
    Ok(Waiting {
        queue_id: row.try_get("queue_id")?,
        number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
        message: damaged(MessageId::from_slice(row.try_get("message_id")?))?,
        attempt: small(row.try_get("attempt")?)?,
        category: small(row.try_get("category")?)?,
        kind: damaged(i32::try_from(row.try_get::<i64, _>("type")?).ok())?,
        ciphertext: row.try_get::<Vec<u8>, _>("ciphertext")?.into(),
        received_at: row.try_get("received_at")?,
    })
}
