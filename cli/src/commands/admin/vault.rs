//! `sealpost admin vault`: the key vault's seal, what it knows of a number, and an operator's word for its clock.

use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use sealpost_proto::vault::v1::{ConfirmClockRequest, GetNumberRequest, GetNumberResponse};
use sealpost_runtime::status::reason_of;
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::seal::SealCommand;
use crate::duration;
use crate::output::Output;
use crate::suite::service::Service;

/// Services read a clock file at most this late.
const CLOCK_FILE_DELAY: Duration = Duration::from_millis(1_100);
/// Pauses between tries of a confirmation, and how many.
const PAUSE: Duration = Duration::from_millis(200);
const TRIES: u32 = 20;

#[derive(Subcommand)]
pub enum Vault {
    /// Show the public facts of a number's keys
    Number {
        /// Its id
        phone_number_id: String,
    },
    /// Say that the time is right, after the key vault's clock jumped ahead and it stopped destroying and opening
    ConfirmClock,
    #[command(flatten)]
    Seal(SealCommand),
}

impl Vault {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Number { phone_number_id } => {
                let facts = facts(access, &phone_number_id).await?;
                output.say(&facts.words(), &facts.json())
            }
            Self::Seal(command) => command.run(access, output).await,
            Self::ConfirmClock => {
                let now_ms = confirm_clock(access).await?;
                output.say(
                    &format!("the key vault trusts its clock: {now_ms} ms since 1970"),
                    &json!({"now_ms": now_ms}),
                )
            }
        }
    }
}

/// Tells the vault what this machine's clock (moved by the suite's clock file) says. Answers the vault's own reading, in
/// milliseconds since the Unix epoch.
///
/// # Errors
/// When the vault's clock says otherwise by more than a minute.
pub async fn confirm_clock(access: &Access) -> anyhow::Result<u64> {
    let mut vault = access.vault()?;
    for _ in 0..TRIES {
        let request = ConfirmClockRequest {
            now_ms: access.now()?.as_millis(),
        };
        match vault.confirm_clock(request).await {
            Ok(answer) => return Ok(answer.into_inner().now_ms),
            // It may not have read its clock file again yet.
            Err(status)
                if access.suite().is_some()
                    && reason_of(&status).as_deref() == Some("CLOCK_DISAGREES") =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(status) => return Err(failed(Service::KeyVault)(status)),
        }
    }
    bail!("the key vault's clock is more than a minute from this machine's: set one of them right")
}

/// Waits until every service has read its clock file again.
pub async fn clock_file_is_read() {
    tokio::time::sleep(CLOCK_FILE_DELAY).await;
}

/// The public facts of a number's keys.
pub struct Facts(GetNumberResponse);

/// Asks for them.
pub async fn facts(access: &Access, phone_number_id: &str) -> anyhow::Result<Facts> {
    let request = GetNumberRequest {
        phone_number_id: phone_number_id.to_owned(),
    };
    let found = access
        .vault()?
        .get_number(request)
        .await
        .map_err(failed(Service::KeyVault))?;
    Ok(Facts(found.into_inner()))
}

impl Facts {
    /// The number's retention class, in seconds.
    pub fn retention_seconds(&self) -> u32 {
        self.0.retention_seconds
    }

    /// For people.
    pub fn words(&self) -> String {
        let Self(facts) = self;
        format!(
            "retention     {}\nfingerprint   {}\nidentity key  {}\nbusiness keys HPKE {}, signing {}\n\
             consumers     {}\nsessions      {}\nprekeys       {} one-time, {} KEM",
            duration::show(Duration::from_secs(facts.retention_seconds.into())),
            facts.vault_fingerprint,
            hex::encode(&facts.identity_key),
            id_or_none(&facts.business_hpke_key_id),
            id_or_none(&facts.business_signing_key_id),
            facts.subjects,
            facts.sessions,
            facts.one_time_prekeys,
            facts.kem_prekeys,
        )
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let Self(facts) = self;
        json!({
            "retention_seconds": facts.retention_seconds,
            "vault_fingerprint": facts.vault_fingerprint,
            "identity_key": hex::encode(&facts.identity_key),
            "business_hpke_key_id": hex::encode(&facts.business_hpke_key_id),
            "business_signing_key_id": hex::encode(&facts.business_signing_key_id),
            "subjects": facts.subjects,
            "sessions": facts.sessions,
            "one_time_prekeys": facts.one_time_prekeys,
            "kem_prekeys": facts.kem_prekeys,
        })
    }
}

fn id_or_none(id: &[u8]) -> String {
    if id.is_empty() {
        "none".to_owned()
    } else {
        hex::encode(id)
    }
}
