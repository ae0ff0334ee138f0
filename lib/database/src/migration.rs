//! Migrations: a database is brought to the binary's shape, or refused.
//!
//! Owns the comparison of what was applied with what the binary has; sqlx's migrator keeps the list
//! and the checksums, and applies each migration in a transaction of its own. Never goes backwards.
//! Invariant: what was applied is a prefix of what the binary has, byte for byte.

use sqlx::{
    SqlSafeStr,
    migrate::{Migrate, MigrationType, Migrator},
};

use crate::{Connection, DatabaseError};

/// One step of a schema, embedded in the binary.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

impl Migration {
    /// A step called `name`: versions count up from 1; `sql` is usually an `include_str!`.
    #[must_use]
    pub const fn new(version: i64, name: &'static str, sql: &'static str) -> Self {
        Self { version, name, sql }
    }

    fn to_sqlx(self) -> sqlx::migrate::Migration {
        sqlx::migrate::Migration::new(
            self.version,
            self.name.into(),
            MigrationType::Simple,
            self.sql.into_sql_str(),
            false,
        )
    }
}

/// Applies what is missing of `migrations`.
///
/// # Errors
/// When the list does not ascend, the database is newer, a migration was changed, removed or
/// inserted since, or one fails: it alone is rolled back, those before it stay.
pub(crate) async fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
) -> Result<(), DatabaseError> {
    let known = last_version(migrations)?;
    let migrator =
        Migrator::with_migrations(migrations.iter().copied().map(Migration::to_sqlx).collect());

    let failed = |error| DatabaseError::from_migrate(error, known);
    connection
        .ensure_migrations_table(&migrator.table_name)
        .await
        .map_err(failed)?;
    let applied = connection
        .list_applied_migrations(&migrator.table_name)
        .await
        .map_err(failed)?;
    if let Some(found) = applied
        .last()
        .map(|last| last.version)
        .filter(|found| *found > known)
    {
        return Err(DatabaseError::NewerDatabase { found, known });
    }
    // sqlx would fill a gap behind the last applied migration; an append-only list has none.
    for (ours, theirs) in migrations.iter().zip(&applied) {
        if ours.version != theirs.version {
            return Err(DatabaseError::MigrationChanged {
                version: ours.version.min(theirs.version),
            });
        }
    }
    migrator
        .run_direct(None, connection, false)
        .await
        .map_err(failed)
}

fn last_version(migrations: &[Migration]) -> Result<i64, DatabaseError> {
    migrations.iter().try_fold(0, |before, migration| {
        if migration.version > before {
            Ok(migration.version)
        } else {
            Err(DatabaseError::MigrationOrder {
                version: migration.version,
            })
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::{Connection as _, query, query_scalar};

    use super::*;

    const ONE: Migration =
        Migration::new(1, "one", "CREATE TABLE one (a INTEGER NOT NULL) STRICT;");
    const TWO: Migration =
        Migration::new(2, "two", "CREATE TABLE two (a INTEGER NOT NULL) STRICT;");
    const FOUR: Migration = Migration::new(4, "four", "ALTER TABLE two ADD COLUMN b BLOB;");

    async fn memory() -> Connection {
        Connection::connect("sqlite::memory:").await.unwrap()
    }

    async fn tables(connection: &mut Connection) -> i64 {
        query_scalar("SELECT count(*) FROM sqlite_schema WHERE name IN ('one', 'two', 'bad')")
            .fetch_one(connection)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn migrations_are_applied_once_and_appended_ones_follow() {
        let mut db = memory().await;
        migrate(&mut db, &[ONE]).await.unwrap();
        migrate(&mut db, &[ONE]).await.unwrap();
        assert_eq!(tables(&mut db).await, 1);
        migrate(&mut db, &[ONE, TWO, FOUR]).await.unwrap();
        query("INSERT INTO two (a, b) VALUES (1, x'00')")
            .execute(&mut db)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_changed_migration_is_refused() {
        let mut db = memory().await;
        migrate(&mut db, &[ONE, TWO]).await.unwrap();
        let changed = Migration::new(1, "one", "CREATE TABLE one (a BLOB NOT NULL) STRICT;");
        let error = migrate(&mut db, &[changed, TWO]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 1 }),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let mut db = memory().await;
        migrate(&mut db, &[ONE, TWO]).await.unwrap();
        let error = migrate(&mut db, &[ONE]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::NewerDatabase { found: 2, known: 1 }),
            "{error:?}"
        );
        let error = migrate(&mut db, &[]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::NewerDatabase { found: 2, known: 0 }),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_migration_inserted_or_removed_behind_the_last_is_refused() {
        let mut db = memory().await;
        migrate(&mut db, &[ONE, TWO, FOUR]).await.unwrap();
        let three = Migration::new(3, "three", "CREATE TABLE bad (a INTEGER) STRICT;");
        let error = migrate(&mut db, &[ONE, TWO, three, FOUR])
            .await
            .unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 3 }),
            "{error:?}"
        );
        let error = migrate(&mut db, &[ONE, FOUR]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 2 }),
            "{error:?}"
        );
        assert_eq!(tables(&mut db).await, 2);
    }

    #[tokio::test]
    async fn a_failing_migration_leaves_nothing_of_itself() {
        let mut db = memory().await;
        let bad = Migration::new(
            2,
            "bad",
            "CREATE TABLE bad (a INTEGER) STRICT; SELECT * FROM nowhere;",
        );
        let error = migrate(&mut db, &[ONE, bad]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Migrate(_)), "{error:?}");
        assert_eq!(tables(&mut db).await, 1);
        migrate(&mut db, &[ONE, TWO]).await.unwrap();
    }

    #[tokio::test]
    async fn a_list_that_does_not_ascend_is_refused() {
        let mut db = memory().await;
        for list in [
            &[TWO, ONE][..],
            &[ONE, ONE],
            &[Migration::new(0, "zero", "SELECT 1;")],
        ] {
            let error = migrate(&mut db, list).await.unwrap_err();
            assert!(
                matches!(error, DatabaseError::MigrationOrder { .. }),
                "{error:?}"
            );
        }
    }
}
