//! The table `number_moves`: what was asked for, by whom, and how far it is.
//!
//! Invariant: a number has one open move at most, and `moving_to` names it until the region is switched.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{Row as _, query},
};

use super::{Datastore, damaged, numbers};
use crate::{
    DirectoryError,
    ids::{PhoneNumberId, Region, Uuid},
};

/// How far a move is. The numbers are those of the table and of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MoveState {
    /// The number takes no messages; its rows are being copied.
    Asked = 1,
    /// The new region has every row; the old one's are being deleted.
    Switched = 2,
    /// Nothing is left in the old region.
    Done = 3,
    /// It cannot be: no store is there for one of the regions. The number is where it was.
    Failed = 4,
}

impl MoveState {
    pub(crate) fn parse(number: i64) -> Option<Self> {
        [Self::Asked, Self::Switched, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| *state as i64 == number)
    }
}

/// One move.
#[derive(Clone, Debug)]
pub(crate) struct NumberMove {
    pub(crate) move_id: Uuid,
    pub(crate) number: PhoneNumberId,
    pub(crate) from: Region,
    pub(crate) to: Region,
    pub(crate) asked_by: String,
    pub(crate) state: MoveState,
    pub(crate) rows: u64,
    /// Milliseconds since the Unix epoch, as are those below.
    pub(crate) asked_at: i64,
    pub(crate) switched_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
}

/// How far a move came.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) move_id: Uuid,
    pub(crate) state: MoveState,
    pub(crate) rows: u64,
}

impl Datastore {
    /// Begins a move; the one that is under way to the same region is answered again.
    ///
    /// # Errors
    /// `NumberUnknown`; `NumberMoving` when another move is under way; `Malformed` when it is there already.
    pub(crate) async fn begin_move(
        &self,
        id: Uuid,
        number: PhoneNumberId,
        to: Region,
        asked_by: String,
        now: i64,
    ) -> Result<NumberMove, DirectoryError> {
        self.database
            .run_tx("move_number", move |tx| {
                let (number, to, asked_by) = (number.clone(), to.clone(), asked_by.clone());
                Box::pin(async move {
                    let found = numbers::number_find(tx, &number)
                        .await?
                        .ok_or(DirectoryError::NumberUnknown)?;
                    let open = moves_page(tx, Some(&number), true, i64::MAX, 1).await?;
                    match open.into_iter().next() {
                        Some(open) if open.to == to => return Ok(open),
                        Some(_) => return Err(DirectoryError::NumberMoving),
                        None => {}
                    }
                    if found.region == to {
                        return Err(DirectoryError::malformed("region", "is where it is"));
                    }
                    let asked = NumberMove {
                        move_id: id,
                        number,
                        from: found.region,
                        to,
                        asked_by,
                        state: MoveState::Asked,
                        rows: 0,
                        asked_at: now,
                        switched_at: None,
                        finished_at: None,
                    };
                    move_insert(tx, &asked).await?;
                    numbers::number_set_moving(tx, &asked.number, Some(&asked.to)).await?;
                    Ok(asked)
                })
            })
            .await
    }

    /// Notes how far a move came. A step back or a repeat changes nothing.
    ///
    /// # Errors
    /// `MoveUnknown`.
    pub(crate) async fn advance_move(
        &self,
        step: Step,
        now: i64,
    ) -> Result<NumberMove, DirectoryError> {
        self.database
            .run_tx("advance_number_move", move |tx| {
                let step = step.clone();
                Box::pin(async move {
                    let mut found = move_find(tx, step.move_id)
                        .await?
                        .ok_or(DirectoryError::MoveUnknown)?;
                    // What is switched cannot fail any more, and what is over stays so.
                    let fits = found.finished_at.is_none()
                        && step.state > found.state
                        && !(step.state == MoveState::Failed && found.state != MoveState::Asked)
                        && !(step.state == MoveState::Done && found.state != MoveState::Switched);
                    if !fits {
                        return Ok(found);
                    }
                    found.state = step.state;
                    found.rows = found.rows.max(step.rows);
                    match step.state {
                        MoveState::Switched => {
                            found.switched_at = Some(now);
                            numbers::number_set_region(tx, &found.number, &found.to).await?;
                        }
                        MoveState::Failed => {
                            numbers::number_set_moving(tx, &found.number, None).await?;
                            found.finished_at = Some(now);
                        }
                        MoveState::Done | MoveState::Asked => found.finished_at = Some(now),
                    }
                    move_update(tx, &found).await?;
                    Ok(found)
                })
            })
            .await
    }

    /// Moves, newest first, asked for before `before`.
    pub(crate) async fn list_moves(
        &self,
        number: Option<PhoneNumberId>,
        open_only: bool,
        before: i64,
        limit: u32,
    ) -> Result<Vec<NumberMove>, DirectoryError> {
        self.database
            .read("list_number_moves", move |db| {
                Box::pin(async move {
                    Ok(moves_page(db, number.as_ref(), open_only, before, limit).await?)
                })
            })
            .await
    }
}

async fn move_insert(tx: &mut Tx, asked: &NumberMove) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO number_moves (move_id, phone_number_id, from_region, to_region, asked_by, state, moved_rows, asked_at)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7)",
    )
    .bind(asked.move_id.as_bytes())
    .bind(asked.number.as_str())
    .bind(asked.from.as_str())
    .bind(asked.to.as_str())
    .bind(asked.asked_by.as_str())
    .bind(asked.state as i64)
    .bind(asked.asked_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn move_update(tx: &mut Tx, found: &NumberMove) -> Result<(), DatabaseError> {
    query(
        "UPDATE number_moves SET state = $2, moved_rows = $3, switched_at = $4, finished_at = $5 WHERE move_id = $1",
    )
    .bind(found.move_id.as_bytes())
    .bind(found.state as i64)
    .bind(i64::try_from(found.rows).unwrap_or(i64::MAX))
    .bind(found.switched_at)
    .bind(found.finished_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn move_find(db: &mut Connection, id: Uuid) -> Result<Option<NumberMove>, DatabaseError> {
    let row = query(
        "SELECT move_id, phone_number_id, from_region, to_region, asked_by, state, moved_rows, asked_at, switched_at,
                finished_at
         FROM number_moves WHERE move_id = $1",
    )
    .bind(id.as_bytes())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(from_row).transpose()
}

async fn moves_page(
    db: &mut Connection,
    number: Option<&PhoneNumberId>,
    open_only: bool,
    before: i64,
    limit: u32,
) -> Result<Vec<NumberMove>, DatabaseError> {
    let rows = query(
        "SELECT move_id, phone_number_id, from_region, to_region, asked_by, state, moved_rows, asked_at, switched_at,
                finished_at
         FROM number_moves WHERE asked_at < $1 AND ($2 = 0 OR finished_at IS NULL)
           AND ($3 = '' OR phone_number_id = $3) ORDER BY asked_at DESC LIMIT $4",
    )
    .bind(before)
    .bind(i64::from(open_only))
    .bind(number.map_or("", PhoneNumberId::as_str))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<NumberMove, DatabaseError> {
    let rows: i64 = row.try_get("moved_rows")?;
    Ok(NumberMove {
        move_id: damaged(Uuid::from_slice(row.try_get("move_id")?))?,
        number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
        from: damaged(Region::parse(row.try_get("from_region")?))?,
        to: damaged(Region::parse(row.try_get("to_region")?))?,
        asked_by: row.try_get("asked_by")?,
        state: damaged(MoveState::parse(row.try_get("state")?))?,
        rows: rows.unsigned_abs(),
        asked_at: row.try_get("asked_at")?,
        switched_at: row.try_get("switched_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}
