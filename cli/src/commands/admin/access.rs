//! How `sealpost admin` reaches services: through the folder of a suite, or by named addresses and an operator's certificate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::Args;
use sealpost_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::retention::v1::retention_service_client::RetentionServiceClient;
use sealpost_proto::store::v1::store_service_client::StoreServiceClient;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_runtime::config::HostPort;
use sealpost_runtime::status::reason_of;
use sealpost_runtime::{Clock, Timestamp};
use tonic::Code;
use tonic::transport::Channel;

use crate::operator::{Operator, explain};
use crate::running::{DEFAULT_FOLDER, Running, host_port};
use crate::suite::instance::{Group, Instance};
use crate::suite::service::Service;

/// Where the services are, and the certificate to call them with.
#[derive(Args)]
#[command(next_help_heading = "Reaching the services")]
pub struct AccessArgs {
    /// Folder of a suite that `sealpost up` runs [default: sealpost-dev]
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Instead of --dir: where a service listens, as NAME=HOST:PORT (key-vault=10.0.0.7:7001), or HOST:PORT alone for a
    /// command that calls one service only
    #[arg(long = "address", global = true, value_name = "[NAME=]HOST:PORT")]
    addresses: Vec<Address>,
    /// With --address: the operator's certificate, PEM
    #[arg(long, global = true, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// With --address: its private key, PEM
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// With --address: the authority that signs the services' certificates, PEM
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// With --address: the authority's revocation list, PEM
    #[arg(long, global = true, value_name = "FILE")]
    crl: Option<PathBuf>,
}

/// Where one instance listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    instance: Option<Instance>,
    at: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (instance, at) = match text.split_once('=') {
            Some((name, at)) => (Some(name.parse()?), at),
            None => (None, text),
        };
        at.parse::<HostPort>().map_err(str::to_owned)?;
        Ok(Self {
            instance,
            at: at.to_owned(),
        })
    }
}

/// A way to the services.
pub struct Access {
    /// Calls them.
    pub operator: Operator,
    reached: Reached,
}

enum Reached {
    Suite(Box<Running>),
    Addresses(Vec<Address>),
}

impl AccessArgs {
    /// The folder that was named, for a command that `--address` is no use to.
    pub fn folder(&self) -> anyhow::Result<Option<&Path>> {
        ensure!(
            self.addresses.is_empty(),
            "this works on the folder of a suite: give --dir"
        );
        Ok(self.dir.as_deref())
    }

    /// Reads certificates and `run.json`.
    pub fn open(&self) -> anyhow::Result<Access> {
        let explicit = [&self.cert, &self.key, &self.ca, &self.crl]
            .iter()
            .any(|file| file.is_some())
            || !self.addresses.is_empty();
        if !explicit {
            let folder = self.dir.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER));
            let running = Running::open(folder)?;
            return Ok(Access {
                operator: Operator::of(&running.run)?,
                reached: Reached::Suite(Box::new(running)),
            });
        }
        ensure!(
            self.dir.is_none(),
            "give either --dir, or --address with --cert, --key and --ca"
        );
        let (Some(cert), Some(key), Some(ca)) = (&self.cert, &self.key, &self.ca) else {
            bail!("--address needs the operator's certificate: give --cert, --key and --ca");
        };
        ensure!(
            !self.addresses.is_empty(),
            "say where the services listen: --address NAME=HOST:PORT"
        );
        Ok(Access {
            operator: Operator::new(cert, key, ca, self.crl.as_deref())?,
            reached: Reached::Addresses(self.addresses.clone()),
        })
    }
}

impl Access {
    /// The suite, when it was reached by its folder.
    pub fn suite(&self) -> Option<&Running> {
        match &self.reached {
            Reached::Suite(running) => Some(running),
            Reached::Addresses(_) => None,
        }
    }

    /// The suite; `what` says what it is needed for.
    pub fn need_suite(&self, what: &str) -> anyhow::Result<&Running> {
        self.suite()
            .with_context(|| format!("{what} works on the folder of a suite: give --dir"))
    }

    /// Where an instance of that service listens, `host:port`: of several one that runs.
    pub fn address(&self, service: Service) -> anyhow::Result<String> {
        match &self.reached {
            Reached::Suite(running) => running
                .run
                .instance_of(service)?
                .grpc
                .clone()
                .with_context(|| format!("{service} has no mTLS face")),
            Reached::Addresses(addresses) => address_of(addresses, service),
        }
    }

    /// Instances whose address is known, and the address.
    pub fn known_instances(&self) -> anyhow::Result<Vec<(Instance, String)>> {
        let mut known = Vec::new();
        match &self.reached {
            Reached::Suite(running) => {
                for instance in running.run.instances() {
                    let entry = running.run.service(&instance.name())?;
                    let rest_face = || host_port(&running.run.connector.url).to_owned();
                    let address = entry.grpc.clone().unwrap_or_else(rest_face);
                    known.push((instance, address));
                }
            }
            Reached::Addresses(addresses) => {
                let named = addresses.iter().filter_map(|address| {
                    let instance = address.instance.clone()?;
                    Some((instance, address.at.clone()))
                });
                known.extend(named);
                known.sort();
            }
        }
        Ok(known)
    }

