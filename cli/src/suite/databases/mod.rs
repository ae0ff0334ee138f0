//! Where a suite's databases are: a SQLite file for each instance, or a database on a PostgreSQL server for each group of
//! instances.
//!
//! Owns the choice, which a folder keeps, and the making and removing on a server. Has no knowledge of SQL. Invariant: a role's
//! password stands in `databases.json` and in the configuration that uses it, both of which only their owner may read.

mod record;

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use sealpost_database::{DatabaseUrl, Server};

use self::record::Record;
use super::instance::{Group, Instance};
use super::layout::Layout;
use super::process;
use super::roster::Roster;
use crate::files;

/// What `--database` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A folder of SQLite files.
    Folder(PathBuf),
    /// A PostgreSQL server, as a role with CREATEDB and CREATEROLE.
    Server(DatabaseUrl),
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        match url.split_once("://") {
            Some(("sqlite", path)) if path.starts_with('/') => {
                Ok(Self::Folder(PathBuf::from(path)))
            }
            Some(("sqlite", _)) => {
                Err("name an absolute folder: sqlite:///var/lib/sealpost".to_owned())
            }
            Some(("postgres" | "postgresql", _)) => url
                .parse()
                .map(Self::Server)
                .map_err(|error: sealpost_database::DatabaseUrlError| error.to_string()),
            _ => Err(
                "expected sqlite:///absolute/folder or postgres://user@host:port/database"
                    .to_owned(),
            ),
        }
    }
}

/// A suite's databases.
pub enum Databases {
    /// Files: in this folder, or each in its instance's own.
    Files(Option<PathBuf>),
    /// On a server.
    Server(Record),
}

impl Databases {
    /// What the folder has, or what was asked for in a folder that has nothing yet. What is missing on a server is made.
    pub async fn settle(
        layout: &Layout,
        roster: &Roster,
        asked: Option<&Asked>,
        is_used: bool,
    ) -> anyhow::Result<Self> {
        let file = layout.databases_file();
        let kept = Record::load(&file)?;
        ensure!(
            roster.replicas == 1 || kept.is_some() || matches!(asked, Some(Asked::Server(_))),
            "--replicas {} needs --database postgres://…: a SQLite file has one process that writes it",
            roster.replicas
        );
        match (kept, asked) {
            (None, None) => Ok(Self::Files(None)),
            (None, Some(Asked::Folder(folder))) => {
                files::create_folder(folder)?;
                Ok(Self::Files(Some(folder.clone())))
            }
            (Some(_), Some(Asked::Folder(_))) => {
                bail!("this folder's databases are on a PostgreSQL server: use another --dir")
            }
            (None, Some(Asked::Server(_))) if is_used => {
                bail!("this folder's databases are SQLite files: use another --dir")
            }
            (kept, Some(Asked::Server(url))) => {
                let record = match kept {
                    Some(record) => record.moved_to(url)?,
                    None => Record::start(url)?,
                };
                make(layout, roster, record, url).await.map(Self::Server)
            }
            (Some(record), None) => {
                ensure!(
                    record.lacks(roster).is_empty(),
                    "{} has no database yet: give --database with a role that may make one",
                    record.lacks(roster)[0]
                );
                migrate(&record)?;
                Ok(Self::Server(record))
            }
        }
    }

    /// The URL for an instance's configuration. It may hold a password.
    pub fn url(&self, layout: &Layout, instance: &Instance) -> anyhow::Result<String> {
        match self {
            Self::Files(folder) => {
                let own = layout.data(instance);
                let folder = folder.as_ref().unwrap_or(&own);
                let file = folder.join(format!("{instance}.db"));
                Ok(format!("sqlite://{}", file.display()))
            }
            Self::Server(record) => record.user_url(&instance.group),
        }
    }
}

/// Removes every database and role that the folder's suite has on the server, and forgets them. May be repeated.
pub async fn remove(layout: &Layout, url: &DatabaseUrl) -> anyhow::Result<usize> {
    let file = layout.databases_file();
    let record = Record::load(&file)?
        .with_context(|| format!("{} is not there: no server was used", file.display()))?;
    let mut server = Server::connect(url.clone()).await?;
    let mut count = 0;
    for group in record.groups() {
        server.remove(&record.tenancy(&group)?).await?;
        count += 1;
    }
    server.close().await?;
    record.emptied().save(&file)?;
    Ok(count)
}

async fn make(
    layout: &Layout,
    roster: &Roster,
    mut record: Record,
    url: &DatabaseUrl,
) -> anyhow::Result<Record> {
    // Names and passwords are on disk before anything has them: what a crash leaves half made is found again.
    record.plan(roster)?;
    record.save(&layout.databases_file())?;
    let mut server = Server::connect(url.clone())
        .await
        .context("the PostgreSQL server of --database")?;
    for group in record.groups() {
        server
            .make(&record.tenancy(&group)?)
            .await
            .with_context(|| {
                format!("the database of {group}: --database must name a role with CREATEDB and CREATEROLE")
            })?;
    }
    server.close().await?;
    migrate(&record)?;
    Ok(record)
}

/// Lets each service's own binary make its tables, as their owner, and open their rows to the role that it runs as.
fn migrate(record: &Record) -> anyhow::Result<()> {
    for group in record.groups() {
        migrate_one(record, &group).with_context(|| format!("the tables of {group}"))?;
    }
    Ok(())
}

fn migrate_one(record: &Record, group: &Group) -> anyhow::Result<()> {
    let tenancy = record.tenancy(group)?;
    let output = Command::new(process::binary(group.service)?)
        .args(["migrate", "--database", &record.owner_url(group)?])
        .args(["--grant-to", &tenancy.user.name])
        // Not in the URL: a command line is everybody's to read.
        .env("PGPASSWORD", &tenancy.owner.password)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn databases_are_in_an_absolute_folder_or_on_a_server() {
        assert_eq!(
            "sqlite:///srv/db".parse(),
            Ok(Asked::Folder(PathBuf::from("/srv/db")))
        );
        assert!(matches!(
            "postgres://admin:secret@localhost:5432/postgres".parse(),
            Ok(Asked::Server(_))
        ));
        for url in [
            "sqlite://srv/db",
            "postgres://localhost/x",
            "/srv/db",
            "mysql://x",
        ] {
            assert!(url.parse::<Asked>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_server_elsewhere_must_be_verified_and_the_refusal_says_so_without_the_password() {
        let error = "postgres://admin:secret@db.example/postgres"
            .parse::<Asked>()
            .unwrap_err();
        assert!(
            error.contains("verify-full") && !error.contains("secret"),
            "{error}"
        );
    }
}
