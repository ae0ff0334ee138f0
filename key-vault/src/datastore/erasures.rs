//! `erased`, and how a person's rows go.
//!
//! Invariant: a person goes by the tag, never by the subject's id alone: who came back after an erasure has the id again, and
//! another tag.

use sealpost_database::{
    Connection, DatabaseError, Many, Tx,
    sqlx::{AssertSqlSafe, Row as _, query, query_as, query_scalar},
};

use super::{conversations::tag_values, int, uint};
use crate::subject::{SubjectId, Tag};

/// The present tag of a subject.
pub(crate) async fn subject_tag(
    db: &mut Connection,
    number: &str,
    id: SubjectId,
) -> Result<Option<Tag>, DatabaseError> {
    let tag: Option<Vec<u8>> =
        query_scalar("SELECT tag FROM subjects WHERE number = $1 AND subject_id = $2")
            .bind(number)
            .bind(&id.0[..])
            .fetch_optional(db)
            .await?;
    Ok(tag.and_then(|tag| Tag::from_slice(&tag)))
}

/// Deletes a subject with its sessions and pending records, and keeps its tag. False, and nothing done, when it is not there.
pub(crate) async fn subject_erase(
    tx: &mut Tx,
    number: &str,
    tag: Tag,
    at_ms: u64,
) -> Result<bool, DatabaseError> {
    let Some(id) = subject_delete(tx, number, tag).await? else {
        return Ok(false);
    };
    erased_insert(tx, number, tag, Some(id), at_ms).await?;
    Ok(true)
}

/// Deletes a subject with its sessions and pending records; answers its id, if it was there.
pub(super) async fn subject_delete(
    tx: &mut Tx,
    number: &str,
    tag: Tag,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let id: Option<Vec<u8>> =
        query_scalar("DELETE FROM subjects WHERE number = $1 AND tag = $2 RETURNING subject_id")
            .bind(number)
            .bind(&tag.0[..])
            .fetch_optional(&mut **tx)
            .await?;
    let Some(id) = id else {
        return Ok(None);
    };
    query("DELETE FROM sessions WHERE number = $1 AND subject_id = $2")
        .bind(number)
        .bind(&id)
        .execute(&mut **tx)
        .await?;
    query("DELETE FROM pending WHERE number = $1 AND tag = $2")
        .bind(number)
        .bind(&tag.0[..])
        .execute(&mut **tx)
        .await?;
    Ok(Some(id))
}

/// Keeps the tag of a subject that is not there. Answers whether it was not known yet; false also when there is no such number.
pub(crate) async fn erased_mark(
    tx: &mut Tx,
    number: &str,
    tag: Tag,
    at_ms: u64,
) -> Result<bool, DatabaseError> {
    let known: Option<String> = query_scalar("SELECT number FROM numbers WHERE number = $1")
        .bind(number)
        .fetch_optional(&mut **tx)
        .await?;
    match known {
        Some(_) => erased_insert(tx, number, tag, None, at_ms).await,
        None => Ok(false),
    }
}

async fn erased_insert(
    tx: &mut Tx,
    number: &str,
    tag: Tag,
    id: Option<Vec<u8>>,
    at_ms: u64,
) -> Result<bool, DatabaseError> {
    let done = query(
        "INSERT INTO erased (number, tag, erased_at_ms, subject_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (number, tag) DO NOTHING",
    )
    .bind(number)
    .bind(&tag.0[..])
    .bind(int(at_ms))
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether any of these tags, a few hundred at most, is a subject's of the number.
pub(crate) async fn subjects_have_any(
    db: &mut Connection,
    number: &str,
    tags: &[Tag],
) -> Result<bool, DatabaseError> {
    let places: Vec<_> = (2..tags.len() + 2)
        .map(|place| format!("${place}"))
        .collect();
    let text = format!(
        "SELECT number FROM subjects WHERE number = $1 AND tag IN ({}) LIMIT 1",
        places.join(", ")
    );
    let mut statement = query_scalar(AssertSqlSafe(text)).bind(number);
    for tag in tags {
        statement = statement.bind(&tag.0[..]);
    }
    let found: Option<String> = statement.fetch_optional(db).await?;
    Ok(found.is_some())
}

const ERASED_AMONG: Many = Many::new(
    "SELECT e.number, e.tag FROM (VALUES {rows}) AS v CROSS JOIN erased AS e WHERE e.number = v.column1 AND e.tag = v.column2",
);

const SUBJECTS_AMONG: Many = Many::new(
    "SELECT s.number, s.tag FROM (VALUES {rows}) AS v CROSS JOIN subjects AS s WHERE s.number = v.column1 AND s.tag = v.column2",
);

/// Which of these tags are known as erased persons'.
pub(crate) async fn erased_among(
    db: &mut Connection,
    tags: &[(&str, Tag)],
) -> Result<Vec<(String, Tag)>, DatabaseError> {
    among(&ERASED_AMONG, db, tags).await
}

/// Which of these tags are subjects'.
pub(crate) async fn subjects_among(
    db: &mut Connection,
    tags: &[(&str, Tag)],
) -> Result<Vec<(String, Tag)>, DatabaseError> {
    among(&SUBJECTS_AMONG, db, tags).await
}

async fn among(
    statement: &Many,
    db: &mut Connection,
    tags: &[(&str, Tag)],
) -> Result<Vec<(String, Tag)>, DatabaseError> {
    let mut found = Vec::new();
    for row in &statement.fetch(db, &[], tags, tag_values).await? {
        if let Some(tag) = Tag::from_slice(row.try_get("tag")?) {
            found.push((row.try_get("number")?, tag));
        }
    }
    Ok(found)
}

/// Tag and time of the last erasure of a subject, as long as whom it was of is remembered.
pub(crate) async fn erased_last(
    db: &mut Connection,
    number: &str,
    id: SubjectId,
) -> Result<Option<(Tag, u64)>, DatabaseError> {
    let found: Option<(Vec<u8>, i64)> = query_as(
        "SELECT tag, erased_at_ms FROM erased WHERE number = $1 AND subject_id = $2
         ORDER BY erased_at_ms DESC LIMIT 1",
    )
    .bind(number)
    .bind(&id.0[..])
    .fetch_optional(db)
    .await?;
    Ok(found.and_then(|(tag, at)| Some((Tag::from_slice(&tag)?, uint(at)))))
}

/// Forgets which subjects the tags erased no later than `latest_ms` were, a thousand at most.
pub(crate) async fn erased_forget_subjects(
    tx: &mut Tx,
    latest_ms: u64,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE erased SET subject_id = NULL WHERE (number, tag) IN
             (SELECT number, tag FROM erased WHERE subject_id IS NOT NULL AND erased_at_ms <= $1 LIMIT 1000)",
    )
    .bind(int(latest_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the tags erased no later than `latest_ms`, a thousand at most.
pub(crate) async fn erased_forget(tx: &mut Tx, latest_ms: u64) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM erased WHERE (number, tag) IN
             (SELECT number, tag FROM erased WHERE erased_at_ms <= $1 ORDER BY erased_at_ms LIMIT 1000)",
    )
    .bind(int(latest_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
