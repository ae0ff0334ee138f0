//! Migrations of a file, listed as sqlx's migrator lists them.

use sqlx::{
    migrate::{MigrateError, Migration},
    query, raw_sql,
};

use crate::Connection;

const MAKE_LIST: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
)";

/// How long a migration took is not kept.
const ENTER: &str =
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     VALUES ($1, $2, TRUE, $3, -1)";

pub(super) async fn make_list(connection: &mut Connection) -> Result<(), MigrateError> {
    raw_sql(MAKE_LIST).execute(connection).await?;
    Ok(())
}

/// Applies one step and lists it, in one transaction.
pub(super) async fn apply(
    connection: &mut Connection,
    step: &Migration,
) -> Result<(), MigrateError> {
    raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let applied = async {
        raw_sql(step.sql.clone()).execute(&mut *connection).await?;
        query(ENTER)
            .bind(step.version)
            .bind(&*step.description)
            .bind(&*step.checksum)
            .execute(&mut *connection)
            .await?;
        raw_sql("COMMIT").execute(&mut *connection).await
    };
    if let Err(error) = applied.await {
        // Some errors have rolled back already.
        raw_sql("ROLLBACK").execute(connection).await.ok();
        return Err(MigrateError::ExecuteMigration(error, step.version));
    }
    Ok(())
}
