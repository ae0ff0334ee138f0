//! PostgreSQL URLs.
//!
//! Owns which parameters there are and when TLS must verify the server. Everything that the driver would else take from its
//! environment is spelled out, so that a stray `PGSSLMODE` cannot weaken a connection.

use std::{net::IpAddr, path::PathBuf};

use sqlx::any::AnyConnectOptions;

use super::DatabaseUrlError;

/// The parameters that an operator may give.
const PARAMETERS: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "host"];

/// A checked URL in the driver's own spelling.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl(String);

impl PostgresUrl {
    /// Reads what follows `postgres://`.
    pub(super) fn parse(rest: &str) -> Result<Self, DatabaseUrlError> {
        // `user@/database?host=/folder` is common for sockets, and no URL: a host with a user cannot be empty.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let filled = if authority.is_empty() || authority.ends_with('@') {
            format!("postgres://{authority}localhost{path}")
        } else {
            format!("postgres://{rest}")
        };
        let mut url = filled
            .parse::<AnyConnectOptions>()
            .map_err(|_| DatabaseUrlError::Malformed)?
            .database_url;
        if url.username().is_empty() {
            return Err(DatabaseUrlError::NoUser);
        }
        let database = url.path().trim_start_matches('/');
        if database.is_empty() || database.contains('/') {
            return Err(DatabaseUrlError::NoDatabase);
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in url.query_pairs() {
            let repeated = parameters.iter().any(|(other, _)| *other == name);
            if repeated || value.is_empty() || !PARAMETERS.contains(&&*name) {
                return Err(DatabaseUrlError::UnknownParameter);
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        let given = |name: &str| parameters.iter().find(|(other, _)| other == name);

        let host = url.host_str().ok_or(DatabaseUrlError::Malformed)?;
        let socket = match given("host") {
            Some((_, folder)) if folder.starts_with('/') => true,
            Some(_) => return Err(DatabaseUrlError::UnknownParameter),
            None => host
                .get(..3)
                .is_some_and(|start| start.eq_ignore_ascii_case("%2f")),
        };
        match given("sslmode").map(|(_, mode)| mode.as_str()) {
            Some("verify-full") => {}
            Some("disable" | "prefer" | "require" | "verify-ca") if socket || is_loopback(host) => {
            }
            None if socket || is_loopback(host) => {
                parameters.push(("sslmode".to_owned(), "disable".to_owned()));
            }
            None => return Err(DatabaseUrlError::VerifyFull),
            Some("disable" | "allow" | "prefer" | "require" | "verify-ca") => {
                return Err(DatabaseUrlError::VerifyFull);
            }
            Some(_) => return Err(DatabaseUrlError::UnknownParameter),
        }
        if url.port().is_none() {
            url.set_port(Some(5432))
                .map_err(|()| DatabaseUrlError::Malformed)?;
        }
        parameters.push(("application_name".to_owned(), "sealpost".to_owned()));
        url.query_pairs_mut().clear().extend_pairs(&parameters);
        Ok(Self(url.into()))
    }

    /// The same server for another role and database. What proves the first role, a password or a certificate, is left out.
    pub(super) fn for_role(
        &self,
        role: &str,
        password: Option<&str>,
        database: &str,
    ) -> Option<String> {
        let mut url = self.0.parse::<AnyConnectOptions>().ok()?.database_url;
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| matches!(&**name, "sslmode" | "sslrootcert" | "host"))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        url.set_username(role).ok()?;
        url.set_password(password).ok()?;
        url.set_path(database);
        url.query_pairs_mut().clear().extend_pairs(&kept);
        Some(url.into())
    }

    /// None: it is on a Unix socket.
    pub(super) fn port(&self) -> Option<u16> {
        let url = self.0.parse::<AnyConnectOptions>().ok()?.database_url;
        let socket = url.query_pairs().any(|(name, _)| name == "host")
            || url.host_str().is_none_or(|host| host.contains('%'));
        url.port().filter(|_| !socket)
    }

    pub(super) fn read_files(&self) -> Vec<PathBuf> {
        let Ok(options) = self.0.parse::<AnyConnectOptions>() else {
            return Vec::new();
        };
        let named = |name: &str| matches!(name, "sslrootcert" | "sslcert" | "sslkey");
        options
            .database_url
            .query_pairs()
            .filter(|(name, _)| named(name))
            .map(|(_, file)| PathBuf::from(file.as_ref()))
            .collect()
    }

    /// For the driver alone.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> Result<String, DatabaseUrlError> {
        PostgresUrl::parse(text).map(|url| url.0)
    }

