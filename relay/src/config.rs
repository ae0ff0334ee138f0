//! The relay's settings.

use std::path::PathBuf;

use sealpost_database::DatabaseConfig;
use sealpost_runtime::config::{
    ClockConfig, LogConfig, MetricsConfig, PublicServerConfig, ServerConfig,
};
use serde::Deserialize;

/// What the TOML file holds; unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Config {
    /// What time it is: `development` and `clock_file` at the top of the file.
    pub clock: ClockConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Where metrics are read; nowhere when absent.
    pub metrics: Option<MetricsConfig>,
    /// The platform face, between services.
    pub server: ServerConfig,
    /// The device face, towards the public.
    pub public: PublicServerConfig,
    /// Where the tables are.
    pub database: DatabaseConfig,
    /// The file of the bundle key.
    pub bundle_key: PathBuf,
    /// How verification codes are sent, and how many.
    pub codes: CodesConfig,
    /// Bounds of the queues.
    pub limits: LimitsConfig,
}

/// How verification codes are sent, and how many.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct CodesConfig {
    /// For development: a private file that gets one JSON object a line.
    pub file: Option<PathBuf>,
    /// The operator's own command and its arguments; it gets one JSON object on its standard input.
    #[serde(default)]
    pub command: Vec<String>,
    /// Codes for one phone number an hour.
    #[serde(default = "five")]
    pub requests_per_number: u32,
    /// Codes and registrations from one source an hour, each: an IPv4 address, or an IPv6 network of 64 bits.
    #[serde(default = "sixty")]
    pub requests_per_source: u32,
}

/// Bounds of the queues, and of codes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Messages that may wait for one device.
    pub device_queue: u64,
    /// Items that may wait for the gateway, of one number.
    pub number_queue: u64,
    /// As in [`CodesConfig`], which sets it.
    #[serde(skip)]
    pub codes_per_number: u32,
    /// As in [`CodesConfig`], which sets it.
    #[serde(skip)]
    pub codes_per_source: u32,
    /// Bundles with prekeys that one device may fetch an hour, so that none empties a number's prekeys.
    pub bundles_per_device: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            device_queue: 100_000,
            number_queue: 100_000,
            codes_per_number: five(),
            codes_per_source: sixty(),
            bundles_per_device: 60,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    development: bool,
    #[serde(default)]
    clock_file: Option<PathBuf>,
    #[serde(default)]
    log: LogConfig,
    metrics: Option<MetricsConfig>,
    server: ServerConfig,
    public: PublicServerConfig,
    database: DatabaseConfig,
    bundle_key: PathBuf,
    codes: CodesConfig,
    #[serde(default)]
    limits: LimitsConfig,
}

impl TryFrom<Raw> for Config {
    type Error = &'static str;

    fn try_from(raw: Raw) -> Result<Self, Self::Error> {
        if raw.clock_file.is_some() && !raw.development {
            return Err("clock_file needs development = true");
        }
        match (&raw.codes.file, raw.codes.command.first()) {
            (Some(_), None) if !raw.development => {
                return Err("codes.file needs development = true");
            }
            (Some(_), None) => {}
            (None, Some(program)) if !program.starts_with('/') => {
                return Err("codes.command names its program by an absolute path");
            }
            (None, Some(_)) => {}
            _ => return Err("codes has either file or command"),
        }
        Ok(Self {
            clock: ClockConfig {
                development: raw.development,
                clock_file: raw.clock_file,
            },
            log: raw.log,
            metrics: raw.metrics,
            server: raw.server,
            public: raw.public,
            database: raw.database,
            bundle_key: raw.bundle_key,
            limits: LimitsConfig {
                codes_per_number: raw.codes.requests_per_number,
                codes_per_source: raw.codes.requests_per_source,
                ..raw.limits
            },
            codes: raw.codes,
        })
    }
}

fn five() -> u32 {
    5
}

fn sixty() -> u32 {
    60
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config(codes: &str, top: &str) -> Result<Config, toml::de::Error> {
        let text = format!(
            "{top}
            database = 'sqlite:///var/lib/relay.db'
            bundle_key = '/etc/bundle.key'
            [server]
            listen = '127.0.0.1:1'
            [server.tls]
            certificate = 'c'
            private_key = 'k'
            ca = 'a'
            [public]
            listen = '127.0.0.1:2'
            [public.tls]
            certificate = 'c'
            private_key = 'k'
            [codes]
            {codes}"
        );
        toml::from_str(&text)
    }

    #[test]
    fn the_file_of_codes_is_for_development_only() {
        assert!(
            config("file = 'codes'", "")
                .unwrap_err()
                .to_string()
                .contains("development")
        );
        assert!(config("file = 'codes'", "development = true").is_ok());
    }

    #[test]
    fn there_is_one_way_to_send_codes() {
        let command = "command = ['/usr/bin/sms', '--now']";
        assert_eq!(config(command, "").unwrap().codes.command.len(), 2);
        assert!(config("", "development = true").is_err());
        assert!(config("command = ['sms']", "").is_err());
        assert!(config(&format!("{command}\nfile = 'codes'"), "development = true").is_err());
    }

    #[test]
    fn the_limits_on_codes_are_set_beside_their_sender() {
        let config = config("command = ['/sms']\nrequests_per_number = 9", "").unwrap();
        assert_eq!(config.limits.codes_per_number, 9);
        assert_eq!(config.limits.codes_per_source, 60);
        assert_eq!(config.limits.device_queue, 100_000);
    }
}
