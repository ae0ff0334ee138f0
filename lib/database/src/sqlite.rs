//! SQLite: its file, its settings, its pools.
//!
//! Owns what makes a committed row survive a power cut and a deleted one disappear. Has no knowledge
//! of transactions' contents. Invariant: a pool is only handed out after the settings read back as set.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection as _, Pool,
    pool::PoolOptions,
    query_scalar, raw_sql,
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{Connection, DatabaseError, Dialect, error};

/// How long a statement waits for another process's lock; our own writers queue before the pool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The log is cut back to this after a checkpoint that could restart it, in bytes.
const LOG_LIMIT: &str = "67108864";

/// SQLite's generic result code.
const SQLITE_ERROR: i32 = 1;

/// Pragmas that must read back as wanted on the writer, or the database is not opened.
const SETTINGS: &[(&str, i64)] = &[
    ("synchronous", 2),   // FULL: a commit is on the disk before it is answered.
    ("secure_delete", 1), // Deleted content is overwritten with zeros.
    ("foreign_keys", 1),
    ("auto_vacuum", 2), // INCREMENTAL: freed pages can be given back without a rebuild.
    ("temp_store", 2),  // MEMORY: no content in temporary files.
    ("trusted_schema", 0),
];

/// Makes sure that the file and its folder exist, private to this user.
///
/// SQLite gives its log and shared-memory files the permissions of the database's file.
pub(crate) async fn prepare_file(file: PathBuf) -> Result<(), DatabaseError> {
    match tokio::task::spawn_blocking(move || prepare_file_blocking(&file)).await {
        Ok(prepared) => prepared.map_err(DatabaseError::File),
        Err(stopped) => Err(DatabaseError::File(io::Error::other(stopped))),
    }
}

fn prepare_file_blocking(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
    {
        // The entry itself must outlive a power cut, else a whole committed database may vanish.
        Ok(created) => {
            created.sync_all()?;
            File::open(folder)?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(file, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

/// The one connection that writes. Writers queue for it in this process, first come first served,
/// rather than meet each other as `SQLITE_BUSY`.
pub(crate) async fn writer_pool(
    file: &Path,
    wait: Duration,
) -> Result<Pool<Dialect>, DatabaseError> {
    // auto_vacuum only takes before the first table; sqlx sends it before journal_mode, as it must be.
    let options = common_options(file).auto_vacuum(SqliteAutoVacuum::Incremental);
    connect(options, 1, wait).await
}

/// The connections that read and cannot write.
pub(crate) async fn reader_pool(
    file: &Path,
    readers: u32,
    wait: Duration,
) -> Result<Pool<Dialect>, DatabaseError> {
    connect(
        common_options(file).pragma("query_only", "ON"),
        readers.max(1),
        wait,
    )
    .await
}

fn common_options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("mmap_size", "0")
        .pragma("trusted_schema", "OFF")
        .pragma("journal_size_limit", LOG_LIMIT)
        .disable_statement_logging()
}

async fn connect(
    options: SqliteConnectOptions,
    connections: u32,
    wait: Duration,
) -> Result<Pool<Dialect>, DatabaseError> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(wait)
        .idle_timeout(None)
        .max_lifetime(None)
        // Tested on release instead, where an open transaction would be found.
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(leave_clean(connection)))
        .connect_with(options)
        .await
        .map_err(DatabaseError::Open)
}

/// Ends whatever is open on a returned connection; `false` closes the connection instead.
///
/// Asked of SQLite itself, since sqlx's own count knows nothing of a `BEGIN` sent as a statement.
async fn leave_clean(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    match raw_sql("ROLLBACK").execute(&mut *connection).await {
        Ok(_) => {
            tracing::warn!("a connection came back with a transaction open; it was rolled back");
        }
        // The usual case: "cannot rollback - no transaction is active".
        Err(error) if error::sqlite_code(&error) == Some(SQLITE_ERROR) => {}
        Err(error) => return Err(error),
    }
    Ok(!connection.is_in_transaction())
}

/// Reads the settings back.
///
/// # Errors
/// `Setting` for the first that did not take hold, as on a file system that cannot keep a log.
pub(crate) async fn verify_settings(connection: &mut Connection) -> Result<(), DatabaseError> {
    let journal: String = query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await?;
    if journal != "wal" {
        return Err(DatabaseError::Setting {
            name: "journal_mode = wal",
            wanted: 1,
            found: 0,
        });
    }
    for &(name, wanted) in SETTINGS {
        let found = pragma(connection, name).await?;
        if found != wanted {
            return Err(DatabaseError::Setting {
                name,
                wanted,
                found,
            });
        }
    }
    Ok(())
}

/// One of our own pragmas, which no parameter can name.
pub(crate) async fn pragma(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, sqlx::Error> {
    query_scalar(AssertSqlSafe(format!("PRAGMA {name}")))
        .fetch_one(connection)
        .await
}

/// Looks for damage in the file's structure, without the cost of comparing every index.
pub(crate) async fn quick_check(connection: &mut Connection) -> Result<(), DatabaseError> {
    let answer: String = query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await?;
    if answer == "ok" {
        Ok(())
    } else {
        Err(DatabaseError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn pool(folder: &tempfile::TempDir) -> Pool<Dialect> {
        let file = folder.path().join("rows.db");
        prepare_file(file.clone()).await.unwrap();
        let pool = writer_pool(&file, Duration::from_secs(5)).await.unwrap();
        raw_sql("CREATE TABLE rows (a INTEGER) STRICT")
            .execute(&pool)
            .await
            .unwrap();
        pool
    }

    async fn rows(pool: &Pool<Dialect>) -> i64 {
        query_scalar("SELECT count(*) FROM rows")
            .fetch_one(pool)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_transaction_that_sqlx_does_not_know_of_is_rolled_back_on_release() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder).await;
        let mut connection = pool.acquire().await.unwrap();
        raw_sql("BEGIN; INSERT INTO rows VALUES (1)")
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);

        let next = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        next.commit().await.unwrap();
        assert_eq!(rows(&pool).await, 0);
    }

    #[tokio::test]
    async fn a_connection_on_which_sqlx_counts_a_transaction_is_closed_on_release() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder).await;
        let mut connection = pool.acquire().await.unwrap();
        raw_sql("CREATE TEMP TABLE mark (a INTEGER)")
            .execute(&mut *connection)
            .await
            .unwrap();
        // A transaction whose end is never told, as after a crash between two awaits.
        #[allow(clippy::mem_forget)]
        std::mem::forget(connection.begin().await.unwrap());
        drop(connection);

        let marks: i64 = query_scalar("SELECT count(*) FROM sqlite_temp_schema")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(marks, 0, "the connection was lent again");
        pool.begin_with("BEGIN IMMEDIATE")
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_setting_that_does_not_take_hold_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder).await;
        let mut connection = pool.acquire().await.unwrap();
        verify_settings(&mut connection).await.unwrap();
        raw_sql("PRAGMA synchronous = NORMAL")
            .execute(&mut *connection)
            .await
            .unwrap();
        let error = verify_settings(&mut connection).await.unwrap_err();
        assert!(
            matches!(
                error,
                DatabaseError::Setting {
                    name: "synchronous",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
