//! `cursors`: how far each subscription has acknowledged a number's events, and which opening of it is the newest.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{self, Row as _, query, query_as},
};
use sealpost_runtime::Timestamp;

use super::{column, number_at, phone_number_id_at, time_at, time_column, whole};
use crate::ids::{PhoneNumberId, Subscription};

pub(crate) const FIND: &str =
    "SELECT cursor, opening FROM cursors WHERE subscription = $1 AND phone_number_id = $2";

pub(crate) const OPEN: &str = "INSERT INTO cursors (subscription, phone_number_id, cursor, updated_at, opening) \
     VALUES ($1, $2, 0, $3, $4) ON CONFLICT (subscription, phone_number_id) DO UPDATE \
     SET updated_at = excluded.updated_at, opening = excluded.opening";

/// Moves forward only, and never beyond the newest event: what has not happened cannot be acknowledged.
pub(crate) const ADVANCE: &str = "INSERT INTO cursors (subscription, phone_number_id, cursor, updated_at, opening) \
     SELECT $1, $2, CASE WHEN $3 < h.cursor THEN $3 ELSE h.cursor END, $4, $5 FROM event_heads AS h WHERE h.phone_number_id = $2 \
     ON CONFLICT (subscription, phone_number_id) DO UPDATE \
     SET cursor = CASE WHEN excluded.cursor > cursors.cursor THEN excluded.cursor ELSE cursors.cursor END, \
         updated_at = excluded.updated_at, \
         opening = CASE WHEN excluded.opening > cursors.opening THEN excluded.opening ELSE cursors.opening END";

pub(crate) const OPENED: &str = "SELECT subscription, phone_number_id, opening FROM cursors \
     WHERE opening > $1 ORDER BY opening LIMIT $2";

pub(crate) const LIST: &str = "SELECT c.subscription, c.phone_number_id, c.cursor, c.updated_at, h.cursor AS newest \
     FROM cursors AS c LEFT JOIN event_heads AS h ON h.phone_number_id = c.phone_number_id \
     WHERE (c.subscription, c.phone_number_id) > ($1, $2) ORDER BY c.subscription, c.phone_number_id LIMIT $3";

pub(crate) const DELETE: &str =
    "DELETE FROM cursors WHERE subscription = $1 AND phone_number_id = $2";

pub(crate) const DELETE_ALL: &str = "DELETE FROM cursors WHERE (subscription, phone_number_id) IN \
     (SELECT subscription, phone_number_id FROM cursors WHERE subscription = $1 LIMIT $2)";

/// Where no event is left up to the cursor, it tells nothing any more: without it a reader gets the very same events.
pub(crate) const FORGET: &str = "DELETE FROM cursors WHERE (subscription, phone_number_id) IN \
     (SELECT subscription, phone_number_id FROM cursors AS c WHERE updated_at < $1 AND NOT EXISTS \
         (SELECT 1 FROM events AS e WHERE e.phone_number_id = c.phone_number_id AND e.cursor <= c.cursor) \
      ORDER BY updated_at LIMIT $2)";

/// A subscription of one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Its name.
    pub subscription: Subscription,
    /// The number.
    pub number: PhoneNumberId,
    /// The last acknowledged event; 0 when none was.
    pub cursor: u64,
    /// The number's newest event; 0 when it never had one.
    pub newest: u64,
    /// When it was last opened or acknowledged.
    pub used_at: Timestamp,
}

/// A subscription was opened on a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub subscription: Subscription,
    /// The number.
    pub number: PhoneNumberId,
    /// Grows from one opening to the next.
    pub opening: u64,
}

/// Cursor and newest opening; none when nothing is known of it.
pub(crate) async fn cursor_find(
    db: &mut Connection,
    subscription: &Subscription,
    number: &PhoneNumberId,
) -> Result<Option<(u64, u64)>, DatabaseError> {
    let found: Option<(i64, i64)> = query_as(FIND)
        .bind(subscription.as_str())
        .bind(number.as_str())
        .fetch_optional(db)
        .await?;
    Ok(found.map(|(cursor, opening)| (cursor.unsigned_abs(), opening.unsigned_abs())))
}

pub(crate) async fn cursor_open(
    tx: &mut Tx,
    subscription: &Subscription,
    number: &PhoneNumberId,
    opening: u64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(OPEN)
        .bind(subscription.as_str())
        .bind(number.as_str())
        .bind(time_column(now))
        .bind(column(opening))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn cursor_advance(
    tx: &mut Tx,
    subscription: &Subscription,
    number: &PhoneNumberId,
    cursor: u64,
    opening: u64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(ADVANCE)
        .bind(subscription.as_str())
        .bind(number.as_str())
        .bind(column(cursor))
        .bind(time_column(now))
        .bind(column(opening))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Openings after `after`, in order.
pub(crate) async fn openings_after(
    db: &mut Connection,
    after: u64,
    limit: u64,
) -> Result<Vec<Opening>, DatabaseError> {
    let rows = query(OPENED)
        .bind(column(after))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let opening = |row: &Row| {
        Ok(Opening {
            subscription: subscription_at(row)?,
            number: phone_number_id_at(row)?,
            opening: number_at(row, "opening")?,
        })
    };
    let openings: Result<_, sqlx::Error> = rows.iter().map(opening).collect();
    Ok(openings?)
}

/// A page of subscriptions, by name and number, after `after`.
pub(crate) async fn subscriptions_list(
    db: &mut Connection,
    after: Option<&(Subscription, PhoneNumberId)>,
    limit: u64,
) -> Result<Vec<Subscribed>, DatabaseError> {
    let (subscription, number) =
        after.map_or(("", ""), |(name, number)| (name.as_str(), number.as_str()));
    let rows = query(LIST)
        .bind(subscription)
        .bind(number)
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let subscribed = |row: &Row| {
        let newest: Option<i64> = row.try_get("newest")?;
        Ok(Subscribed {
            subscription: subscription_at(row)?,
            number: phone_number_id_at(row)?,
            cursor: number_at(row, "cursor")?,
            newest: newest.unwrap_or(0).unsigned_abs(),
            used_at: time_at(row, "updated_at")?,
        })
    };
    let listed: Result<_, sqlx::Error> = rows.iter().map(subscribed).collect();
    Ok(listed?)
}

/// Deletes a subscription on one number, or at most `limit` of its numbers; rows deleted.
pub(crate) async fn subscription_delete(
    tx: &mut Tx,
    subscription: &Subscription,
    number: Option<&PhoneNumberId>,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let delete = match number {
        Some(number) => query(DELETE)
            .bind(subscription.as_str())
            .bind(number.as_str()),
        None => query(DELETE_ALL)
            .bind(subscription.as_str())
            .bind(column(limit)),
    };
    Ok(delete.execute(&mut **tx).await?.rows_affected())
}

/// Deletes at most `limit` cursors that nobody used since `unused_since` and that tell nothing any more.
pub(crate) async fn cursors_forget(
    tx: &mut Tx,
    unused_since: Timestamp,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let done = query(FORGET)
        .bind(time_column(unused_since))
        .bind(column(limit))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

fn subscription_at(row: &Row) -> Result<Subscription, sqlx::Error> {
    let text: &str = row.try_get("subscription")?;
    whole(Subscription::parse(text), "subscription")
}
