//! Fresh databases of both dialects, for tests alone (feature `testing`, never of a service).
//!
//! Owns where tests' databases come from. SQLite's are files in a temporary folder. PostgreSQL's are made in one throw-away cluster
//! per test process, or in the one that `SEALPOST_TESTS_POSTGRES=<URL>` names (a role with CREATEDB and CREATEROLE).
//!
//! `SEALPOST_TESTS_DATABASE=sqlite|postgres` picks one dialect; unset, [`on_both`] takes both and [`TestDatabase::chosen`] SQLite. A machine
//! without PostgreSQL fails the tests that need it, unless `sqlite` was picked, which is said aloud.
//!
//! Invariant: no two tests share a database, and nothing outlives the test process, however it ends.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod cluster;
mod schema;

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, raw_sql};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub use cluster::{Cluster, binaries};
pub use schema::{Schema, assert_same_schema, schema};

use crate::{Connection, DatabaseConfig, Kind};

static SHARED: OnceCell<Option<Cluster>> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An empty database of one test's own.
#[derive(Debug)]
pub struct TestDatabase {
    kind: Kind,
    url: String,
    /// The role that may make databases and roles, on a server.
    owner: Option<String>,
    folder: TempDir,
}

impl TestDatabase {
    /// An empty SQLite database.
    #[must_use]
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            kind: Kind::Sqlite,
            url: format!("sqlite://{}/test.db", folder.path().display()),
            owner: None,
            folder,
        }
    }

    /// An empty database on the tests' PostgreSQL server.
    ///
    /// # Panics
    /// When there is none.
    pub async fn postgres() -> Self {
        let server = server_url().await;
        Self::on(&server).await
    }

    /// An empty database on a cluster of the test's own.
    pub async fn on(server: &str) -> Self {
        let name = format!(
            "sealpost_test_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        execute(server, &format!("CREATE DATABASE {name}")).await;
        Self {
            kind: Kind::Postgres,
            url: with_database(server, &name),
            owner: Some(server.to_owned()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// An empty database of `kind`.
    pub async fn fresh(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::sqlite(),
            Kind::Postgres => Self::postgres().await,
        }
    }

    /// An empty database of the dialect that the environment picks, SQLite when it picks none.
    pub async fn chosen() -> Self {
        Self::fresh(picked().unwrap_or(Kind::Sqlite)).await
    }

    /// Which dialect it speaks.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// For [`Database::open`](crate::Database::open).
    #[must_use]
    pub fn config(&self) -> DatabaseConfig {
        self.url.parse().unwrap()
    }

    /// For a configuration file of a service under test.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder that is the test's own and goes with the database.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The same database as another role of the server.
    ///
    /// # Panics
    /// On SQLite.
    #[must_use]
    pub fn as_role(&self, role: &str) -> String {
        assert_eq!(self.kind, Kind::Postgres, "a file has no roles");
        let (_, behind) = self.url.split_once('@').unwrap();
        format!("postgres://{role}@{behind}")
    }

    /// A connection with the driver's own settings, past everything that the crate sees to.
    pub async fn stranger(&self) -> Connection {
        Connection::connect(&self.url).await.unwrap()
    }

    /// Runs SQL on the server as its administrator, outside this database.
    ///
    /// # Panics
    /// On SQLite, and when it fails.
    pub async fn administer(&self, sql: &str) {
        execute(self.owner.as_ref().unwrap(), sql).await;
    }
}

/// Runs a test on a fresh database of each dialect that the environment allows.
pub async fn on_both(test: impl AsyncFn(TestDatabase)) {
    for kind in kinds() {
        // Shown with a failed test's output.
        eprintln!("on {kind:?}");
        test(TestDatabase::fresh(kind).await).await;
    }
}

/// The dialects that the environment allows.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    match picked() {
        Some(Kind::Sqlite) => {
            eprintln!("SEALPOST_TESTS_DATABASE=sqlite: NOTHING IS TESTED ON POSTGRESQL");
            vec![Kind::Sqlite]
        }
        Some(kind) => vec![kind],
        None => vec![Kind::Sqlite, Kind::Postgres],
    }
}

fn picked() -> Option<Kind> {
    match std::env::var("SEALPOST_TESTS_DATABASE").ok()?.as_str() {
        "" => None,
        "sqlite" => Some(Kind::Sqlite),
        "postgres" => Some(Kind::Postgres),
        other => panic!("SEALPOST_TESTS_DATABASE={other}: neither sqlite nor postgres"),
    }
}

/// The URL of a role on the tests' server that may make databases and roles: a given cluster's, or this process's own, which is
/// started when first asked for.
pub async fn server_url() -> String {
    if let Ok(url) = std::env::var("SEALPOST_TESTS_POSTGRES") {
        return url;
    }
    let shared = SHARED
        .get_or_init(async || Some(Cluster::start().await))
        .await;
    shared.as_ref().unwrap().url()
}

/// `url` with another database.
fn with_database(url: &str, name: &str) -> String {
    let (front, parameters) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = front.rsplit_once('/').unwrap();
    format!("{server}/{name}?{parameters}")
}

async fn execute(url: &str, sql: &str) {
    let mut connection = Connection::connect(url).await.unwrap();
    raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}
