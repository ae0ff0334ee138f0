//! Certificates of every role, as `sealpost pki` issues them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sealpost_runtime::Role;
use serde_json::Value;

use crate::Suite;

/// A certificate and its private key, PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
    /// Its SPIFFE ID.
    pub id: String,
}

impl Suite {
    /// A certificate of the suite's authority for `role`/`name`, which ends after `days`; 0 has ended when it is issued.
    ///
    /// # Errors
    /// When `sealpost pki issue` refuses.
    pub async fn issue(&self, role: Role, name: &str, days: u32) -> anyhow::Result<Certificate> {
        self.issue_from(&self.dir().join("pki"), role, name, days)
            .await
    }

    /// A certificate of an authority that nobody here trusts, of that trust domain.
    ///
    /// # Errors
    /// When `sealpost pki` refuses.
    pub async fn issue_elsewhere(
        &self,
        domain: &str,
        role: Role,
        name: &str,
    ) -> anyhow::Result<Certificate> {
        let elsewhere = self.dir().with_file_name(format!("another-{domain}"));
        let folder = text(&elsewhere)?;
        self.sealpost(&["pki", "init", "--dir", folder, "--trust-domain", domain])
            .await?;
        self.issue_from(&elsewhere, role, name, 1).await
    }

    async fn issue_from(
        &self,
        authority: &Path,
        role: Role,
        name: &str,
        days: u32,
    ) -> anyhow::Result<Certificate> {
        let _one_at_a_time = self.pki.lock().await;
        let of = authority
            .file_name()
            .and_then(|name| name.to_str())
            .context("an authority has a name")?;
        let days = days.to_string();
        // One folder for each authority and lifetime: within one, a name stands for one certificate.
        let out = self
            .dir()
            .with_file_name(format!("issued-by-{of}-for-{days}"));
        let arguments = [
            "--json",
            "pki",
            "issue",
            "--dir",
            text(authority)?,
            "--role",
            role.as_str(),
            "--name",
            name,
            "--out",
            text(&out)?,
            "--days",
            &days,
        ];
        let said: Value = serde_json::from_str(&self.sealpost(&arguments).await?)?;
        let path = |key: &str| -> anyhow::Result<PathBuf> {
            Ok(said[key].as_str().context("a path")?.into())
        };
        let domain = std::fs::read_to_string(authority.join("trust-domain"))?;
        Ok(Certificate {
            certificate: path("certificate")?,
            private_key: path("private_key")?,
            id: format!("spiffe://{}/{role}/{name}", domain.trim()),
        })
    }

    /// Revokes a certificate at the suite's authority.
    ///
    /// # Errors
    /// When `sealpost pki revoke` refuses.
    pub async fn revoke(&self, certificate: &Certificate) -> anyhow::Result<()> {
        let _one_at_a_time = self.pki.lock().await;
        let authority = self.dir().join("pki");
        self.sealpost(&["pki", "revoke", "--dir", text(&authority)?, &certificate.id])
            .await
            .map(drop)
    }
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is text")
}
