//! What a suite's folder has been provisioned with: written step by step, so that `up` goes on where a crash ended it.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::roster::Roster;
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
    /// Regions with a store of their own; chosen when the folder was made.
    pub regions: Vec<String>,
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
    /// Where its records are kept.
    pub region: String,
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

    /// The roster with the folder's regions: those that it was made with, whose numbers' records are there.
    pub fn settle_regions(&mut self, asked: &Roster) -> anyhow::Result<Roster> {
        let mut roster = asked.clone();
        if roster.regions.is_empty() {
            let kept = self.regions.iter().map(|name| name.parse());
            let kept: Result<_, String> = kept.collect();
            roster.regions = kept.map_err(anyhow::Error::msg)?;
            return Ok(roster);
        }
        ensure!(
            self.numbers.is_empty() || !self.regions.is_empty(),
            "this folder was made without regions, and its numbers' records are in its one store: use another --dir"
        );
        let names: Vec<_> = roster.regions.iter().map(ToString::to_string).collect();
        ensure!(
            names.starts_with(&self.regions),
            "this folder has the regions {}: name these first, and new ones after them",
            self.regions.join(",")
        );
        self.regions = names;
        Ok(roster)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn roster(regions: &[&str]) -> Roster {
        Roster {
            regions: regions.iter().map(|name| name.parse().unwrap()).collect(),
            replicas: 1,
        }
    }

    fn facts(regions: &[&str]) -> Facts {
        let number = NumberFacts {
            phone_number_id: "106540352242922".to_owned(),
            phone_number: "15550100000".to_owned(),
            region: "eu".to_owned(),
            vault_fingerprint: None,
        };
        Facts {
            numbers: vec![number],
            regions: regions.iter().map(|&name| name.to_owned()).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn a_folder_keeps_its_regions_and_may_get_more() {
        let mut fresh = Facts::default();
        let made = fresh.settle_regions(&roster(&["eu", "na"])).unwrap();
        assert_eq!(made, roster(&["eu", "na"]));
        assert_eq!(fresh.settle_regions(&roster(&[])).unwrap(), made);
        let more = roster(&["eu", "na", "in"]);
        assert_eq!(facts(&["eu", "na"]).settle_regions(&more).unwrap(), more);
    }

    #[test]
    fn a_region_whose_records_would_not_be_found_any_more_is_refused() {
        for regions in [&["na"][..], &["na", "eu"]] {
            assert!(facts(&["eu"]).settle_regions(&roster(regions)).is_err());
        }
        let error = facts(&[]).settle_regions(&roster(&["eu"])).unwrap_err();
        assert!(error.to_string().contains("--dir"));
    }
}
