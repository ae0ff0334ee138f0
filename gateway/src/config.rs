//! The gateway's settings.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, ensure};
use sealpost_runtime::{
    Role,
    config::{ClockConfig, LogConfig, MetricsConfig, PublicServerConfig, Replicas, ServerConfig},
};
use serde::Deserialize;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This deployment is for development: it may move its clock.
    #[serde(default)]
    pub development: bool,
    /// A file with the seconds to add to the time; only with `development`.
    #[serde(default)]
    pub clock_file: Option<PathBuf>,
    /// Log lines.
    #[serde(default)]
    pub log: LogConfig,
    /// Metrics over plain HTTP.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// The face for businesses.
    pub public: PublicServerConfig,
    /// The face for operators: health and reflection.
    pub server: ServerConfig,
    /// The services it calls.
    pub peers: PeersConfig,
    /// Stores of regions other than that of `peers.store`, by the region's name.
    #[serde(default)]
    pub stores: BTreeMap<String, Replicas>,
    /// Bounds.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Owner of its leases in the store, stable over restarts; by default the name in its SPIFFE identity, or `gateway`.
    #[serde(default)]
    pub name: Option<String>,
}

/// The services that the gateway calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersConfig {
    /// The key vaults. Several have names: under these they hold their shards of the conversations.
    pub vault: Replicas,
    /// The store of every region that `[stores]` does not name.
    pub store: Replicas,
    /// The directory.
    pub directory: Replicas,
    /// The relay.
    pub relay: Replicas,
}

/// Bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Messages a second for each number, with bursts of one second's worth; 0 means no limit. A number's own value in the
    /// directory wins.
    pub messages_per_second: u32,
    /// Unary calls under way at one time.
    pub calls: usize,
    /// Streams open at one time.
    pub streams: usize,
    /// Accepted messages in memory that wait for the relay. Fewer may wait while they leave more slowly than they come.
    pub queued_messages: usize,
    /// Items from the relay under way at one time.
    pub inbound_items: usize,
    /// How long an answer about a token is used before the directory is asked again, 1 to 60 seconds.
    pub token_cache_seconds: u64,
    /// How long a unary call may take.
    pub call_seconds: u64,
    /// How long what is under way may take once the gateway stops.
    pub drain_seconds: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            messages_per_second: 80,
            calls: 1024,
            streams: 1024,
            queued_messages: 65_536,
            inbound_items: 1024,
            token_cache_seconds: 5,
            call_seconds: 15,
            drain_seconds: 10,
        }
    }
}

impl LimitsConfig {
    /// [`Self::token_cache_seconds`].
    #[must_use]
    pub fn token_cache(&self) -> Duration {
        Duration::from_secs(self.token_cache_seconds)
    }
}

impl Config {
    /// What serde cannot see.
    ///
    /// # Errors
    /// When values contradict each other or are out of range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.development || self.clock_file.is_none(),
            "clock_file needs development = true"
        );
        let roles = [
            (&self.peers.vault, Role::Vault),
            (&self.peers.store, Role::Store),
            (&self.peers.directory, Role::Directory),
            (&self.peers.relay, Role::Relay),
        ];
        let stores = self.stores.values().map(|peer| (peer, Role::Store));
        for (peer, role) in roles.into_iter().chain(stores) {
            ensure!(
                peer.role() == role,
                "the peer at {} must have role {role}",
                peer.all()[0].address
            );
        }
        let vaults = self.peers.vault.all();
        let names: BTreeSet<_> = vaults
            .iter()
            .filter_map(|peer| peer.name.as_ref())
            .collect();
        ensure!(
            vaults.len() == 1 || names.len() == vaults.len(),
            "several vaults must each have a name of their own: the one in its certificate"
        );
        let limits = &self.limits;
        ensure!(
            (1..=60).contains(&limits.token_cache_seconds),
            "limits.token_cache_seconds must be 1 to 60"
        );
        ensure!(
            limits.calls > 0
                && limits.streams > 0
                && limits.queued_messages > 0
                && limits.inbound_items > 0
                && limits.call_seconds > 0,
            "limits must be above 0 (only messages_per_second may be 0)"
        );
        if let Some(name) = &self.name {
            ensure!(
                (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()),
                "name must be 1 to 64 printable ASCII characters without blanks"
            );
        }
        Ok(())
    }

    /// Which clock to read.
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

    use super::*;

    const FILE: &str = r#"
        [public]
        listen = "127.0.0.1:0"
        tls = { certificate = "p.pem", private_key = "p.key" }
        [server]
        listen = "127.0.0.1:0"
        tls = { certificate = "s.pem", private_key = "s.key", ca = "ca.pem" }
        [peers]
        vault = { address = "127.0.0.1:1", role = "vault" }
        store = { address = "127.0.0.1:2", role = "store" }
        directory = { address = "127.0.0.1:3", role = "directory" }
        relay = { address = "127.0.0.1:4", role = "relay" }
    "#;

    fn parsed(more: &str) -> Result<Config> {
        let config: Config = toml::from_str(&format!("{more}\n{FILE}"))?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_plain_file_has_the_usual_bounds() {
        let limits = parsed("").unwrap().limits;
        assert_eq!(limits.messages_per_second, 80);
        assert_eq!(limits.token_cache(), Duration::from_secs(5));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for more in [
            "clock_file = 'c'",
            "limits.token_cache_seconds = 0",
            "limits.calls = 0",
            "limits.call = 1",
            "name = ''",
            "name = 'a b'",
            "stores.eu = { address = '127.0.0.1:9', role = 'vault' }",
        ] {
            assert!(parsed(more).is_err(), "{more}");
        }
        assert!(parsed("stores.eu = { address = '127.0.0.1:9', role = 'store' }").is_ok());
        assert!(parsed("limits.messages_per_second = 0").is_ok());
    }

    #[test]
    fn several_vaults_have_names_and_each_its_own() {
        let with = |names: [&str; 2]| {
            let one =
                |(port, name)| format!("{{ address = '127.0.0.1:{port}', role = 'vault'{name} }}");
            let vaults: Vec<_> = [1, 9].into_iter().zip(names).map(one).collect();
            let file = FILE.replace(
                "vault = { address = \"127.0.0.1:1\", role = \"vault\" }",
                &format!("vault = [{}]", vaults.join(", ")),
            );
            let config: Config = toml::from_str(&file).unwrap();
            assert_eq!(config.peers.vault.all().len(), 2);
            config.check()
        };
        assert!(with([", name = 'a'", ", name = 'b'"]).is_ok());
        assert!(with([", name = 'a'", ", name = 'a'"]).is_err());
        assert!(with([", name = 'a'", ""]).is_err());
    }
}
