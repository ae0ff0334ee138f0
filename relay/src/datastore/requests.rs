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

impl Datastore {
    /// Asks a device for a message again. A repeat, or one about an attempt that another followed, changes nothing. Whether the tries
    /// are used up.
    ///
    /// # Errors
    /// `MessageUnknown` when that device did not hand such a message over for that number.
    pub(crate) async fn request_envelope(
        &self,
        request: EnvelopeRequest,
        now: i64,
    ) -> Result<bool, RelayError> {
        let (new, given_up) = self
            .database
            .run_tx("request_envelope", move |tx| {
                let request = request.clone();
                Box::pin(async move {
                    let devices = devices_of(tx, &request.peer).await?;
                    let device = devices
                        .iter()
                        .find(|device| device.device_id == request.device_id)
                        .ok_or(RelayError::MessageUnknown)?;
                    let kept = envelope_find(tx, device.holder, request.envelope, now)
                        .await?
                        .filter(|kept| kept.number == request.number)
                        .filter(|kept| request.failed_attempt <= kept.attempt)
                        .ok_or(RelayError::MessageUnknown)?;
                    let new = request.failed_attempt == kept.attempt && !kept.retry_asked;
                    if new {
                        envelope_mark_asked(tx, device.holder, request.envelope).await?;
                        request_insert(tx, device.holder, &request, now, kept.expires_at).await?;
                    }
                    Ok::<_, RelayError>((new, request.failed_attempt == MAX_ATTEMPT))
                })
            })
            .await?;
        if new {
            metrics::counter!("sealpost_relay_envelopes_requested_total").increment(1);
        }
        Ok(given_up)
    }

    /// What became of messages of one device, in their order.
    pub(crate) async fn envelope_states(
        &self,
        holder: HolderId,
        envelopes: Vec<MessageId>,
        now: i64,
    ) -> Result<Vec<EnvelopeState>, RelayError> {
        self.database
            .read("check_envelopes", move |db| {
                let envelopes = envelopes.clone();
                Box::pin(async move {
                    let mut states = Vec::with_capacity(envelopes.len());
                    for envelope in envelopes {
                        states.push(envelope_state(db, holder, envelope, now).await?);
                    }
                    Ok::<_, RelayError>(states)
                })
            })
            .await
    }
}
