//! Retention's settings.

use std::{path::PathBuf, time::Duration};

use sealpost_database::DatabaseConfig;
use sealpost_runtime::{
    Role,
    config::{ClockConfig, LogConfig, MetricsConfig, Replicas, ServerConfig},
};
use serde::Deserialize;

use crate::receipt::ReceiptKey;

/// Everything that retention can be told.
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
    /// The face towards operators and auditors.
    pub server: ServerConfig,
    /// Where receipts and runs are.
    pub database: DatabaseConfig,
    /// Seconds from one run's start to the next, 1 to 86,400.
    #[serde(default = "a_minute")]
    pub interval_seconds: u64,
    /// Rows that one call deletes at most, 1 to 10,000.
    #[serde(default = "a_thousand")]
    pub batch_limit: u32,
    /// The vault's public receipt key, 64 hex digits; absent, the first one seen is pinned.
    #[serde(default)]
    pub receipt_key: Option<String>,
    /// Whom retention calls.
    pub peers: Peers,
}

/// Whom retention calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The key vault.
    pub vault: Replicas,
    /// Every store.
    #[serde(default)]
    pub stores: Vec<Replicas>,
    /// Every relay of ours.
    #[serde(default)]
    pub relays: Vec<Replicas>,
    /// The directory, where numbers may move between regions; absent: no number is moved.
    #[serde(default)]
    pub directory: Option<Replicas>,
}

/// Settings that cannot be, or contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum ConfigContradiction {
    /// A moved clock outside development.
    #[error("clock_file needs development = true")]
    ClockFile,
    /// A peer's certificate would never be of that role.
    #[error("peers.{0} must have its own role")]
    Role(&'static str),
    /// Out of range.
    #[error("interval_seconds must be 1 to 86400")]
    Interval,
    /// Out of range.
    #[error("batch_limit must be 1 to 10000")]
    BatchLimit,
    /// Not a key.
    #[error("receipt_key must be 64 hex digits")]
    ReceiptKey,
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
            return Err(ConfigContradiction::Role("vault"));
        }
        if self
            .peers
            .stores
            .iter()
            .any(|peer| peer.role() != Role::Store)
        {
            return Err(ConfigContradiction::Role("stores"));
        }
        if self
            .peers
            .relays
            .iter()
            .any(|peer| peer.role() != Role::Relay)
        {
            return Err(ConfigContradiction::Role("relays"));
        }
        if self
            .peers
            .directory
            .as_ref()
            .is_some_and(|peer| peer.role() != Role::Directory)
        {
            return Err(ConfigContradiction::Role("directory"));
        }
        if !(1..=86_400).contains(&self.interval_seconds) {
            return Err(ConfigContradiction::Interval);
        }
        if !(1..=10_000).contains(&self.batch_limit) {
            return Err(ConfigContradiction::BatchLimit);
        }
        self.receipt_key().map(drop)
    }

    /// What time it is to be.
    #[must_use]
    pub fn clock(&self) -> ClockConfig {
        ClockConfig {
            development: self.development,
            clock_file: self.clock_file.clone(),
        }
    }

    /// [`Self::interval_seconds`].
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }

    /// [`Self::receipt_key`], read.
    ///
    /// # Errors
    /// When it is no key.
    pub fn receipt_key(&self) -> Result<Option<ReceiptKey>, ConfigContradiction> {
        let Some(text) = &self.receipt_key else {
            return Ok(None);
        };
        let bytes = hex::decode(text).map_err(|_| ConfigContradiction::ReceiptKey)?;
        let key = ReceiptKey::from_slice(&bytes).ok_or(ConfigContradiction::ReceiptKey)?;
        Ok(Some(key))
    }
}

fn a_minute() -> u64 {
    60
}

fn a_thousand() -> u32 {
    1_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_runtime::args::ServiceArgs;

    use super::*;

    fn load(sets: &[&str]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("retention.toml");
        std::fs::write(&path, include_str!("../retention.example.toml")).unwrap();
        let args = ServiceArgs {
            config: Some(path),
            set: sets.iter().map(|set| (*set).to_owned()).collect(),
            ..ServiceArgs::default()
        };
        let config: Config =
            sealpost_runtime::config::load("retention", &args).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_example_is_valid() {
        let config = load(&[]).unwrap();
        assert_eq!(config.interval(), Duration::from_secs(60));
        assert_eq!(config.batch_limit, 1_000);
        assert_eq!(config.peers.stores.len(), 1);
        assert_eq!(config.peers.relays.len(), 1);
        assert!(config.receipt_key().unwrap().is_none());
    }

    #[test]
    fn contradictions_and_unknown_keys_are_refused() {
        for (set, word) in [
            ("clock_file=c", "development"),
            ("peers.vault.role=relay", "vault"),
            (
                "peers.directory={address='127.0.0.1:9',role='relay'}",
                "directory",
            ),
            ("interval_seconds=0", "interval_seconds"),
            ("batch_limit=10001", "batch_limit"),
            ("receipt_key=abc", "receipt_key"),
            ("intervall=1", "intervall"),
        ] {
            assert!(load(&[set]).unwrap_err().contains(word), "{set}");
        }
        let key = format!("receipt_key='{}'", "0a".repeat(32));
        assert!(load(&[&key]).unwrap().receipt_key().unwrap().is_some());
    }
}
