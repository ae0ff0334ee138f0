//! What an operator sets: a TOML file, the environment, `--set` (`sealpost_runtime::config`).
//!
//! Owns the names of the settings and what contradicts what. Secrets are never settings: a setting names the file, which
//! only its owner may read.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use reqwest::Url;
use sealpost_connector_sdk::{Fingerprint, KeyFiles, NumberId, Peer, Pins};
use sealpost_database::DatabaseConfig;
use sealpost_runtime::config::{ClockConfig, HostPorts, LogConfig, MetricsConfig, PublicTlsConfig};
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This deployment may move its clock.
    #[serde(default)]
    pub development: bool,
    /// A file with the seconds to add to the time; only with `development`.
    #[serde(default)]
    pub clock_file: Option<PathBuf>,
    /// The queue's database, such as `sqlite:///var/lib/sealpost/connector/queue.db`.
    pub database: DatabaseConfig,
    /// The key that seals the queue: 32 bytes, made on the first start. Without it the queue cannot be opened.
    pub queue_key: PathBuf,
    /// Where the gateway is.
    pub gateway: GatewayConfig,
    /// The business's own keys.
    pub business: BusinessConfig,
    /// The numbers it acts for.
    pub numbers: Vec<NumberConfig>,
    /// The REST face.
    pub http: HttpConfig,
    /// Where events go.
    pub webhook: WebhookConfig,
    /// Prometheus text.
    #[serde(default)]
    pub metrics: Option<MetricsConfig>,
    /// Log lines.
    #[serde(default)]
    pub log: LogConfig,
}

/// The gateway's public face.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where it listens: `host:port`, or one for each replica, separated by commas.
    pub address: HostPorts,
    /// PEM file of the authority that signs its certificate.
    pub ca: PathBuf,
    /// The business's token, as text.
    pub token_file: PathBuf,
}

/// The business and its keys, 32 raw bytes in each file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessConfig {
    /// The account's id as webhooks show it (`entry[].id`).
    #[serde(default = "no_account")]
    pub account_id: String,
    /// Seed of the HPKE key.
    pub hpke_key: PathBuf,
    /// Seed of the Ed25519 signing key.
    pub signing_key: PathBuf,
    /// Key of the message ids; made on the first start. With another key, retries of old requests are new messages.
    pub message_id_key: PathBuf,
}

impl BusinessConfig {
    /// Where the SDK finds the keys.
    #[must_use]
    pub fn key_files(&self) -> KeyFiles {
        KeyFiles {
            hpke_key: self.hpke_key.clone(),
            signing_key: self.signing_key.clone(),
            message_id_key: self.message_id_key.clone(),
        }
    }
}

/// One of the business's numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberConfig {
    /// Its id.
    #[serde(deserialize_with = "parsed")]
    pub phone_number_id: NumberId,
    /// The number itself, E.164 digits without a plus; webhooks show it as `display_phone_number`.
    #[serde(deserialize_with = "peer")]
    pub phone_number: Peer,
    /// SHA-256 of the number's vault signing key in lowercase hex, from the operator by another way than the gateway.
    #[serde(deserialize_with = "parsed")]
    pub vault_fingerprint: Fingerprint,
}

/// The REST face.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The token that callers present, as text.
    pub token_file: PathBuf,
    /// Serve HTTPS with this certificate; without it, plain HTTP.
    #[serde(default)]
    pub tls: Option<PublicTlsConfig>,
    /// Lets plain HTTP be reachable from other machines, for a proxy that speaks TLS in front.
    #[serde(default)]
    pub allow_remote: bool,
    /// How long one request may try to get its message accepted, in seconds.
    #[serde(default = "twenty")]
    pub send_deadline_seconds: u64,
}

/// Where events go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The business's app. Without it events are not fetched and wait at the gateway.
    #[serde(default, deserialize_with = "url")]
    pub url: Option<Url>,
    /// The secret of `X-Hub-Signature-256`, as text.
    pub app_secret_file: PathBuf,
    /// The token that the app checks when the webhook is verified, as text.
    pub verify_token_file: PathBuf,
    /// PEM file of a private authority that signs the app's certificate; otherwise the public ones count.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Lets events travel over plain HTTP to another machine.
    #[serde(default)]
    pub allow_insecure: bool,
    /// Name of the subscription at the gateway, 1 to 64 of `[a-z0-9._-]`. Each connector needs a name of its own: under one name only
    /// the newest stream is served.
    #[serde(default = "connector")]
    pub subscription: String,
}

/// Why a configuration that parses cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Contradiction {
    #[error("clock_file needs development = true")]
    ClockFile,
    #[error("numbers: at least one")]
    NoNumbers,
    #[error("numbers: {0} stands there twice")]
    NumberTwice(NumberId),
    #[error("http.listen beyond loopback needs http.tls, or http.allow_remote = true")]
    RemoteHttp,
    #[error(
        "webhook.url must be https, or http to this machine, or http with webhook.allow_insecure = true"
    )]
    InsecureWebhook,
    #[error("webhook.subscription must be 1 to 64 of [a-z0-9._-]")]
    SubscriptionName,
}

