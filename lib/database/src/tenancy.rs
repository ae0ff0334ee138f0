//! Databases and roles on a PostgreSQL server: made for a service, and removed.
//!
//! Owns the statements that need CREATEDB and CREATEROLE. Has no knowledge of services. Invariant: of what is made here, a
//! database lets in its own two roles alone; the owner alone changes its tables; no password reaches the server, only what
//! proves one.

use std::time::Duration;

use sqlx::{AssertSqlSafe, query_scalar, raw_sql};

use crate::{Connection, DatabaseConfig, DatabaseError, DatabaseUrl, password, source::Source};

/// How long a server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets the server quote one word, or two, into a statement.
const QUOTE: [&str; 2] = [
    "SELECT format(CAST($1 AS TEXT), CAST($2 AS TEXT))",
    "SELECT format(CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT))",
];

/// A role that logs in.
#[derive(Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its password: of random letters and digits, since nobody types it.
    pub password: String,
}

/// The database of one service.
#[derive(Clone)]
pub struct Tenancy {
    /// Its name.
    pub database: String,
    /// Owns the tables; `migrate` runs as this role.
    pub owner: Role,
    /// Reads and writes rows; the service runs as this role.
    pub user: Role,
}

/// A server, as a role with CREATEDB and CREATEROLE.
pub struct Server {
    connection: Connection,
}

impl Server {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not answer, refuses the role, or could lose what it calls committed.
    pub async fn connect(url: DatabaseUrl) -> Result<Self, DatabaseError> {
        let config = DatabaseConfig::from(url);
        let source = Source::new(&config, PATIENCE).await?;
        Ok(Self {
            connection: source.connect(PATIENCE).await?,
        })
    }

    /// Makes what is missing of a tenancy; what is there gets these passwords and rights.
    ///
    /// # Errors
    /// When the server refuses; what was made until then stays, and a repeat goes on from there.
    pub async fn make(&mut self, tenancy: &Tenancy) -> Result<(), DatabaseError> {
        for role in [&tenancy.owner, &tenancy.user] {
            self.make_role(role).await?;
        }
        let database = tenancy.database.as_str();
        let (owner, user) = (tenancy.owner.name.as_str(), tenancy.user.name.as_str());
        self.as_member(&[owner], async |server| {
            if !server.has_database(database).await? {
                // Order by bytes is SQLite's as well, and no upgrade of a C library changes it.
                let create =
                    "CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'";
                server.say(create, &[database, owner]).await?;
            }
            let lock = "REVOKE ALL ON DATABASE %I FROM PUBLIC";
            server.say(lock, &[database]).await?;
            let open = "GRANT CONNECT ON DATABASE %I TO %I";
            server.say(open, &[database, user]).await
        })
        .await
    }

    /// Removes a tenancy with all that is in it, whoever is connected. What is not there is no error.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn remove(&mut self, tenancy: &Tenancy) -> Result<(), DatabaseError> {
        let mut roles = Vec::new();
        for role in [&tenancy.owner, &tenancy.user] {
            if self.has_role(&role.name).await? {
                roles.push(role.name.as_str());
            }
        }
        self.as_member(&roles, async |server| {
            let drop = "DROP DATABASE IF EXISTS %I WITH (FORCE)";
            server.say(drop, &[&tenancy.database]).await
        })
        .await?;
        for role in roles {
            self.say("DROP ROLE IF EXISTS %I", &[role]).await?;
        }
        Ok(())
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// When the server went away.
    pub async fn close(self) -> Result<(), DatabaseError> {
        Ok(self.connection.close().await?)
    }

    async fn make_role(&mut self, role: &Role) -> Result<(), DatabaseError> {
        let verb = if self.has_role(&role.name).await? {
            "ALTER"
        } else {
            "CREATE"
        };
        let statement = format!("{verb} ROLE %I LOGIN PASSWORD %L");
        let verifier = password::verifier(&role.password, &password::salt()?);
        self.say(&statement, &[&role.name, &verifier]).await
    }

    /// Does `work` as a member of these roles: without being a superuser, nobody else may make or drop what is theirs.
    async fn as_member(
        &mut self,
        roles: &[&str],
        work: impl AsyncFnOnce(&mut Self) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        for role in roles {
            self.say("GRANT %I TO CURRENT_USER", &[role]).await?;
        }
        let done = work(self).await;
        for role in roles {
            self.say("REVOKE %I FROM CURRENT_USER", &[role]).await?;
        }
        done
    }

    async fn has_role(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.counts("SELECT count(*) FROM pg_roles WHERE rolname = $1", name)
            .await
    }

    async fn has_database(&mut self, name: &str) -> Result<bool, DatabaseError> {
        self.counts("SELECT count(*) FROM pg_database WHERE datname = $1", name)
            .await
    }

    async fn counts(&mut self, sql: &'static str, name: &str) -> Result<bool, DatabaseError> {
        let found: i64 = query_scalar(sql)
            .bind(name)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(found > 0)
    }

    /// Runs a statement that takes no parameters; the server itself quotes the `words` into it.
    async fn say(&mut self, statement: &str, words: &[&str]) -> Result<(), DatabaseError> {
        let mut quoted = query_scalar(QUOTE[words.len() - 1]).bind(statement.to_owned());
        for word in words {
            quoted = quoted.bind((*word).to_owned());
        }
        let sql: String = quoted.fetch_one(&mut self.connection).await?;
        raw_sql(AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
