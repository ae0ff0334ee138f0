//! Devices' batches: messages for businesses.

use std::{collections::HashMap, sync::Arc};

use sealpost_database::Tx;
use sealpost_proto::relay::v1::{InboundEnvelope, SubmitMessageOutcome, inbound::Item};

use super::{
    Datastore, Offered,
    devices::devices_gone,
    envelopes::{HandedOver, Kept, envelopes_find, envelopes_put},
    inbound::{Collected, Coming, inbound_put},
    numbers::{Number, numbers_find},
};
use crate::{
    RelayError,
    ids::{Conversation, DeviceIdentity, HolderId, MessageId, PhoneNumberId},
    validate::FromDevice,
};

/// What one device hands over in one call.
#[derive(Debug)]
pub(crate) struct Handing {
    pub(crate) device: DeviceIdentity,
    pub(crate) messages: Vec<FromDevice>,
}

/// What became of the calls of one transaction, in their order, and what went into a collector's hands.
pub(crate) type Called<T> = (Vec<Result<T, RelayError>>, Vec<Collected>);

impl Datastore {
    /// Takes the messages of many devices in one transaction; one outcome for each.
    ///
    /// # Errors
    /// When nothing was taken. A call's own is `DeviceUnknown`, when the device is no more.
    pub(crate) async fn hand_over(
        &self,
        calls: Vec<Handing>,
        offered: Option<Offered>,
        depth: u64,
        now: i64,
    ) -> Result<Called<Vec<SubmitMessageOutcome>>, RelayError> {
        let calls = Arc::new(calls);
        self.database
            .run_tx("submit_messages", move |tx| {
                let (calls, offered) = (calls.clone(), offered.clone());
                Box::pin(async move { take(tx, &calls, offered.as_ref(), depth, now).await })
            })
            .await
    }
}

async fn take(
    tx: &mut Tx,
    calls: &[Handing],
    offered: Option<&Offered>,
    depth: u64,
    now: i64,
) -> Result<Called<Vec<SubmitMessageOutcome>>, RelayError> {
    let holders: Vec<_> = calls.iter().map(|call| call.device.holder).collect();
    let gone = devices_gone(tx, &holders).await?;
    let (mut named, mut numbers) = (Vec::new(), Vec::new());
    for call in calls {
        for message in &call.messages {
            named.push((call.device.holder, message.envelope_id));
            numbers.push(&message.number);
        }
    }
    let mut batch = Batch {
        depth,
        now,
        numbers: numbers_find(tx, numbers).await?,
        kept: envelopes_find(tx, &named, now).await?,
        coming: Vec::new(),
        handed: Vec::new(),
    };
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        if gone.contains(&call.device.holder) {
            outcomes.push(Err(RelayError::DeviceUnknown));
            continue;
        }
        let messages = call.messages.iter();
        let taken = messages.map(|message| batch.take(&call.device, message));
        outcomes.push(Ok(taken.collect()));
    }

    let (places, given) = inbound_put(tx, batch.coming, offered, now).await?;
    for (handed, queue_id) in batch.handed.iter_mut().zip(places) {
        handed.queue_id = queue_id;
    }
    // Of several attempts of a message the last is kept.
    let latest: HashMap<_, _> = batch
        .handed
        .into_iter()
        .map(|one| ((one.device.holder, one.message.envelope_id), one))
        .collect();
    let latest: Vec<_> = latest.into_values().collect();
    envelopes_put(tx, &latest).await?;
    Ok((outcomes, given))
}

/// What one transaction knows, and what it is to write.
struct Batch<'h> {
    /// Items that may wait for one number.
    depth: u64,
    now: i64,
    numbers: HashMap<PhoneNumberId, Number>,
    kept: HashMap<(HolderId, MessageId), Kept>,
    coming: Vec<Coming>,
    /// One for each that comes; its place is not known yet.
    handed: Vec<HandedOver<'h>>,
}

impl<'h> Batch<'h> {
    /// Takes one message. A repeat of an attempt is dropped; a later one of the same message goes its way.
    fn take(
        &mut self,
        device: &'h DeviceIdentity,
        message: &'h FromDevice,
    ) -> SubmitMessageOutcome {
        let Some(number) = self.numbers.get_mut(&message.number) else {
            return SubmitMessageOutcome::NumberUnknown;
        };
        let name = (device.holder, message.envelope_id);
        let kept = self.kept.get(&name);
        if kept.is_some_and(|kept| kept.attempt >= message.attempt || kept.number != message.number)
        {
            return SubmitMessageOutcome::Accepted;
        }
        if number.queued >= self.depth {
            return SubmitMessageOutcome::QueueFull;
        }
        number.queued += 1;
        let ends = number.retention.ends(self.now);
        let remembered_until = kept.map_or(ends, |kept| kept.expires_at);
        self.coming.push(Coming {
            conversation: Conversation {
                number: message.number.clone(),
                peer: Some(device.phone_number.clone()),
            },
            item: Item::Envelope(envelope(device, message, self.now)),
            expires_at: ends,
        });
        self.handed.push(HandedOver {
            device,
            message,
            queue_id: 0,
            expires_at: remembered_until,
        });
        let now_kept = Kept {
            number: message.number.clone(),
            attempt: message.attempt,
            retry_asked: false,
            expires_at: remembered_until,
        };
        self.kept.insert(name, now_kept);
        SubmitMessageOutcome::Accepted
    }
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
