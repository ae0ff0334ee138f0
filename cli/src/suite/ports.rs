//! Ports: picked free once for each instance, then kept with the folder.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::roster::Roster;
use super::service::Service;
use crate::files::{self, Readers};

/// Below those that systems give to outgoing connections: while an instance is down nobody else may get its port by chance, least of
/// all somebody who tries to reach it.
const PORTS: Range<u16> = 10_000..32_000;
const TRIES: usize = 1000;

/// Every instance's addresses, by its name.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(BTreeMap<String, Addresses>);

/// One instance's addresses, all on loopback.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// The mTLS face; the connector's REST face.
    pub main: SocketAddr,
    /// The public face.
    pub public: Option<SocketAddr>,
    /// Prometheus.
    pub metrics: SocketAddr,
}

impl Ports {
    /// Reads the folder's ports, and picks those that are missing.
    pub fn load_or_pick(path: &Path, roster: &Roster) -> anyhow::Result<Self> {
        let mut ports = if path.exists() {
            serde_json::from_slice(&std::fs::read(path)?)
                .with_context(|| format!("{} is damaged", path.display()))?
        } else {
            Self::default()
        };
        if ports.pick_missing(roster)? {
            files::write(path, &serde_json::to_vec_pretty(&ports)?, Readers::Owner)?;
        }
        Ok(ports)
    }

    /// The addresses of an instance.
    pub fn of(&self, instance: &Instance) -> anyhow::Result<&Addresses> {
        self.0
            .get(&instance.name())
            .with_context(|| format!("ports.json does not name {instance}"))
    }

    /// Its public face.
    pub fn public_of(&self, instance: &Instance) -> anyhow::Result<SocketAddr> {
        self.of(instance)?
            .public
            .with_context(|| format!("{instance} has no public face"))
    }

    /// The public faces of every instance of a service, in the order of their names.
    pub fn publics_of(&self, roster: &Roster, service: Service) -> anyhow::Result<Vec<SocketAddr>> {
        let instances = roster.instances_of_all(&[service]);
        instances
            .iter()
            .map(|instance| self.public_of(instance))
            .collect()
    }

    fn pick_missing(&mut self, roster: &Roster) -> anyhow::Result<bool> {
        // All are held until all are picked, so that none is picked twice.
        let mut held = Vec::new();
        let mut rng = OsRng.unwrap_err();
        let mut free = || -> anyhow::Result<SocketAddr> {
            for _ in 0..TRIES {
                let port = rng.random_range(PORTS);
                if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                    let address = listener.local_addr()?;
                    held.push(listener);
                    return Ok(address);
                }
            }
            bail!("no free port found from {} to {}", PORTS.start, PORTS.end)
        };
        let before = self.0.len();
        for instance in roster.instances() {
            let name = instance.name();
            if self.0.contains_key(&name) {
                continue;
            }
            let public = if instance.service().has_public_face() {
                Some(free()?)
            } else {
                None
            };
            let addresses = Addresses {
                main: free()?,
                public,
                metrics: free()?,
            };
            self.0.insert(name, addresses);
        }
        Ok(self.0.len() > before)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_stay_when_replicas_come_and_the_new_ones_get_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let roster = |replicas| Roster {
            regions: Vec::new(),
            replicas,
        };
        let store = Instance::from(Service::Store);
        let one = Ports::load_or_pick(&file, &roster(1)).unwrap();
        let two = Ports::load_or_pick(&file, &roster(2)).unwrap();
        assert_eq!(one.of(&store).unwrap().main, two.of(&store).unwrap().main);
        let second = two.of(&store.group.instance(2)).unwrap();
        assert_ne!(second.main, two.of(&store).unwrap().main);
        assert!(one.of(&store.group.instance(2)).is_err());
    }
}
