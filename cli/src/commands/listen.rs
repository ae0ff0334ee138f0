//! `sealpost listen`: the business's events, opened here, over the gateway's gRPC face.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sealpost_connector_sdk::{Incoming, Message, NumberId, Peer, Subscription, wamid};
use sealpost_runtime::{process, shutdown};
use serde_json::{Value, json};

use crate::business::{advise, client};
use crate::content;
use crate::output::Output;
use crate::running::{DEFAULT_FOLDER, Running};

/// The last acknowledgement's way to the gateway, before the stream is dropped.
const LAST_WORD: Duration = Duration::from_millis(300);

const EXAMPLES: &str = "Examples:
  sealpost listen
  sealpost listen --name audit --count 10 --json";

/// Show events as the business: messages and statuses; each is acknowledged once it is shown
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Listen {
    /// Folder of the suite
    #[arg(long, default_value = DEFAULT_FOLDER)]
    dir: PathBuf,
    /// Name of the subscription: each name has a cursor of its own
    #[arg(long, default_value = "listen")]
    name: String,
    /// Only events of this number; may be given several times [default: all of the business]
    #[arg(long = "number", value_name = "PHONE_NUMBER_ID")]
    numbers: Vec<NumberId>,
    /// Leave after so many events
    #[arg(long)]
    count: Option<u64>,
}

impl Listen {
    /// Shows events until the count is reached, Ctrl-C or SIGTERM. One that was shown and not acknowledged comes again.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        process::harden()?;
        let suite = Running::open(&self.dir)?;
        let client = client(&suite)?;
        // The stream begins again by itself whatever happens: a wrong token would show as silence.
        client.numbers().await.map_err(advise)?;
        let subscription = Subscription::new(self.name)
            .map_err(advise)?
            .numbers(self.numbers);
        let mut events = client.subscribe(subscription).map_err(advise)?;
        output.note("listening; Ctrl-C ends it");
        let stop = shutdown::on_signals()?;
        let mut shown = 0;
        while self.count.is_none_or(|count| shown < count) {
            let delivery = tokio::select! {
                delivery = events.next() => delivery,
                () = stop.cancelled() => break,
            };
            let Some(delivery) = delivery else { break };
            let (words, value) = describe(&delivery.incoming, delivery.ack.cursor());
            output.say(&words, &value)?;
            delivery.ack.done();
            shown += 1;
        }
        tokio::time::sleep(LAST_WORD).await;
        Ok(())
    }
}

/// An event in words and as JSON.
fn describe(incoming: &Incoming, cursor: Option<u64>) -> (String, Value) {
    let (words, mut value) = match incoming {
        Incoming::Message(message) => describe_message(message),
        Incoming::Status(update) => {
            let id = wamid(update.message_id);
            let status = update.status.as_str();
            let failure = match update.error_code {
                0 => String::new(),
                code => format!(" (code {code})"),
            };
            (
                format!("{id} {status}{failure}"),
                json!({
                    "event": "status",
                    "phone_number_id": update.phone_number_id.as_str(),
                    "message_id": id,
                    "to": update.peer.as_ref().map(Peer::expose),
                    "status": status,
                    "error_code": update.error_code,
                    "time_ms": update.time.0,
                }),
            )
        }
        Incoming::IdentityChange(change) => {
            let who = change.peer.as_ref().map(Peer::expose);
            (
                format!("{} has a new identity key", who.unwrap_or("a consumer")),
                json!({
                    "event": "identity_change",
                    "phone_number_id": change.phone_number_id.as_str(),
                    "message_id": change.message_id.map(wamid),
                    "from": who,
                    "time_ms": change.time.0,
                }),
            )
        }
        Incoming::Warning(warning) => (
            format!("! an event was refused: {}", warning.refusal),
            json!({
                "event": "warning",
                "phone_number_id": warning.phone_number_id.as_ref().map(NumberId::as_str),
                "warning": warning.refusal.to_string(),
            }),
        ),
    };
    value["cursor"] = cursor.into();
    (words, value)
}

fn describe_message(message: &Message) -> (String, Value) {
    let from = message.peer.expose();
    (
        format!("{from}: {}", content::words(&message.content)),
        json!({
            "event": "message",
            "phone_number_id": message.phone_number_id.as_str(),
            "message_id": wamid(message.message_id),
            "from": from,
            "time_ms": message.time.0,
            "content": content::as_json(&message.content),
        }),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_connector_sdk::{
        DeliveryStatus, MessageId, Refusal, StatusUpdate, UnixMillis, Warning,
    };

    use super::*;

    #[test]
    fn a_status_says_which_message_and_how_far() {
        let incoming = Incoming::Status(StatusUpdate {
            phone_number_id: "106540352242922".parse().unwrap(),
            message_id: MessageId::from_bytes([0x11; 16]),
            peer: Some(Peer::new("15550200000").unwrap()),
            status: DeliveryStatus::Failed,
            error_code: 131_026,
            time: UnixMillis(7),
        });
        let (words, value) = describe(&incoming, Some(3));
        assert_eq!(words, "wamid.EREREREREREREREREREREQ failed (code 131026)");
        assert_eq!(value["status"], "failed");
        assert_eq!(value["to"], "15550200000");
        assert_eq!(value["cursor"], 3);
    }

    #[test]
    fn a_refused_event_is_shown_as_a_warning() {
        let incoming = Incoming::Warning(Warning {
            phone_number_id: None,
            refusal: Refusal::WrongMessage,
        });
        let (words, value) = describe(&incoming, None);
        assert!(words.starts_with("! an event was refused"));
        assert_eq!(value["event"], "warning");
    }
}
