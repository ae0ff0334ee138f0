//! The directory's settings.

use std::path::PathBuf;

use sealpost_database::DatabaseConfig;
use sealpost_runtime::config::{ClockConfig, LogConfig, MetricsConfig, ServerConfig};
use serde::Deserialize;

/// What the TOML file holds; unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Config {
    /// What time it is: `development` and `clock_file` at the top of the file.
    pub clock: ClockConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Where metrics are read; nowhere when absent.
    pub metrics: Option<MetricsConfig>,
    /// The mTLS face.
    pub server: ServerConfig,
    /// Where the tables are.
    pub database: DatabaseConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    development: bool,
    #[serde(default)]
    clock_file: Option<PathBuf>,
    #[serde(default)]
    log: LogConfig,
    metrics: Option<MetricsConfig>,
    server: ServerConfig,
    database: DatabaseConfig,
}

impl TryFrom<Raw> for Config {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        if raw.clock_file.is_some() && !raw.development {
            return Err("clock_file needs development = true");
        }
        Ok(Self {
            clock: ClockConfig {
                development: raw.development,
                clock_file: raw.clock_file,
            },
            log: raw.log,
            metrics: raw.metrics,
            server: raw.server,
            database: raw.database,
        })
    }
}
