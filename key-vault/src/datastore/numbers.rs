//! `numbers`: one row per number, and the serials of what it makes.

use std::collections::HashMap;

use sealpost_database::{
    Connection, DatabaseError, Many, Tx,
    sqlx::{Row as _, query, query_as},
};

use super::{int, uint};

/// A number's sealed keys and facts.
#[derive(Clone)]
pub(crate) struct NumberRow {
    pub(crate) number: String,
    pub(crate) sealed_key: Vec<u8>,
    pub(crate) sealed_secrets: Vec<u8>,
    pub(crate) facts_version: u64,
    pub(crate) sealed_facts: Vec<u8>,
}

/// How many of something to number, or the first number of what was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Serials {
    pub(crate) hpke: u64,
    pub(crate) one_time: u64,
    pub(crate) kem: u64,
}

type Columns = (Vec<u8>, Vec<u8>, i64, Vec<u8>);

pub(crate) async fn number_find(
    db: &mut Connection,
    number: &str,
) -> Result<Option<NumberRow>, DatabaseError> {
    let row: Option<Columns> = query_as(
        "SELECT sealed_key, sealed_secrets, facts_version, sealed_facts FROM numbers
             WHERE number = $1 AND removed_at_ms IS NULL",
    )
    .bind(number)
    .fetch_optional(db)
    .await?;
    Ok(row.map(
        |(sealed_key, sealed_secrets, facts_version, sealed_facts)| NumberRow {
            number: number.to_owned(),
            sealed_key,
            sealed_secrets,
            facts_version: uint(facts_version),
            sealed_facts,
        },
    ))
}

/// What a transaction of conversations must know first: one statement.
pub(crate) struct Door {
    /// How often a holder or a token of a shard changed; none when there is no number.
    pub(crate) shard_changes: Option<u64>,
    /// Of each number that is there: the version of its facts, and its sealed key, which no later number of that id has.
    pub(crate) numbers: HashMap<String, (u64, Vec<u8>)>,
}

const DOOR: Many = Many::new(
    "SELECT number, facts_version, sealed_key, (SELECT count FROM shard_changes) AS changes FROM numbers
     WHERE number IN (VALUES {rows}) AND removed_at_ms IS NULL",
);

pub(crate) async fn door(db: &mut Connection, numbers: &[&str]) -> Result<Door, DatabaseError> {
    let rows = DOOR
        .fetch(db, &[], numbers, |number| [(*number).into()])
        .await?;
    let mut door = Door {
        shard_changes: None,
        numbers: HashMap::with_capacity(rows.len()),
    };
    for row in &rows {
        door.shard_changes = Some(uint(row.try_get("changes")?));
        let facts_version = uint(row.try_get("facts_version")?);
        door.numbers.insert(
            row.try_get("number")?,
            (facts_version, row.try_get("sealed_key")?),
        );
    }
    Ok(door)
}

/// Answers whether the number is new.
pub(crate) async fn number_insert(tx: &mut Tx, row: &NumberRow) -> Result<bool, DatabaseError> {
    let done = query(
        "INSERT INTO numbers (number, key_version, sealed_key, sealed_secrets, facts_version, sealed_facts,
             hpke_sequence, one_time_serial, kem_serial)
         VALUES ($1, 1, $2, $3, $4, $5, 0, 0, 0) ON CONFLICT (number) DO NOTHING",
    )
    .bind(&row.number)
    .bind(&row.sealed_key)
    .bind(&row.sealed_secrets)
    .bind(int(row.facts_version))
    .bind(&row.sealed_facts)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Answers whether the facts were still at `version - 1`.
pub(crate) async fn number_facts_update(
    tx: &mut Tx,
    number: &str,
    version: u64,
    sealed: &[u8],
) -> Result<bool, DatabaseError> {
    let done = query("UPDATE numbers SET facts_version = $2, sealed_facts = $3 WHERE number = $1 AND facts_version = $4")
        .bind(number)
        .bind(int(version))
        .bind(sealed)
        .bind(int(version.saturating_sub(1)))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Reserves serials; answers the first of each kind, counted from 1.
pub(crate) async fn number_serials_take(
    tx: &mut Tx,
    number: &str,
    wanted: Serials,
) -> Result<Option<Serials>, DatabaseError> {
    let row: Option<(i64, i64, i64)> = query_as(
        "UPDATE numbers SET hpke_sequence = hpke_sequence + $2, one_time_serial = one_time_serial + $3,
             kem_serial = kem_serial + $4
         WHERE number = $1 RETURNING hpke_sequence, one_time_serial, kem_serial",
    )
    .bind(number)
    .bind(int(wanted.hpke))
    .bind(int(wanted.one_time))
    .bind(int(wanted.kem))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|(hpke, one_time, kem)| Serials {
        hpke: uint(hpke) - wanted.hpke + 1,
        one_time: uint(one_time) - wanted.one_time + 1,
        kem: uint(kem) - wanted.kem + 1,
    }))
}
