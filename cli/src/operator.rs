//! The operator's calls: mTLS clients to every service, with the operator's certificate.

use std::path::Path;

use anyhow::Context;
use sealpost_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::retention::v1::retention_service_client::RetentionServiceClient;
use sealpost_proto::store::v1::store_service_client::StoreServiceClient;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::seal_service_client::SealServiceClient;
use sealpost_runtime::config::{PeerConfig, TlsConfig};
use sealpost_runtime::identity::Role;
use sealpost_runtime::tls::{ServiceTls, connect};
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::suite::run_file::RunFile;

/// Reaches services as the operator.
pub struct Operator {
    tls: ServiceTls,
}

impl Operator {
    /// With the certificate, private key, authority and revocation list in these PEM files.
    pub fn new(
        certificate: &Path,
        private_key: &Path,
        ca: &Path,
        crl: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let tls = ServiceTls::load(&TlsConfig {
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
            ca: ca.to_owned(),
            crl: crl.map(Path::to_owned),
        })
        .context("the operator's certificate cannot be used")?;
        Ok(Self { tls })
    }

    /// As `run.json` says.
    pub fn of(run: &RunFile) -> anyhow::Result<Self> {
        let crl = run.tls.ca.with_file_name("crl.pem");
        Self::new(
            &run.tls.operator_cert,
            &run.tls.operator_key,
            &run.tls.ca,
            crl.exists().then_some(crl.as_path()),
        )
    }

    /// A channel to the service at `address` (`host:port`) that proves to be of `role`.
    pub fn channel(&self, address: &str, role: Role) -> anyhow::Result<Channel> {
        let address = address
            .parse()
            .map_err(|reason| anyhow::anyhow!("{address:?}: {reason}"))?;
        Ok(connect(
            &PeerConfig {
                address,
                role,
                name: None,
            },
            &self.tls,
        )?)
    }

    /// The directory.
    pub fn directory(&self, address: &str) -> anyhow::Result<DirectoryServiceClient<Channel>> {
        Ok(DirectoryServiceClient::new(
            self.channel(address, Role::Directory)?,
        ))
    }

    /// The key vault's seal.
    pub fn seal(&self, address: &str) -> anyhow::Result<SealServiceClient<Channel>> {
        Ok(SealServiceClient::new(self.channel(address, Role::Vault)?))
    }

    /// The key vault.
    pub fn vault(&self, address: &str) -> anyhow::Result<KeyVaultServiceClient<Channel>> {
        Ok(KeyVaultServiceClient::new(
            self.channel(address, Role::Vault)?,
        ))
    }

    /// The relay's platform face.
    pub fn relay(&self, address: &str) -> anyhow::Result<PlatformServiceClient<Channel>> {
        Ok(PlatformServiceClient::new(
            self.channel(address, Role::Relay)?,
        ))
    }

    /// A store.
    pub fn store(&self, address: &str) -> anyhow::Result<StoreServiceClient<Channel>> {
        Ok(StoreServiceClient::new(self.channel(address, Role::Store)?))
    }

    /// Retention.
    pub fn retention(&self, address: &str) -> anyhow::Result<RetentionServiceClient<Channel>> {
        Ok(RetentionServiceClient::new(
            self.channel(address, Role::Retention)?,
        ))
    }
}

/// What a failed call says to a person: its code, reason and text, and which field is wrong when one is.
pub fn explain(status: &tonic::Status) -> anyhow::Error {
    let reason = sealpost_runtime::status::reason_of(status)
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let details = status.get_error_details();
    let fields: String = details.bad_request().map_or_else(String::new, |bad| {
        bad.field_violations
            .iter()
            .map(|violation| format!(": {} {}", violation.field, violation.description))
            .collect()
    });
    anyhow::anyhow!("{}{reason}: {}{fields}", status.code(), status.message())
}
