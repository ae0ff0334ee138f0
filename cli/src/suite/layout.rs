//! Where things are in a suite's folder.

use std::path::{Path, PathBuf};

use super::instance::Instance;
use super::service::Service;

/// The folder of a suite, as an absolute path.
#[derive(Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Names the folder; it need not exist.
    pub fn new(root: &Path) -> std::io::Result<Self> {
        Ok(Self {
            root: std::path::absolute(root)?,
        })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What runs, and where (docs: README, "run.json").
    pub fn run_file(&self) -> PathBuf {
        self.root.join("run.json")
    }

    /// What the folder has been provisioned with.
    pub fn facts_file(&self) -> PathBuf {
        self.root.join("suite.json")
    }

    /// Ports, picked once.
    pub fn ports_file(&self) -> PathBuf {
        self.root.join("ports.json")
    }

    /// What the suite has on a PostgreSQL server, passwords and all.
    pub fn databases_file(&self) -> PathBuf {
        self.root.join("databases.json")
    }

    /// The development authority.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Certificates and private keys of one instance or person.
    pub fn certificates(&self, owner: &str) -> PathBuf {
        self.root.join("pki").join("issued").join(owner)
    }

    /// An instance's configuration.
    pub fn config(&self, instance: &Instance) -> PathBuf {
        self.root.join("config").join(format!("{instance}.toml"))
    }

    /// An instance's own folder: its SQLite file and whatever else it keeps.
    pub fn data(&self, instance: &Instance) -> PathBuf {
        self.root.join("data").join(instance.name())
    }

    /// The folder of a service's first instance: it has what all of them share, keys above all.
    pub fn shared(&self, service: Service) -> PathBuf {
        self.data(&service.into())
    }

    /// An instance's log.
    pub fn log(&self, instance: &Instance) -> PathBuf {
        self.root.join("logs").join(format!("{instance}.log"))
    }

    /// The business's own keys.
    pub fn business(&self) -> PathBuf {
        self.root.join("business")
    }

    /// Consumers' state files.
    pub fn consumers(&self) -> PathBuf {
        self.root.join("consumers")
    }

    /// Where the development code sender writes.
    pub fn codes_file(&self) -> PathBuf {
        self.shared(Service::Relay).join("codes.jsonl")
    }

    /// Seconds to add to every clock, in development.
    pub fn clock_file(&self) -> PathBuf {
        self.root.join("clock")
    }
}
