//! `subjects` and `sessions`: all that a conversation consists of.
//!
//! Invariant: the subject's row version guards its sessions. Whoever changes any row of a conversation moves it on, first,
//! and has lost everything when it had moved meanwhile.

use std::collections::{HashMap, HashSet};

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, Value,
    sqlx::{Row as _, query, query_scalar},
};

use super::{COUNT_LIMIT, int, uint};
use crate::subject::{SubjectId, Tag};

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

const FIND: Many = Many::new(
    "SELECT s.number, s.subject_id, s.tag, s.row_version, s.sealed FROM (VALUES {rows}) AS v CROSS JOIN subjects AS s
     WHERE s.number = v.column1 AND s.subject_id = v.column2",
);

const FIND_SESSIONS: Many = Many::new(
    "SELECT s.number, s.subject_id, s.device_id, s.row_version, s.sealed FROM (VALUES {rows}) AS v CROSS JOIN sessions AS s
     WHERE s.number = v.column1 AND s.subject_id = v.column2",
);

/// The mark of an erasure stands before a row that somebody put back.
const FIND_BY_TAG: Many = Many::new(
    "SELECT s.number, s.subject_id, s.tag, s.row_version, s.sealed FROM (VALUES {rows}) AS v CROSS JOIN subjects AS s
     WHERE s.number = v.column1 AND s.tag = v.column2 AND NOT EXISTS
         (SELECT 1 FROM erased AS e WHERE e.number = s.number AND e.tag = s.tag)",
);

const BEGIN: Many = Many::new(
    "INSERT INTO subjects (number, subject_id, tag, row_version, sealed, last_day) VALUES {rows}
     ON CONFLICT DO NOTHING RETURNING number, subject_id",
);

const MOVE_ON: Many = Many::new(
    "UPDATE subjects SET row_version = new.column4, sealed = new.column5, last_day = new.column6
     FROM (VALUES {rows}) AS new
     WHERE number = new.column1 AND subject_id = new.column2 AND tag = new.column3 AND row_version = new.column4 - 1
     RETURNING number, subject_id",
);

const PUT_SESSIONS: Many = Many::new(
    "INSERT INTO sessions (number, subject_id, device_id, row_version, sealed) VALUES {rows}
     ON CONFLICT (number, subject_id, device_id)
     DO UPDATE SET row_version = excluded.row_version, sealed = excluded.sealed",
);

/// Which conversation: its number and its subject.
pub(crate) type Name<'a> = (&'a str, SubjectId);

