//! The `database` setting of a service: a URL, or a table with one.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{DatabaseUrl, DatabaseUrlError};

/// What an operator says of a service's database: `database = "<url>"`, or a table when more is to be said.
///
/// ```
/// # #[derive(serde::Deserialize)] struct Config { database: sealpost_database::DatabaseConfig }
/// let plain = r#"{ "database": "sqlite:///var/lib/vault.db" }"#;
/// let table = r#"{ "database": { "url": "postgres://vault@localhost/vault", "require_synchronous_standby": true } }"#;
/// # for text in [plain, table] { serde_json::from_str::<Config>(text).unwrap(); }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Where the database is.
    pub url: DatabaseUrl,
    /// Use a PostgreSQL server whose settings can lose what it called committed. Loses messages; for trials only.
    pub allow_unsafe_durability: bool,
    /// Refuse a PostgreSQL server that names no synchronous standby.
    pub require_synchronous_standby: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: DatabaseUrl,
    #[serde(default)]
    allow_unsafe_durability: bool,
    #[serde(default)]
    require_synchronous_standby: bool,
}

/// Both spellings by hand: an untagged enum would swallow the reason why a URL is refused.
struct Spelling;

impl<'de> Visitor<'de> for Spelling {
    type Value = DatabaseConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a database URL, or a table with `url`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<DatabaseConfig, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DatabaseConfig, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(DatabaseConfig {
            url: table.url,
            allow_unsafe_durability: table.allow_unsafe_durability,
            require_synchronous_standby: table.require_synchronous_standby,
        })
    }
}

impl<'de> Deserialize<'de> for DatabaseConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Spelling)
    }
}

impl FromStr for DatabaseConfig {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|url: DatabaseUrl| url.into())
    }
}

impl From<DatabaseUrl> for DatabaseConfig {
    fn from(url: DatabaseUrl) -> Self {
        Self {
            url,
            allow_unsafe_durability: false,
            require_synchronous_standby: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_spellings_say_why_a_url_is_refused() {
        for text in [
            r#""postgres://user@db.example/db""#,
            r#"{ "url": "postgres://user@db.example/db" }"#,
        ] {
            let error = serde_json::from_str::<DatabaseConfig>(text).unwrap_err();
            assert!(error.to_string().contains("verify-full"), "{error}");
        }
        serde_json::from_str::<DatabaseConfig>(r#"{ "url": "a.db", "fsync": false }"#).unwrap_err();
    }

    #[test]
    fn durability_is_demanded_unless_the_table_says_otherwise() {
        let config: DatabaseConfig =
            serde_json::from_str(r#"{ "url": "a.db", "allow_unsafe_durability": true }"#).unwrap();
        assert!(config.allow_unsafe_durability);
        let config: DatabaseConfig = serde_json::from_str(r#""a.db""#).unwrap();
        assert!(!config.allow_unsafe_durability && !config.require_synchronous_standby);
    }
}
