//! What a suite's folder has been provisioned with: written step by step, so that `up` goes on where a crash ended it.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::files::{self, Readers};

/// Provisioned so far.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// The first business, once it is made.
    pub business_id: Option<String>,
    /// The business's numbers; chosen here before they are made anywhere.
    pub numbers: Vec<NumberFacts>,
    /// The gateway token of the connector and of `sealpost send` and `listen`.
    pub gateway_token: Option<String>,
    /// Bearer token of the REST face.
    pub rest_token: String,
    /// Key of `X-Hub-Signature-256`.
    pub app_secret: String,
    /// What a webhook's owner is asked to prove its subscription with.
    pub verify_token: String,
    /// Registered consumers, by phone number.
    pub consumers: Vec<String>,
}

/// One number.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberFacts {
    /// Its id, 15 digits.
    pub phone_number_id: String,
    /// E.164 digits.
    pub phone_number: String,
    /// Its vault fingerprint, once it is provisioned everywhere.
    pub vault_fingerprint: Option<String>,
}

impl Facts {
    /// Reads them, or starts with fresh secrets.
    pub fn load_or_start(path: &Path) -> anyhow::Result<Self> {
        if path.exists() {
            return serde_json::from_slice(&std::fs::read(path)?)
                .with_context(|| format!("{} is damaged", path.display()));
        }
        let facts = Self {
            rest_token: secret()?,
            app_secret: secret()?,
            verify_token: secret()?,
            ..Self::default()
        };
        facts.save(path)?;
        Ok(facts)
    }

    /// Writes them durably.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        files::write(path, &serde_json::to_vec_pretty(self)?, Readers::Owner)?;
        Ok(())
    }
}

/// 32 random bytes as lower-case hex.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}
