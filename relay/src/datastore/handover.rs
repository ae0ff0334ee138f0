//! Devices' batches: messages for businesses.

use std::sync::Arc;

use sealpost_proto::relay::v1::{InboundEnvelope, SubmitMessageOutcome, inbound::Item};

use super::{
    Datastore,
    envelopes::{envelope_exists, envelope_insert},
    inbound::inbound_insert,
    numbers::number_find,
};
use crate::{RelayError, ids::DeviceIdentity, validate::FromDevice};

impl Datastore {
    /// Takes a device's messages in one transaction; one outcome for each.
    pub(crate) async fn hand_over(
        &self,
        device: DeviceIdentity,
        messages: Vec<FromDevice>,
        depth: u64,
        now: i64,
    ) -> Result<Vec<SubmitMessageOutcome>, RelayError> {
        let messages = Arc::new(messages);
        self.database
            .run_tx("submit_messages", move |tx| {
                let (device, messages) = (device.clone(), messages.clone());
                Box::pin(async move {
                    let mut outcomes = Vec::with_capacity(messages.len());
                    for message in messages.iter() {
                        let outcome = match number_find(tx, &message.number).await? {
                            None => SubmitMessageOutcome::NumberUnknown,
                            _ if envelope_exists(tx, device.holder, message.envelope_id)
                                .await? =>
                            {
                                SubmitMessageOutcome::Accepted
                            }
                            Some(number) if number.queued >= depth => {
                                SubmitMessageOutcome::QueueFull
                            }
                            Some(_) => {
                                envelope_insert(tx, &device, message, now).await?;
                                let item = Item::Envelope(envelope(&device, message, now));
                                let peer = Some(&device.phone_number);
                                inbound_insert(tx, &message.number, peer, item, now).await?;
                                SubmitMessageOutcome::Accepted
                            }
                        };
                        outcomes.push(outcome);
                    }
                    Ok(outcomes)
                })
            })
            .await
    }
}

fn envelope(device: &DeviceIdentity, message: &FromDevice, now: i64) -> InboundEnvelope {
    InboundEnvelope {
        peer: device.phone_number.as_str().to_owned(),
        device_id: device.device_id,
        r#type: message.kind,
        ciphertext: message.ciphertext.clone(),
        received_at_ms: now.unsigned_abs(),
    }
}
