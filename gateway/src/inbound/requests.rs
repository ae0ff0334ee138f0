//! Consumers' messages that the vault cannot decrypt: their devices are asked to send them again.
//!
//! A session that was lost on our side (an erasure, a restored vault), a prekey that is gone, bytes that were damaged: all of
//! them heal when the device encrypts the same message anew, from the second try on for a fresh session. The relay counts the
//! tries and asks only the device that handed the message over.

use sealpost_proto::{
    relay::v1::{InboundEnvelope, RequestEnvelopeRequest},
    vault::v1::Refusal,
};
use tonic::Code;

use super::{Context, Handled};
use crate::{
    ids::PhoneNumberId,
    peers::{CallError, called},
};

/// Asks for an envelope again. It is dealt with once the relay has kept that; or when nobody can send it any more.
pub(super) async fn ask_again(
    context: &Context,
    number: &PhoneNumberId,
    envelope: &InboundEnvelope,
    refusal: Refusal,
) -> Handled {
    let request = RequestEnvelopeRequest {
        phone_number_id: number.into(),
        peer: envelope.peer.clone(),
        device_id: envelope.device_id,
        envelope_id: envelope.envelope_id.clone(),
        failed_attempt: envelope.attempt,
    };
    let mut relay = context.peers.relay.client.clone();
    match called(relay.request_envelope(request)).await {
        Ok(answer) if answer.given_up => lost(refusal, "given_up"),
        Ok(_) => {
            let reason = refusal.as_str_name();
            tracing::info!(reason, "a consumer's message is asked for again");
            Handled::Done("asked_again")
        }
        // The device is gone, or the relay is one that knows no names for envelopes.
        Err(CallError::NotFound) => lost(refusal, "undecryptable"),
        Err(CallError::Unreachable(Code::InvalidArgument | Code::Unimplemented)) => {
            lost(refusal, "undecryptable")
        }
        Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
            Handled::Again("relay")
        }
    }
}

/// A message that reaches nobody.
pub(super) fn lost(refusal: Refusal, outcome: &'static str) -> Handled {
    let reason = refusal.as_str_name();
    tracing::warn!(reason, "a consumer's message cannot be taken");
    Handled::Done(outcome)
}
