#![allow(clippy::unwrap_used)]

use sqlx::{AssertSqlSafe, query, query_scalar};

use super::*;
use crate::testing::{TestDatabase, on_both};

const ONE: Migration = both(1, "one", "CREATE TABLE one (a INTEGER NOT NULL);");
const TWO: Migration = both(2, "two", "CREATE TABLE two (a INTEGER NOT NULL);");
const FOUR: Migration = both(4, "four", "ALTER TABLE two ADD COLUMN b INTEGER;");

const fn both(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name, sql, sql)
}

struct Db {
    connection: Connection,
}

impl Db {
    async fn of(place: &TestDatabase) -> Self {
        if let Some(file) = place.config().url.file() {
            crate::sqlite::prepare_file(file.to_owned()).await.unwrap();
        }
        Self {
            connection: place.stranger().await,
        }
    }

    async fn migrate(&mut self, migrations: &[Migration]) -> Result<Vec<i64>, DatabaseError> {
        migrate(&mut self.connection, migrations).await
    }

    async fn has(&mut self, table: &str) -> bool {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: Result<i64, _> = query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await;
        count.is_ok()
    }
}

#[tokio::test]
async fn migrations_are_applied_once_and_appended_ones_follow() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        assert_eq!(db.migrate(&[ONE]).await.unwrap(), [1]);
        assert!(db.migrate(&[ONE]).await.unwrap().is_empty());
        assert!(db.has("one").await && !db.has("two").await);
        assert_eq!(db.migrate(&[ONE, TWO, FOUR]).await.unwrap(), [2, 4]);
        query("INSERT INTO two (a, b) VALUES (1, 2)")
            .execute(&mut db.connection)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        db.migrate(&[ONE, TWO]).await.unwrap();
        let changed = both(1, "one", "CREATE TABLE one (a INTEGER);");
        let error = db.migrate(&[changed, TWO]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 1 }),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        db.migrate(&[ONE, TWO]).await.unwrap();
        let error = db.migrate(&[ONE]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::NewerDatabase { found: 2, known: 1 }),
            "{error:?}"
        );
        let error = db.migrate(&[]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::NewerDatabase { found: 2, known: 0 }),
            "{error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_migration_inserted_or_removed_behind_the_last_is_refused() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        db.migrate(&[ONE, TWO, FOUR]).await.unwrap();
        let three = both(3, "three", "CREATE TABLE bad (a INTEGER);");
        let error = db.migrate(&[ONE, TWO, three, FOUR]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 3 }),
            "{error:?}"
        );
        let error = db.migrate(&[ONE, FOUR]).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::MigrationChanged { version: 2 }),
            "{error:?}"
        );
        assert!(!db.has("bad").await);
    })
    .await;
}

#[tokio::test]
async fn a_failing_migration_leaves_nothing_of_itself() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        let bad = both(
            2,
            "bad",
            "CREATE TABLE bad (a INTEGER); SELECT * FROM nowhere;",
        );
        let error = db.migrate(&[ONE, bad]).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Migrate(_)), "{error:?}");
        assert!(db.has("one").await && !db.has("bad").await);
        assert_eq!(db.migrate(&[ONE, TWO]).await.unwrap(), [2]);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_does_not_ascend_is_refused() {
    on_both(async |place| {
        let mut db = Db::of(&place).await;
        for list in [
            &[TWO, ONE][..],
            &[ONE, ONE],
            &[both(0, "zero", "SELECT 1;")],
        ] {
            let error = db.migrate(list).await.unwrap_err();
            assert!(
                matches!(error, DatabaseError::MigrationOrder { .. }),
                "{error:?}"
            );
        }
    })
    .await;
}
