//! Devices' batches: messages for businesses.

use std::sync::Arc;

use sealpost_database::Tx;
use sealpost_proto::relay::v1::{InboundEnvelope, SubmitMessageOutcome, inbound::Item};

use super::{
    Datastore,
    envelopes::{envelope_find, envelope_insert, envelope_raise},
    inbound::inbound_insert,
    numbers::number_find,
};
use crate::{
    RelayError,
    ids::{Conversation, DeviceIdentity},
    validate::FromDevice,
};

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
                        let outcome = take(tx, &device, message, depth, now).await?;
                        outcomes.push(outcome);
                    }
                    Ok(outcomes)
                })
            })
            .await
    }
}

/// Takes one message. A repeat of an attempt is dropped; a later one of the same message goes its way.
async fn take(
    tx: &mut Tx,
    device: &DeviceIdentity,
    message: &FromDevice,
    depth: u64,
    now: i64,
) -> Result<SubmitMessageOutcome, RelayError> {
    let Some(number) = number_find(tx, &message.number).await? else {
        return Ok(SubmitMessageOutcome::NumberUnknown);
    };
    let kept = envelope_find(tx, device.holder, message.envelope_id, now).await?;
    if kept
        .as_ref()
        .is_some_and(|kept| kept.attempt >= message.attempt || kept.number != message.number)
    {
        return Ok(SubmitMessageOutcome::Accepted);
    }
    if number.queued >= depth {
        return Ok(SubmitMessageOutcome::QueueFull);
    }
    let item = Item::Envelope(envelope(device, message, now));
    let expires_at = number.retention.ends(now);
    let conversation = Conversation {
        number: number.id,
        peer: Some(device.phone_number.clone()),
    };
    let queue_id = inbound_insert(tx, &conversation, item, expires_at).await?;
    match kept {
        Some(_) => envelope_raise(tx, device.holder, message, queue_id).await?,
        None => envelope_insert(tx, device, message, queue_id, expires_at).await?,
    }
    Ok(SubmitMessageOutcome::Accepted)
}

fn envelope(device: &DeviceIdentity, message: &FromDevice, now: i64) -> InboundEnvelope {
    InboundEnvelope {
        peer: device.phone_number.as_str().to_owned(),
        device_id: device.device_id,
        r#type: message.kind,
        ciphertext: message.ciphertext.clone(),
        received_at_ms: now.unsigned_abs(),
        envelope_id: message.envelope_id.as_bytes().to_vec().into(),
        attempt: message.attempt,
    }
}
