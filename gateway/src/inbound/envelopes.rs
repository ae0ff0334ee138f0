//! Consumers' messages: decrypt, keep, and only then may the relay forget them; at last the vault forgets its pending record.
//! One that cannot be decrypted is asked for again.
//!
//! The vault takes nobody's word for who a stranger is but the relay's: where it asks, the relay's signed list of the sender's
//! devices goes along, which costs no prekey.

use bytes::Bytes;
use sealpost_proto::{
    relay::v1::{FetchBundleRequest, InboundEnvelope},
    store::v1::{AppendInboundItem, HasEnvelopeRequest, append_inbound_outcome::Outcome as Append},
    vault::v1::{
        ConfirmItem, DecryptItem, DecryptOutcome, Decrypted, Refusal, decrypt_outcome::Outcome,
    },
};

use super::{
    Context, Handled,
    requests::{ask_again, lost},
};
use crate::{
    ids::{ContentKeyId, MessageId, PhoneNumberId},
    peers::{CallError, Store, called},
};

pub(super) async fn handle(
    context: &Context,
    number: &PhoneNumberId,
    envelope: &InboundEnvelope,
) -> Handled {
    let answer = match decrypt(context, number, envelope).await {
        Ok(answer) => answer,
        Err(ended) => return ended,
    };
    let Ok(store) = context.regions.store_of(number).await else {
        return Handled::Again("directory");
    };
    match answer.outcome {
        Some(Outcome::Decrypted(decrypted)) => {
            keep(context, number, &store, decrypted, answer.ciphertext_sha256).await
        }
        Some(Outcome::Refused(refusal)) => {
            let refusal = Refusal::try_from(refusal).unwrap_or_default();
            let digest = answer.ciphertext_sha256;
            refused(context, number, envelope, &store, refusal, digest).await
        }
        None => Handled::Again("vault"),
    }
}

/// Decrypts; with the relay's word when the vault wants it.
async fn decrypt(
    context: &Context,
    number: &PhoneNumberId,
    envelope: &InboundEnvelope,
) -> Result<DecryptOutcome, Handled> {
    let item = |bundle| DecryptItem {
        phone_number_id: number.into(),
        peer: envelope.peer.clone(),
        device_id: envelope.device_id,
        r#type: envelope.r#type,
        ciphertext: envelope.ciphertext.clone(),
        bundle,
    };
    let vault = &context.peers.vault;
    let again = |_| Handled::Again("vault");
    let answer = vault.decrypt(item(None)).await.map_err(again)?;
    if answer.outcome != Some(Outcome::Refused(Refusal::SenderUnverified.into())) {
        return Ok(answer);
    }
    let request = FetchBundleRequest {
        phone_number_id: number.into(),
        peer: envelope.peer.clone(),
        known_devices: Vec::new(),
        without_prekeys: true,
    };
    let mut relay = context.peers.relay.client.clone();
    match called(relay.fetch_bundle(request)).await {
        Ok(said) => vault.decrypt(item(said.bundle)).await.map_err(again),
        // The relay knows the sender no more: nobody ever vouches for this message.
        Err(CallError::NotFound) => Ok(answer),
        Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
            Err(Handled::Again("relay"))
        }
    }
}

async fn keep(
    context: &Context,
    number: &PhoneNumberId,
    store: &Store,
    decrypted: Decrypted,
    ciphertext_sha256: Bytes,
) -> Handled {
    if decrypted.record.is_none() {
        return Handled::Again("vault");
    }
    let item = AppendInboundItem {
        record: decrypted.record.clone(),
        ciphertext_sha256: ciphertext_sha256.clone(),
        identity_changed: decrypted.identity_changed,
    };
    // Before the store tells of its event, so that a subscriber finds the content here.
    remember(context, number, decrypted);
    let kept = match store.append_inbound.call(item).await {
        Ok(kept) => kept.outcome,
        Err(_) => return Handled::Again("store"),
    };
    match kept {
        Some(Append::Appended(_)) => Handled::Kept(ConfirmItem {
            phone_number_id: number.into(),
            ciphertext_sha256,
        }),
        Some(Append::EpochClosed(_)) => Handled::Done("epoch_closed"),
        Some(Append::NumberDeparted(_)) => Handled::Again("moving"),
        None => Handled::Again("store"),
    }
}

fn remember(context: &Context, number: &PhoneNumberId, decrypted: Decrypted) {
    let Ok(key) = ContentKeyId::parse(&decrypted.content_key_id) else {
        return;
    };
    context.wraps.keep(key, decrypted.wrap);
    let message_id = decrypted
        .record
        .and_then(|record| MessageId::parse(&record.message_id).ok());
    if let (Some(message_id), Some(message)) = (message_id, decrypted.message) {
        context
            .contents
            .keep((number.clone(), message_id), key, message);
    }
}

async fn refused(
    context: &Context,
    number: &PhoneNumberId,
    envelope: &InboundEnvelope,
    store: &Store,
    refusal: Refusal,
    ciphertext_sha256: Bytes,
) -> Handled {
    match refusal {
        Refusal::Duplicate => {
            let request = HasEnvelopeRequest {
                phone_number_id: number.into(),
                ciphertext_sha256,
            };
            match called(store.client.clone().has_envelope(request)).await {
                Ok(answer) if answer.kept => Handled::Done("repeated"),
                // Its message key is spent and the message is not here: a device that went back to an earlier state has used
                // the key for something else.
                Ok(_) => ask_again(context, number, envelope, refusal).await,
                Err(_) => Handled::Again("store"),
            }
        }
        Refusal::Undecryptable | Refusal::Malformed => {
            ask_again(context, number, envelope, refusal).await
        }
        // The relay was asked: this device shows a key that is not, or no more, its owner's.
        Refusal::SenderUnverified => lost(refusal, "sender_unverified"),
        // Another bundle overtook it, or it ended.
        Refusal::BundleInvalid => Handled::Again("bundle"),
        Refusal::SubjectErased | Refusal::EpochExpired => Handled::Done("erased"),
        Refusal::Contention | Refusal::ShardElsewhere => Handled::Again("contention"),
        Refusal::NumberUnknown
        | Refusal::UnknownContentKey
        | Refusal::KeyExpired
        | Refusal::IdentityUnacknowledged
        | Refusal::BusinessKeysMissing
        | Refusal::ClockUnconfirmed
        | Refusal::Unspecified => Handled::Again("refused"),
    }
}
