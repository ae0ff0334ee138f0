//! A suite that `sealpost up` runs, as every other command finds it: its folder, its `run.json`, its clock.

use std::path::Path;

use anyhow::{Context, bail};
use sealpost_runtime::Clock;
use serde::Deserialize;

use crate::suite::layout::Layout;
use crate::suite::run_file::{Number, RunFile};
use crate::suite::service::Service;

/// The folder that commands look into when none is named.
pub const DEFAULT_FOLDER: &str = "sealpost-dev";

/// A running suite.
pub struct Running {
    /// Where things are.
    pub layout: Layout,
    /// What runs.
    pub run: RunFile,
}

impl Running {
    /// Finds it in its folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let layout = Layout::new(folder)?;
        let run = RunFile::load(&layout.run_file())?;
        Ok(Self { layout, run })
    }

    /// The time as the suite's services read it.
    pub fn clock(&self) -> anyhow::Result<Clock> {
        Ok(if self.follows_clock_file()? {
            Clock::with_offset_file(self.layout.clock_file())
        } else {
            Clock::system()
        })
    }

    /// Whether the suite was started with `--clock-file`.
    pub fn follows_clock_file(&self) -> anyhow::Result<bool> {
        #[derive(Deserialize)]
        struct Config {
            clock_file: Option<String>,
        }
        let path = &self.run.instance_of(Service::KeyVault)?.config;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let config: Config =
            toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(config.clock_file.is_some())
    }

    /// Where a service keeps its database. It may hold a password.
    pub fn database_url(&self, service: Service) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Database {
            Url(String),
            Table { url: String },
        }
        #[derive(Deserialize)]
        struct Config {
            database: Database,
        }
        let path = &self.run.instance_of(service)?.config;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let config: Config =
            toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(match config.database {
            Database::Url(url) | Database::Table { url } => url,
        })
    }

    /// The number with that id, or the first one.
    pub fn number(&self, phone_number_id: Option<&str>) -> anyhow::Result<&Number> {
        let Some(wanted) = phone_number_id else {
            return self.run.numbers.first().context("this suite has no number");
        };
        let found = self
            .run
            .numbers
            .iter()
            .find(|number| number.phone_number_id == wanted);
        match found {
            Some(number) => Ok(number),
            None => {
                let ids: Vec<_> = self
                    .run
                    .numbers
                    .iter()
                    .take(10)
                    .map(|number| number.phone_number_id.as_str())
                    .collect();
                bail!(
                    "this suite has no number {wanted}: its numbers begin with {}",
                    ids.join(", ")
                )
            }
        }
    }
}

/// `host:port` of each URL, with commas between: a public face and its replicas.
pub fn host_ports(urls: &[String]) -> String {
    let bare: Vec<_> = urls.iter().map(|url| host_port(url)).collect();
    bare.join(",")
}

/// Takes the scheme off a URL: `host:port` is left.
pub fn host_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_what_a_url_has_after_its_scheme() {
        assert_eq!(host_port("https://127.0.0.1:7443"), "127.0.0.1:7443");
        assert_eq!(host_port("http://localhost:1/"), "localhost:1");
        assert_eq!(host_port("[::1]:9"), "[::1]:9");
    }
}