/// Conversations with their sessions; those that are not there are left out.
pub(crate) async fn conversations_by_id(
    db: &mut Connection,
    names: &[Name<'_>],
) -> Result<Vec<(String, ConversationRows)>, DatabaseError> {
    let mut found = HashMap::with_capacity(names.len());
    for row in &FIND.fetch(db, &[], names, name_values).await? {
        let (number, rows) = without_sessions(row)?;
        found.insert((number, rows.subject.id), rows);
    }
    if !found.is_empty() {
        for row in &FIND_SESSIONS.fetch(db, &[], names, name_values).await? {
            let number: String = row.try_get("number")?;
            let session = SessionRow {
                device: u8::try_from(row.try_get::<i64, _>("device_id")?).unwrap_or(0),
                version: uint(row.try_get("row_version")?),
                sealed: row.try_get("sealed")?,
            };
            if let Some(rows) = found.get_mut(&(number, subject_at(row)?)) {
                rows.sessions.push(session);
            }
        }
    }
    let found = found.into_iter().map(|((number, _), rows)| (number, rows));
    Ok(found.collect())
}

/// Subjects by their tags, without sessions; tags of nobody, and of the erased, are left out.
pub(crate) async fn conversations_by_tag(
    db: &mut Connection,
    tags: &[(&str, Tag)],
) -> Result<Vec<(String, ConversationRows)>, DatabaseError> {
    let rows = FIND_BY_TAG.fetch(db, &[], tags, tag_values).await?;
    rows.iter().map(without_sessions).collect()
}

/// Writes conversations in which something was said on `day`; answers which, since of one that another writer had moved on nothing
/// is written.
pub(crate) async fn conversations_write(
    tx: &mut Tx,
    writes: &[&ConversationWrite],
    day: u64,
) -> Result<HashSet<(String, SubjectId)>, DatabaseError> {
    let day = int(day);
    let (begun, moved): (Vec<_>, Vec<_>) = writes
        .iter()
        .copied()
        .partition(|write| write.subject.version == 1);
    let mut written = HashSet::with_capacity(writes.len());
    for (statement, writes) in [(BEGIN, begun), (MOVE_ON, moved)] {
        let rows = statement
            .fetch(tx, &[], &writes, |write| {
                let SubjectRow {
                    id,
                    tag,
                    version,
                    sealed,
                } = &write.subject;
                [
                    write.number.as_str().into(),
                    (&id.0).into(),
                    (&tag.0).into(),
                    int(*version).into(),
                    sealed.as_slice().into(),
                    day.into(),
                ]
            })
            .await?;
        for row in &rows {
            written.insert((row.try_get("number")?, subject_at(row)?));
        }
    }
    let name = |write: &ConversationWrite| (write.number.clone(), write.subject.id);
    let ours: Vec<_> = writes
        .iter()
        .filter(|write| written.contains(&name(write)))
        .collect();
    // Rare: a device that is gone, or another identity.
    for write in &ours {
        for device in &write.removed {
            query("DELETE FROM sessions WHERE number = $1 AND subject_id = $2 AND device_id = $3")
                .bind(&write.number)
                .bind(&write.subject.id.0[..])
                .bind(i64::from(*device))
                .execute(&mut **tx)
                .await?;
        }
    }
    let sessions: Vec<_> = ours
        .iter()
        .flat_map(|write| write.sessions.iter().map(move |session| (write, session)))
        .collect();
    PUT_SESSIONS
        .execute(tx, &[], &sessions, |(write, session)| {
            [
                write.number.as_str().into(),
                (&write.subject.id.0).into(),
                i64::from(session.device).into(),
                int(session.version).into(),
                session.sealed.as_slice().into(),
            ]
        })
        .await?;
    Ok(written)
}

fn name_values<'r>((number, id): &'r Name<'_>) -> [Value<'r>; 2] {
    [(*number).into(), (&id.0).into()]
}

/// A number and a tag.
pub(super) fn tag_values<'r>((number, tag): &'r (&'r str, Tag)) -> [Value<'r>; 2] {
    [(*number).into(), (&tag.0).into()]
}

fn without_sessions(row: &Row) -> Result<(String, ConversationRows), DatabaseError> {
    let subject = SubjectRow {
        id: subject_at(row)?,
        tag: Tag::from_slice(row.try_get("tag")?).unwrap_or(Tag([0; 16])),
        version: uint(row.try_get("row_version")?),
        sealed: row.try_get("sealed")?,
    };
    let sessions = Vec::new();
    Ok((
        row.try_get("number")?,
        ConversationRows { subject, sessions },
    ))
}

fn subject_at(row: &Row) -> Result<SubjectId, DatabaseError> {
    let id: &[u8] = row.try_get("subject_id")?;
    // Of another length it is nobody's.
    Ok(SubjectId::from_slice(id).unwrap_or(SubjectId([0; 16])))
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

    async fn put(tx: &mut Tx, write: &ConversationWrite) -> Result<bool, DatabaseError> {
        let written = conversations_write(tx, &[write], 5).await?;
        Ok(written.contains(&("1065".to_owned(), ID)))
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
                        assert!(put(tx, &write(1, 1)).await?);
                        assert!(subject_erase(tx, "1065", Tag([2; 16]), 7).await?);
                        put(tx, &write(2, 2)).await
                    })
                })
                .await
                .unwrap();
            assert!(!stale);
            let rows = database
                .read("test", |db| {
                    Box::pin(async move {
                        let sessions = FIND_SESSIONS.fetch(db, &[], &[("1065", ID)], name_values);
                        let sessions = sessions.await?.len();
                        let found = conversations_by_id(db, &[("1065", ID)]).await?;
                        Ok::<_, DatabaseError>((found.is_empty(), sessions))
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
                            written.push(put(tx, &write(version, mark)).await?);
                        }
                        Ok::<_, DatabaseError>(written)
                    })
                })
                .await
                .unwrap();
            assert_eq!(written, [true, false, true, false, false]);
            let rows = database
                .read("test", |db| {
                    Box::pin(async move { conversations_by_id(db, &[("1065", ID)]).await })
                })
                .await
                .unwrap()
                .remove(0)
                .1;
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
