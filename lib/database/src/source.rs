//! How connections are made, whatever the dialect.
//!
//! Owns the way from a URL to a connection that may be used. Invariant: no connection is handed out, by a pool or otherwise,
//! whose settings were not made and, where a server has its own will, read back.

use std::{path::PathBuf, sync::Once, time::Duration};

use sqlx::{
    AnyConnection, ConnectOptions as _, Connection as _, Pool,
    any::{AnyConnectOptions, install_default_drivers},
};
use tokio::time::{sleep, timeout};

use crate::{
    Connection, DatabaseConfig, DatabaseError, Dialect,
    codes::{self, Failure},
    connection,
    lending::Connections,
    postgres::{self, Demands},
    sqlite::{self, FilePool, Loan, Unclean},
    url::Place,
};

static DRIVERS: Once = Once::new();
/// Between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(250);
/// A server's connection that was idle for so long is asked whether it still stands, and how long it may take to answer.
const IDLE: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(3);

/// The two dialects that a database can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One file, one process.
    Sqlite,
    /// A server, any number of processes.
    Postgres,
}

/// What a pool's connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

/// A database that can be connected to. Clones share nothing but its name.
#[derive(Clone)]
pub(crate) enum Source {
    /// A file, and whether it was not closed in order before.
    File {
        file: PathBuf,
        unclean: Option<Unclean>,
    },
    /// A server.
    Server {
        options: Box<AnyConnectOptions>,
        demands: Demands,
    },
}

impl Source {
    /// Prepares what must stand before the first connection.
    pub(crate) async fn new(
        config: &DatabaseConfig,
        lock_timeout: Duration,
    ) -> Result<Self, DatabaseError> {
        match config.url.place() {
            Place::Sqlite(file) => Ok(Self::File {
                unclean: sqlite::prepare_file(file.clone()).await?,
                file: file.clone(),
            }),
            Place::Postgres(url) => {
                let options = server_options(url.as_str()).map_err(DatabaseError::from_open)?;
                Ok(Self::Server {
                    options: Box::new(options.disable_statement_logging()),
                    demands: Demands {
                        allow_unsafe_durability: config.allow_unsafe_durability,
                        require_synchronous_standby: config.require_synchronous_standby,
                        lock_timeout,
                    },
                })
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::File { .. } => Kind::Sqlite,
            Self::Server { .. } => Kind::Postgres,
        }
    }

    /// The first connection, with the reasons in full; a server that does not answer is waited for.
    pub(crate) async fn connect(&self, patience: Duration) -> Result<Connection, DatabaseError> {
        self.connect_to(Purpose::Write, patience).await
    }

    /// The same for a purpose.
    pub(crate) async fn connect_to(
        &self,
        purpose: Purpose,
        patience: Duration,
    ) -> Result<Connection, DatabaseError> {
        match self {
            Self::File { file, .. } => Ok(Loan::own(sqlite::open(file, purpose)?).into()),
            Self::Server { options, demands } => {
                let mut connection = reach(options, patience).await?;
                postgres::settle(&mut connection, *demands).await?;
                Ok(connection.into())
            }
        }
    }

    /// A pool that connects when first asked, each connection settled before it is lent.
    pub(crate) fn pool(&self, purpose: Purpose, connections: u32, wait: Duration) -> Connections {
        match self {
            Self::File { file, .. } => {
                let file = file.clone();
                let open = move || {
                    sqlite::open(&file, purpose).map_err(|error| {
                        tracing::warn!(error = %error, "a database connection is refused");
                        sqlx::Error::Configuration(Box::new(error))
                    })
                };
                Connections::File(FilePool::new(connections, wait, open))
            }
            Self::Server { options, demands } => {
                Connections::Server(server_pool(options, *demands, connections, wait))
            }
        }
    }
}

/// A server's URL as the driver reads it.
pub(crate) fn server_options(url: &str) -> Result<AnyConnectOptions, sqlx::Error> {
    DRIVERS.call_once(install_default_drivers);
    url.parse()
}

/// Connects to a server, and waits for one that does not answer.
async fn reach(
    options: &AnyConnectOptions,
    patience: Duration,
) -> Result<AnyConnection, DatabaseError> {
    let mut last = sqlx::Error::PoolTimedOut;
    let connected = timeout(patience, async {
        loop {
            match AnyConnection::connect_with(options).await {
                Ok(connection) => return Ok(connection),
                Err(error) if codes::failure(&error) == Failure::Unavailable => last = error,
                Err(error) => return Err(error),
            }
            tracing::warn!("the database server does not answer; trying again");
            sleep(PAUSE).await;
        }
    })
    .await;
    connected
        .unwrap_or(Err(last))
        .map_err(DatabaseError::from_open)
}

fn server_pool(
    options: &AnyConnectOptions,
    demands: Demands,
    connections: u32,
    wait: Duration,
) -> Pool<Dialect> {
    sqlx::pool::PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(wait)
        .idle_timeout(None)
        .max_lifetime(None)
        // Costs a round trip and proves little: beginning a transaction is tried again on a fresh connection instead.
        .test_before_acquire(false)
        // But for one whose server may have lost its power meanwhile: without an answer `BEGIN` would wait for nobody.
        .before_acquire(move |connection: &mut AnyConnection, meta| {
            Box::pin(async move {
                Ok(meta.idle_for < IDLE || connection::is_alive(connection, PING).await)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                // The pool closes the connection and tries another until its time is up, so that a failover heals.
                postgres::settle(connection, demands)
                    .await
                    .map_err(|error| {
                        tracing::warn!(error = %error, "a database connection is refused");
                        sqlx::Error::Configuration(Box::new(error))
                    })
            })
        })
        .connect_lazy_with(options.clone())
}
