//! A suite's databases on a PostgreSQL server as an operator finds them: their URLs, dumps of them, and their bytes on disk.
//!
//! The bytes need a superuser on this machine: the throw-away cluster's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use sealpost_database::{DatabaseUrl, testing};
use serde_json::Value;

use crate::Suite;
use crate::search::{Files, files};

impl Suite {
    /// The URL in an instance's configuration.
    ///
    /// # Errors
    /// When it has none.
    pub fn database_url(&self, name: &str) -> anyhow::Result<String> {
        let config = fs::read_to_string(&self.facts().service(name)?.config)?;
        let line = config.lines().find(|line| line.starts_with("database"));
        let url = line.and_then(|line| line.split('"').nth(1));
        Ok(url
            .with_context(|| format!("{name} has no database"))?
            .to_owned())
    }

    /// The same database as its tables' owner.
    ///
    /// # Errors
    /// When it is not on a server.
    pub fn owner_url(&self, name: &str) -> anyhow::Result<String> {
        let url = self.database_url(name)?;
        let database = database_of(&url)?;
        let kept: Value = serde_json::from_slice(&fs::read(self.dir().join("databases.json"))?)?;
        let groups = kept["groups"].as_object().context("databases")?;
        let of_group =
            |group: &&String| database.ends_with(&format!("_{}", group.replace('-', "_")));
        // `store-eu`, not `eu`: no group's name ends with another's.
        let group = groups
            .keys()
            .find(of_group)
            .context("the database's group")?;
        let password = groups[group]["owner"].as_str();
        let server: DatabaseUrl = url.parse()?;
        let owner = format!("{database}_owner");
        server
            .for_role(&owner, password, &database)
            .context("a database on a server")
    }

    /// What `pg_dump` says of an instance's database: what brings it back as it is.
    ///
    /// # Errors
    /// When it fails.
    pub fn dump(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let url = self.owner_url(name)?;
        run("pg_dump", &["--clean", "--if-exists", "--dbname", &url])
    }

    /// Makes an instance's database what it was when that dump was taken. Nobody may have it open.
    ///
    /// # Errors
    /// When the dump does not read, or the server refuses it; then the database is as before.
    pub fn put_back(&self, name: &str, dump: &Path) -> anyhow::Result<()> {
        let (url, dump) = (self.owner_url(name)?, dump.display().to_string());
        let all_or_nothing = [
            "--single-transaction",
            "--set",
            "ON_ERROR_STOP=1",
            "--quiet",
        ];
        let arguments = [&all_or_nothing[..], &["--file", &dump, "--dbname", &url]].concat();
        run("psql", &arguments).map(drop)
    }

    /// The files of an instance's database as they lie on disk, deleted rows and all.
    ///
    /// # Errors
    /// When the server is elsewhere.
    pub fn database_files(&self, name: &str) -> anyhow::Result<Files> {
        let database = database_of(&self.database_url(name)?)?;
        let oid = format!("SELECT oid FROM pg_database WHERE datname = '{database}'");
        files(&[self.server_folder()?.join("base").join(self.ask(&oid)?)])
    }

    /// The server's log of changes to every database.
    ///
    /// # Errors
    /// When the server is elsewhere.
    pub fn write_ahead_log(&self) -> anyhow::Result<Files> {
        files(&[self.server_folder()?.join("pg_wal")])
    }

    fn server_folder(&self) -> anyhow::Result<PathBuf> {
        self.ask("CHECKPOINT")?;
        Ok(self.ask("SHOW data_directory")?.into())
    }

    fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let server = self.server().context("the suite is on SQLite")?;
        let said = run(
            "psql",
            &["--no-align", "--tuples-only", "--command", sql, server],
        )?;
        Ok(String::from_utf8(said)?.trim().to_owned())
    }
}

/// A database's name in a URL.
fn database_of(url: &str) -> anyhow::Result<String> {
    let (front, _) = url.split_once('?').unwrap_or((url, ""));
    Ok(front.rsplit_once('/').context("a database")?.1.to_owned())
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(testing::binaries().join(program))
        .args(arguments)
        .output()
        .with_context(|| program.to_owned())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {said}");
    Ok(output.stdout)
}
