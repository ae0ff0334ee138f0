//! What becomes of an envelope from the relay.
//!
//! Pure: it writes into a draft, and the caller commits, then acknowledges. Every envelope is acknowledged: shown, known already,
//! asked for again, or given up; and so is every request for one of ours.

use prost::Message;
use rand::{CryptoRng, Rng};
use sealpost_proto::{
    content::v1::Content,
    relay::v1::{DeviceEnvelope, EnvelopeRequest},
};
use sealpost_runtime::Timestamp;

use crate::{
    SignalFault,
    event::{EventKind, Incoming},
    frame::Frame,
    ids::{MessageId, PhoneNumber, PhoneNumberId},
    padding,
    signal::{self, Draft},
    state::{Change, MessageKey, ReceiptMark},
};

/// The last attempt that a business makes. That it failed is said as well, so that the business sees the message fail.
const LAST_ATTEMPT: u32 = 5;

/// Takes one envelope in. Answers whether it spent a prekey.
pub(crate) fn take_in(
    draft: &mut Draft<'_>,
    me: &PhoneNumber,
    envelope: &DeviceEnvelope,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> bool {
    let (Ok(number), Ok(message_id)) = (
        envelope.phone_number_id.parse::<PhoneNumberId>(),
        MessageId::from_slice(&envelope.message_id),
    ) else {
        // It names nothing that could be asked for again.
        tracing::warn!("an envelope without a number or a message id was dropped");
        return false;
    };
    let key = (number, message_id);
    let kind = u8::try_from(envelope.r#type).unwrap_or(0);
    match open(draft, me, &key, kind, &envelope.ciphertext, rng) {
        Ok((frame, effects)) => {
            let spent = effects.spend();
            draft.absorb(&key.0, effects);
            keep(draft, key, &frame, now);
            return spent;
        }
        Err(_) if draft.has_seen(&key) => draft.receipt(key, ReceiptMark::Delivered, now),
        Err(fault) => ask_again(draft, key, envelope.attempt, fault),
    }
    false
}

/// Decrypts and checks the frame; the draft is as it was.
fn open(
    draft: &Draft<'_>,
    me: &PhoneNumber,
    (number, message_id): &MessageKey,
    kind: u8,
    ciphertext: &[u8],
    rng: &mut (impl Rng + CryptoRng),
) -> Result<(Frame, signal::Effects), SignalFault> {
    let (plain, effects) = signal::decrypt(draft, number, kind, ciphertext, rng)?;
    let frame = Frame::decode(&plain)?;
    let fits =
        frame.from == number.as_str() && frame.to == me.as_str() && frame.message_id == *message_id;
    if fits {
        Ok((frame, effects))
    } else {
        Err(SignalFault::Frame)
    }
}

/// Shows a message once, and says each time that it is here.
fn keep(draft: &mut Draft<'_>, key: MessageKey, frame: &Frame, now: Timestamp) {
    if draft.has_seen(&key) {
        draft.receipt(key, ReceiptMark::Delivered, now);
        return;
    }
    draft.see(key.clone(), now);
    let (phone_number_id, message_id) = key.clone();
    let content = padding::unpad(&frame.padded)
        .ok()
        .and_then(|content| Content::decode(content).ok());
    let Some(content) = content.filter(|content| content.body.is_some()) else {
        // The sender wrote it so: asking again would bring the same.
        draft.tell(EventKind::Unreadable {
            phone_number_id,
            message_id,
        });
        return;
    };
    draft.receipt(key, ReceiptMark::Delivered, now);
    draft.tell(EventKind::Message(Box::new(Incoming {
        phone_number_id,
        message_id,
        content,
        time: frame.time,
        category: frame.category,
    })));
}

fn ask_again(draft: &mut Draft<'_>, key: MessageKey, attempt: u32, fault: SignalFault) {
    if draft.has_retry(&key, attempt) {
        return;
    }
    tracing::warn!(attempt, %fault, "a message could not be decrypted");
    let last = attempt >= LAST_ATTEMPT;
    let (phone_number_id, message_id) = key.clone();
    draft.tell(EventKind::Undecryptable {
        phone_number_id,
        message_id,
        attempt,
        last,
    });
    draft.retry(key, attempt);
}

/// Takes in that a business could not decrypt a message of ours. What is not kept is asked for in vain.
pub(crate) fn take_request(draft: &mut Draft<'_>, request: &EnvelopeRequest) {
    let kept = request.envelope_id.as_ref().try_into().ok();
    let kept = kept.filter(|id: &[u8; 16]| {
        let kept = draft.model().kept.get(id);
        kept.is_some_and(|kept| kept.note.number.as_str() == request.phone_number_id)
    });
    let failed_attempt = request.failed_attempt;
    match kept {
        Some(envelope_id) => draft.add(Change::Asked {
            envelope_id,
            failed_attempt,
        }),
        None => tracing::warn!(failed_attempt, "a message was asked for that is not kept"),
    }
}
