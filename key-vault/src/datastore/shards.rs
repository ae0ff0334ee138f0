//! `vaults` and `shards`: who lives on this database, and who holds which shard.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as},
};

use super::{int, uint};
use crate::shards::{Holdings, Lease, Member, Shard};

/// More vaults than this share no database.
const MAX_VAULTS: i64 = 1024;

/// Takes a name, whoever had it.
pub(crate) async fn vault_enter(
    tx: &mut Tx,
    name: &str,
    incarnation: u64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO vaults (name, incarnation, beat) VALUES ($1, $2, 0)
         ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, beat = vaults.beat + 1",
    )
    .bind(name)
    .bind(int(incarnation))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Moves a vault's beat, and brings back its row when it was forgotten; false when another process has its name now.
pub(crate) async fn vault_beat(
    tx: &mut Tx,
    name: &str,
    incarnation: u64,
) -> Result<bool, DatabaseError> {
    let done = query(
        "INSERT INTO vaults (name, incarnation, beat) VALUES ($1, $2, 0)
         ON CONFLICT (name) DO UPDATE SET beat = vaults.beat + 1 WHERE vaults.incarnation = excluded.incarnation",
    )
    .bind(name)
    .bind(int(incarnation))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes a vault's row, unless another process has its name; false when there is none.
pub(crate) async fn vault_delete(
    tx: &mut Tx,
    name: &str,
    incarnation: u64,
) -> Result<bool, DatabaseError> {
    let done = query("DELETE FROM vaults WHERE name = $1 AND incarnation = $2")
        .bind(name)
        .bind(int(incarnation))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn vaults_list(db: &mut Connection) -> Result<Vec<Member>, DatabaseError> {
    let rows: Vec<(String, i64, i64)> =
        query_as("SELECT name, incarnation, beat FROM vaults ORDER BY name LIMIT $1")
            .bind(MAX_VAULTS)
            .fetch_all(db)
            .await?;
    let member = |(name, incarnation, beat)| Member {
        name,
        incarnation: uint(incarnation),
        beat: uint(beat),
    };
    Ok(rows.into_iter().map(member).collect())
}

pub(crate) async fn shards_list(db: &mut Connection) -> Result<Holdings, DatabaseError> {
    let rows: Vec<(i64, String, i64)> =
        query_as("SELECT shard, holder, token FROM shards WHERE shard BETWEEN 0 AND 63")
            .fetch_all(db)
            .await?;
    let mut holdings = Holdings::default();
    for (shard, holder, token) in rows {
        if let Some(shard) = known(shard) {
            let token = uint(token);
            holdings.put(shard, Lease { holder, token });
        }
    }
    Ok(holdings)
}

/// The shards that carry a name, with their tokens.
pub(crate) async fn shards_of(
    db: &mut Connection,
    holder: &str,
) -> Result<Vec<(Shard, u64)>, DatabaseError> {
    let rows: Vec<(i64, i64)> =
        query_as("SELECT shard, token FROM shards WHERE holder = $1 AND shard BETWEEN 0 AND 63")
            .bind(holder)
            .fetch_all(db)
            .await?;
    let row = |(shard, token)| Some((known(shard)?, uint(token)));
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Gives a shard another holder.
pub(crate) async fn shard_give(tx: &mut Tx, shard: Shard, to: &str) -> Result<(), DatabaseError> {
    count_change(tx).await?;
    query("UPDATE shards SET holder = $2, token = token + 1 WHERE shard = $1")
        .bind(i64::from(shard.number()))
        .bind(to)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Moves on the tokens of all that carry a name: whoever had them under it is fenced off.
pub(crate) async fn shards_renew(tx: &mut Tx, holder: &str) -> Result<(), DatabaseError> {
    count_change(tx).await?;
    query("UPDATE shards SET token = token + 1 WHERE holder = $1")
        .bind(holder)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whoever changes a holder or a token counts it, in the same transaction: those who read the rows before read them again.
async fn count_change(tx: &mut Tx) -> Result<(), DatabaseError> {
    query("UPDATE shard_changes SET count = count + 1")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn known(shard: i64) -> Option<Shard> {
    Shard::new(u32::try_from(shard).ok()?)
}
