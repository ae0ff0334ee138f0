//! One connection to a file: statements in sqlx's terms, run by rusqlite in the caller's own thread.
//!
//! Owns how values go in and come out. Has no knowledge of transactions. A statement here takes microseconds and never yields, but
//! for the disk: whoever calls is a thread that may wait for one (`docs/decisions/0020`).

use std::{fmt, path::Path, sync::Arc};

use rusqlite::{
    CachedStatement, OpenFlags, Row as FileRow, Statement,
    config::DbConfig,
    types::{FromSql, ToSqlOutput, Value, ValueRef},
};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx_core::{
    any::{AnyColumn, AnyTypeInfo, AnyTypeInfoKind, AnyValue, AnyValueKind},
    ext::ustr::UStr,
};

use super::error::driver_error;

/// Prepared statements kept for each connection.
const PREPARED: usize = 256;

/// What a statement did.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<AnyRow>,
    /// Rows of tables that it changed.
    pub(crate) changed: u64,
}

/// An open file.
pub(crate) struct Session(rusqlite::Connection);

impl Session {
    /// Opens a file that exists.
    pub(crate) fn open(file: &Path) -> Result<Self, sqlx::Error> {
        // One connection is used by one thread at a time, which the borrow checker sees to.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            rusqlite::Connection::open_with_flags(file, flags).map_err(driver_error)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        // SQLite would else plan a statement anew whenever a value that bears on its plan is bound, as that of `LIMIT` does.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(driver_error)?;
        Ok(Self(connection))
    }

    /// Runs one statement, prepared and kept for the next time; its rows are all read.
    pub(crate) fn run(
        &mut self,
        sql: &str,
        arguments: &AnyArguments,
    ) -> Result<Answer, sqlx::Error> {
        let mut statement = self.0.prepare_cached(sql).map_err(driver_error)?;
        bind(&mut statement, &arguments.values.0)?;
        let mut answer = Answer::default();
        let mut model = None;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(driver_error)? {
            let model = model.get_or_insert_with(|| without_values(row.as_ref()));
            answer.rows.push(with_values(model, row)?);
        }
        drop(rows);
        if !statement.readonly() {
            answer.changed = self.0.changes();
        }
        Ok(answer)
    }

    /// Runs any number of statements without parameters; their rows are dropped.
    pub(crate) fn run_all(&mut self, sql: &str) -> Result<Answer, sqlx::Error> {
        self.0.execute_batch(sql).map_err(driver_error)?;
        Ok(Answer::default())
    }

    /// Reads a pragma.
    pub(crate) fn setting<T: FromSql>(&mut self, name: &'static str) -> Result<T, sqlx::Error> {
        self.0
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(driver_error)
    }

    pub(crate) fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().map_err(|(_, error)| driver_error(error))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// `$2` is the second argument, wherever it stands; a nameless parameter is the one of its own place.
fn bind(
    statement: &mut CachedStatement<'_>,
    arguments: &[AnyValueKind],
) -> Result<(), sqlx::Error> {
    for place in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(place) {
            None => place,
            Some(name) => name[1..].parse().map_err(decode)?,
        };
        let argument: Option<&AnyValueKind> = arguments.get(number.wrapping_sub(1));
        let argument = argument.ok_or_else(|| unfit(format!("no argument {number}")))?;
        statement
            .raw_bind_parameter(place, to_sql(argument)?)
            .map_err(driver_error)?;
    }
    Ok(())
}

