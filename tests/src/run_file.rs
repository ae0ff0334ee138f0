//! `run.json` as a stranger reads it (README, "run.json").

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
pub struct RunFile {
    /// Processes by name.
    pub services: BTreeMap<String, Service>,
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
    /// The relay's device face.
    pub relay: Relay,
}

/// One process.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Service {
    pub service: String,
    pub region: Option<String>,
    pub pid: Option<u32>,
    pub argv: Vec<String>,
    pub config: PathBuf,
    pub grpc: Option<String>,
    pub public: Option<String>,
    pub metrics: String,
    pub data: PathBuf,
    pub log: PathBuf,
}

/// The REST face.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Connector {
    pub url: String,
    pub token: String,
    pub app_secret: String,
    pub verify_token: String,
    pub webhook_url: Option<String>,
}

/// The first business.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Business {
    pub id: String,
    pub hpke_private_key: PathBuf,
    pub signing_private_key: PathBuf,
    pub vault_fingerprint: String,
}

/// One number.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Number {
    pub phone_number_id: String,
    pub phone_number: String,
    pub region: String,
    pub vault_fingerprint: String,
}

/// One consumer.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Consumer {
    pub phone_number: String,
    pub state: PathBuf,
}

/// The operator's certificate.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Tls {
    pub ca: PathBuf,
    pub operator_cert: PathBuf,
    pub operator_key: PathBuf,
}

/// The gateway's public face.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Gateway {
    pub url: String,
    pub urls: Vec<String>,
    pub token: String,
}

/// The relay's device face.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as in the README")]
pub struct Relay {
    pub url: String,
    pub urls: Vec<String>,
    pub codes_file: PathBuf,
}

impl Relay {
    /// `host:port` of each, with commas between.
    #[must_use]
    pub fn addresses(&self) -> String {
        self.urls.join(",").replace("https://", "")
    }
}

impl RunFile {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not there, or not of this shape.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} does not read", path.display()))
    }

    /// The service of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, name: &str) -> anyhow::Result<&Service> {
        self.services
            .get(name)
            .with_context(|| format!("run.json names no {name}"))
    }

    /// The `host:port` of a service's mTLS face.
    ///
    /// # Errors
    /// When it has none.
    pub fn grpc(&self, name: &str) -> anyhow::Result<&str> {
        self.service(name)?
            .grpc
            .as_deref()
            .with_context(|| format!("{name} has no mTLS face"))
    }

    /// The `host:port` of a service's public face.
    ///
    /// # Errors
    /// When it has none.
    pub fn public(&self, name: &str) -> anyhow::Result<&str> {
        self.service(name)?
            .public
            .as_deref()
            .with_context(|| format!("{name} has no public face"))
    }
}
