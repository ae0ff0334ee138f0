//! `subjects` by the day of their last message.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::{erasures::subject_delete, int};
use crate::subject::Tag;

/// What one call dates at most.
const DATED: u64 = 1_000;

/// Dates a piece of the subjects that nobody dated yet: their time begins now. Answers whether more may be left.
pub(crate) async fn subjects_date(tx: &mut Tx, day: u64) -> Result<bool, DatabaseError> {
    let done = query(
        "UPDATE subjects SET last_day = $1 WHERE (number, subject_id) IN
             (SELECT number, subject_id FROM subjects WHERE last_day IS NULL LIMIT $2)",
    )
    .bind(int(day))
    .bind(int(DATED))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == DATED)
}

/// A hundred numbers after `after` that have a subject to or by whom nothing was said since before `day`.
pub(crate) async fn numbers_idle(
    db: &mut Connection,
    after: &str,
    day: u64,
) -> Result<Vec<String>, DatabaseError> {
    Ok(query_scalar(
        "SELECT n.number FROM numbers AS n WHERE n.number > $1 AND n.removed_at_ms IS NULL AND EXISTS
             (SELECT 1 FROM subjects AS s WHERE s.number = n.number AND s.last_day < $2)
         ORDER BY n.number LIMIT 100",
    )
    .bind(after)
    .bind(int(day))
    .fetch_all(db)
    .await?)
}

/// Deletes a hundred of a number's subjects to or by whom nothing was said since before `day`, with their sessions; answers how
/// many. Their tags are not kept: no record can carry one any more.
pub(crate) async fn subjects_lapse(
    tx: &mut Tx,
    number: &str,
    day: u64,
) -> Result<u64, DatabaseError> {
    let tags: Vec<Vec<u8>> = query_scalar(
        "SELECT tag FROM subjects WHERE number = $1 AND last_day < $2 ORDER BY last_day LIMIT 100",
    )
    .bind(number)
    .bind(int(day))
    .fetch_all(&mut **tx)
    .await?;
    let mut lapsed = 0;
    for tag in tags.iter().filter_map(|tag| Tag::from_slice(tag)) {
        lapsed += u64::from(subject_delete(tx, number, tag).await?.is_some());
    }
    Ok(lapsed)
}
