//! PostgreSQL: what a session is told, and what a server must be.
//!
//! Owns the judgement whether a server keeps what it calls committed. It is asked of every new connection, since the name behind
//! a URL may be another server after a failover. Invariant: unless its operator accepts losses, no server is written to that
//! could forget a commit in a crash.

use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, query_as, raw_sql};

use crate::DatabaseError;

/// The oldest server that the statements were tried on.
const OLDEST: u32 = 15;
/// How long a session may hold a transaction open without a statement: the one writer's place is not kept for the dead.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(30);

/// What is asked of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    pub(crate) allow_unsafe_durability: bool,
    pub(crate) require_synchronous_standby: bool,
    /// How long a statement waits for a lock, the writers' own above all.
    pub(crate) lock_timeout: Duration,
}

/// Why a server is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Too old.
    #[error("PostgreSQL {found} is older than {OLDEST}")]
    Version {
        /// Its major version.
        found: u32,
    },
    /// A standby.
    #[error("the server is a standby in recovery; the URL must lead to the primary")]
    InRecovery,
    /// It refuses writes.
    #[error("the server is read-only (default_transaction_read_only)")]
    ReadOnly,
    /// Not UTF-8.
    #[error("the database's and the session's encoding must be UTF8")]
    Encoding,
    /// A setting can lose commits.
    #[error(
        "{setting} = {found} can lose what was committed: set it to {wanted}, or for a trial set database.allow_unsafe_durability = true"
    )]
    Unsafe {
        /// The server's setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// A standby was demanded.
    #[error(
        "synchronous_standby_names is empty, and database.require_synchronous_standby demands a synchronous standby"
    )]
    NoSynchronousStandby,
}

/// What a server says of itself.
#[derive(Debug, Clone)]
struct Server {
    version_num: String,
    in_recovery: String,
    read_only: String,
    server_encoding: String,
    client_encoding: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    synchronous_standby_names: String,
}

/// Plans are made for each execution. One that is kept may have been made when its table was small, or not analysed yet, and walks the
/// whole of it for long: a queue is empty whenever all is well, and so it is when its plan is made.
const PLANS: &str = "SET plan_cache_mode = force_custom_plan; SET jit = off";

/// Tells a new session its limits and judges its server.
///
/// There is no statement_timeout, and a role's own is undone: it could cancel `COMMIT` in its wait for a synchronous standby,
/// and PostgreSQL then answers success for what no standby has. The limits here end transactions before that wait, or not at all.
pub(crate) async fn settle(
    connection: &mut AnyConnection,
    demands: Demands,
) -> Result<(), DatabaseError> {
    let limits = format!(
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = {}; SET lock_timeout = {}; {PLANS}",
        IDLE_IN_TRANSACTION.as_millis(),
        demands.lock_timeout.as_millis(),
    );
    raw_sql(AssertSqlSafe(limits))
        .execute(&mut *connection)
        .await?;
    let server = ask(connection).await?;
    let losses = judge(&server, demands).map_err(DatabaseError::Unfit)?;
    for loss in losses {
        tracing::warn!(
            error = %loss,
            "COMMITTED MESSAGES CAN BE LOST: the database server is unsafe and allow_unsafe_durability accepts it"
        );
    }
    Ok(())
}

async fn ask(connection: &mut AnyConnection) -> Result<Server, sqlx::Error> {
    let (
        version_num,
        in_recovery,
        read_only,
        server_encoding,
        client_encoding,
        fsync,
        full_page_writes,
        synchronous_commit,
        synchronous_standby_names,
    ) = query_as(
        "SELECT current_setting('server_version_num'), CAST(pg_is_in_recovery() AS TEXT), \
         current_setting('transaction_read_only'), current_setting('server_encoding'), \
         current_setting('client_encoding'), current_setting('fsync'), \
         current_setting('full_page_writes'), current_setting('synchronous_commit'), \
         current_setting('synchronous_standby_names')",
    )
    .fetch_one(connection)
    .await?;
    Ok(Server {
        version_num,
        in_recovery,
        read_only,
        server_encoding,
        client_encoding,
        fsync,
        full_page_writes,
        synchronous_commit,
        synchronous_standby_names,
    })
}

