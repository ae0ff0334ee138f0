//! Rows that travel, read from the wire and written to it.

use prost::Message;
use sealpost_proto::store::v1::{Cell, ExportNumberResponse, ExportedRow, cell};

use crate::{
    datastore::{Place, TravellingRow},
    error::Malformed,
    ids::PhoneNumberId,
    tables::moving::{Moving, Value},
};

/// Rows in one page.
pub(super) const MOST: u32 = 1_000;

/// Where a page begins. What the caller gives back is a row of the key alone.
pub(super) fn place(after: &[u8]) -> Result<Place, Malformed> {
    if after.is_empty() {
        return Ok(Place::first());
    }
    let malformed = || Malformed::new("after", "is no place");
    let place = ExportedRow::decode(after).map_err(|_| malformed())?;
    let table = Moving::of(place.table).ok_or_else(malformed)?;
    let key = values(place.cells).ok_or_else(malformed)?;
    if table.is_key(&key) {
        Ok(Place { table, key })
    } else {
        Err(malformed())
    }
}

pub(super) fn rows(
    rows: Vec<ExportedRow>,
    number: &PhoneNumberId,
) -> Result<Vec<TravellingRow>, Malformed> {
    if rows.len() > MOST as usize {
        return Err(Malformed::new("rows", "are more than 1000"));
    }
    let row = |row: ExportedRow| {
        let table = Moving::of(row.table)?;
        let values = values(row.cells)?;
        let fits = table.is_row_of(&values, number) && table.epoch_of(&values).is_ok();
        fits.then_some(TravellingRow { table, values })
    };
    let count = rows.len();
    let read: Vec<_> = rows.into_iter().map_while(row).collect();
    if read.len() == count {
        Ok(read)
    } else {
        let field = format!("rows[{}]", read.len());
        Err(Malformed::new(&field, "is no row of the number"))
    }
}

pub(super) fn exported(rows: Vec<TravellingRow>, next: Option<Place>) -> ExportNumberResponse {
    let wire = |table: &Moving, values: Vec<Value>| ExportedRow {
        table: table.id,
        cells: values.into_iter().map(cell).collect(),
    };
    ExportNumberResponse {
        rows: rows
            .into_iter()
            .map(|row| wire(row.table, row.values))
            .collect(),
        next: next
            .map_or_else(Vec::new, |place| {
                wire(place.table, place.key).encode_to_vec()
            })
            .into(),
    }
}

fn values(cells: Vec<Cell>) -> Option<Vec<Value>> {
    let value = |cell: Cell| {
        Some(match cell.value? {
            cell::Value::Number(number) => Value::Number(number),
            cell::Value::Text(text) => Value::Text(text),
            cell::Value::Bytes(bytes) => Value::Bytes(bytes.into()),
        })
    };
    cells.into_iter().map(value).collect()
}

fn cell(value: Value) -> Cell {
    Cell {
        value: Some(match value {
            Value::Number(number) => cell::Value::Number(number),
            Value::Text(text) => cell::Value::Text(text),
            Value::Bytes(bytes) => cell::Value::Bytes(bytes.into()),
        }),
    }
}
