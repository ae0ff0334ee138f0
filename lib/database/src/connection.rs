//! A connection of either dialect, to which sqlx's queries are given.
//!
//! Owns the one difference between them that no statement sees: a server is spoken to through sqlx's own driver, and a file is worked
//! on in the caller's thread (`docs/decisions/0020`). Has no knowledge of transactions.

use std::{path::Path, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Either, Execute, Executor, SqlStr,
    any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    error::BoxDynError,
    pool::PoolConnection,
    raw_sql,
};
use tokio::time::timeout;

use crate::{
    DatabaseUrl, Dialect, Kind,
    source::server_options,
    sqlite::{Answer, Loan, Session},
};

/// A connection of either dialect: what functions that only read take.
#[derive(Debug)]
pub struct Connection(Inner);

#[derive(Debug)]
enum Inner {
    File(Loan),
    Server(Box<AnyConnection>),
    Pooled(PoolConnection<Dialect>),
}

impl Connection {
    /// Connects with the driver's own settings, past everything that this crate sees to: for tests and tools.
    ///
    /// # Errors
    /// When the URL is of neither dialect, there is no such file, or the server refuses.
    pub async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        if url.starts_with("postgres") {
            return Ok(AnyConnection::connect_with(&server_options(url)?)
                .await?
                .into());
        }
        let url: DatabaseUrl = url
            .parse()
            .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
        let file = url.file().unwrap_or(Path::new(""));
        Ok(Loan::own(Session::open(file)?).into())
    }

    /// Which dialect it speaks.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.0 {
            Inner::File(_) => Kind::Sqlite,
            Inner::Server(_) | Inner::Pooled(_) => Kind::Postgres,
        }
    }

    /// Closes it, and waits for that.
    ///
    /// # Errors
    /// When the other side does not say goodbye; it is closed all the same.
    pub async fn close(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Inner::File(loan) => loan.close(),
            Inner::Server(connection) => connection.close().await,
            Inner::Pooled(connection) => connection.close().await,
        }
    }

    /// Begins or ends a transaction: several statements in one round trip on a server, one that is kept prepared on a file.
    pub(crate) async fn command(&mut self, sql: String) -> Result<(), sqlx::Error> {
        match self.split() {
            Either::Left(session) => session.run(&sql, &AnyArguments::default()).map(drop),
            Either::Right(server) => raw_sql(AssertSqlSafe(sql)).execute(server).await.map(drop),
        }
    }

    /// Does not go back to its pool.
    pub(crate) fn close_on_drop(&mut self) {
        match &mut self.0 {
            Inner::File(loan) => loan.close_on_drop(),
            Inner::Server(_) => {}
            Inner::Pooled(connection) => connection.close_on_drop(),
        }
    }

    /// A server's, as sqlx has it.
    pub(crate) fn as_server(&mut self) -> Option<&mut AnyConnection> {
        match &mut self.0 {
            Inner::File(_) => None,
            Inner::Server(connection) => Some(connection),
            Inner::Pooled(connection) => Some(connection),
        }
    }

    fn split(&mut self) -> Either<&mut Session, &mut AnyConnection> {
        match &mut self.0 {
            Inner::File(loan) => Either::Left(loan.session()),
            Inner::Server(connection) => Either::Right(connection),
            Inner::Pooled(connection) => Either::Right(connection),
        }
    }
}

impl From<Loan> for Connection {
    fn from(loan: Loan) -> Self {
        Self(Inner::File(loan))
    }
}

impl From<AnyConnection> for Connection {
    fn from(connection: AnyConnection) -> Self {
        Self(Inner::Server(Box::new(connection)))
    }
}

impl From<PoolConnection<Dialect>> for Connection {
    fn from(connection: PoolConnection<Dialect>) -> Self {
        Self(Inner::Pooled(connection))
    }
}

/// Whether a server's connection answers in time.
pub(crate) async fn is_alive(connection: &mut AnyConnection, limit: Duration) -> bool {
    matches!(timeout(limit, connection.ping()).await, Ok(Ok(())))
}

fn run<'q, E>(session: &mut Session, mut query: E) -> Result<Answer, sqlx::Error>
where
    E: Execute<'q, Dialect>,
{
    let arguments = query.take_arguments();
    let sql = query.sql();
    match arguments.map_err(|error: BoxDynError| sqlx::Error::Encode(error))? {
        Some(arguments) => session.run(sql.as_str(), &arguments),
        None => session.run_all(sql.as_str()),
    }
}

impl<'c> Executor<'c> for &'c mut Connection {
    type Database = Dialect;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<AnyQueryResult, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Dialect>,
    {
        match self.split() {
            Either::Left(session) => {
                Box::pin(async move { Ok(result(run(session, query)?.changed)) })
            }
            Either::Right(connection) => connection.execute(query),
        }
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Dialect>,
    {
        match self.split() {
            Either::Left(session) => Box::pin(async move { Ok(run(session, query)?.rows) }),
            Either::Right(connection) => connection.fetch_all(query),
        }
    }

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Dialect>,
    {
        match self.split() {
            Either::Left(session) => stream::once(async move {
                let answer = run(session, query)?;
                let rows = answer.rows.into_iter().map(Either::Right);
                let last = Either::Left(result(answer.changed));
                Ok::<_, sqlx::Error>(stream::iter(rows.chain([last]).map(Ok)))
            })
            .try_flatten()
            .boxed(),
            Either::Right(connection) => connection.fetch_many(query),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Dialect>,
    {
        match self.split() {
            Either::Left(session) => {
                Box::pin(async move { Ok(run(session, query)?.rows.into_iter().next()) })
            }
            Either::Right(connection) => connection.fetch_optional(query),
        }
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        match self.split() {
            Either::Left(_) => Box::pin(async {
                Err(sqlx::Error::Configuration(
                    "on a file, statements are prepared when they are first run".into(),
                ))
            }),
            Either::Right(connection) => connection.prepare_with(sql, parameters),
        }
    }
}

fn result(changed: u64) -> AnyQueryResult {
    AnyQueryResult {
        rows_affected: changed,
        last_insert_id: None,
    }
}