/// Judges a server; what was accepted although it loses commits is answered.
fn judge(server: &Server, demands: Demands) -> Result<Vec<Unfit>, Unfit> {
    let found = server.version_num.parse::<u32>().unwrap_or(0) / 10_000;
    if found < OLDEST {
        return Err(Unfit::Version { found });
    }
    if server.in_recovery != "false" {
        return Err(Unfit::InRecovery);
    }
    if server.read_only != "off" {
        return Err(Unfit::ReadOnly);
    }
    if server.server_encoding != "UTF8" || server.client_encoding != "UTF8" {
        return Err(Unfit::Encoding);
    }
    if demands.require_synchronous_standby && server.synchronous_standby_names.is_empty() {
        return Err(Unfit::NoSynchronousStandby);
    }
    let mut losses = Vec::new();
    for (setting, found, wanted, safe) in [
        ("fsync", &server.fsync, "on", &["on"][..]),
        ("full_page_writes", &server.full_page_writes, "on", &["on"]),
        (
            "synchronous_commit",
            &server.synchronous_commit,
            "on or remote_apply",
            &["on", "remote_apply"],
        ),
    ] {
        if !safe.contains(&found.as_str()) {
            losses.push(Unfit::Unsafe {
                setting,
                found: found.clone(),
                wanted,
            });
        }
    }
    match losses.first() {
        Some(loss) if !demands.allow_unsafe_durability => Err(loss.clone()),
        _ => Ok(losses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Demands = Demands {
        allow_unsafe_durability: false,
        require_synchronous_standby: false,
        lock_timeout: Duration::from_secs(1),
    };

    fn good() -> Server {
        let text = str::to_owned;
        Server {
            version_num: text("150013"),
            in_recovery: text("false"),
            read_only: text("off"),
            server_encoding: text("UTF8"),
            client_encoding: text("UTF8"),
            fsync: text("on"),
            full_page_writes: text("on"),
            synchronous_commit: text("on"),
            synchronous_standby_names: String::new(),
        }
    }

    fn changed(change: impl Fn(&mut Server)) -> Server {
        let mut server = good();
        change(&mut server);
        server
    }

    #[test]
    fn a_safe_primary_is_used() {
        assert_eq!(judge(&good(), STRICT), Ok(Vec::new()));
        let applied = changed(|server| server.synchronous_commit = "remote_apply".to_owned());
        assert_eq!(judge(&applied, STRICT), Ok(Vec::new()));
    }

    #[test]
    fn a_server_that_can_lose_commits_is_refused_unless_told() {
        let told = Demands {
            allow_unsafe_durability: true,
            ..STRICT
        };
        for server in [
            changed(|server| server.fsync = "off".to_owned()),
            changed(|server| server.full_page_writes = "off".to_owned()),
            changed(|server| server.synchronous_commit = "off".to_owned()),
            changed(|server| server.synchronous_commit = "local".to_owned()),
            changed(|server| server.synchronous_commit = "remote_write".to_owned()),
        ] {
            let refused = judge(&server, STRICT);
            assert!(matches!(refused, Err(Unfit::Unsafe { .. })), "{refused:?}");
            assert_eq!(judge(&server, told).map(|losses| losses.len()), Ok(1));
        }
    }

    #[test]
    fn what_no_setting_accepts_is_refused_whatever_is_told() {
        let told = Demands {
            allow_unsafe_durability: true,
            ..STRICT
        };
        for (server, why) in [
            (
                changed(|server| server.version_num = "140011".to_owned()),
                Unfit::Version { found: 14 },
            ),
            (
                changed(|server| server.in_recovery = "true".to_owned()),
                Unfit::InRecovery,
            ),
            (
                changed(|server| server.read_only = "on".to_owned()),
                Unfit::ReadOnly,
            ),
            (
                changed(|server| server.server_encoding = "SQL_ASCII".to_owned()),
                Unfit::Encoding,
            ),
        ] {
            assert_eq!(judge(&server, told), Err(why));
        }
    }

    #[test]
    fn a_demanded_standby_must_be_named() {
        let demands = Demands {
            require_synchronous_standby: true,
            ..STRICT
        };
        assert_eq!(judge(&good(), demands), Err(Unfit::NoSynchronousStandby));
        let named = changed(|server| server.synchronous_standby_names = "ANY 1 (*)".to_owned());
        assert_eq!(judge(&named, demands), Ok(Vec::new()));
    }
}