    /// The time as the services read it.
    pub fn now(&self) -> anyhow::Result<Timestamp> {
        Ok(match &self.reached {
            Reached::Suite(running) => running.clock()?.now(),
            Reached::Addresses(_) => Clock::system().now(),
        })
    }

    /// The directory.
    pub fn directory(&self) -> anyhow::Result<DirectoryServiceClient<Channel>> {
        self.operator.directory(&self.address(Service::Directory)?)
    }

    /// The key vault.
    pub fn vault(&self) -> anyhow::Result<KeyVaultServiceClient<Channel>> {
        self.operator.vault(&self.address(Service::KeyVault)?)
    }

    /// The relay's platform face.
    pub fn relay(&self) -> anyhow::Result<PlatformServiceClient<Channel>> {
        self.operator.relay(&self.address(Service::Relay)?)
    }

    /// A store of each region: of several that share a database one that runs.
    pub fn stores(&self) -> anyhow::Result<Vec<StoreServiceClient<Channel>>> {
        let mut chosen: BTreeMap<Group, (bool, String)> = BTreeMap::new();
        for (instance, address) in self.known_instances()? {
            if instance.service() != Service::Store {
                continue;
            }
            let runs = match self.suite() {
                Some(suite) => suite.run.service(&instance.name())?.running().is_some(),
                None => true,
            };
            let kept = chosen
                .entry(instance.group)
                .or_insert((runs, address.clone()));
            if runs && !kept.0 {
                *kept = (runs, address);
            }
        }
        if chosen.is_empty() {
            return Ok(vec![self.operator.store(&self.address(Service::Store)?)?]);
        }
        let addresses = chosen.values();
        addresses
            .map(|(_, address)| self.operator.store(address))
            .collect()
    }

    /// Retention.
    pub fn retention(&self) -> anyhow::Result<RetentionServiceClient<Channel>> {
        self.operator.retention(&self.address(Service::Retention)?)
    }
}

fn address_of(addresses: &[Address], service: Service) -> anyhow::Result<String> {
    let is_of = |instance: &Instance| instance.service() == service;
    let named = addresses
        .iter()
        .find(|address| address.instance.as_ref().is_some_and(is_of));
    // One address without a name is that of whatever is called.
    let found = match addresses {
        [only] if only.instance.is_none() => Some(only),
        _ => named,
    };
    found
        .map(|address| address.at.clone())
        .with_context(|| format!("where does {service} listen? Give --address {service}=HOST:PORT"))
}

/// Makes what a failed call to `service` says useful: what to do next.
pub fn failed(service: Service) -> impl Fn(tonic::Status) -> anyhow::Error {
    move |status| {
        let reason = reason_of(&status);
        let next = match status.code() {
            _ if reason.as_deref() == Some("SEALED") => {
                "it is sealed: unseal it with `sealpost admin vault unseal`"
            }
            _ if matches!(
                reason.as_deref(),
                Some("UNSEAL_REFUSED" | "PROVIDER_FAILED")
            ) =>
            {
                "it stays as it was"
            }
            Code::Unavailable | Code::DeadlineExceeded => {
                "it cannot be reached: see `sealpost admin status`, start it with `sealpost start`"
            }
            Code::PermissionDenied => "this certificate's role may not do it: use an operator's",
            Code::Unauthenticated => "it does not accept this certificate",
            _ => "it refused",
        };
        explain(&status).context(format!("{service}: {next}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_found_by_its_service() {
        let known = addresses(&["key-vault=vault.internal:7001", "relay=[::1]:7002"]);
        assert_eq!(
            address_of(&known, Service::KeyVault).unwrap(),
            "vault.internal:7001"
        );
        assert_eq!(address_of(&known, Service::Relay).unwrap(), "[::1]:7002");
        let missing = address_of(&known, Service::Directory).unwrap_err();
        assert!(missing.to_string().contains("--address directory="));
    }

    #[test]
    fn one_address_without_a_name_serves_any_service_and_two_do_not() {
        let one = addresses(&["localhost:1"]);
        assert_eq!(address_of(&one, Service::Directory).unwrap(), "localhost:1");
        let two = addresses(&["localhost:1", "localhost:2"]);
        assert!(address_of(&two, Service::Directory).is_err());
    }

    #[test]
    fn an_address_of_no_service_or_without_a_port_is_refused() {
        assert!("vaultt=localhost:1".parse::<Address>().is_err());
        assert!("key-vault=localhost".parse::<Address>().is_err());
    }
}
