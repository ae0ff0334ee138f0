//! One statement over many rows.
//!
//! Owns how rows of values become few statements: what a statement costs beside its rows (its way through the planner, a
//! round trip to a server) is more than most rows cost. Has no knowledge of tables.

use sqlx::{Arguments as _, AssertSqlSafe, any::AnyArguments, query_with};

use crate::{Connection, DatabaseError, Kind, Row};

/// Where the rows stand in a statement's text.
const ROWS: &str = "{rows}";

/// Rows in one statement at most. Fewer go in halves of it, so that a connection keeps few prepared statements.
const MOST: usize = 64;

/// A value of a row. Both dialects know these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A 64-bit integer.
    Integer(i64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Blob(value)
    }
}

/// A statement in whose text `{rows}` stands for `($1, $2), ($3, $4), …`: after `VALUES` of an `INSERT`, in
/// `a IN (VALUES {rows})`, or in `FROM (VALUES {rows}) AS v`, whose columns are `column1`, `column2`, … in both dialects. Parameters
/// that all rows share come first in the count, as `$1`, `$2`, … before those of the rows.
///
/// To find rows by several columns, join: `FROM (VALUES {rows}) AS v CROSS JOIN lamps WHERE a = v.column1 AND b = v.column2`, or
/// `UPDATE lamps SET … FROM (VALUES {rows}) AS v WHERE …`. `(a, b) IN (VALUES {rows})` of more than one row makes SQLite read the
/// whole table, whatever its indexes. Both databases insert the rows of one statement in their order, so that ids which they
/// choose grow with it.
///
/// ```
/// # use sealpost_database::{Connection, DatabaseError, Many};
/// const INSERT: Many = Many::new("INSERT INTO lamps (id, lit_at) VALUES {rows} ON CONFLICT DO NOTHING");
///
/// async fn lamps_light(db: &mut Connection, lamps: &[[u8; 16]], now: i64) -> Result<u64, DatabaseError> {
///     INSERT.execute(db, &[], lamps, |lamp| [lamp.into(), now.into()]).await
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Many(&'static str);

impl Many {
    /// Of this text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// Runs it for all rows; answers how many rows of tables it changed.
    ///
    /// # Errors
    /// What the database says. In a transaction the rows before may be written.
    pub async fn execute<'r, R, const N: usize>(
        &self,
        db: &mut Connection,
        shared: &[Value<'_>],
        rows: &'r [R],
        values: impl Fn(&'r R) -> [Value<'r>; N],
    ) -> Result<u64, DatabaseError> {
        let mut changed = 0;
        for stretch in stretches(rows) {
            let (text, arguments) = self.statement(db, shared, stretch, &values)?;
            let done = query_with(AssertSqlSafe(text), arguments)
                .execute(&mut *db)
                .await?;
            changed += done.rows_affected();
        }
        Ok(changed)
    }

    /// Runs it for all rows; answers the rows that it returns, in no order.
    ///
    /// # Errors
    /// What the database says. In a transaction the rows before may be written.
    pub async fn fetch<'r, R, const N: usize>(
        &self,
        db: &mut Connection,
        shared: &[Value<'_>],
        rows: &'r [R],
        values: impl Fn(&'r R) -> [Value<'r>; N],
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut found = Vec::new();
        for stretch in stretches(rows) {
            let (text, arguments) = self.statement(db, shared, stretch, &values)?;
            let answer = query_with(AssertSqlSafe(text), arguments)
                .fetch_all(&mut *db)
                .await?;
            found.extend(answer);
        }
        Ok(found)
    }

    /// As it is sent for so many rows, for a test that asks the planner.
    #[must_use]
    pub fn text(&self, shared: usize, columns: usize, rows: usize) -> String {
        self.0
            .replacen(ROWS, &placeholders(shared, columns, rows), 1)
    }

    fn statement<'r, R, const N: usize>(
        &self,
        db: &Connection,
        shared: &[Value<'_>],
        rows: &'r [R],
        values: &impl Fn(&'r R) -> [Value<'r>; N],
    ) -> Result<(String, AnyArguments), DatabaseError> {
        let mut arguments = AnyArguments::default();
        arguments.reserve(shared.len() + N * rows.len(), 0);
        if db.kind() == Kind::Sqlite {
            let text = self.bind_in_order(&mut arguments, shared, rows, values)?;
            return Ok((text, arguments));
        }
        for value in shared {
            bind(&mut arguments, *value)?;
        }
        bind_rows(&mut arguments, rows, values)?;
        Ok((self.text(shared.len(), N, rows.len()), arguments))
    }

    /// The text with nameless parameters, bound in the order in which they stand: the driver asks SQLite for the name of each
    /// parameter, and SQLite looks through all names for it. With 640 of them that costs more than the rows.
    fn bind_in_order<'r, R, const N: usize>(
        &self,
        arguments: &mut AnyArguments,
        shared: &[Value<'_>],
        rows: &'r [R],
        values: &impl Fn(&'r R) -> [Value<'r>; N],
    ) -> Result<String, DatabaseError> {
        let mut text = String::with_capacity(self.0.len() + rows.len() * (3 * N + 2));
        let mut rest = self.0;
        while let Some(at) = rest.find(['$', '{']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(ROWS) {
                let row = format!("({})", vec!["?"; N].join(", "));
                text.push_str(&vec![row.as_str(); rows.len()].join(", "));
                bind_rows(arguments, rows, values)?;
                rest = after;
            } else {
                let end = rest[1..].find(|c: char| !c.is_ascii_digit());
                let (name, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                let value = name[1..].parse::<usize>().ok();
                let value = value.and_then(|number| shared.get(number.checked_sub(1)?));
                let unknown = || sqlx::Error::Protocol(format!("no shared value for {name}"));
                bind(arguments, *value.ok_or_else(unknown)?)?;
                text.push('?');
                rest = after;
            }
        }
        text.push_str(rest);
        Ok(text)
    }
}

fn bind_rows<'r, R, const N: usize>(
    arguments: &mut AnyArguments,
    rows: &'r [R],
    values: &impl Fn(&'r R) -> [Value<'r>; N],
) -> Result<(), DatabaseError> {
    for row in rows {
        for value in values(row) {
            bind(arguments, value)?;
        }
    }
    Ok(())
}

fn bind(arguments: &mut AnyArguments, value: Value<'_>) -> Result<(), DatabaseError> {
    let bound = match value {
        Value::Integer(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value),
        Value::Blob(value) => arguments.add(value),
    };
    bound.map_err(|error| sqlx::Error::Encode(error).into())
}

/// Cuts rows into stretches of 64 and halves of it.
fn stretches<R>(mut rows: &[R]) -> impl Iterator<Item = &[R]> {
    let mut size = MOST;
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        while size > rows.len() {
            size /= 2;
        }
        let (stretch, rest) = rows.split_at(size);
        rows = rest;
        Some(stretch)
    })
}

