//! The table `conversations`: what waits for the gateways, by number and consumer, and in whose hands it is.
//!
//! Triggers of `inbound` make and end the rows, so one stands exactly while something waits.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query},
};

use super::damaged;
use crate::ids::{CollectorName, Conversation, PhoneNumber, PhoneNumberId, StreamToken};

/// Whether any is free.
pub(super) async fn conversation_waits(
    db: &mut Connection,
    now: i64,
) -> Result<bool, DatabaseError> {
    Ok(!conversations_free(db, 1, now).await?.is_empty())
}

/// Free ones with something that is not over, by turn.
pub(super) async fn conversations_free(
    db: &mut Connection,
    limit: usize,
    now: i64,
) -> Result<Vec<Conversation>, DatabaseError> {
    let rows = query(
        "SELECT phone_number_id, peer FROM conversations AS c
         WHERE collector IS NULL AND EXISTS (
             SELECT 1 FROM inbound AS i
             WHERE i.phone_number_id = c.phone_number_id AND i.peer = c.peer AND i.expires_at > $1)
         ORDER BY turn LIMIT $2",
    )
    .bind(now)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    let conversation = |row: &sealpost_database::Row| {
        let peer: &str = row.try_get("peer")?;
        Ok(Conversation {
            number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
            peer: match peer {
                "" => None,
                peer => Some(damaged(PhoneNumber::parse(peer))?),
            },
        })
    };
    rows.iter().map(conversation).collect()
}

pub(super) async fn conversation_hold(
    tx: &mut Tx,
    conversation: &Conversation,
    collector: &CollectorName,
) -> Result<(), DatabaseError> {
    query("UPDATE conversations SET collector = $3 WHERE phone_number_id = $1 AND peer = $2")
        .bind(conversation.number.as_str())
        .bind(conversation.peer_column())
        .bind(collector.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Frees one that this stream has, and puts it behind all others; whether anything of it still waits.
pub(super) async fn conversation_yield(
    tx: &mut Tx,
    conversation: &Conversation,
    collector: &CollectorName,
    stream: StreamToken,
) -> Result<bool, DatabaseError> {
    let done = query(
        "UPDATE conversations SET collector = NULL,
             turn = (SELECT COALESCE(max(queue_id), 0) FROM inbound)
         WHERE phone_number_id = $1 AND peer = $2 AND collector = $3
         AND EXISTS (SELECT 1 FROM collectors WHERE collector = $3 AND stream = $4)",
    )
    .bind(conversation.number.as_str())
    .bind(conversation.peer_column())
    .bind(collector.as_str())
    .bind(stream.0)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Frees all that a collector has, behind all others: what it could not be rid of must not fill the next stream, too. How many; a
/// stream's window bounds them.
pub(super) async fn conversations_free_all(
    tx: &mut Tx,
    collector: &CollectorName,
) -> Result<u64, DatabaseError> {
    let done = query(
        "UPDATE conversations SET collector = NULL, turn = (SELECT COALESCE(max(queue_id), 0) + 1 FROM inbound)
         WHERE collector = $1",
    )
    .bind(collector.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
