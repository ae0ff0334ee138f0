//! The vault's settings.

use std::path::PathBuf;

use sealpost_database::DatabaseConfig;
use sealpost_envelope::VerifyingKey;
use sealpost_runtime::config::{ClockConfig, LogConfig, MetricsConfig, ServerConfig};
use serde::Deserialize;

use crate::{containment::ContainmentConfig, custody::unseal::UnsealConfig};

/// All of them. Secrets stay in the files that are named here.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This deployment is for development: it may move its clock.
    #[serde(default)]
    pub development: bool,
    /// A file with the seconds to add to the time; only with `development`.
    #[serde(default)]
    pub clock_file: Option<PathBuf>,
    /// Where the database is.
    pub database: DatabaseConfig,
    /// The folder of epoch keys: on no backup, shared by replicas.
    pub keyring: PathBuf,
    /// The file of the root key, sealed by an unseal provider.
    pub root_key: PathBuf,
    /// Where unseal providers are.
    #[serde(default)]
    pub unseal: UnsealConfig,
    /// The Ed25519 keys that sign prekey bundles at the relay, 64 hex digits each. Without one no new session can begin.
    #[serde(default)]
    pub relay_bundle_keys: Vec<RelayKey>,
    /// What the other vaults on its database and the gateways call it: the holder of its shards, stable over restarts. By default the
    /// name in its SPIFFE identity, or `key-vault`.
    #[serde(default)]
    pub name: Option<String>,
    /// Memory for sessions that were worked on last, in MiB; 64 by default.
    #[serde(default)]
    pub session_cache_mib: Option<u32>,
    /// What the process gives up at its start.
    #[serde(default)]
    pub containment: ContainmentConfig,
    /// The face between services.
    pub server: ServerConfig,
    /// Prometheus text.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// What is logged.
    #[serde(default)]
    pub log: LogConfig,
}

impl Config {
    /// [`Self::name`], or the usual one.
    pub(crate) fn holder(&self) -> String {
        self.name.clone().unwrap_or_else(|| "key-vault".to_owned())
    }

    /// [`Self::session_cache_mib`], or the usual, in bytes.
    pub(crate) fn session_cache_bytes(&self) -> usize {
        let mib = self.session_cache_mib.unwrap_or(64);
        usize::try_from(mib)
            .unwrap_or(usize::MAX)
            .saturating_mul(1 << 20)
    }

    /// What time it is.
    ///
    /// # Errors
    /// A clock file outside development.
    pub fn clock(&self) -> Result<ClockConfig, ConfigContradiction> {
        if self.clock_file.is_some() && !self.development {
            return Err(ConfigContradiction);
        }
        Ok(ClockConfig {
            development: self.development,
            clock_file: self.clock_file.clone(),
        })
    }

    /// The relay's keys.
    pub(crate) fn bundle_keys(&self) -> Vec<VerifyingKey> {
        self.relay_bundle_keys.iter().map(|key| key.0).collect()
    }
}

/// Two settings that exclude each other.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("clock_file needs development = true")]
pub struct ConfigContradiction;

/// A relay's bundle key.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct RelayKey(VerifyingKey);

impl TryFrom<String> for RelayKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const SHAPE: &str = "expected the 64 hex digits of an Ed25519 public key";
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| SHAPE)?;
        VerifyingKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|_| SHAPE)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SAMPLE: &str = r#"
        database = "sqlite:///var/lib/sealpost/vault.db"
        keyring = "/var/lib/sealpost/keyring"
        root_key = "/var/lib/sealpost/root.json"
        relay_bundle_keys = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]
        [server]
        listen = "127.0.0.1:7001"
        tls = { certificate = "vault.pem", private_key = "vault.key", ca = "ca.pem" }
        [metrics]
        listen = "127.0.0.1:9001"
        [unseal.key-file]
        file = "/etc/sealpost/unseal.key"
        [unseal.pkcs11]
        module = "/usr/lib/softhsm/libsofthsm2.so"
        token = "sealpost"
        pin_file = "/etc/sealpost/pin"
    "#;

    #[test]
    fn the_sample_is_read() {
        let config: Config = toml::from_str(SAMPLE).unwrap();
        assert_eq!(config.bundle_keys().len(), 1);
        assert!(config.clock().is_ok());
    }

    #[test]
    fn an_unknown_key_a_bad_relay_key_and_a_clock_file_in_earnest_are_refused() {
        assert!(toml::from_str::<Config>(&format!("surprise = 1\n{SAMPLE}")).is_err());
        assert!(toml::from_str::<Config>(&SAMPLE.replace("d75a", "zzzz")).is_err());
        assert!(toml::from_str::<Config>(&SAMPLE.replace("d75a980182", "d75a98")).is_err());
        let clock: Config = toml::from_str(&format!("clock_file = 'c'\n{SAMPLE}")).unwrap();
        assert!(clock.clock().is_err());
    }
}
