//! `sealpost admin number`: a number stands in the directory (who owns it), the key vault (its keys) and the relay (its
//! public keys, for consumers).

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use sealpost_proto::directory::v1::{
    CreateNumberRequest, GetNumberRequest, ListNumbersRequest, Number as Entry,
};
use sealpost_proto::relay::v1::{
    GetNumberRequest as AskRelay, RegisterNumberRequest, SetNumberRetentionRequest,
};
use sealpost_proto::vault::v1::{ProvisionNumberRequest, SetRetentionRequest};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::number_move::{Move, Moves};
use super::public_key::PublicKeyArgs;
use super::removal;
use super::vault;
use crate::duration;
use crate::output::Output;
use crate::suite::service::Service;
use crate::table::table;

const PAGE: u32 = 1_000;

#[derive(Subcommand)]
pub enum Number {
    /// Give a business a number in the directory; `provision` then makes its keys
    Create(Create),
    /// List numbers
    List {
        /// Only those of this business
        #[arg(long)]
        business: Option<String>,
    },
    /// Show what the directory, the key vault and the relay know of a number
    Show {
        /// Its id
        phone_number_id: String,
    },
    /// Set how long messages live that are accepted from now on, 1h to 30d, in key vault and relay; may be repeated
    SetRetention {
        /// Its id
        phone_number_id: String,
        /// A duration such as 2h or 30d
        #[arg(value_parser = duration::parse)]
        retention: Duration,
    },
    /// Make a number's keys in the key vault and make it known to consumers at the relay; may be repeated
    Provision(Provision),
    /// Move a number's records to another region's store; until it is done the number takes no messages
    Move(Move),
    /// List the moves of numbers between regions
    Moves(Moves),
    /// Remove a number: its keys, and with them all that it ever said; then its rows everywhere
    Remove {
        /// Its id
        phone_number_id: String,
    },
}

#[derive(Args)]
pub struct Create {
    /// Its business [default: the suite's first business]
    #[arg(long)]
    business: Option<String>,
    /// The phone number, E.164 digits
    #[arg(long)]
    phone_number: String,
    /// Its id, 1 to 32 digits [default: the directory chooses]
    #[arg(long)]
    id: Option<String>,
    /// Where its records are kept
    #[arg(long, default_value = "local")]
    region: String,
    /// Name shown to consumers
    #[arg(long, default_value = "")]
    display_name: String,
    /// Messages a second that it may send; 0 means the gateway's default
    #[arg(long, default_value_t = 0)]
    messages_per_second: u32,
}

#[derive(Args)]
pub struct Provision {
    /// Its id, as in the directory
    phone_number_id: String,
    /// How long its messages live, 1h to 30d
    #[arg(long, default_value = "30d", value_parser = duration::parse)]
    retention: Duration,
    #[command(flatten)]
    keys: PublicKeyArgs,
}

impl Number {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(access, output).await,
            Self::List { business } => list(access, output, business.unwrap_or_default()).await,
            Self::Show { phone_number_id } => show(access, output, phone_number_id).await,
            Self::SetRetention {
                phone_number_id,
                retention,
            } => set_retention(access, output, phone_number_id, retention).await,
            Self::Provision(provision) => provision.run(access, output).await,
            Self::Move(asked) => asked.run(access, output).await,
            Self::Moves(asked) => asked.run(access, output).await,
            Self::Remove { phone_number_id } => {
                removal::number(access, output, phone_number_id).await
            }
        }
    }
}

impl Create {
    async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let business_id = match (self.business, access.suite()) {
            (Some(business), _) => business,
            (None, Some(suite)) => suite.run.business.id.clone(),
            (None, None) => anyhow::bail!("say whose number it is: --business ID"),
        };
        let request = CreateNumberRequest {
            number: Some(Entry {
                phone_number_id: self.id.unwrap_or_default(),
                phone_number: self.phone_number.trim_start_matches('+').to_owned(),
                business_id,
                region: self.region,
                display_name: self.display_name,
                messages_per_second: self.messages_per_second,
                created_at_ms: 0,
                moving_to: String::new(),
            }),
        };
        let made = access
            .directory()?
            .create_number(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        let number = made.number.unwrap_or_default();
        output.say(
            &format!(
                "number {} made; make its keys with `sealpost admin number provision {}`",
                number.phone_number_id, number.phone_number_id
            ),
            &describe(&number),
        )
    }
}

impl Provision {
    async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let keys = self.keys.load(access)?;
        let number = find(access, &self.phone_number_id).await?;
        let request = ProvisionNumberRequest {
            phone_number_id: self.phone_number_id.clone(),
            retention_seconds: seconds(self.retention)?,
            business_hpke_public_key: keys.hpke.into(),
            business_signing_public_key: keys.signing.into(),
        };
        let provisioned = access
            .vault()?
            .provision_number(request)
            .await
            .map_err(failed(Service::KeyVault))?
            .into_inner();
        // A number that had keys before keeps its class.
        let facts = vault::facts(access, &self.phone_number_id).await?;
        let request = RegisterNumberRequest {
            phone_number_id: number.phone_number_id,
            phone_number: number.phone_number,
            display_name: number.display_name,
            upload: provisioned.upload,
            retention_seconds: facts.retention_seconds(),
        };
        access
            .relay()?
            .register_number(request)
            .await
            .map_err(failed(Service::Relay))?;
        let fingerprint = provisioned.vault_fingerprint;
        output.say(
            &format!(
                "number {} has its keys; the business must pin its vault fingerprint\n{fingerprint}",
                self.phone_number_id
            ),
            &json!({
                "phone_number_id": self.phone_number_id,
                "vault_fingerprint": fingerprint,
                "vault_signing_public_key": hex::encode(&provisioned.vault_signing_public_key),
            }),
        )
    }
}

