//! The `migrate` and `check` commands that every service with a database has.
//!
//! Owns their words and reports. The owner of the tables runs `migrate`; the service itself then runs as a role that can change no table.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use crate::{
    DatabaseConfig, DatabaseError, DatabaseUrl, DatabaseUrlError, Kind, Migration, grants,
    migration,
    source::{Purpose, Source},
    sqlite::{self, Thoroughness},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Commands beside serving, of every service with a database.
#[derive(Clone, clap::Subcommand)]
pub enum DatabaseCommand {
    /// Bring the database to this version's schema, and stop.
    Migrate(MigrateCommand),
    /// Look a database's file over for damage, and stop: after a restore, or when a disk or a crash gives cause.
    Check(CheckCommand),
}

/// Brings the database to this version's schema.
#[derive(Clone, clap::Args)]
pub struct MigrateCommand {
    /// The database's URL, with a role that owns its tables.
    // Read later: clap repeats what it cannot read, and this can hold a password.
    #[arg(long, value_name = "URL")]
    database: String,

    /// Let this role read and write the tables' rows, and nothing else (PostgreSQL).
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,

    /// Accept a server whose settings can lose what was committed.
    #[arg(long)]
    allow_unsafe_durability: bool,

    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// Looks a database's file over for damage. It reads all of it, beside the service if that runs.
#[derive(Clone, clap::Args)]
pub struct CheckCommand {
    /// The database's URL, of a file.
    #[arg(long, value_name = "URL")]
    database: String,

    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseCommandError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
    /// The database failed it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Roles are a server's.
    #[error("--grant-to needs a PostgreSQL database: a file's rights are its permissions")]
    NoRoles,
    /// A server looks after its own files.
    #[error("check is for a file: a PostgreSQL server has data checksums and pg_amcheck")]
    NoFile,
    /// There is no such file.
    #[error("there is no database at {0}")]
    Absent(PathBuf),
    /// The report could not be printed.
    #[error("the report could not be printed")]
    Print(#[from] io::Error),
}

impl DatabaseCommand {
    /// Runs the command on a service's `migrations`.
    ///
    /// # Errors
    /// When the database cannot be opened, migrated or granted, or is damaged.
    pub async fn run(self, migrations: &[Migration]) -> Result<(), DatabaseCommandError> {
        match self {
            Self::Migrate(command) => command.run(migrations).await,
            Self::Check(command) => command.run().await,
        }
    }
}

impl CheckCommand {
    /// Looks the file over and prints a report of one line.
    async fn run(self) -> Result<(), DatabaseCommandError> {
        let config = DatabaseConfig::from(self.database.parse::<DatabaseUrl>()?);
        match config.url.file() {
            None => return Err(DatabaseCommandError::NoFile),
            // Opening would make it.
            Some(file) if !file.exists() => {
                return Err(DatabaseCommandError::Absent(file.to_owned()));
            }
            Some(_) => {}
        }
        let source = Source::new(&config, PATIENCE).await?;
        let mut connection = source.connect_to(Purpose::Read, PATIENCE).await?;
        sqlite::look_over(&mut connection, Thoroughness::Full).await?;
        connection.close().await.map_err(DatabaseError::from)?;
        let report = if self.json {
            serde_json::json!({ "damaged": false }).to_string()
        } else {
            "no damage".to_owned()
        };
        Ok(writeln!(io::stdout(), "{report}")?)
    }
}

impl MigrateCommand {
    /// Applies what is missing of `migrations`, grants what was asked for, and prints a report of one line.
    async fn run(self, migrations: &[Migration]) -> Result<(), DatabaseCommandError> {
        let config = DatabaseConfig {
            allow_unsafe_durability: self.allow_unsafe_durability,
            ..self.database.parse::<DatabaseUrl>()?.into()
        };
        let source = Source::new(&config, PATIENCE).await?;
        if self.grant_to.is_some() && source.kind() != Kind::Postgres {
            return Err(DatabaseCommandError::NoRoles);
        }
        let mut connection = source.connect(PATIENCE).await?;
        let applied = migration::migrate(&mut connection, migrations).await?;
        if let Some(role) = &self.grant_to {
            grants::grant(&mut connection, role).await?;
        }
        connection.close().await.map_err(DatabaseError::from)?;
        let report = report(&applied, self.grant_to.as_deref(), self.json);
        Ok(writeln!(io::stdout(), "{report}")?)
    }
}

fn report(applied: &[i64], role: Option<&str>, json: bool) -> String {
    if json {
        return serde_json::json!({ "applied": applied, "granted_to": role }).to_string();
    }
    let mut line = if applied.is_empty() {
        "nothing was missing".to_owned()
    } else {
        let versions: Vec<_> = applied.iter().map(i64::to_string).collect();
        format!("applied {}", versions.join(", "))
    };
    if let Some(role) = role {
        line.push_str("; granted to ");
        line.push_str(role);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_was_applied_and_granted() {
        assert_eq!(report(&[], None, false), "nothing was missing");
        assert_eq!(
            report(&[1, 2], Some("vault"), false),
            "applied 1, 2; granted to vault"
        );
        assert_eq!(
            report(&[3], None, true),
            r#"{"applied":[3],"granted_to":null}"#
        );
    }
}
