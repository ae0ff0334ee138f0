//! What each service's configuration has beside what all have.

use toml::{Table, Value};

use super::{Configs, path};
use crate::suite::instance::Instance;
use crate::suite::service::Service;

impl Configs<'_> {
    /// Every instance's of a service. The vaults' need the relay's public bundle key, hex: they verify bundles with it; and the layers of
    /// containment that this machine has not got.
    pub fn write_vaults(
        &self,
        relay_bundle_key: &str,
        uncontained: &[String],
    ) -> anyhow::Result<()> {
        let shared = self.layout.shared(Service::KeyVault);
        for instance in self.instances_of(Service::KeyVault) {
            let mut config = self.base(&instance)?;
            config.insert("root_key".to_owned(), path(&shared.join("root.json")));
            let mut key_file = Table::new();
            key_file.insert("file".to_owned(), path(&shared.join("unseal.key")));
            let mut unseal = Table::new();
            unseal.insert("key-file".to_owned(), Value::Table(key_file));
            config.insert("unseal".to_owned(), Value::Table(unseal));
            config.insert("keyring".to_owned(), path(&shared.join("keyring")));
            let without = uncontained.iter().cloned().map(Value::String).collect();
            let mut containment = Table::new();
            containment.insert("without".to_owned(), Value::Array(without));
            config.insert("containment".to_owned(), Value::Table(containment));
            let keys = vec![relay_bundle_key.into()];
            config.insert("relay_bundle_keys".to_owned(), Value::Array(keys));
            self.save(&instance, &config)?;
        }
        Ok(())
    }

    /// The directory's.
    pub fn write_directories(&self) -> anyhow::Result<()> {
        for instance in self.instances_of(Service::Directory) {
            self.save(&instance, &self.base(&instance)?)?;
        }
        Ok(())
    }

    /// The stores'.
    pub fn write_stores(&self) -> anyhow::Result<()> {
        for instance in self.instances_of(Service::Store) {
            let mut config = self.base(&instance)?;
            let mut peers = Table::new();
            peers.insert("vault".to_owned(), self.peer_of(Service::KeyVault)?);
            config.insert("peers".to_owned(), Value::Table(peers));
            if let Some(region) = &instance.group.region {
                config.insert("region".to_owned(), Value::String(region.to_string()));
            }
            self.save(&instance, &config)?;
        }
        Ok(())
    }

    /// The relays'.
    pub fn write_relays(&self) -> anyhow::Result<()> {
        let shared = self.layout.shared(Service::Relay);
        for instance in self.instances_of(Service::Relay) {
            let mut config = self.base(&instance)?;
            config.insert("bundle_key".to_owned(), path(&shared.join("bundle.key")));
            let mut codes = Table::new();
            codes.insert("file".to_owned(), path(&self.layout.codes_file()));
            // Many consumers register from one machine here.
            codes.insert("requests_per_source".to_owned(), Value::Integer(1_000_000));
            config.insert("codes".to_owned(), Value::Table(codes));
            config.insert("public".to_owned(), self.public(&instance)?);
            self.save(&instance, &config)?;
        }
        Ok(())
    }

    /// Retention's.
    pub fn write_retentions(&self) -> anyhow::Result<()> {
        for instance in self.instances_of(Service::Retention) {
            let mut config = self.base(&instance)?;
            let mut peers = Table::new();
            peers.insert("vault".to_owned(), self.peer_of(Service::KeyVault)?);
            let stores: Result<Vec<_>, _> = self
                .roster
                .groups_of(Service::Store)
                .iter()
                .map(|group| self.replicas_of(group))
                .collect();
            peers.insert("stores".to_owned(), Value::Array(stores?));
            let relays = vec![self.peer_of(Service::Relay)?];
            peers.insert("relays".to_owned(), Value::Array(relays));
            peers.insert("directory".to_owned(), self.peer_of(Service::Directory)?);
            config.insert("peers".to_owned(), Value::Table(peers));
            self.save(&instance, &config)?;
        }
        Ok(())
    }

    /// The gateways'. `peers.store` has every region that `[stores]` does not name: here the first.
    pub fn write_gateways(&self) -> anyhow::Result<()> {
        let stores = self.roster.groups_of(Service::Store);
        for instance in self.instances_of(Service::Gateway) {
            let mut config = self.base(&instance)?;
            let mut peers = Table::new();
            peers.insert("vault".to_owned(), self.peer_of(Service::KeyVault)?);
            peers.insert("store".to_owned(), self.replicas_of(&stores[0])?);
            peers.insert("directory".to_owned(), self.peer_of(Service::Directory)?);
            peers.insert("relay".to_owned(), self.peer_of(Service::Relay)?);
            config.insert("peers".to_owned(), Value::Table(peers));
            let mut others = Table::new();
            for group in &stores[1..] {
                if let Some(region) = &group.region {
                    others.insert(region.to_string(), self.replicas_of(group)?);
                }
            }
            config.insert("stores".to_owned(), Value::Table(others));
            config.insert("public".to_owned(), self.public(&instance)?);
            let mut limits = Table::new();
            limits.insert(
                "messages_per_second".to_owned(),
                Value::Integer(self.choices.rate_limit.into()),
            );
            config.insert("limits".to_owned(), Value::Table(limits));
            self.save(&instance, &config)?;
        }
        Ok(())
    }

    fn instances_of(&self, service: Service) -> Vec<Instance> {
        self.roster.instances_of_all(&[service])
    }
}