/// `($3, $4), ($5, $6)` for two rows of two columns behind two shared parameters.
fn placeholders(shared: usize, columns: usize, rows: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    let mut next = shared;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            next += 1;
            text.push_str(if column == 0 { "$" } else { ", $" });
            text.push_str(&next.to_string());
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::Row as _;

    use super::*;
    use crate::{
        Database, Migration, PoolOptions,
        testing::{TestDatabase, on_both},
    };

    const MIGRATIONS: &[Migration] = &[Migration::new(
        1,
        "start",
        "CREATE TABLE rows (a TEXT NOT NULL, b INTEGER NOT NULL, c BLOB NOT NULL, PRIMARY KEY (a, b)) STRICT",
        "CREATE TABLE rows (a TEXT NOT NULL, b BIGINT NOT NULL, c BYTEA NOT NULL, PRIMARY KEY (a, b))",
    )];
    const PUT: Many = Many::new(
        "INSERT INTO rows (a, b, c) VALUES {rows} ON CONFLICT (a, b) DO UPDATE SET c = excluded.c WHERE rows.b >= $1
         RETURNING b",
    );
    const FIND: Many = Many::new(
        "SELECT rows.b, rows.c FROM (VALUES {rows}) AS v CROSS JOIN rows
         WHERE rows.a = v.column1 AND rows.b = v.column2 AND rows.b <> $1",
    );
    const DELETE: Many = Many::new("DELETE FROM rows WHERE b IN (VALUES {rows})");

    #[test]
    fn rows_go_in_halves_of_the_longest_stretch() {
        let sizes =
            |rows: usize| -> Vec<usize> { stretches(&vec![(); rows]).map(<[()]>::len).collect() };
        assert!(sizes(0).is_empty());
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(7), [4, 2, 1]);
        assert_eq!(sizes(200), [64, 64, 64, 8]);
    }

    #[test]
    fn parameters_of_rows_are_counted_after_the_shared_ones() {
        assert_eq!(placeholders(2, 2, 2), "($3, $4), ($5, $6)");
        assert_eq!(placeholders(0, 1, 1), "($1)");
    }

    #[test]
    fn nameless_parameters_are_bound_in_the_order_in_which_they_stand() {
        let many = Many::new("UPDATE a SET b = $2 WHERE (c, d) IN (VALUES {rows}) AND e = $1");
        let (mut arguments, rows) = (AnyArguments::default(), [1, 2]);
        let text = many
            .bind_in_order(
                &mut arguments,
                &["x".into(), 7.into()],
                &rows,
                &|n: &i64| [(*n).into(), 0.into()],
            )
            .unwrap();
        assert_eq!(
            text,
            "UPDATE a SET b = ? WHERE (c, d) IN (VALUES (?, ?), (?, ?)) AND e = ?"
        );
        let bound = format!("{:?}", arguments.values.0);
        assert_eq!(
            bound,
            "[BigInt(7), BigInt(1), BigInt(0), BigInt(2), BigInt(0), Text(\"x\")]"
        );
        let unknown = many.bind_in_order(&mut arguments, &["x".into()], &rows, &|n: &i64| {
            [(*n).into()]
        });
        assert!(unknown.is_err());
    }

    async fn database(place: &TestDatabase) -> Database {
        Database::open(place.config(), MIGRATIONS, PoolOptions::default())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn many_rows_are_put_found_and_deleted_as_one_by_one() {
        on_both(async |place| {
            let database = database(&place).await;
            let numbers: Vec<i64> = (0..100).collect();
            let (put, again, found, gone) = database
                .run_tx("test", move |db| {
                    let numbers = numbers.clone();
                    Box::pin(async move {
                        let row =
                            |number| [Value::from("x"), Value::from(number), Value::from(b"c")];
                        let put = PUT.fetch(db, &[50.into()], &numbers, |n| row(*n)).await?;
                        // Those below 50 are there and stay: nothing is returned for them.
                        let again = PUT.fetch(db, &[50.into()], &numbers, |n| row(*n)).await?;
                        let key = |n: &i64| [Value::from("x"), Value::from(*n)];
                        let found = FIND.fetch(db, &[3.into()], &[2, 3, 200], key).await?;
                        let gone = DELETE
                            .execute(db, &[], &[1, 2, 200], |n| [Value::from(*n)])
                            .await?;
                        let found: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
                        Ok::<_, DatabaseError>((put.len(), again.len(), found, gone))
                    })
                })
                .await
                .unwrap();
            assert_eq!((put, again, found, gone), (100, 50, vec![2], 2));
        })
        .await;
    }
}
