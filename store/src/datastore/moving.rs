//! A number's rows on their way from one store to another.

use std::sync::Arc;

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::{Datastore, erasure::Erased, gate::Gate, new_events::head_moved};
use crate::{
    budget::Budget,
    error::StoreError,
    ids::PhoneNumberId,
    tables::{
        departures::{departure_delete, departure_insert, has_departed},
        moving::{MOVING, Moving, Value},
    },
};

/// A row of one of the tables that travel.
pub(crate) struct TravellingRow {
    pub(crate) table: &'static Moving,
    pub(crate) values: Vec<Value>,
}

/// Where a page begins: after this key of this table.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) table: &'static Moving,
    pub(crate) key: Vec<Value>,
}

impl Place {
    pub(crate) fn first() -> Self {
        Self::before(&MOVING[0])
    }

    fn before(table: &'static Moving) -> Self {
        Self {
            table,
            key: table.before_all(),
        }
    }

    /// The start of the table behind this one.
    fn next_table(&self) -> Option<Self> {
        let next = MOVING.iter().find(|table| table.id > self.table.id);
        next.map(Self::before)
    }
}

impl Datastore {
    /// Notes that a number is kept elsewhere, or here again. When it answers, no write of a departed number can commit any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_number(
        &self,
        number: PhoneNumberId,
        departed: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.database
            .run_tx("mark_number", move |tx| {
                let number = number.clone();
                Box::pin(async move {
                    if departed {
                        departure_insert(tx, &number, now).await?;
                    } else {
                        departure_delete(tx, &number).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// At most `limit` rows of a number from `place` on, and where the next page begins.
    pub(crate) async fn export_number(
        &self,
        number: PhoneNumberId,
        place: Place,
        limit: u64,
    ) -> Result<(Vec<TravellingRow>, Option<Place>), StoreError> {
        self.database
            .read("export_number", move |db| {
                Box::pin(async move {
                    let Place { table, key } = &place;
                    let found = table.page(db, &number, key, limit).await?;
                    let full = found.len() as u64 == limit;
                    let (mut budget, count) = (Budget::page(), found.len());
                    let mut rows = Vec::with_capacity(count);
                    for values in found {
                        if !budget.spend(values.iter().map(Value::weight).sum()) {
                            break;
                        }
                        rows.push(TravellingRow { table, values });
                    }
                    let next = if full || rows.len() < count {
                        rows.last().map(|row| Place {
                            table,
                            key: table.key_of(&row.values),
                        })
                    } else {
                        place.next_table()
                    };
                    Ok((rows, next))
                })
            })
            .await
    }

    /// Keeps rows that another store exported; answers how many were not here. What lies in an epoch whose key is gone is left out.
    pub(crate) async fn import_number(
        &self,
        number: PhoneNumberId,
        rows: Vec<TravellingRow>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let rows = Arc::new(rows);
        self.database
            .run_tx("import_number", move |tx| {
                let (number, rows) = (number.clone(), rows.clone());
                Box::pin(async move {
                    let (mut gate, mut added) = (Gate::new(now), 0);
                    let mut moved = false;
                    for row in rows.iter() {
                        added += u64::from(import_one(tx, &mut gate, row).await?);
                        moved |= row.table.id == HEADS;
                    }
                    if moved {
                        head_moved(tx, &number).await?;
                    }
                    Ok(added)
                })
            })
            .await
    }

    /// Deletes at most `limit` rows of a departed number.
    ///
    /// # Errors
    /// [`StoreError::NumberPresent`] when it has not departed.
    pub async fn delete_number(
        &self,
        number: PhoneNumberId,
        limit: u64,
    ) -> Result<Erased, StoreError> {
        let erased: Result<Erased, StoreError> = self
            .database
            .run_tx("delete_number", move |tx| {
                let number = number.clone();
                Box::pin(async move {
                    if !has_departed(tx, &number).await? {
                        return Err(StoreError::NumberPresent);
                    }
                    let mut deleted = 0;
                    for table in MOVING.iter().rev() {
                        deleted += table.delete(tx, &number, limit - deleted).await?;
                        if deleted == limit {
                            break;
                        }
                    }
                    let mut erased = Erased::default();
                    erased.add("all", deleted);
                    erased.more = deleted == limit;
                    Ok(erased)
                })
            })
            .await;
        let erased = erased?;
        self.deleted(&erased, "departure");
        Ok(erased)
    }
}

/// The table of the numbers' newest cursors.
const HEADS: u32 = 5;

async fn import_one(
    tx: &mut Tx,
    gate: &mut Gate,
    row: &TravellingRow,
) -> Result<bool, DatabaseError> {
    let Ok(epoch) = row.table.epoch_of(&row.values) else {
        return Err(DatabaseError::Damaged);
    };
    if let Some(epoch) = epoch {
        if gate.is_over(tx, epoch).await? {
            return Ok(false);
        }
        gate.admit(tx, epoch).await?;
    }
    row.table.insert(tx, row.values.clone()).await
}
