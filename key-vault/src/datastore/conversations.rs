//! `subjects` and `sessions`: all that a conversation consists of.
//!
//! Invariant: the subject's row version guards its sessions. Whoever changes any row of a conversation moves it on, first,
//! and has lost everything when it had moved meanwhile.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as, query_scalar},
};

use super::{COUNT_LIMIT, erased_exists, int, uint};
use crate::subject::{SubjectId, Tag};

/// As many devices as Signal can name.
const MAX_DEVICES: i64 = 127;

/// A sealed subject. Version 0 is not in the table yet.
#[derive(Clone)]
pub(crate) struct SubjectRow {
    pub(crate) id: SubjectId,
    pub(crate) tag: Tag,
    pub(crate) version: u64,
    pub(crate) sealed: Vec<u8>,
}

/// A sealed session.
#[derive(Clone)]
pub(crate) struct SessionRow {
    pub(crate) device: u8,
    pub(crate) version: u64,
    pub(crate) sealed: Vec<u8>,
}

/// A conversation as loaded.
#[derive(Clone)]
pub(crate) struct ConversationRows {
    pub(crate) subject: SubjectRow,
    pub(crate) sessions: Vec<SessionRow>,
}

/// A conversation to write: new rows over those that were loaded.
#[derive(Clone)]
pub(crate) struct ConversationWrite {
    pub(crate) number: String,
    /// `version` is the new one.
    pub(crate) subject: SubjectRow,
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) removed: Vec<u8>,
}

/// What became of a tag.
pub(crate) enum Found {
    Here(ConversationRows),
    Erased,
    Nowhere,
}

pub(crate) async fn conversation_by_id(
    db: &mut Connection,
    number: &str,
    id: SubjectId,
    with_sessions: bool,
) -> Result<Option<ConversationRows>, DatabaseError> {
    let found: Option<(Vec<u8>, i64, Vec<u8>)> = query_as(
        "SELECT tag, row_version, sealed FROM subjects WHERE number = $1 AND subject_id = $2",
    )
    .bind(number)
    .bind(&id.0[..])
    .fetch_optional(&mut *db)
    .await?;
    let Some((tag, version, sealed)) = found else {
        return Ok(None);
    };
    let tag = Tag(tag.try_into().unwrap_or_default());
    let subject = SubjectRow {
        id,
        tag,
        version: uint(version),
        sealed,
    };
    let sessions = if with_sessions {
        sessions(db, number, id).await?
    } else {
        Vec::new()
    };
    Ok(Some(ConversationRows { subject, sessions }))
}

pub(crate) async fn conversation_by_tag(
    db: &mut Connection,
    number: &str,
    tag: Tag,
    with_sessions: bool,
) -> Result<Found, DatabaseError> {
    let id: Option<Vec<u8>> =
        // The mark of an erasure stands before a row that somebody put back.
        query_scalar(
            "SELECT subject_id FROM subjects AS s WHERE number = $1 AND tag = $2 AND NOT EXISTS
                 (SELECT 1 FROM erased AS e WHERE e.number = s.number AND e.tag = s.tag)",
        )
        .bind(number)
        .bind(&tag.0[..])
        .fetch_optional(&mut *db)
        .await?;
    if let Some(id) = id.and_then(|id| SubjectId::from_slice(&id)) {
        let rows = conversation_by_id(db, number, id, with_sessions).await?;
        return Ok(rows.map_or(Found::Nowhere, Found::Here));
    }
    Ok(if erased_exists(db, number, tag).await? {
        Found::Erased
    } else {
        Found::Nowhere
    })
}

