//! The store's settings.

use std::path::PathBuf;

use sealpost_database::DatabaseConfig;
use sealpost_runtime::{
    Role,
    config::{ClockConfig, LogConfig, MetricsConfig, Replicas, ServerConfig},
};
use serde::Deserialize;

/// Everything that the store can be told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This deployment is for development: it may move its clock.
    #[serde(default)]
    pub development: bool,
    /// A file with the seconds to add to the time; only with `development`.
    #[serde(default)]
    pub clock_file: Option<PathBuf>,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// The metrics face; none when absent.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// The face towards services.
    pub server: ServerConfig,
    /// Which region it is for, as the directory names it; absent: every one.
    #[serde(default)]
    pub region: String,
    /// Where the records are.
    pub database: DatabaseConfig,
    /// Whom the store calls.
    pub peers: Peers,
}

/// Whom the store calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The key vault, for the states of epochs.
    pub vault: Replicas,
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum ConfigContradiction {
    /// A moved clock outside development.
    #[error("clock_file needs development = true")]
    ClockFile,
    /// The vault's certificate would never be a vault's.
    #[error("peers.vault.role must be \"vault\"")]
    VaultRole,
}

impl Config {
    /// Looks for contradictions.
    ///
    /// # Errors
    /// The first one.
    pub fn check(&self) -> Result<(), ConfigContradiction> {
        if self.clock_file.is_some() && !self.development {
            return Err(ConfigContradiction::ClockFile);
        }
        if self.peers.vault.role() != Role::Vault {
            return Err(ConfigContradiction::VaultRole);
        }
        Ok(())
    }

    /// What time it is to be.
    #[must_use]
    pub fn clock(&self) -> ClockConfig {
        ClockConfig {
            development: self.development,
            clock_file: self.clock_file.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_runtime::args::ServiceArgs;

    use super::*;

    fn load(sets: &[&str]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.toml");
        std::fs::write(&path, include_str!("../store.example.toml")).unwrap();
        let args = ServiceArgs {
            config: Some(path),
            set: sets.iter().map(|set| (*set).to_owned()).collect(),
            ..ServiceArgs::default()
        };
        let config: Config =
            sealpost_runtime::config::load("store", &args).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_example_is_valid() {
        let config = load(&[]).unwrap();
        assert_eq!(config.peers.vault.role(), Role::Vault);
    }

    #[test]
    fn contradictions_and_unknown_keys_are_refused() {
        assert!(load(&["clock_file=c"]).unwrap_err().contains("development"));
        assert!(
            load(&["peers.vault.role=relay"])
                .unwrap_err()
                .contains("vault")
        );
        assert!(load(&["datbase=x"]).unwrap_err().contains("datbase"));
    }
}
