//! What a certificate is for, and where it lies: names and files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcgen::SanType;
use sealpost_runtime::identity::Role;

/// Where an issued certificate and its private key are.
pub struct Identity {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, 0600.
    pub private_key: PathBuf,
}

impl Identity {
    /// Where the certificate of that role and name is, in its folder.
    pub fn in_folder(role: Role, name: Option<&str>, folder: &Path) -> Self {
        Self::of_stem(&stem(role, name), folder)
    }

    /// Where what was issued under that stem is.
    pub fn of_stem(stem: &str, folder: &Path) -> Self {
        Self {
            certificate: folder.join(format!("{stem}.pem")),
            private_key: folder.join(format!("{stem}.key")),
        }
    }
}

/// The names that a listener is reached by.
#[derive(Default)]
pub struct HostNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl HostNames {
    /// This machine's own.
    pub fn local() -> Self {
        Self {
            dns: vec!["localhost".to_owned()],
            addresses: vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
        }
    }

    /// As a certificate carries them.
    pub fn alternative_names(&self) -> anyhow::Result<Vec<SanType>> {
        let mut names = Vec::new();
        for dns in &self.dns {
            names.push(SanType::DnsName(dns.as_str().try_into()?));
        }
        names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        Ok(names)
    }
}

/// The name of an issued certificate's files.
pub fn stem(role: Role, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{role}-{name}"),
        None => role.as_str().to_owned(),
    }
}
