//! `sealpost send`: a message as the business, sealed here, over the gateway's gRPC face.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use sealpost_connector_sdk::{
    Category, Client, DeliveryStatus, IdempotencyKey, MessageId, NumberId, Outbound, Peer, content,
    wamid,
};
use sealpost_runtime::process;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::business::{advise, client};
use crate::duration;
use crate::output::Output;
use crate::running::{DEFAULT_FOLDER, Running};

/// Pause between looks at a message's status.
const LOOK: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "Examples:
  sealpost send --to 15550200000 'Your order is on its way'
  sealpost send --to 15550200000 --category authentication --wait delivered 'Your code is 482913'
  sealpost send --to 15550200000 --idempotency-key order-7781-shipped --json 'Shipped'";

/// Send a message as the business, over gRPC
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Send {
    /// Folder of the suite
    #[arg(long, default_value = DEFAULT_FOLDER)]
    dir: PathBuf,
    /// The number to send from [default: the suite's first]
    #[arg(long, value_name = "PHONE_NUMBER_ID")]
    from: Option<String>,
    /// The consumer's phone number, E.164 digits
    #[arg(long, value_name = "PHONE")]
    to: String,
    /// Why it is sent
    #[arg(long, value_enum, default_value_t = Purpose::Service)]
    category: Purpose,
    /// Makes a repeated send the same message [default: a new message each time]
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Wait until the message has got so far
    #[arg(long, value_enum, default_value_t = Until::Accepted)]
    wait: Until,
    /// How long to wait at most
    #[arg(long, default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// What to say
    text: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Purpose {
    Service,
    Utility,
    Authentication,
    Marketing,
}

impl From<Purpose> for Category {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Service => Self::Service,
            Purpose::Utility => Self::Utility,
            Purpose::Authentication => Self::Authentication,
            Purpose::Marketing => Self::Marketing,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Until {
    Accepted,
    Sent,
    Delivered,
    Read,
}

impl From<Until> for DeliveryStatus {
    fn from(until: Until) -> Self {
        match until {
            Until::Accepted => Self::Accepted,
            Until::Sent => Self::Sent,
            Until::Delivered => Self::Delivered,
            Until::Read => Self::Read,
        }
    }
}

impl Send {
    /// Sends, waits and says how far the message is.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        process::harden()?;
        let suite = Running::open(&self.dir)?;
        let number: NumberId = suite
            .number(self.from.as_deref())?
            .phone_number_id
            .parse()?;
        let to = Peer::new(self.to.trim_start_matches('+'))
            .context("--to is a phone number: 7 to 15 digits")?;
        let idempotency_key = match &self.idempotency_key {
            Some(key) => IdempotencyKey::new(key),
            None => IdempotencyKey::random(),
        }
        .map_err(advise)?;
        let outbound = Outbound {
            phone_number_id: number.clone(),
            to,
            category: self.category.into(),
            content: content::text(self.text),
            idempotency_key,
        };
        let client = client(&suite)?;
        let until = Instant::now() + self.timeout;
        let accepted = client.send(outbound, self.timeout).await.map_err(advise)?;
        let id = accepted.message_id;
        let mut status = accepted.status;
        let wanted = self.wait.into();
        while status < wanted {
            ensure!(
                Instant::now() < until,
                "{} is accepted, and {} after {}: is the consumer there? `sealpost chat` is one",
                wamid(id),
                status.as_str(),
                duration::show(self.timeout)
            );
            sleep(LOOK).await;
            status = look(&client, &number, id).await?;
        }
        output.say(
            &format!("{} {}", wamid(id), status.as_str()),
            &json!({
                "message_id": wamid(id),
                "phone_number_id": number.as_str(),
                "status": status.as_str(),
                "repeated": accepted.is_repeated,
                "accepted_at_ms": accepted.accepted_at.0,
            }),
        )
    }
}

async fn look(client: &Client, number: &NumberId, id: MessageId) -> anyhow::Result<DeliveryStatus> {
    match client.status(number, id).await {
        Ok(progress) if progress.status == DeliveryStatus::Failed => {
            bail!(
                "{} failed with code {}{}",
                wamid(id),
                progress.error_code,
                reason(progress.error_code)
            )
        }
        Ok(progress) => Ok(progress.status),
        // The gateway may be restarting; the message is durable.
        Err(error) if error.is_transient() => Ok(DeliveryStatus::Accepted),
        Err(error) => Err(advise(error)),
    }
}

/// What a Cloud API error code means.
fn reason(code: u32) -> &'static str {
    match code {
        131_026 => ": no consumer is registered under that phone number",
        131_036 => ": it is past its time, or the consumer was erased",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_that_can_be_waited_for_are_in_their_order() {
        let order = [Until::Accepted, Until::Sent, Until::Delivered, Until::Read];
        let statuses = order.map(DeliveryStatus::from);
        assert!(statuses.is_sorted());
        assert!(
            statuses
                .iter()
                .all(|status| *status < DeliveryStatus::Failed)
        );
    }
}
