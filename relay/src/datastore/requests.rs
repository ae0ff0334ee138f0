//! Messages of devices that their business asks for again, and what became of those that were handed over.
//!
//! Invariant: a device is asked only for what it handed over itself, for the attempt that is the latest, and once for each.

use sealpost_proto::relay::v1::EnvelopeState;

use super::{
    Datastore,
    device_queue::request_insert,
    devices::devices_of,
    envelopes::{envelope_find, envelope_mark_asked, envelope_state},
};
use crate::{
    RelayError,
    ids::{HolderId, MessageId},
    validate::{EnvelopeRequest, MAX_ATTEMPT},
};

/// A device was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The device, when there is something new for it.
    pub(crate) wake: Option<HolderId>,
    /// The tries are used up.
    pub(crate) given_up: bool,
}

impl Datastore {
    /// Asks a device for a message again. A repeat, or one about an attempt that another followed, changes nothing.
    ///
    /// # Errors
    /// `MessageUnknown` when that device did not hand such a message over for that number.
    pub(crate) async fn request_envelope(
        &self,
        request: EnvelopeRequest,
        now: i64,
    ) -> Result<Asked, RelayError> {
        self.database
            .run_tx("request_envelope", move |tx| {
                let request = request.clone();
                Box::pin(async move {
                    let devices = devices_of(tx, &request.peer).await?;
                    let device = devices
                        .iter()
                        .find(|device| device.device_id == request.device_id)
                        .ok_or(RelayError::MessageUnknown)?;
                    let kept = envelope_find(tx, device.holder, request.envelope)
                        .await?
                        .filter(|kept| kept.number == request.number && kept.expires_at > now)
                        .filter(|kept| request.failed_attempt <= kept.attempt)
                        .ok_or(RelayError::MessageUnknown)?;
                    let new = request.failed_attempt == kept.attempt && !kept.retry_asked;
                    if new {
                        envelope_mark_asked(tx, device.holder, request.envelope).await?;
                        request_insert(tx, device.holder, &request, now, kept.expires_at).await?;
                    }
                    Ok(Asked {
                        wake: new.then_some(device.holder),
                        given_up: request.failed_attempt == MAX_ATTEMPT,
                    })
                })
            })
            .await
    }

    /// What became of messages of one device, in their order.
    pub(crate) async fn envelope_states(
        &self,
        holder: HolderId,
        envelopes: Vec<MessageId>,
    ) -> Result<Vec<EnvelopeState>, RelayError> {
        self.database
            .read("check_envelopes", move |db| {
                let envelopes = envelopes.clone();
                Box::pin(async move {
                    let mut states = Vec::with_capacity(envelopes.len());
                    for envelope in envelopes {
                        states.push(envelope_state(db, holder, envelope).await?);
                    }
                    Ok::<_, RelayError>(states)
                })
            })
            .await
    }
}
