//! The table `conversations`: what waits for the gateways, by number and consumer, and in whose hands it is.
//!
//! Triggers of `inbound` make and end the rows, so one stands exactly while something waits.

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, Value,
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
    rows.iter().map(from_row).collect()
}

/// Makes conversations that have something from now on, in the hands of `collector` or free; those that were not there before.
pub(super) async fn conversations_begin(
    tx: &mut Tx,
    conversations: &[&Conversation],
    collector: Option<&CollectorName>,
) -> Result<Vec<Conversation>, DatabaseError> {
    // In front of its first item, whose trigger then finds it there; its turn is no later than that.
    const BEGIN: Many = Many::new(
        "INSERT INTO conversations (phone_number_id, peer, collector, turn)
         SELECT v.column1, v.column2, NULLIF($1, ''), (SELECT COALESCE(max(queue_id), 0) + 1 FROM inbound)
         FROM (VALUES {rows}) AS v WHERE true
         ON CONFLICT (phone_number_id, peer) DO NOTHING RETURNING phone_number_id, peer",
    );
    let collector = collector.map_or("", CollectorName::as_str);
    let shared = [collector.into()];
    let begun = BEGIN.fetch(tx, &shared, conversations, |one| row(one));
    begun.await?.iter().map(from_row).collect()
}

pub(super) async fn conversations_hold(
    tx: &mut Tx,
    conversations: &[Conversation],
    collector: &CollectorName,
) -> Result<(), DatabaseError> {
    const HOLD: Many = Many::new(
        "UPDATE conversations SET collector = $1 FROM (VALUES {rows}) AS v
         WHERE phone_number_id = v.column1 AND peer = v.column2",
    );
    let shared = [collector.as_str().into()];
    HOLD.execute(tx, &shared, conversations, row).await?;
    Ok(())
}

/// Frees those that this stream has, and puts them behind all others; those of which anything still waits.
pub(super) async fn conversations_yield(
    tx: &mut Tx,
    conversations: &[Conversation],
    collector: &CollectorName,
    stream: StreamToken,
) -> Result<Vec<Conversation>, DatabaseError> {
    const YIELD: Many = Many::new(
        "UPDATE conversations SET collector = NULL,
             turn = (SELECT COALESCE(max(queue_id), 0) FROM inbound)
         FROM (VALUES {rows}) AS v
         WHERE phone_number_id = v.column1 AND peer = v.column2 AND collector = $1
         AND EXISTS (SELECT 1 FROM collectors AS c WHERE c.collector = $1 AND c.stream = $2)
         RETURNING phone_number_id, peer",
    );
    let shared = [collector.as_str().into(), stream.0.into()];
    let freed = YIELD.fetch(tx, &shared, conversations, row).await?;
    freed.iter().map(from_row).collect()
}

fn row(conversation: &Conversation) -> [Value<'_>; 2] {
    [
        conversation.number.as_str().into(),
        conversation.peer_column().into(),
    ]
}

fn from_row(row: &Row) -> Result<Conversation, DatabaseError> {
    let peer: &str = row.try_get("peer")?;
    Ok(Conversation {
        number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
        peer: match peer {
            "" => None,
            peer => Some(damaged(PhoneNumber::parse(peer))?),
        },
    })
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
