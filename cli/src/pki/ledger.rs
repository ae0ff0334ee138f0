//! What the authority has issued and revoked.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::files::{self, Readers};

/// Every certificate issued, oldest first.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Number of the next revocation list.
    pub next_crl: u64,
    /// Certificates.
    pub issued: Vec<Issued>,
}

/// One certificate.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// SPIFFE ID, or the names of a public face.
    pub subject: String,
    /// Milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// Milliseconds since the Unix epoch; absent while it is good.
    pub revoked_at_ms: Option<u64>,
}

impl Ledger {
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("no ledger at {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        files::write(path, &serde_json::to_vec_pretty(self)?, Readers::Owner)?;
        Ok(())
    }

    /// Marks the certificate of that serial, or every good one of that subject, as revoked.
    pub fn revoke(&mut self, which: &str, now_ms: u64) -> anyhow::Result<Vec<Issued>> {
        let mut revoked = Vec::new();
        for entry in self
            .issued
            .iter_mut()
            .filter(|entry| entry.serial == which || entry.subject == which)
        {
            if entry.revoked_at_ms.is_none() {
                entry.revoked_at_ms = Some(now_ms);
                revoked.push(entry.clone());
            }
        }
        if revoked.is_empty() {
            bail!("no certificate in force has the serial or subject {which:?}");
        }
        Ok(revoked)
    }
}
