//! Erasing: what is between a number and a consumer, a consumer as a whole, a number as a whole.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::{
    Datastore,
    codes::code_delete,
    device_queue::waiting_erase,
    devices::devices_of,
    envelopes::envelope_erase,
    holders::holder_delete,
    inbound::inbound_erase,
    numbers::{number_delete, number_find, numbers_list},
    submissions::submission_erase,
};
use crate::{
    RelayError,
    ids::{HolderId, PhoneNumber, PhoneNumberId},
};

/// Numbers that a consumer is erased from in one transaction.
const NUMBERS: i64 = 256;

/// What a consumer and a number have with each other, counted; $1 is the number, $2 the consumer.
const OF_PEER: [&str; 4] = [
    "SELECT count(*) FROM device_queue WHERE phone_number_id = $1
     AND holder_id IN (SELECT holder_id FROM devices WHERE phone_number = $2)",
    "SELECT count(*) FROM inbound WHERE phone_number_id = $1 AND peer = $2",
    "SELECT count(*) FROM submissions WHERE phone_number_id = $1 AND peer = $2",
    "SELECT count(*) FROM envelopes WHERE phone_number_id = $1 AND peer = $2",
];

/// Everything of the number $1, at most $2 rows of each. Statistics stay: they bill, and name no consumer.
const OF_NUMBER: [&str; 4] = [
    "DELETE FROM device_queue WHERE queue_id IN (
         SELECT queue_id FROM device_queue WHERE phone_number_id = $1 LIMIT $2)",
    "DELETE FROM inbound WHERE queue_id IN (
         SELECT queue_id FROM inbound WHERE phone_number_id = $1 LIMIT $2)",
    "DELETE FROM submissions WHERE (phone_number_id, peer, message_id, holder_id, attempt) IN (
         SELECT phone_number_id, peer, message_id, holder_id, attempt FROM submissions
         WHERE phone_number_id = $1 LIMIT $2)",
    "DELETE FROM envelopes WHERE (holder_id, envelope_id) IN (
         SELECT holder_id, envelope_id FROM envelopes WHERE phone_number_id = $1 LIMIT $2)",
];

/// Whether a consumer's own messages that no gateway has collected yet go too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncollected {
    /// They were accepted: they are delivered, or end with the number's retention.
    Stay,
    /// Nothing stays.
    Go,
}

impl Datastore {
    /// Deletes everything queued or remembered between a number and a consumer; rows deleted.
    pub(crate) async fn erase_peer(
        &self,
        number: PhoneNumberId,
        peer: PhoneNumber,
    ) -> Result<u64, RelayError> {
        let rows = self
            .database
            .run_tx("erase_peer", move |tx| {
                let (number, peer) = (number.clone(), peer.clone());
                Box::pin(async move {
                    let rows = waiting_erase(tx, &number, &peer).await?
                        + memory_erase(tx, &number, &peer, Uncollected::Go).await?;
                    Ok::<_, RelayError>(rows)
                })
            })
            .await?;
        self.empty_log().await;
        Ok(rows)
    }

    /// What [`Self::erase_peer`] would delete.
    pub(crate) async fn count_peer(
        &self,
        number: PhoneNumberId,
        peer: PhoneNumber,
    ) -> Result<u64, RelayError> {
        self.database
            .read("count_peer", move |db| {
                Box::pin(async move { Ok(peer_count(db, &number, &peer).await?) })
            })
            .await
    }

    /// Deletes a consumer's registration, keys and queue, and then what is remembered of them at every number: the devices
    /// that are no more, and the rows deleted.
    pub(crate) async fn remove_consumer(
        &self,
        peer: PhoneNumber,
        uncollected: Uncollected,
    ) -> Result<(Vec<HolderId>, u64), RelayError> {
        let person = peer.clone();
        // Registration goes first, so that nothing new is remembered behind our back.
        let (holders, mut rows) = self
            .database
            .run_tx("remove_registration", move |tx| {
                let person = person.clone();
                Box::pin(async move {
                    let mut rows = 0;
                    let mut holders = Vec::new();
                    for device in devices_of(tx, &person).await? {
                        rows += 1 + device.queued;
                        holders.push(device.holder);
                        holder_delete(tx, device.holder).await?;
                    }
                    code_delete(tx, &person).await?;
                    Ok::<_, RelayError>((holders, rows))
                })
            })
            .await?;
        let mut after = None;
        loop {
            let (person, last) = (peer.clone(), after.clone());
            let (deleted, next) = self
                .database
                .run_tx("remove_consumer", move |tx| {
                    let (person, last) = (person.clone(), last.clone());
                    Box::pin(async move {
                        let mut deleted = 0;
                        let numbers = numbers_list(tx, last.as_ref(), NUMBERS).await?;
                        for number in &numbers {
                            deleted += memory_erase(tx, number, &person, uncollected).await?;
                        }
                        Ok::<_, RelayError>((deleted, numbers.last().cloned()))
                    })
                })
                .await?;
            rows += deleted;
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.empty_log().await;
        Ok((holders, rows))
    }

    /// Deletes at most `limit` rows of a number, and when none is left the number; and whether more are left.
    pub(crate) async fn remove_number(
        &self,
        number: PhoneNumberId,
        limit: u32,
    ) -> Result<(u64, bool), RelayError> {
        let (rows, more) = self
            .database
            .run_tx("remove_number", move |tx| {
                let number = number.clone();
                Box::pin(async move {
                    Ok::<_, RelayError>(number_remove(tx, &number, limit.into()).await?)
                })
            })
            .await?;
        if !more {
            self.empty_log().await;
        }
        Ok((rows, more))
    }
}

async fn memory_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
    uncollected: Uncollected,
) -> Result<u64, DatabaseError> {
    let mut rows =
        submission_erase(tx, number, peer).await? + envelope_erase(tx, number, peer).await?;
    if uncollected == Uncollected::Go {
        rows += inbound_erase(tx, number, peer).await?;
    }
    Ok(rows)
}

async fn peer_count(
    db: &mut Connection,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let mut rows = 0;
    for count in OF_PEER {
        let found: i64 = query_scalar(count)
            .bind(number.as_str())
            .bind(peer.as_str())
            .fetch_one(&mut *db)
            .await?;
        rows += found.unsigned_abs();
    }
    Ok(rows)
}

async fn number_remove(
    tx: &mut Tx,
    id: &PhoneNumberId,
    limit: u64,
) -> Result<(u64, bool), DatabaseError> {
    let mut rows = 0;
    for delete in OF_NUMBER {
        let done = query(delete)
            .bind(id.as_str())
            .bind(i64::try_from(limit - rows).unwrap_or(i64::MAX))
            .execute(&mut **tx)
            .await?;
        rows += done.rows_affected();
        if rows == limit {
            return Ok((rows, true));
        }
    }
    if let Some(number) = number_find(tx, id).await? {
        number_delete(tx, id).await?;
        holder_delete(tx, number.holder).await?;
        rows += 1;
    }
    Ok((rows, false))
}