async fn find(access: &Access, phone_number_id: &str) -> anyhow::Result<Entry> {
    let request = GetNumberRequest {
        phone_number_id: phone_number_id.to_owned(),
    };
    let found = access
        .directory()?
        .get_number(request)
        .await
        .map_err(failed(Service::Directory))?
        .into_inner();
    Ok(found.number.unwrap_or_default())
}

async fn list(access: &Access, output: Output, business_id: String) -> anyhow::Result<()> {
    let mut directory = access.directory()?;
    let mut numbers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListNumbersRequest {
            business_id: business_id.clone(),
            page_size: PAGE,
            page_token,
        };
        let page = directory
            .list_numbers(request)
            .await
            .map_err(failed(Service::Directory))?
            .into_inner();
        numbers.extend(page.numbers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let rows: Vec<_> = numbers
        .iter()
        .map(|number| {
            [
                number.phone_number_id.clone(),
                number.phone_number.clone(),
                number.region.clone(),
                number.business_id.clone(),
                number.display_name.clone(),
            ]
        })
        .collect();
    let all: Vec<_> = numbers.iter().map(describe).collect();
    output.say(
        &table(
            ["number", "phone number", "region", "business", "name"],
            &rows,
        ),
        &json!({"numbers": all}),
    )
}

async fn show(access: &Access, output: Output, phone_number_id: String) -> anyhow::Result<()> {
    let number = find(access, &phone_number_id).await?;
    let facts = vault::facts(access, &phone_number_id).await?;
    let region = match number.moving_to.as_str() {
        "" => number.region.clone(),
        to => format!("{} (on its way to {to})", number.region),
    };
    let at_relay = relay_retention(access, &phone_number_id).await?;
    let relay_words = if at_relay == facts.retention_seconds() {
        "as the key vault's".to_owned()
    } else {
        format!(
            "{}, NOT the key vault's: repeat `sealpost admin number set-retention`",
            duration::show(Duration::from_secs(at_relay.into()))
        )
    };
    let words = format!(
        "number        {}\nphone number  {}\nbusiness      {}\nregion        {}\nname          {}\n{}\nat the relay  {relay_words}",
        number.phone_number_id,
        number.phone_number,
        number.business_id,
        region,
        number.display_name,
        facts.words(),
    );
    output.say(
        &words,
        &json!({
            "directory": describe(&number),
            "vault": facts.json(),
            "relay": {"retention_seconds": at_relay},
        }),
    )
}

async fn set_retention(
    access: &Access,
    output: Output,
    phone_number_id: String,
    retention: Duration,
) -> anyhow::Result<()> {
    let retention_seconds = seconds(retention)?;
    let before = vault::facts(access, &phone_number_id).await?;
    // Whatever happens between the two, the relay never keeps longer than the vault.
    let relay_first = retention_seconds < before.retention_seconds();
    if relay_first {
        tell_relay(access, &phone_number_id, retention_seconds).await?;
    }
    let request = SetRetentionRequest {
        phone_number_id: phone_number_id.clone(),
        retention_seconds,
    };
    access
        .vault()?
        .set_retention(request)
        .await
        .map_err(failed(Service::KeyVault))?;
    if !relay_first {
        tell_relay(access, &phone_number_id, retention_seconds).await?;
    }
    output.say(
        &format!(
            "messages of {phone_number_id} accepted from now on live {}",
            duration::show(retention)
        ),
        &json!({"phone_number_id": phone_number_id, "retention_seconds": retention_seconds}),
    )
}

async fn tell_relay(
    access: &Access,
    phone_number_id: &str,
    retention_seconds: u32,
) -> anyhow::Result<()> {
    let request = SetNumberRetentionRequest {
        phone_number_id: phone_number_id.to_owned(),
        retention_seconds,
    };
    access
        .relay()?
        .set_number_retention(request)
        .await
        .map_err(failed(Service::Relay))
        .context("key vault and relay may differ until the same command succeeds")?;
    Ok(())
}

async fn relay_retention(access: &Access, phone_number_id: &str) -> anyhow::Result<u32> {
    let request = AskRelay {
        phone_number_id: phone_number_id.to_owned(),
    };
    let found = access
        .relay()?
        .get_number(request)
        .await
        .map_err(failed(Service::Relay))?;
    Ok(found.into_inner().retention_seconds)
}

fn seconds(retention: Duration) -> anyhow::Result<u32> {
    let allowed = 3_600..=2_592_000;
    anyhow::ensure!(
        allowed.contains(&retention.as_secs()),
        "a retention is 1h to 30d"
    );
    Ok(u32::try_from(retention.as_secs())?)
}

fn describe(number: &Entry) -> Value {
    json!({
        "phone_number_id": number.phone_number_id,
        "phone_number": number.phone_number,
        "business_id": number.business_id,
        "region": number.region,
        "moving_to": number.moving_to,
        "display_name": number.display_name,
        "messages_per_second": number.messages_per_second,
        "created_at_ms": number.created_at_ms,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_retention_is_an_hour_to_thirty_days() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(seconds(Duration::from_secs(3_600)).unwrap(), 3_600);
        assert_eq!(seconds(days(30)).unwrap(), 2_592_000);
        assert!(seconds(Duration::from_secs(3_599)).is_err());
        assert!(seconds(days(30) + Duration::from_secs(1)).is_err());
    }
}
