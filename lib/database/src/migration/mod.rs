//! Migrations: a database is brought to the binary's shape, or refused.
//!
//! Owns the comparison of what was applied with what the binary has. sqlx's migrator keeps a server's list and the checksums, and
//! applies each migration in a transaction of its own; `file` does the same for a file. Never goes backwards.
//! Invariant: what was applied is a prefix of what the binary has, byte for byte.

mod file;

use sqlx::{
    SqlSafeStr,
    migrate::{AppliedMigration, Migrate, MigrateError, MigrationType},
    query_as, query_scalar,
};

use crate::{Connection, DatabaseError, Kind, codes};

/// sqlx's list of what was applied.
pub(crate) const LIST: &str = "_sqlx_migrations";

/// One step of a schema, embedded in the binary, in both dialects.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    /// A step called `name`: versions count up from 1; the SQL is usually an `include_str!` each.
    #[must_use]
    pub const fn new(
        version: i64,
        name: &'static str,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Self {
        Self {
            version,
            name,
            sqlite,
            postgres,
        }
    }

    fn to_sqlx(self, kind: Kind) -> sqlx::migrate::Migration {
        let sql = match kind {
            Kind::Sqlite => self.sqlite,
            Kind::Postgres => self.postgres,
        };
        sqlx::migrate::Migration::new(
            self.version,
            self.name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    }
}

/// Applies what is missing of `migrations`; answers their versions. Replicas that start together wait for each other.
///
/// # Errors
/// When the list does not ascend, the database is newer, a migration was changed, removed or inserted since, the role may not
/// apply one, or one fails: it alone is rolled back, those before it stay.
pub(crate) async fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
) -> Result<Vec<i64>, DatabaseError> {
    let kind = connection.kind();
    let known = last_version(migrations)?;
    let migrations: Vec<_> = migrations.iter().map(|step| step.to_sqlx(kind)).collect();

    // A role without rights to change the schema asks for none when there is nothing to change.
    let applied = applied(connection, kind).await?;
    if missing(&migrations, &applied, known)?.is_empty() && !applied.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(server) = connection.as_server() {
        server.lock().await.map_err(DatabaseError::from_migrate)?;
    }
    let done = apply_missing(connection, kind, &migrations, known).await;
    if let Some(server) = connection.as_server() {
        server.unlock().await.map_err(DatabaseError::from_migrate)?;
    }
    done
}

async fn apply_missing(
    connection: &mut Connection,
    kind: Kind,
    migrations: &[sqlx::migrate::Migration],
    known: i64,
) -> Result<Vec<i64>, DatabaseError> {
    let applied = applied(connection, kind).await?;
    let missing = missing(migrations, &applied, known)?;
    let first = missing.first().map_or(known, |step| step.version);
    if applied.is_empty() {
        let made = match connection.as_server() {
            Some(server) => server.ensure_migrations_table(LIST).await,
            None => file::make_list(connection).await,
        };
        made.map_err(|error| refused(error, first))?;
    }
    let mut versions = Vec::new();
    for step in missing {
        let done = match connection.as_server() {
            Some(server) => server.apply(LIST, step).await.map(|_| ()),
            None => file::apply(connection, step).await,
        };
        done.map_err(|error| refused(error, step.version))?;
        versions.push(step.version);
    }
    Ok(versions)
}

/// What was applied; nothing when there is no list yet.
async fn applied(
    connection: &mut Connection,
    kind: Kind,
) -> Result<Vec<AppliedMigration>, DatabaseError> {
    let lists: i64 = query_scalar(match kind {
        Kind::Sqlite => {
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'"
        }
        Kind::Postgres => {
            "SELECT count(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')"
        }
    })
    .fetch_one(&mut *connection)
    .await?;
    if lists == 0 {
        return Ok(Vec::new());
    }
    let listed: Vec<(i64, Vec<u8>)> =
        query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await?;
    let applied = listed
        .into_iter()
        .map(|(version, checksum)| AppliedMigration {
            version,
            checksum: checksum.into(),
        });
    Ok(applied.collect())
}

/// What of `migrations` was not applied, when what was applied is a prefix of them.
fn missing<'m>(
    migrations: &'m [sqlx::migrate::Migration],
    applied: &[AppliedMigration],
    known: i64,
) -> Result<&'m [sqlx::migrate::Migration], DatabaseError> {
    if let Some(last) = applied.last().filter(|last| last.version > known) {
        let found = last.version;
        return Err(DatabaseError::NewerDatabase { found, known });
    }
    for (ours, theirs) in migrations.iter().zip(applied) {
        if ours.version != theirs.version || ours.checksum != theirs.checksum {
            let version = ours.version.min(theirs.version);
            return Err(DatabaseError::MigrationChanged { version });
        }
    }
    migrations
        .get(applied.len()..)
        .ok_or_else(|| DatabaseError::MigrationChanged { version: known })
}

fn refused(error: MigrateError, version: i64) -> DatabaseError {
    match &error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)
            if codes::is_insufficient_privilege(cause) =>
        {
            DatabaseError::MigrationNotAllowed {
                version,
                program: program(),
            }
        }
        _ => DatabaseError::from_migrate(error),
    }
}

/// This program's name, for an error that tells an operator what to run.
fn program() -> String {
    let file = std::env::current_exe().ok();
    let name = file.as_ref().and_then(|file| file.file_name());
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
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
mod tests;
