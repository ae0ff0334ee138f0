//! The table `collectors`: gateways' newest streams, and until when each lives unless it says so again.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::damaged;
use crate::ids::{CollectorName, StreamToken};

/// Lapsed collectors ended in one transaction.
const LAPSED: i64 = 64;

/// Makes `stream` the collector's newest.
pub(super) async fn collector_put(
    tx: &mut Tx,
    collector: &CollectorName,
    stream: StreamToken,
    lease_until: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO collectors (collector, stream, lease_until) VALUES ($1, $2, $3)
         ON CONFLICT (collector) DO UPDATE SET stream = excluded.stream, lease_until = excluded.lease_until",
    )
    .bind(collector.as_str())
    .bind(stream.0)
    .bind(lease_until)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The collector's newest stream; `None` when it ended or lapsed.
pub(super) async fn collector_stream(
    db: &mut Connection,
    collector: &CollectorName,
) -> Result<Option<StreamToken>, DatabaseError> {
    let stream = query_scalar("SELECT stream FROM collectors WHERE collector = $1")
        .bind(collector.as_str())
        .fetch_optional(db)
        .await?;
    Ok(stream.map(StreamToken))
}

pub(super) async fn collector_renew(
    tx: &mut Tx,
    collector: &CollectorName,
    lease_until: i64,
) -> Result<(), DatabaseError> {
    query("UPDATE collectors SET lease_until = $2 WHERE collector = $1")
        .bind(collector.as_str())
        .bind(lease_until)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Collectors that did not say in time that they live.
pub(super) async fn collectors_lapsed(
    db: &mut Connection,
    now: i64,
) -> Result<Vec<CollectorName>, DatabaseError> {
    let names: Vec<String> =
        query_scalar("SELECT collector FROM collectors WHERE lease_until <= $1 LIMIT $2")
            .bind(now)
            .bind(LAPSED)
            .fetch_all(db)
            .await?;
    names
        .iter()
        .map(|name| damaged(CollectorName::parse(name)))
        .collect()
}

pub(super) async fn collector_delete(
    tx: &mut Tx,
    collector: &CollectorName,
) -> Result<(), DatabaseError> {
    query("DELETE FROM collectors WHERE collector = $1")
        .bind(collector.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
