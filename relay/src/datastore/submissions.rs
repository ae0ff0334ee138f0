//! The table `submissions`: which messages were handed over for which devices.
//!
//! A row outlives the message in the queue, up to the message's own end: repeats, receipts and retry requests refer to it.

use sealpost_database::{
    Connection, DatabaseError, Many, Tx, Value,
    sqlx::{Row as _, query, query_scalar},
};

use super::{damaged, small};
use crate::{
    ids::{HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::ForPeer,
};

/// One attempt of a message for one device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'i> {
    pub(super) item: &'i ForPeer,
    pub(super) holder: HolderId,
    pub(super) expires_at: i64,
}

/// Remembers attempts that are not remembered, or over; each once.
pub(super) async fn submissions_put(
    tx: &mut Tx,
    attempts: &[Attempt<'_>],
) -> Result<(), DatabaseError> {
    const PUT: Many = Many::new(
        "INSERT INTO submissions (phone_number_id, peer, message_id, holder_id, attempt, expires_at)
         VALUES {rows}
         ON CONFLICT (phone_number_id, peer, message_id, holder_id, attempt) DO UPDATE
         SET receipt = 0, retry_asked = 0, expires_at = excluded.expires_at",
    );
    PUT.execute(tx, &[], attempts, |attempt| {
        [
            attempt.item.number.as_str().into(),
            attempt.item.peer.as_str().into(),
            attempt.item.message.as_bytes().into(),
            attempt.holder.0.into(),
            i64::from(attempt.item.attempt).into(),
            attempt.expires_at.into(),
        ]
    })
    .await?;
    Ok(())
}

/// What was handed over of each of `items` before and is not over: devices and attempts.
pub(super) async fn submissions_of(
    db: &mut Connection,
    items: &[&ForPeer],
    now: i64,
) -> Result<Vec<Vec<(HolderId, u32)>>, DatabaseError> {
    const FIND: Many = Many::new(
        "SELECT v.column1 AS place, s.holder_id, s.attempt
         FROM (VALUES {rows}) AS v CROSS JOIN submissions AS s
         WHERE s.phone_number_id = v.column2 AND s.peer = v.column3 AND s.message_id = v.column4
         AND s.expires_at > $1",
    );
    let placed: Vec<_> = (0_i64..).zip(items.iter().copied()).collect();
    let rows = FIND
        .fetch(db, &[now.into()], &placed, |(place, item)| {
            [
                (*place).into(),
                item.number.as_str().into(),
                item.peer.as_str().into(),
                item.message.as_bytes().into(),
            ]
        })
        .await?;
    let mut found = vec![Vec::new(); items.len()];
    for row in rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).ok();
        let of = damaged(place.and_then(|place| found.get_mut(place)))?;
        of.push((
            HolderId(row.try_get("holder_id")?),
            small(row.try_get("attempt")?)?,
        ));
    }
    Ok(found)
}

/// A message that a device was sent, as the device speaks of it.
pub(super) type Spoken<'s> = (&'s PhoneNumberId, &'s PhoneNumber, MessageId, HolderId);

/// The furthest receipt that was given for each message; `None` when the device was not sent the message.
pub(super) async fn submission_receipts(
    db: &mut Connection,
    spoken: &[Spoken<'_>],
    now: i64,
) -> Result<Vec<Option<i64>>, DatabaseError> {
    const FIND: Many = Many::new(
        "SELECT v.column1 AS place, max(s.receipt) AS furthest
         FROM (VALUES {rows}) AS v CROSS JOIN submissions AS s
         WHERE s.phone_number_id = v.column2 AND s.peer = v.column3 AND s.message_id = v.column4
         AND s.holder_id = v.column5 AND s.expires_at > $1 GROUP BY v.column1",
    );
    let placed: Vec<_> = (0_i64..).zip(spoken).collect();
    let rows = FIND
        .fetch(db, &[now.into()], &placed, |(place, of)| {
            let [number, peer, message, holder] = row(of);
            [(*place).into(), number, peer, message, holder]
        })
        .await?;
    let mut furthest = vec![None; spoken.len()];
    for row in rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).ok();
        let of = damaged(place.and_then(|place| furthest.get_mut(place)))?;
        *of = Some(row.try_get("furthest")?);
    }
    Ok(furthest)
}

pub(super) async fn submissions_set_receipt(
    tx: &mut Tx,
    spoken: &[Spoken<'_>],
    receipt: i64,
) -> Result<(), DatabaseError> {
    const SET: Many = Many::new(
        "UPDATE submissions SET receipt = $1 FROM (VALUES {rows}) AS v
         WHERE phone_number_id = v.column1 AND peer = v.column2 AND message_id = v.column3
         AND holder_id = v.column4",
    );
    SET.execute(tx, &[receipt.into()], spoken, row).await?;
    Ok(())
}

fn row<'s>((number, peer, message, holder): &'s Spoken<'_>) -> [Value<'s>; 4] {
    [
        number.as_str().into(),
        peer.as_str().into(),
        message.as_bytes().into(),
        holder.0.into(),
    ]
}

/// Notes that a device asked for another attempt: true the first time, false again, `None` when it was not sent that attempt.
pub(super) async fn submission_ask_retry(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
    message: MessageId,
    holder: HolderId,
    attempt: u32,
    now: i64,
) -> Result<Option<bool>, DatabaseError> {
    let asked: Option<i64> = query_scalar(
        "SELECT retry_asked FROM submissions WHERE phone_number_id = $1 AND peer = $2
         AND message_id = $3 AND holder_id = $4 AND attempt = $5 AND expires_at > $6",
    )
    .bind(number.as_str())
    .bind(peer.as_str())
    .bind(message.as_bytes())
    .bind(holder.0)
    .bind(i64::from(attempt))
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?;
    if asked == Some(0) {
        query(
            "UPDATE submissions SET retry_asked = 1 WHERE phone_number_id = $1 AND peer = $2
             AND message_id = $3 AND holder_id = $4 AND attempt = $5",
        )
        .bind(number.as_str())
        .bind(peer.as_str())
        .bind(message.as_bytes())
        .bind(holder.0)
        .bind(i64::from(attempt))
        .execute(&mut **tx)
        .await?;
    }
    Ok(asked.map(|asked| asked == 0))
}

/// Forgets what a number sent to a consumer; rows deleted.
pub(super) async fn submission_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let done = query("DELETE FROM submissions WHERE phone_number_id = $1 AND peer = $2")
        .bind(number.as_str())
        .bind(peer.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
