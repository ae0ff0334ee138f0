//! `run.json`: everything that a person or a program needs to use a running suite. Paths are absolute, keys are
//! named by file, tokens stand in it: it is readable by its owner alone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::instance::Instance;
use super::process;
use super::service::Service;
use crate::files::{self, Readers};

/// The whole file.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// Processes by name.
    pub services: BTreeMap<String, RunningService>,
    /// The REST face.
    pub connector: Connector,
    /// The first business.
    pub business: Business,
    /// Its numbers.
    pub numbers: Vec<Number>,
    /// Registered consumers.
    pub consumers: Vec<Consumer>,
    /// The operator's certificate.
    pub tls: Tls,
    /// The gateway's public face.
    pub gateway: Gateway,
    /// The relay's public face.
    pub relay: Relay,
}

/// One process.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunningService {
    /// The service that it is one of.
    pub service: String,
    /// The region that it serves, when its service has a deployment for each.
    pub region: Option<String>,
    /// Process id; absent when it is stopped.
    pub pid: Option<u32>,
    /// How it was started.
    pub argv: Vec<String>,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its mTLS face, `host:port`; absent for the connector.
    pub grpc: Option<String>,
    /// Its public face, `host:port`.
    pub public: Option<String>,
    /// Prometheus, a URL.
    pub metrics: String,
    /// Its folder.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// The REST face.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connector {
    /// A URL.
    pub url: String,
    /// Bearer token for REST calls.
    pub token: String,
    /// Key of `X-Hub-Signature-256`.
    pub app_secret: String,
    /// What a webhook's owner is asked to prove its subscription with.
    pub verify_token: String,
    /// Where webhooks go.
    pub webhook_url: Option<String>,
}

/// The first business.
#[derive(Clone, Serialize, Deserialize)]
pub struct Business {
    /// Its id.
    pub id: String,
    /// File with its X-Wing seed, 32 bytes.
    pub hpke_private_key: PathBuf,
    /// File with its Ed25519 seed, 32 bytes.
    pub signing_private_key: PathBuf,
    /// The vault fingerprint of the first number, lower-case hex: what a connector pins.
    pub vault_fingerprint: String,
}

/// One number.
#[derive(Clone, Serialize, Deserialize)]
pub struct Number {
    /// Its id.
    pub phone_number_id: String,
    /// E.164 digits.
    pub phone_number: String,
    /// The fingerprint of its vault signing key, lower-case hex.
    pub vault_fingerprint: String,
    /// Where its records are kept.
    pub region: String,
}

/// One consumer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Consumer {
    /// E.164 digits.
    pub phone_number: String,
    /// Its state file.
    pub state: PathBuf,
}

/// The operator's certificate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Tls {
    /// The authority, PEM.
    pub ca: PathBuf,
    /// PEM.
    pub operator_cert: PathBuf,
    /// PEM.
    pub operator_key: PathBuf,
}

/// The gateway's public face.
#[derive(Clone, Serialize, Deserialize)]
pub struct Gateway {
    /// A URL.
    pub url: String,
    /// Every gateway's, that one included.
    pub urls: Vec<String>,
    /// The business's access token.
    pub token: String,
}

/// The relay's public face.
#[derive(Clone, Serialize, Deserialize)]
pub struct Relay {
    /// A URL.
    pub url: String,
    /// Every relay's, that one included.
    pub urls: Vec<String>,
    /// Where registration codes are written, one JSON object a line.
    pub codes_file: PathBuf,
}

impl RunningService {
    /// Its pid, when its process runs.
    pub fn running(&self) -> Option<u32> {
        self.pid.filter(|pid| process::runs_as(*pid, &self.argv))
    }
}

impl RunFile {
    /// Reads it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| {
            format!(
                "no suite at {}: start one with `sealpost up`",
                path.display()
            )
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Replaces it at once.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        files::write(path, &serde_json::to_vec_pretty(self)?, Readers::Owner)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Changes it while no other process does.
    pub fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _lock = Lock::take(path)?;
        let mut run = Self::load(path)?;
        let answer = change(&mut run)?;
        run.save(path)?;
        Ok(answer)
    }

    /// The process of that name.
    pub fn service(&self, name: &str) -> anyhow::Result<&RunningService> {
        self.services.get(name).with_context(|| {
            let names: Vec<_> = self.services.keys().map(String::as_str).collect();
            format!(
                "this suite has no process named {name:?}; it has {}",
                names.join(", ")
            )
        })
    }

    /// The same, to change it.
    pub fn service_mut(&mut self, name: &str) -> anyhow::Result<&mut RunningService> {
        self.service(name)?;
        self.services
            .get_mut(name)
            .context("the process was there just now")
    }

    /// Every instance, in the order in which they start.
    pub fn instances(&self) -> Vec<Instance> {
        let names = self.services.keys();
        let mut instances: Vec<_> = names.filter_map(|name| name.parse().ok()).collect();
        instances.sort();
        instances
    }

    /// An instance of that service to call: the first that runs, or else the first.
    pub fn instance_of(&self, service: Service) -> anyhow::Result<&RunningService> {
        let instances = self.instances();
        let of_service = instances
            .iter()
            .filter(|instance| instance.service() == service)
            .filter_map(|instance| self.services.get(&instance.name()));
        of_service
            .clone()
            .find(|entry| entry.running().is_some())
            .or_else(|| of_service.clone().next())
            .with_context(|| format!("this suite has no {service}"))
    }
}

/// Held while `run.json` changes; the kernel lets go of it when the process ends.
struct Lock {
    _file: File,
}

impl Lock {
    fn take(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_extension("lock"))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self { _file: file })
    }
}