    #[test]
    fn this_machine_needs_no_tls() {
        for text in [
            "user@localhost/db",
            "user:pass@127.0.0.1:6432/db",
            "user@127.8.8.8/db?sslmode=require",
            "user@[::1]/db",
            "user@/db?host=/run/postgresql",
            "user@ignored.example/db?host=/run/postgresql",
            "user@%2Frun%2Fpostgresql/db",
        ] {
            read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn another_host_must_be_verified_in_full() {
        for text in [
            "user@db.example/db",
            "user@db.example/db?sslmode=require",
            "user@db.example/db?sslmode=verify-ca&sslrootcert=/ca.pem",
            "user@10.0.0.1/db?sslmode=prefer",
            "user@localhost.example/db",
            "user@[2001:db8::1]/db",
        ] {
            assert_eq!(read(text), Err(DatabaseUrlError::VerifyFull), "{text}");
        }
        let url = read("user@db.example/db?sslmode=verify-full&sslrootcert=/ca.pem").unwrap();
        assert!(
            url.contains("sslmode=verify-full") && url.contains("sslrootcert="),
            "{url}"
        );
    }

    #[test]
    fn what_the_environment_could_decide_is_spelled_out() {
        let url = read("user@localhost/db").unwrap();
        assert_eq!(
            url,
            "postgres://user@localhost:5432/db?sslmode=disable&application_name=sealpost"
        );
    }

    #[test]
    fn another_role_gets_the_server_and_nothing_that_proves_the_first() {
        let url = PostgresUrl::parse(
            "admin:hunter2@db.example:6432/postgres?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/a.pem&sslkey=/a.key",
        )
        .unwrap();
        let text = url.for_role("store", Some("s3"), "records").unwrap();
        assert_eq!(
            text,
            "postgres://store:s3@db.example:6432/records?sslmode=verify-full&sslrootcert=%2Fca.pem"
        );
        PostgresUrl::parse(text.trim_start_matches("postgres://")).unwrap();
        let socket = PostgresUrl::parse("admin@/postgres?host=/run/postgresql").unwrap();
        let text = socket.for_role("store", None, "records").unwrap();
        assert!(
            text.starts_with("postgres://store@localhost:5432/records?host=%2Frun%2Fpostgresql"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_unknown_or_twice_is_refused() {
        for (text, reason) in [
            ("localhost/db", DatabaseUrlError::NoUser),
            ("user@localhost", DatabaseUrlError::NoDatabase),
            ("user@localhost/", DatabaseUrlError::NoDatabase),
            ("user@localhost/a/b", DatabaseUrlError::NoDatabase),
            ("user@localhost:port/db", DatabaseUrlError::Malformed),
            (
                "user@localhost/db?options=-cfsync",
                DatabaseUrlError::UnknownParameter,
            ),
            (
                "user@localhost/db?sslmode=maybe",
                DatabaseUrlError::UnknownParameter,
            ),
            (
                "user@localhost/db?sslcert=",
                DatabaseUrlError::UnknownParameter,
            ),
            (
                "user@localhost/db?host=elsewhere",
                DatabaseUrlError::UnknownParameter,
            ),
            (
                "user@localhost/db?sslmode=require&sslmode=disable",
                DatabaseUrlError::UnknownParameter,
            ),
        ] {
            assert_eq!(read(text), Err(reason), "{text}");
        }
    }
}
