//! What a service's own role may do with the tables that an owner's role made.
//!
//! Invariant: a role granted here reads and writes rows, and reads the list of migrations; it makes, changes, empties and drops
//! nothing.

use sqlx::{AssertSqlSafe, query_scalar, raw_sql};

use crate::{Connection, DatabaseError, migration::LIST};

/// Grants `role` the service's tables of the current schema, in one transaction, and takes back whatever else it had on them.
pub(crate) async fn grant(connection: &mut Connection, role: &str) -> Result<(), DatabaseError> {
    // The server quotes the names.
    let statements: Vec<String> = query_scalar(
        "SELECT statement FROM ( \
            SELECT 1 AS step, format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), CAST($1 AS TEXT)) AS statement \
          UNION ALL \
            SELECT 2, format('REVOKE ALL ON %I.%I FROM %I', schemaname, tablename, $1) \
            FROM pg_tables WHERE schemaname = current_schema() \
          UNION ALL \
            SELECT 3, format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', schemaname, tablename, $1) \
            FROM pg_tables WHERE schemaname = current_schema() AND tablename <> $2 \
          UNION ALL \
            SELECT 3, format('GRANT SELECT ON %I.%I TO %I', schemaname, tablename, $1) \
            FROM pg_tables WHERE schemaname = current_schema() AND tablename = $2 \
          UNION ALL \
            SELECT 3, format('GRANT USAGE ON SEQUENCE %I.%I TO %I', schemaname, sequencename, $1) \
            FROM pg_sequences WHERE schemaname = current_schema() \
         ) AS statements ORDER BY step, statement",
    )
    .bind(role)
    .bind(LIST)
    .fetch_all(&mut *connection)
    .await?;
    let batch = format!("BEGIN; {}; COMMIT", statements.join("; "));
    raw_sql(AssertSqlSafe(batch)).execute(connection).await?;
    Ok(())
}
