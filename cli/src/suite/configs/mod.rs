//! The configuration of each instance of a suite, as TOML.

mod connector;
mod services;

use std::path::Path;

use anyhow::Context;
use sealpost_runtime::Role;
use toml::{Table, Value, toml};

use super::databases::{Asked, Databases};
use super::instance::{Group, Instance};
use super::layout::Layout;
use super::ports::Ports;
use super::roster::Roster;
use super::service::Service;
use crate::files::{self, Readers};
use crate::pki::Identity;

/// What the caller of `up` may choose.
#[derive(Clone)]
pub struct Choices {
    /// Messages a second for each number; 0 means no limit.
    pub rate_limit: u32,
    /// Where webhooks go.
    pub webhook: Option<String>,
    /// Whether clocks follow the folder's clock file.
    pub clock_file: bool,
    /// Where the databases are, when that was said.
    pub database: Option<Asked>,
    /// Whether services refuse a server that names no synchronous standby.
    pub require_synchronous_standby: bool,
}

/// Writes configurations of one suite.
pub struct Configs<'a> {
    /// Its folder.
    pub layout: &'a Layout,
    /// Its processes.
    pub roster: &'a Roster,
    /// Its addresses.
    pub ports: &'a Ports,
    /// Its databases.
    pub databases: &'a Databases,
    /// What the caller chose.
    pub choices: &'a Choices,
}

impl Configs<'_> {
    /// What every configuration has.
    fn base(&self, instance: &Instance) -> anyhow::Result<Table> {
        let ports = self.ports.of(instance)?;
        let mut config = toml! {
            development = true

            [log]
            format = "json"
        };
        if self.choices.clock_file {
            config.insert("clock_file".to_owned(), path(&self.layout.clock_file()));
        }
        if instance.service().has_database() {
            let url = self.databases.url(self.layout, instance)?;
            config.insert("database".to_owned(), self.database(url));
        }
        let mut metrics = Table::new();
        metrics.insert("listen".to_owned(), ports.metrics.to_string().into());
        config.insert("metrics".to_owned(), Value::Table(metrics));
        if let Some(role) = instance.service().role() {
            let mut server = Table::new();
            server.insert("listen".to_owned(), ports.main.to_string().into());
            server.insert("tls".to_owned(), self.tls(instance, role));
            config.insert("server".to_owned(), Value::Table(server));
        }
        Ok(config)
    }

    fn database(&self, url: String) -> Value {
        if !self.choices.require_synchronous_standby {
            return url.into();
        }
        let mut table = Table::new();
        table.insert("url".to_owned(), url.into());
        table.insert("require_synchronous_standby".to_owned(), true.into());
        Value::Table(table)
    }

    fn tls(&self, instance: &Instance, role: Role) -> Value {
        let name = instance.name();
        let issued = Identity::in_folder(role, Some(&name), &self.layout.certificates(&name));
        let mut tls = Table::new();
        tls.insert("certificate".to_owned(), path(&issued.certificate));
        tls.insert("private_key".to_owned(), path(&issued.private_key));
        tls.insert("ca".to_owned(), path(&self.layout.pki().join("ca.pem")));
        tls.insert("crl".to_owned(), path(&self.layout.pki().join("crl.pem")));
        Value::Table(tls)
    }

    fn public(&self, instance: &Instance) -> anyhow::Result<Value> {
        let issued = self.layout.certificates(&instance.name());
        let mut tls = Table::new();
        tls.insert("certificate".to_owned(), path(&issued.join("public.pem")));
        tls.insert("private_key".to_owned(), path(&issued.join("public.key")));
        let mut public = Table::new();
        let listen = self.ports.public_of(instance)?;
        public.insert("listen".to_owned(), listen.to_string().into());
        public.insert("tls".to_owned(), Value::Table(tls));
        Ok(Value::Table(public))
    }

    /// A service that has one deployment, as others call it.
    fn peer_of(&self, service: Service) -> anyhow::Result<Value> {
        self.replicas_of(&service.into())
    }

    /// A group as others call it: a table for one instance, an array of tables for several.
    fn replicas_of(&self, group: &Group) -> anyhow::Result<Value> {
        let instances = self.roster.instances_of(group);
        let peers = instances.iter().map(|instance| self.peer(instance));
        let mut peers: Vec<_> = peers.collect::<Result<_, _>>()?;
        Ok(match peers.len() {
            1 => peers.remove(0),
            _ => Value::Array(peers),
        })
    }

    fn peer(&self, instance: &Instance) -> anyhow::Result<Value> {
        let role = instance.service().role().context("a peer has a role")?;
        let mut peer = Table::new();
        let address = self.ports.of(instance)?.main;
        peer.insert("address".to_owned(), address.to_string().into());
        peer.insert("role".to_owned(), role.as_str().into());
        peer.insert("name".to_owned(), instance.name().into());
        Ok(Value::Table(peer))
    }

    fn save(&self, instance: &Instance, config: &Table) -> anyhow::Result<()> {
        let path = self.layout.config(instance);
        let text = toml::to_string(config)?;
        files::write(&path, text.as_bytes(), Readers::Owner)
            .with_context(|| path.display().to_string())
    }
}

fn path(path: &Path) -> Value {
    Value::String(path.display().to_string())
}
