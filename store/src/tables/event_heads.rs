//! `event_heads`: the newest cursor that each number ever had. It outlives the events, so that cursors never start again.

use std::collections::{BTreeMap, HashMap};

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx,
    sqlx::{self, query},
};

use super::{column, number_at, phone_number_id_at};
use crate::ids::PhoneNumberId;

/// Binds a number, how many cursors it takes, and the count of the transaction.
const NEXT: Many = Many::new(
    "INSERT INTO event_heads (phone_number_id, cursor, changed) VALUES {rows} \
     ON CONFLICT (phone_number_id) DO UPDATE SET cursor = event_heads.cursor + excluded.cursor, changed = excluded.changed \
     RETURNING phone_number_id, cursor",
);

pub(crate) const LIST: &str = "SELECT phone_number_id, cursor FROM event_heads \
     WHERE phone_number_id > $1 ORDER BY phone_number_id LIMIT $2";

pub(crate) const MARK: &str = "UPDATE event_heads SET changed = $2 WHERE phone_number_id = $1";

pub(crate) const CHANGED: &str = "SELECT phone_number_id, cursor, changed FROM event_heads \
     WHERE changed > $1 ORDER BY changed LIMIT $2";

/// A head that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whose.
    pub number: PhoneNumberId,
    /// Its newest cursor.
    pub cursor: u64,
    /// The count of the transaction that changed it last.
    pub changed: u64,
}

/// Takes so many cursors of each number in the transaction with that count; answers the first of each.
pub(crate) async fn event_heads_next(
    tx: &mut Tx,
    numbers: &BTreeMap<&PhoneNumberId, u64>,
    changed: u64,
) -> Result<HashMap<PhoneNumberId, u64>, DatabaseError> {
    let taken: Vec<_> = numbers.iter().collect();
    let rows = NEXT
        .fetch(tx, &[], &taken, |(number, count)| {
            [
                number.as_str().into(),
                column(**count).into(),
                column(changed).into(),
            ]
        })
        .await?;
    let first = |row: &Row| {
        let number = phone_number_id_at(row)?;
        let count = numbers.get(&number).copied().unwrap_or_default();
        let first = (number_at(row, "cursor")? + 1).saturating_sub(count);
        Ok((number, first))
    };
    let first: Result<_, sqlx::Error> = rows.iter().map(first).collect();
    Ok(first?)
}

/// A page of heads, by number, after `after`.
pub(crate) async fn event_heads_list(
    db: &mut Connection,
    after: Option<&PhoneNumberId>,
    limit: u64,
) -> Result<Vec<(PhoneNumberId, u64)>, DatabaseError> {
    let rows = query(LIST)
        .bind(after.map_or("", PhoneNumberId::as_str))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let heads: Result<_, _> = rows
        .iter()
        .map(|row| Ok((phone_number_id_at(row)?, number_at(row, "cursor")?)))
        .collect();
    heads.map_err(|error: sqlx::Error| error.into())
}

/// Notes the count of the transaction that moved a head.
pub(crate) async fn event_head_mark(
    tx: &mut Tx,
    number: &PhoneNumberId,
    changed: u64,
) -> Result<(), DatabaseError> {
    query(MARK)
        .bind(number.as_str())
        .bind(column(changed))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Heads that changed after `after`, in order of their counts.
pub(crate) async fn event_heads_changed(
    db: &mut Connection,
    after: u64,
    limit: u64,
) -> Result<Vec<Changed>, DatabaseError> {
    let rows = query(CHANGED)
        .bind(column(after))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let changed = |row: &Row| {
        Ok(Changed {
            number: phone_number_id_at(row)?,
            cursor: number_at(row, "cursor")?,
            changed: number_at(row, "changed")?,
        })
    };
    let heads: Result<_, sqlx::Error> = rows.iter().map(changed).collect();
    Ok(heads?)
}