fn to_sql(value: &AnyValueKind) -> Result<ToSqlOutput<'_>, sqlx::Error> {
    let integer = |value| ToSqlOutput::Owned(Value::Integer(value));
    Ok(match value {
        AnyValueKind::Null(_) => ToSqlOutput::Owned(Value::Null),
        AnyValueKind::Bool(value) => integer((*value).into()),
        AnyValueKind::SmallInt(value) => integer((*value).into()),
        AnyValueKind::Integer(value) => integer((*value).into()),
        AnyValueKind::BigInt(value) => integer(*value),
        AnyValueKind::Real(value) => ToSqlOutput::Owned(Value::Real((*value).into())),
        AnyValueKind::Double(value) => ToSqlOutput::Owned(Value::Real(*value)),
        AnyValueKind::Text(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
        AnyValueKind::TextSlice(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
        AnyValueKind::Blob(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
        _ => return Err(unfit("an argument of an unknown type".to_owned())),
    })
}

/// What all rows of an answer share: the columns and their names.
fn without_values(statement: &Statement<'_>) -> AnyRow {
    let column = |(ordinal, name): (usize, &str)| AnyColumn {
        ordinal,
        name: UStr::new(name),
        // Each value has a type of its own.
        type_info: AnyTypeInfo {
            kind: AnyTypeInfoKind::Null,
        },
    };
    let names = statement.column_names().into_iter();
    let columns: Vec<AnyColumn> = names.enumerate().map(column).collect();
    let places = columns
        .iter()
        .map(|column| (column.name.clone(), column.ordinal));
    AnyRow {
        column_names: Arc::new(places.collect()),
        columns,
        values: Vec::new(),
    }
}

fn with_values(model: &AnyRow, row: &FileRow<'_>) -> Result<AnyRow, sqlx::Error> {
    let mut values = Vec::with_capacity(model.columns.len());
    for column in 0..model.columns.len() {
        let kind = match row.get_ref(column).map_err(driver_error)? {
            ValueRef::Null => AnyValueKind::Null(AnyTypeInfoKind::Null),
            ValueRef::Integer(value) => AnyValueKind::BigInt(value),
            ValueRef::Real(value) => AnyValueKind::Double(value),
            ValueRef::Text(value) => {
                let text = String::from_utf8(value.to_vec()).map_err(decode)?;
                AnyValueKind::Text(Arc::new(text))
            }
            ValueRef::Blob(value) => AnyValueKind::Blob(Arc::new(value.to_vec())),
        };
        values.push(AnyValue { kind });
    }
    Ok(AnyRow {
        values,
        ..model.clone()
    })
}

fn unfit(what: String) -> sqlx::Error {
    sqlx::Error::Encode(what.into())
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rusqlite::StatementStatus;
    use sqlx::{Arguments as _, Row as _};

    use super::*;

    #[test]
    fn a_statement_is_planned_once_whatever_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.db");
        std::fs::File::create(&file).unwrap();
        let mut session = Session::open(&file).unwrap();
        let rows = "CREATE TABLE rows (a INTEGER) STRICT; INSERT INTO rows VALUES (1), (2), (3)";
        session.run_all(rows).unwrap();
        let some = "SELECT a FROM rows LIMIT $1";
        for limit in [1_i64, 2, 3] {
            let mut arguments = AnyArguments::default();
            arguments.add(limit).unwrap();
            let answer = session.run(some, &arguments).unwrap();
            assert_eq!(answer.rows.len(), usize::try_from(limit).unwrap());
        }
        let statement = session.0.prepare_cached(some).unwrap();
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
    }

    #[test]
    fn every_type_comes_back_as_it_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.db");
        std::fs::File::create(&file).unwrap();
        let mut session = Session::open(&file).unwrap();
        let mut arguments = AnyArguments::default();
        arguments.add(-7_i64).unwrap();
        arguments.add(0.5_f64).unwrap();
        arguments.add("é").unwrap();
        arguments.add(&b"\0\xff"[..]).unwrap();
        arguments.add(None::<i64>).unwrap();
        arguments.add(true).unwrap();
        let all = "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6 AS f";
        let answer = session.run(all, &arguments).unwrap();
        let row = &answer.rows[0];
        assert_eq!(row.get::<i64, _>("a"), -7);
        assert!((row.get::<f64, _>("b") - 0.5).abs() < f64::EPSILON);
        assert_eq!(row.get::<&str, _>("c"), "é");
        assert_eq!(row.get::<&[u8], _>("d"), b"\0\xff");
        assert_eq!(row.get::<Option<i64>, _>("e"), None);
        // A truth is an integer here.
        assert_eq!(row.get::<i64, _>("f"), 1);
        let broken = session.run("SELECT CAST(X'ff' AS TEXT)", &AnyArguments::default());
        assert!(matches!(broken.err(), Some(sqlx::Error::Decode(_))));
    }

    #[test]
    fn a_named_argument_is_found_by_its_number_and_a_missing_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows.db");
        std::fs::File::create(&file).unwrap();
        let mut session = Session::open(&file).unwrap();
        let mut arguments = AnyArguments::default();
        arguments.add("one").unwrap();
        arguments.add(2_i64).unwrap();
        let swapped = session.run("SELECT $2, $1", &arguments).unwrap();
        let values: Vec<_> = swapped.rows[0].values.iter().collect();
        assert_eq!(
            format!("{values:?}"),
            r#"[AnyValue { kind: BigInt(2) }, AnyValue { kind: Text("one") }]"#
        );
        let missing = session.run("SELECT $3", &arguments).err().unwrap();
        assert!(matches!(missing, sqlx::Error::Encode(_)), "{missing:?}");
    }
}
