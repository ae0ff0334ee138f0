//! The configuration of each service of a suite, as TOML.

use std::path::PathBuf;

use anyhow::Context;
use toml::{Table, Value, toml};

use super::facts::Facts;
use super::layout::Layout;
use super::ports::Ports;
use super::service::Service;
use crate::files::{self, Readers};

/// What the caller of `up` may choose.
#[derive(Clone)]
pub struct Choices {
    /// Messages a second for each number; 0 means no limit.
    pub rate_limit: u32,
    /// Where webhooks go.
    pub webhook: Option<String>,
    /// Whether clocks follow the folder's clock file.
    pub clock_file: bool,
    /// The folder of every service's SQLite file; each service's own folder when absent.
    pub databases: Option<PathBuf>,
}

/// Writes configurations of one suite.
pub struct Configs<'a> {
    /// Its folder.
    pub layout: &'a Layout,
    /// Its addresses.
    pub ports: &'a Ports,
    /// What the caller chose.
    pub choices: &'a Choices,
}

impl Configs<'_> {
    /// The relay's public bundle key, hex: the vault verifies bundles with it.
    pub fn write_vault(&self, relay_bundle_key: &str) -> anyhow::Result<()> {
        let mut config = self.base(Service::KeyVault)?;
        let data = self.layout.data(Service::KeyVault);
        config.insert("root_key".to_owned(), path(&data.join("root.key")));
        config.insert("keyring".to_owned(), path(&data.join("keyring")));
        config.insert(
            "relay_bundle_keys".to_owned(),
            Value::Array(vec![relay_bundle_key.into()]),
        );
        self.write(Service::KeyVault, &config)
    }

    /// The directory's.
    pub fn write_directory(&self) -> anyhow::Result<()> {
        self.write(Service::Directory, &self.base(Service::Directory)?)
    }

    /// The store's.
    pub fn write_store(&self) -> anyhow::Result<()> {
        let mut config = self.base(Service::Store)?;
        config.insert(
            "peers".to_owned(),
            self.peers(&[("vault", Service::KeyVault)])?,
        );
        self.write(Service::Store, &config)
    }

    /// The relay's.
    pub fn write_relay(&self) -> anyhow::Result<()> {
        let mut config = self.base(Service::Relay)?;
        let data = self.layout.data(Service::Relay);
        config.insert("bundle_key".to_owned(), path(&data.join("bundle.key")));
        let mut codes = Table::new();
        codes.insert("file".to_owned(), path(&self.layout.codes_file()));
        // Many consumers register from one machine here.
        codes.insert("requests_per_source".to_owned(), Value::Integer(1_000_000));
        config.insert("codes".to_owned(), Value::Table(codes));
        config.insert("public".to_owned(), self.public(Service::Relay)?);
        self.write(Service::Relay, &config)
    }

    /// Retention's.
    pub fn write_retention(&self) -> anyhow::Result<()> {
        let mut config = self.base(Service::Retention)?;
        let peer = |service| self.peer(service);
        let mut peers = Table::new();
        peers.insert("vault".to_owned(), peer(Service::KeyVault)?);
        peers.insert(
            "stores".to_owned(),
            Value::Array(vec![peer(Service::Store)?]),
        );
        peers.insert(
            "relays".to_owned(),
            Value::Array(vec![peer(Service::Relay)?]),
        );
        config.insert("peers".to_owned(), Value::Table(peers));
        self.write(Service::Retention, &config)
    }

    /// The gateway's.
    pub fn write_gateway(&self) -> anyhow::Result<()> {
        let mut config = self.base(Service::Gateway)?;
        config.remove("database");
        let peers = [
            ("vault", Service::KeyVault),
            ("store", Service::Store),
            ("directory", Service::Directory),
            ("relay", Service::Relay),
        ];
        config.insert("peers".to_owned(), self.peers(&peers)?);
        config.insert("public".to_owned(), self.public(Service::Gateway)?);
        let mut limits = Table::new();
        limits.insert(
            "messages_per_second".to_owned(),
            Value::Integer(self.choices.rate_limit.into()),
        );
        config.insert("limits".to_owned(), Value::Table(limits));
        self.write(Service::Gateway, &config)
    }

    /// The connector's, once the business has numbers and a token.
    pub fn write_connector(&self, facts: &Facts) -> anyhow::Result<()> {
        let mut config = self.base(Service::Connector)?;
        config.remove("server");
        let data = self.layout.data(Service::Connector);
        let business = self.layout.business();
        let secret = |name: &str, text: &str| -> anyhow::Result<Value> {
            let file = data.join(name);
            files::write(&file, text.as_bytes(), Readers::Owner)?;
            Ok(path(&file))
        };
        let ports = self.ports.of(Service::Gateway)?;

        let mut gateway = Table::new();
        gateway.insert(
            "address".to_owned(),
            ports
                .public
                .context("the gateway has a public face")?
                .to_string()
                .into(),
        );
        gateway.insert("ca".to_owned(), path(&self.layout.pki().join("ca.pem")));
        let token = facts
            .gateway_token
            .as_deref()
            .context("the gateway token is issued")?;
        gateway.insert("token_file".to_owned(), secret("gateway.token", token)?);
        config.insert("gateway".to_owned(), Value::Table(gateway));

        let mut keys = Table::new();
        keys.insert("hpke_key".to_owned(), path(&business.join("hpke.key")));
        keys.insert(
            "signing_key".to_owned(),
            path(&business.join("signing.key")),
        );
        keys.insert(
            "message_id_key".to_owned(),
            path(&business.join("message-id.key")),
        );
        config.insert("business".to_owned(), Value::Table(keys));

        let mut numbers = Vec::new();
        for number in &facts.numbers {
            let mut entry = Table::new();
            entry.insert(
                "phone_number_id".to_owned(),
                number.phone_number_id.clone().into(),
            );
            entry.insert(
                "phone_number".to_owned(),
                number.phone_number.clone().into(),
            );
            let fingerprint = number
                .vault_fingerprint
                .clone()
                .context("the number is provisioned")?;
            entry.insert("vault_fingerprint".to_owned(), fingerprint.into());
            numbers.push(Value::Table(entry));
        }
        config.insert("numbers".to_owned(), Value::Array(numbers));

        let mut http = Table::new();
        http.insert(
            "listen".to_owned(),
            self.ports.of(Service::Connector)?.main.to_string().into(),
        );
        http.insert(
            "token_file".to_owned(),
            secret("rest.token", &facts.rest_token)?,
        );
        config.insert("http".to_owned(), Value::Table(http));

        let mut webhook = Table::new();
        if let Some(url) = &self.choices.webhook {
            webhook.insert("url".to_owned(), url.clone().into());
        }
        webhook.insert(
            "app_secret_file".to_owned(),
            secret("app-secret", &facts.app_secret)?,
        );
        webhook.insert(
            "verify_token_file".to_owned(),
            secret("verify-token", &facts.verify_token)?,
        );
        config.insert("webhook".to_owned(), Value::Table(webhook));
        config.insert("queue_key".to_owned(), path(&data.join("queue.key")));
        self.write(Service::Connector, &config)
    }

    fn base(&self, service: Service) -> anyhow::Result<Table> {
        let ports = self.ports.of(service)?;
        let mut config = toml! {
            development = true

            [log]
            format = "json"
        };
        if self.choices.clock_file {
            config.insert("clock_file".to_owned(), path(&self.layout.clock_file()));
        }
        let own = self.layout.data(service);
        let folder = self.choices.databases.as_deref().unwrap_or(&own);
        let database = folder.join(format!("{service}.db"));
        config.insert(
            "database".to_owned(),
            format!("sqlite://{}", database.display()).into(),
        );
        let mut metrics = Table::new();
        metrics.insert("listen".to_owned(), ports.metrics.to_string().into());
        config.insert("metrics".to_owned(), Value::Table(metrics));
        if let Some(role) = service.role() {
            let issued = self.layout.certificates(service.name());
            let mut tls = Table::new();
            tls.insert(
                "certificate".to_owned(),
                path(&issued.join(format!("{role}.pem"))),
            );
            tls.insert(
                "private_key".to_owned(),
                path(&issued.join(format!("{role}.key"))),
            );
            tls.insert("ca".to_owned(), path(&self.layout.pki().join("ca.pem")));
            tls.insert("crl".to_owned(), path(&self.layout.pki().join("crl.pem")));
            let mut server = Table::new();
            server.insert("listen".to_owned(), ports.main.to_string().into());
            server.insert("tls".to_owned(), Value::Table(tls));
            config.insert("server".to_owned(), Value::Table(server));
        }
        Ok(config)
    }

    fn public(&self, service: Service) -> anyhow::Result<Value> {
        let issued = self.layout.certificates(service.name());
        let listen = self
            .ports
            .of(service)?
            .public
            .context("the service has a public face")?;
        let mut tls = Table::new();
        tls.insert("certificate".to_owned(), path(&issued.join("public.pem")));
        tls.insert("private_key".to_owned(), path(&issued.join("public.key")));
        let mut public = Table::new();
        public.insert("listen".to_owned(), listen.to_string().into());
        public.insert("tls".to_owned(), Value::Table(tls));
        Ok(Value::Table(public))
    }

    fn peers(&self, peers: &[(&str, Service)]) -> anyhow::Result<Value> {
        let mut table = Table::new();
        for (name, service) in peers {
            table.insert((*name).to_owned(), self.peer(*service)?);
        }
        Ok(Value::Table(table))
    }

    fn peer(&self, service: Service) -> anyhow::Result<Value> {
        let mut peer = Table::new();
        peer.insert(
            "address".to_owned(),
            self.ports.of(service)?.main.to_string().into(),
        );
        peer.insert(
            "role".to_owned(),
            service
                .role()
                .context("the peer has a role")?
                .as_str()
                .into(),
        );
        Ok(Value::Table(peer))
    }

    fn write(&self, service: Service, config: &Table) -> anyhow::Result<()> {
        let path = self.layout.config(service);
        let text = toml::to_string(config)?;
        files::write(&path, text.as_bytes(), Readers::Owner)
            .with_context(|| path.display().to_string())
    }
}

fn path(path: &std::path::Path) -> Value {
    Value::String(path.display().to_string())
}
