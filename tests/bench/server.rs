//! Which databases a set runs on: SQLite files, or a throw-away PostgreSQL cluster of this program's own, as an unprivileged user.

use anyhow::bail;
use clap::ValueEnum;
use sealpost_database::testing::{Cluster, binaries};
use sealpost_tests::database::execute;
use sealpost_tests::progress;

const OPERATOR: &str = "sealpost_operator";
/// As a server of that size is set up; nothing that makes a commit less durable.
const SETTINGS: &str = "shared_buffers = 256MB\nmax_wal_size = 4GB\n";

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// A file for each service
    Sqlite,
    /// A throw-away server
    Postgres,
}

impl Database {
    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Where suites are made.
pub struct Server {
    /// What it is.
    pub kind: Database,
    cluster: Option<(Cluster, String)>,
}

impl Server {
    /// Starts it; nothing to start for SQLite.
    ///
    /// # Errors
    /// When there is no PostgreSQL: half of the figures would be missing.
    pub async fn start(kind: Database) -> anyhow::Result<Self> {
        if kind == Database::Sqlite {
            return Ok(Self {
                kind,
                cluster: None,
            });
        }
        let found = std::panic::catch_unwind(binaries);
        if found.is_err() {
            bail!(
                "NO POSTGRESQL ON THIS MACHINE, SO HALF OF THE FIGURES WOULD BE MISSING: install it (Debian: apt-get install \
                 postgresql), or leave it out knowingly with --databases sqlite"
            );
        }
        progress("a PostgreSQL cluster is made for this set");
        let cluster = Cluster::start_with(SETTINGS).await;
        let role = format!("CREATE ROLE {OPERATOR} LOGIN CREATEDB CREATEROLE");
        execute(&cluster.url(), &role).await?;
        let url = format!(
            "postgres://{OPERATOR}@127.0.0.1:{}/postgres",
            cluster.port()
        );
        Ok(Self {
            kind,
            cluster: Some((cluster, url)),
        })
    }

    /// For `sealpost up --database`; none on SQLite.
    pub fn url(&self) -> Option<&str> {
        self.cluster.as_ref().map(|(_, url)| url.as_str())
    }
}
