//! The shape of a database as both dialects can tell it, for the test that compares them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::query_as;

use super::TestDatabase;
use crate::{Connection, Database, Kind, Migration, PoolOptions};

/// What two dialects of one schema must share.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// `table.column`, its type in SQLite's words, and whether it may be NULL.
    pub columns: BTreeMap<String, (String, bool)>,
    /// `table`, to the columns of its primary key in their order.
    pub keys: BTreeMap<String, Vec<String>>,
    /// `table`, whether it is unique, whether it is partial, and its columns in their order. Names are not compared: each
    /// dialect names the indexes of constraints in its own way.
    pub indexes: BTreeSet<(String, bool, bool, Vec<String>)>,
}

/// Reads the shape of a database.
///
/// # Panics
/// When it cannot be read.
pub async fn schema(kind: Kind, connection: &mut Connection) -> Schema {
    let columns: Vec<(String, String, String, i64, i64)> = query_as(match kind {
        Kind::Sqlite => SQLITE_COLUMNS,
        Kind::Postgres => POSTGRES_COLUMNS,
    })
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let indexes: Vec<(String, String, i64, i64, i64, String)> = query_as(match kind {
        Kind::Sqlite => SQLITE_INDEXES,
        Kind::Postgres => POSTGRES_INDEXES,
    })
    .fetch_all(connection)
    .await
    .unwrap();

    let mut schema = Schema::default();
    let mut keys: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for (table, column, kind, nullable, key) in columns {
        let kind = match kind.as_str() {
            "bigint" => "INTEGER",
            "bytea" => "BLOB",
            "text" => "TEXT",
            other => other,
        };
        if key > 0 {
            keys.entry(table.clone())
                .or_default()
                .insert(key, column.clone());
        }
        let shape = (kind.to_owned(), nullable == 1 && key == 0);
        schema.columns.insert(format!("{table}.{column}"), shape);
    }
    for (table, key) in keys {
        schema.keys.insert(table, key.into_values().collect());
    }
    let mut by_name: BTreeMap<(String, String), (bool, bool, Vec<String>)> = BTreeMap::new();
    for (table, index, unique, partial, _, column) in indexes {
        let shape = by_name
            .entry((table, index))
            .or_insert_with(|| (unique == 1, partial == 1, Vec::new()));
        shape.2.push(column);
    }
    for ((table, _), (unique, partial, columns)) in by_name {
        // SQLite's row id needs no index where PostgreSQL's key has one.
        let row_id = schema.keys.get(&table) == Some(&columns) && columns.len() == 1;
        if !row_id {
            schema.indexes.insert((table, unique, partial, columns));
        }
    }
    schema
}

/// Both dialects' migrations make the same tables: columns, types, what may be NULL, primary keys and indexes.
///
/// # Panics
/// When they do not. Says nothing where the environment leaves PostgreSQL out.
pub async fn assert_same_schema(migrations: &[Migration]) {
    let mut schemas = Vec::new();
    for kind in super::kinds() {
        let place = TestDatabase::fresh(kind).await;
        let open = Database::open(place.config(), migrations, PoolOptions::default());
        open.await.unwrap().close().await.unwrap();
        schemas.push(schema(kind, &mut place.stranger().await).await);
    }
    for other in &schemas[1..] {
        assert!(!other.columns.is_empty());
        assert_eq!(other.columns, schemas[0].columns);
        assert_eq!(other.keys, schemas[0].keys);
        assert_eq!(other.indexes, schemas[0].indexes);
    }
}

const SQLITE_COLUMNS: &str = "SELECT t.name, c.name, c.type, 1 - c.\"notnull\", c.pk \
    FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c \
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> '_sqlx_migrations'";

const SQLITE_INDEXES: &str = "SELECT t.name, i.name, i.\"unique\", i.partial, c.seqno, c.name \
    FROM sqlite_schema AS t JOIN pragma_index_list(t.name) AS i JOIN pragma_index_info(i.name) AS c \
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> '_sqlx_migrations' \
    ORDER BY t.name, i.name, c.seqno";

const POSTGRES_COLUMNS: &str = "SELECT CAST(c.table_name AS TEXT), CAST(c.column_name AS TEXT), \
    CAST(c.data_type AS TEXT), CASE c.is_nullable WHEN 'YES' THEN 1 ELSE 0 END, \
    COALESCE((SELECT CAST(k.ordinal_position AS BIGINT) FROM information_schema.key_column_usage AS k \
        JOIN information_schema.table_constraints AS p USING (constraint_schema, constraint_name) \
        WHERE p.constraint_type = 'PRIMARY KEY' AND k.table_schema = c.table_schema \
        AND k.table_name = c.table_name AND k.column_name = c.column_name), 0) \
    FROM information_schema.columns AS c \
    WHERE c.table_schema = current_schema() AND c.table_name <> '_sqlx_migrations'";

const POSTGRES_INDEXES: &str = "SELECT CAST(t.relname AS TEXT), CAST(n.relname AS TEXT), \
    CAST(i.indisunique AS INTEGER), CASE WHEN i.indpred IS NULL THEN 0 ELSE 1 END, k.place, \
    CAST(a.attname AS TEXT) \
    FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid JOIN pg_class AS n ON n.oid = i.indexrelid \
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) \
    JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum \
    WHERE t.relnamespace = CAST(CAST(current_schema() AS TEXT) AS regnamespace) AND t.relname <> '_sqlx_migrations' \
    ORDER BY t.relname, n.relname, k.place";