async fn sessions(
    db: &mut Connection,
    number: &str,
    id: SubjectId,
) -> Result<Vec<SessionRow>, DatabaseError> {
    let rows: Vec<(i64, i64, Vec<u8>)> = query_as(
        "SELECT device_id, row_version, sealed FROM sessions WHERE number = $1 AND subject_id = $2
         ORDER BY device_id LIMIT $3",
    )
    .bind(number)
    .bind(&id.0[..])
    .bind(MAX_DEVICES)
    .fetch_all(db)
    .await?;
    let row = |(device, version, sealed): (i64, i64, Vec<u8>)| SessionRow {
        device: u8::try_from(device).unwrap_or(0),
        version: uint(version),
        sealed,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Writes a conversation in which something was said on `day`; false, and nothing written, when another writer had moved it on.
pub(crate) async fn conversation_write(
    tx: &mut Tx,
    write: &ConversationWrite,
    day: u64,
) -> Result<bool, DatabaseError> {
    if !subject_write(tx, &write.number, &write.subject, day).await? {
        return Ok(false);
    }
    let (number, id) = (&write.number, write.subject.id);
    for device in &write.removed {
        query("DELETE FROM sessions WHERE number = $1 AND subject_id = $2 AND device_id = $3")
            .bind(number)
            .bind(&id.0[..])
            .bind(i64::from(*device))
            .execute(&mut **tx)
            .await?;
    }
    for session in &write.sessions {
        query(
            "INSERT INTO sessions (number, subject_id, device_id, row_version, sealed) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (number, subject_id, device_id)
             DO UPDATE SET row_version = excluded.row_version, sealed = excluded.sealed",
        )
        .bind(number)
        .bind(&id.0[..])
        .bind(i64::from(session.device))
        .bind(int(session.version))
        .bind(&session.sealed)
        .execute(&mut **tx)
        .await?;
    }
    Ok(true)
}

async fn subject_write(
    tx: &mut Tx,
    number: &str,
    row: &SubjectRow,
    day: u64,
) -> Result<bool, DatabaseError> {
    let before = row.version.saturating_sub(1);
    let statement = if before == 0 {
        "INSERT INTO subjects (number, subject_id, tag, row_version, sealed, last_day)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE subjects SET row_version = $4, sealed = $5, last_day = $6
         WHERE number = $1 AND subject_id = $2 AND tag = $3 AND row_version = $4 - 1"
    };
    let done = query(statement)
        .bind(number)
        .bind(&row.id.0[..])
        .bind(&row.tag.0[..])
        .bind(int(row.version))
        .bind(&row.sealed)
        .bind(int(day))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn subjects_count(
    db: &mut Connection,
    number: &str,
) -> Result<u64, DatabaseError> {
    let count: i64 = query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM subjects WHERE number = $1 LIMIT $2) AS found",
    )
    .bind(number)
    .bind(COUNT_LIMIT)
    .fetch_one(db)
    .await?;
    Ok(uint(count))
}

pub(crate) async fn sessions_count(
    db: &mut Connection,
    number: &str,
) -> Result<u64, DatabaseError> {
    let count: i64 = query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM sessions WHERE number = $1 LIMIT $2) AS found",
    )
    .bind(number)
    .bind(COUNT_LIMIT)
    .fetch_one(db)
    .await?;
    Ok(uint(count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_database::{
        Database, PoolOptions,
        testing::{TestDatabase, on_both},
    };

    use super::*;
    use crate::datastore::{MIGRATIONS, NumberRow, number_insert, subject_erase};

    const ID: SubjectId = SubjectId([1; 16]);

    fn write(version: u64, mark: u8) -> ConversationWrite {
        ConversationWrite {
            number: "1065".to_owned(),
            subject: SubjectRow {
                id: ID,
                tag: Tag([2; 16]),
                version,
                sealed: vec![mark],
            },
            sessions: vec![SessionRow {
                device: 1,
                version,
                sealed: vec![mark],
            }],
            removed: vec![2],
        }
    }

    async fn database(place: &TestDatabase) -> Database {
        Database::open(place.config(), MIGRATIONS, PoolOptions::default())
            .await
            .unwrap()
    }

    fn number() -> NumberRow {
        NumberRow {
            number: "1065".to_owned(),
            sealed_key: vec![0],
            sealed_secrets: vec![0],
            facts_version: 1,
            sealed_facts: vec![0],
        }
    }

    #[tokio::test]
    async fn a_writer_who_loaded_the_rows_before_the_person_was_erased_brings_nothing_back() {
        on_both(async |place| {
            let database = database(&place).await;
            let stale = database
                .run_tx("test", |tx| {
                    Box::pin(async move {
                        number_insert(tx, &number()).await?;
                        assert!(conversation_write(tx, &write(1, 1), 5).await?);
                        assert!(subject_erase(tx, "1065", Tag([2; 16]), 7).await?);
                        conversation_write(tx, &write(2, 2), 5).await
                    })
                })
                .await
                .unwrap();
            assert!(!stale);
            let rows = database
                .read("test", |db| {
                    Box::pin(async move {
                        let sessions = sessions(db, "1065", ID).await?;
                        Ok::<_, DatabaseError>((
                            conversation_by_id(db, "1065", ID, true).await?.is_none(),
                            sessions.len(),
                        ))
                    })
                })
                .await
                .unwrap();
            assert_eq!(rows, (true, 0));
        })
        .await;
    }

    #[tokio::test]
    async fn a_writer_whom_another_overtook_writes_nothing_at_all() {
        on_both(async |place| {
            let database = database(&place).await;
            let number = number();
            let written = database
                .run_tx("test", move |tx| {
                    let number = number.clone();
                    Box::pin(async move {
                        number_insert(tx, &number).await?;
                        let mut written = Vec::new();
                        // New; new again; on from 1; on from 1 again, too late; on from a version that never was.
                        for (version, mark) in [(1, 1), (1, 2), (2, 3), (2, 4), (9, 5)] {
                            written.push(conversation_write(tx, &write(version, mark), 5).await?);
                        }
                        Ok::<_, DatabaseError>(written)
                    })
                })
                .await
                .unwrap();
            assert_eq!(written, [true, false, true, false, false]);
            let rows = database
                .read("test", |db| {
                    Box::pin(async move { conversation_by_id(db, "1065", ID, true).await })
                })
                .await
                .unwrap()
                .unwrap();
            assert_eq!((rows.subject.version, rows.subject.sealed), (2, vec![3]));
            let sessions: Vec<_> = rows
                .sessions
                .into_iter()
                .map(|row| (row.device, row.version, row.sealed))
                .collect();
            assert_eq!(sessions, [(1, 2, vec![3])]);
        })
        .await;
    }
}
