//! Ports: picked free once, then kept with the folder.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::service::Service;
use crate::files::{self, Readers};

/// Every service's addresses, by its name.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(BTreeMap<String, Addresses>);

/// One service's addresses, all on loopback.
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
    /// Reads the folder's ports, or picks them.
    pub fn load_or_pick(path: &Path) -> anyhow::Result<Self> {
        if path.exists() {
            let text = std::fs::read(path)?;
            return serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged", path.display()));
        }
        let ports = Self::pick()?;
        files::write(path, &serde_json::to_vec_pretty(&ports)?, Readers::Owner)?;
        Ok(ports)
    }

    /// The addresses of a service.
    pub fn of(&self, service: Service) -> anyhow::Result<&Addresses> {
        self.0
            .get(service.name())
            .with_context(|| format!("ports.json does not name {service}"))
    }

    fn pick() -> anyhow::Result<Self> {
        // All are held until all are picked, so that none is picked twice.
        let mut held = Vec::new();
        let mut free = || -> anyhow::Result<SocketAddr> {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let address = listener.local_addr()?;
            held.push(listener);
            Ok(address)
        };
        let mut ports = BTreeMap::new();
        for service in Service::ALL {
            let public = if service.has_public_face() {
                Some(free()?)
            } else {
                None
            };
            ports.insert(
                service.name().to_owned(),
                Addresses {
                    main: free()?,
                    public,
                    metrics: free()?,
                },
            );
        }
        Ok(Self(ports))
    }
}
