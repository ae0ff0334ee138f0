//! What suites keep their data in: SQLite files, or a PostgreSQL server.
//!
//! `SEALPOST_TESTS_DATABASE=sqlite|postgres` picks it, SQLite when unset; a suite with replicas is always on PostgreSQL. The server is
//! a throw-away cluster of this test process, or the one that `SEALPOST_TESTS_POSTGRES=<URL>` names.

use anyhow::{Context, bail};
use sealpost_database::sqlx::{AssertSqlSafe, raw_sql};
use sealpost_database::{Connection, testing};
use tokio::sync::OnceCell;

/// Makes suites' databases and roles, as an operator's own role would: it is no superuser.
const OPERATOR: &str = "sealpost_operator";

/// Where suites keep their data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file each.
    Sqlite,
    /// A database each.
    Postgres,
}

/// What the environment picks.
///
/// # Errors
/// When it names neither.
pub fn picked() -> anyhow::Result<Kind> {
    match std::env::var("SEALPOST_TESTS_DATABASE").as_deref() {
        Err(_) | Ok("" | "sqlite") => Ok(Kind::Sqlite),
        Ok("postgres") => Ok(Kind::Postgres),
        Ok(other) => bail!("SEALPOST_TESTS_DATABASE={other}: neither sqlite nor postgres"),
    }
}

/// The URL for `sealpost up --database`: a role with CREATEDB and CREATEROLE, and nothing beyond.
///
/// # Errors
/// When the server refuses to make that role.
pub async fn operator_url() -> anyhow::Result<String> {
    static URL: OnceCell<String> = OnceCell::const_new();
    let url = URL.get_or_try_init(async || {
        let server = testing::server_url().await;
        if std::env::var_os("SEALPOST_TESTS_POSTGRES").is_some() {
            return Ok(server);
        }
        let role = format!("CREATE ROLE {OPERATOR} LOGIN CREATEDB CREATEROLE");
        execute(&server, &role).await?;
        let (_, behind) = server.split_once('@').context("a URL with a role")?;
        anyhow::Ok(format!("postgres://{OPERATOR}@{behind}"))
    });
    url.await.cloned()
}

/// Runs SQL, one connection long.
///
/// # Errors
/// When the server refuses it.
pub async fn execute(url: &str, sql: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    let done = raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    connection.close().await?;
    done?;
    Ok(())
}

/// Connects with the driver's own settings.
///
/// # Errors
/// When the server refuses.
pub async fn connect(url: &str) -> anyhow::Result<Connection> {
    Ok(Connection::connect(url).await?)
}