impl Config {
    /// Looks for contradictions between settings.
    ///
    /// # Errors
    /// The first that was found.
    pub fn check(&self) -> Result<(), Contradiction> {
        if self.clock_file.is_some() && !self.development {
            return Err(Contradiction::ClockFile);
        }
        if self.numbers.is_empty() {
            return Err(Contradiction::NoNumbers);
        }
        let mut known = BTreeSet::new();
        for number in &self.numbers {
            if !known.insert(&number.phone_number_id) {
                let id = number.phone_number_id.clone();
                return Err(Contradiction::NumberTwice(id));
            }
        }
        let http = &self.http;
        if !http.listen.ip().is_loopback() && http.tls.is_none() && !http.allow_remote {
            return Err(Contradiction::RemoteHttp);
        }
        self.webhook.check()
    }

    /// What time it is.
    #[must_use]
    pub fn clock(&self) -> ClockConfig {
        ClockConfig {
            development: self.development,
            clock_file: self.clock_file.clone(),
        }
    }

    /// The fingerprints that the SDK pins.
    #[must_use]
    pub fn pins(&self) -> Pins {
        self.numbers
            .iter()
            .map(|number| (number.phone_number_id.clone(), number.vault_fingerprint))
            .collect()
    }
}

impl WebhookConfig {
    fn check(&self) -> Result<(), Contradiction> {
        let name = self.subscription.as_bytes();
        let is_allowed =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
        if name.is_empty() || name.len() > 64 || !name.iter().all(is_allowed) {
            return Err(Contradiction::SubscriptionName);
        }
        match &self.url {
            Some(url) if !(is_private(url) || url.scheme() == "http" && self.allow_insecure) => {
                Err(Contradiction::InsecureWebhook)
            }
            _ => Ok(()),
        }
    }
}

/// Whether nobody on a network can read what is sent to `url`.
fn is_private(url: &Url) -> bool {
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some("localhost")) => true,
        ("http", Some(host)) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        _ => false,
    }
}

fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn peer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Peer, D::Error> {
    Peer::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    // The text may carry a password, so the error does not quote it.
    text.map(|text| text.parse().map_err(|_| de::Error::custom("not a URL")))
        .transpose()
}

fn no_account() -> String {
    "0".to_owned()
}

fn twenty() -> u64 {
    20
}

fn connector() -> String {
    "connector".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_runtime::{args::ServiceArgs, config};

    use super::*;

    fn sample() -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/connector.example.toml").into()
    }

    fn load(sets: &[&str]) -> Result<Config, String> {
        let args = ServiceArgs {
            config: Some(sample()),
            set: sets.iter().map(|set| (*set).to_owned()).collect(),
            ..ServiceArgs::default()
        };
        config::load("connector", &args).map_err(|error| error.to_string())
    }

    fn contradiction(sets: &[&str]) -> Contradiction {
        load(sets).unwrap().check().unwrap_err()
    }

    #[test]
    fn the_sample_is_read_and_has_no_contradiction() {
        let config = load(&[]).unwrap();
        config.check().unwrap();
        assert_eq!(config.pins().len(), 1);
        assert_eq!(config.webhook.subscription, "connector");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        assert!(load(&["http.tokn=x"]).unwrap_err().contains("tokn"));
    }

    #[test]
    fn plain_http_beyond_loopback_must_be_asked_for() {
        let remote = "http.listen=0.0.0.0:8080";
        assert_eq!(contradiction(&[remote]), Contradiction::RemoteHttp);
        load(&[remote, "http.allow_remote=true"])
            .unwrap()
            .check()
            .unwrap();
    }

    #[test]
    fn a_webhook_over_plain_http_stays_on_this_machine() {
        let remote = "webhook.url=http://app.example/hook";
        assert_eq!(contradiction(&[remote]), Contradiction::InsecureWebhook);
        for fine in [
            "http://127.0.0.1:1/h",
            "http://[::1]:1/h",
            "http://localhost/h",
        ] {
            load(&[&format!("webhook.url={fine}")])
                .unwrap()
                .check()
                .unwrap();
        }
    }

    #[test]
    fn a_fingerprint_must_be_one() {
        let error = load(&[
            "numbers=[{phone_number_id=\"1\",phone_number=\"15551234567\",vault_fingerprint=\"ab\"}]",
        ]);
        assert!(error.unwrap_err().contains("fingerprint"));
    }

    #[test]
    fn a_clock_file_is_for_development_only() {
        assert_eq!(contradiction(&["clock_file=/x"]), Contradiction::ClockFile);
    }

    #[test]
    fn a_url_that_is_none_is_not_quoted() {
        let error = load(&["webhook.url=not a url with hunter2"]).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
