//! How connections are made, whatever the dialect.
//!
//! Owns the way from a URL to a connection that may be used. Invariant: no connection is handed out, by a pool or otherwise,
//! whose settings were not made and, where a server has its own will, read back.

use std::{sync::Once, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Pool,
    any::{AnyConnectOptions, install_default_drivers},
};
use tokio::time::{sleep, timeout};

use crate::{
    Connection, DatabaseConfig, DatabaseError, Dialect,
    codes::{self, Failure},
    postgres::{self, Demands},
    sqlite::{self, Unclean},
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

/// A database that can be connected to.
#[derive(Clone)]
pub(crate) struct Source {
    options: AnyConnectOptions,
    session: Session,
    /// A file that was not closed in order before.
    unclean: Option<Unclean>,
}

#[derive(Clone, Copy)]
enum Session {
    Sqlite,
    Postgres(Demands),
}

impl Source {
    /// Prepares what must stand before the first connection.
    pub(crate) async fn new(
        config: &DatabaseConfig,
        lock_timeout: Duration,
    ) -> Result<Self, DatabaseError> {
        DRIVERS.call_once(install_default_drivers);
        let mut unclean = None;
        let (url, session) = match config.url.place() {
            Place::Sqlite(file) => {
                unclean = sqlite::prepare_file(file.clone()).await?;
                (sqlite::driver_url(file)?, Session::Sqlite)
            }
            Place::Postgres(url) => {
                let demands = Demands {
                    allow_unsafe_durability: config.allow_unsafe_durability,
                    require_synchronous_standby: config.require_synchronous_standby,
                    lock_timeout,
                };
                (url.as_str().to_owned(), Session::Postgres(demands))
            }
        };
        let options: AnyConnectOptions = url.parse().map_err(DatabaseError::from_open)?;
        Ok(Self {
            options: options.disable_statement_logging(),
            session,
            unclean,
        })
    }

    /// What is known of a file that was not closed in order before this.
    pub(crate) fn unclean(&self) -> Option<Unclean> {
        self.unclean
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.session {
            Session::Sqlite => Kind::Sqlite,
            Session::Postgres(_) => Kind::Postgres,
        }
    }

    /// The server's URL as the driver spells it, for connections that are not of a pool.
    pub(crate) fn driver_url(&self) -> &str {
        self.options.database_url.as_str()
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
        let mut last = sqlx::Error::PoolTimedOut;
        let connected = timeout(patience, async {
            loop {
                match Connection::connect_with(&self.options).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) if codes::failure(&error) == Failure::Unavailable => last = error,
                    Err(error) => return Err(error),
                }
                tracing::warn!("the database server does not answer; trying again");
                sleep(PAUSE).await;
            }
        })
        .await;
        let mut connection = match connected {
            Ok(connected) => connected.map_err(DatabaseError::from_open)?,
            Err(_) => return Err(DatabaseError::from_open(last)),
        };
        self.settle(&mut connection, purpose).await?;
        Ok(connection)
    }

    /// A pool that connects when first asked, each connection settled before it is lent.
    pub(crate) fn pool(&self, purpose: Purpose, connections: u32, wait: Duration) -> Pool<Dialect> {
        let (source, kind) = (self.clone(), self.kind());
        sqlx::pool::PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(wait)
            .idle_timeout(None)
            .max_lifetime(None)
            // Costs a round trip and proves little: beginning a transaction is tried again on a fresh connection instead.
            .test_before_acquire(false)
            // But for one whose server may have lost its power meanwhile: without an answer `BEGIN` would wait for nobody.
            .before_acquire(move |connection: &mut Connection, meta| {
                Box::pin(async move {
                    if kind == Kind::Sqlite || meta.idle_for < IDLE {
                        return Ok(true);
                    }
                    Ok(matches!(timeout(PING, connection.ping()).await, Ok(Ok(()))))
                })
            })
            .after_connect(move |connection, _| {
                let source = source.clone();
                Box::pin(async move {
                    // The pool closes the connection and tries another until its time is up, so that a failover heals.
                    source.settle(connection, purpose).await.map_err(|error| {
                        tracing::warn!(error = %error, "a database connection is refused");
                        sqlx::Error::Configuration(Box::new(error))
                    })
                })
            })
            .connect_lazy_with(self.options.clone())
    }

    async fn settle(
        &self,
        connection: &mut Connection,
        purpose: Purpose,
    ) -> Result<(), DatabaseError> {
        match self.session {
            Session::Sqlite => sqlite::settle(connection, purpose).await,
            Session::Postgres(demands) => postgres::settle(connection, demands).await,
        }
    }
}
