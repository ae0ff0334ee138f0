//! The connector's configuration, and the files of secrets that it names.

use anyhow::Context;
use toml::{Table, Value};

use super::{Configs, path};
use crate::files::{self, Readers};
use crate::suite::facts::Facts;
use crate::suite::instance::Instance;
use crate::suite::service::Service;

impl Configs<'_> {
    /// The connector's, once the business has numbers and a token.
    pub fn write_connector(&self, facts: &Facts) -> anyhow::Result<()> {
        let instance = Instance::from(Service::Connector);
        let mut config = self.base(&instance)?;
        let data = self.layout.data(&instance);
        let business = self.layout.business();
        let secret = |name: &str, text: &str| -> anyhow::Result<Value> {
            let file = data.join(name);
            files::write(&file, text.as_bytes(), Readers::Owner)?;
            Ok(path(&file))
        };

        let mut gateway = Table::new();
        let gateways = self.ports.publics_of(self.roster, Service::Gateway)?;
        let gateways: Vec<_> = gateways.iter().map(ToString::to_string).collect();
        gateway.insert("address".to_owned(), gateways.join(",").into());
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
        let listen = self.ports.of(&instance)?.main;
        http.insert("listen".to_owned(), listen.to_string().into());
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
        self.save(&instance, &config)
    }
}
