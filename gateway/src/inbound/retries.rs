//! A consumer's device could not decrypt: it gets the message again, encrypted anew, five tries at most.

use sealpost_proto::{
    record::v1::Direction,
    relay::v1::{FetchBundleRequest, InboundRetry, SubmitItem, SubmitOutcome},
    signal::v1::{DeviceAddress, SignedBundle},
    store::v1::{AdvanceStatusItem, GetRecordRequest, MessageStatus},
    vault::v1::{EncryptItem, Encrypted, Refusal, encrypt_outcome::Outcome},
};

use super::{Context, Handled};
use crate::{
    ids::{MessageId, PhoneNumberId},
    outbound::codes,
    peers::{CallError, Store, called},
    record::Outbound,
};

/// The last try that is made.
const LAST_ATTEMPT: u32 = 5;

/// From this try on the vault makes the session anew.
const FRESH_SESSION: u32 = 2;

pub(super) async fn handle(
    context: &Context,
    number: &PhoneNumberId,
    retry: &InboundRetry,
) -> Handled {
    if MessageId::parse(&retry.message_id).is_err() {
        return Handled::Done("malformed");
    }
    let Ok(store) = context.regions.store_of(number).await else {
        return Handled::Again("directory");
    };
    let request = GetRecordRequest {
        phone_number_id: number.into(),
        message_id: retry.message_id.clone(),
        direction: Direction::Outbound.into(),
    };
    let found = match called(store.client.clone().get_record(request)).await {
        Ok(found) => found,
        Err(CallError::NotFound) => return Handled::Done("message_unknown"),
        Err(CallError::Expired) => return Handled::Done("expired"),
        Err(CallError::Replaced | CallError::Unreachable(_)) => return Handled::Again("store"),
    };
    if found.status() == MessageStatus::Failed {
        return Handled::Done("failed_before");
    }
    let Some(Ok(outbound)) = found.record.map(Outbound::parse) else {
        return Handled::Done("message_unknown");
    };
    let attempt = retry.failed_attempt.saturating_add(1);
    let resend = Resend {
        context,
        store: &store,
        outbound,
        retry,
        attempt: attempt.min(LAST_ATTEMPT),
    };
    if attempt > LAST_ATTEMPT || context.clock.now() >= resend.outbound.expires_at {
        return resend.fail(codes::EXPIRED).await;
    }
    resend.run().await
}

/// One try for one device.
struct Resend<'a> {
    context: &'a Context,
    store: &'a Store,
    outbound: Outbound,
    retry: &'a InboundRetry,
    attempt: u32,
}

/// What Encrypt came to.
enum Sealed {
    Encrypted(Encrypted),
    BundleNeeded(Vec<DeviceAddress>),
    Ended(Handled),
}

impl Resend<'_> {
    async fn run(&self) -> Handled {
        let bundle = if self.attempt >= FRESH_SESSION {
            match self.fetch_bundle(Vec::new()).await {
                Ok(bundle) => bundle,
                Err(ended) => return ended,
            }
        } else {
            None
        };
        let sealed = match self.encrypt(bundle).await {
            Sealed::BundleNeeded(known) => match self.fetch_bundle(known).await {
                Ok(bundle) => self.encrypt(bundle).await,
                Err(ended) => return ended,
            },
            sealed => sealed,
        };
        match sealed {
            Sealed::Encrypted(encrypted) => self.submit(encrypted).await,
            Sealed::BundleNeeded(_) => Handled::Again("bundle"),
            Sealed::Ended(handled) => handled,
        }
    }

    async fn fetch_bundle(
        &self,
        known_devices: Vec<DeviceAddress>,
    ) -> Result<Option<SignedBundle>, Handled> {
        let request = FetchBundleRequest {
            phone_number_id: self.outbound.record.phone_number_id.clone(),
            peer: self.retry.peer.clone(),
            known_devices,
            without_prekeys: false,
        };
        match called(
            self.context
                .peers
                .relay
                .client
                .clone()
                .fetch_bundle(request),
        )
        .await
        {
            Ok(answer) => Ok(answer.bundle),
            Err(CallError::NotFound) => Err(self.fail(codes::UNDELIVERABLE).await),
            Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
                Err(Handled::Again("relay"))
            }
        }
    }

    async fn encrypt(&self, bundle: Option<SignedBundle>) -> Sealed {
        let item = EncryptItem {
            record: Some(self.outbound.record.clone()),
            bundle,
            attempt: self.attempt,
            only_device_id: self.retry.device_id,
        };
        let Ok(answer) = self.context.peers.vault.encrypt.call(item).await else {
            return Sealed::Ended(Handled::Again("vault"));
        };
        match answer.outcome {
            Some(Outcome::Encrypted(encrypted)) => Sealed::Encrypted(encrypted),
            Some(Outcome::SessionRequired(required)) => {
                Sealed::BundleNeeded(required.known_devices)
            }
            Some(Outcome::Refused(refusal)) => Sealed::Ended(
                self.refused(Refusal::try_from(refusal).unwrap_or_default())
                    .await,
            ),
            None => Sealed::Ended(Handled::Again("vault")),
        }
    }

    async fn refused(&self, refusal: Refusal) -> Handled {
        match refusal {
            Refusal::EpochExpired | Refusal::SubjectErased => self.fail(codes::EXPIRED).await,
            Refusal::IdentityUnacknowledged => self.fail(codes::IDENTITY_CHANGED).await,
            // Above all: who asks is not whom the message is for, or the device is not theirs. The message itself is well.
            Refusal::BundleInvalid | Refusal::Malformed | Refusal::Undecryptable => {
                Handled::Done("refused")
            }
            Refusal::Contention | Refusal::ShardElsewhere => Handled::Again("contention"),
            Refusal::NumberUnknown
            | Refusal::UnknownContentKey
            | Refusal::KeyExpired
            | Refusal::Duplicate
            | Refusal::BusinessKeysMissing
            | Refusal::ClockUnconfirmed
            | Refusal::SenderUnverified
            | Refusal::Unspecified => Handled::Again("refused"),
        }
    }

    async fn submit(&self, encrypted: Encrypted) -> Handled {
        if encrypted.peer != self.retry.peer {
            tracing::warn!(
                reason = "RETRY_OF_ANOTHER",
                "a retry request is not its consumer's"
            );
            return Handled::Done("not_theirs");
        }
        let item = SubmitItem {
            phone_number_id: self.outbound.record.phone_number_id.clone(),
            peer: encrypted.peer,
            message_id: self.outbound.record.message_id.clone(),
            attempt: self.attempt,
            category: encrypted.category,
            ciphertexts: encrypted.ciphertexts,
            expires_at_ms: self.outbound.expires_at.as_millis(),
            one_device: true,
        };
        let Ok(outcome) = self.context.peers.relay.submit.call(item).await else {
            return Handled::Again("relay");
        };
        match SubmitOutcome::try_from(outcome).unwrap_or_default() {
            SubmitOutcome::Accepted => self.advance(MessageStatus::Sent, 0, "resent").await,
            SubmitOutcome::UnknownPeer => self.fail(codes::UNDELIVERABLE).await,
            // The device is gone meanwhile.
            SubmitOutcome::StaleDevices | SubmitOutcome::Malformed => Handled::Done("device_gone"),
            SubmitOutcome::QueueFull => Handled::Again("queue_full"),
            SubmitOutcome::Unspecified => Handled::Again("relay"),
        }
    }

    async fn fail(&self, code: u32) -> Handled {
        self.advance(MessageStatus::Failed, code, "failed").await
    }

    async fn advance(&self, status: MessageStatus, code: u32, outcome: &'static str) -> Handled {
        let item = AdvanceStatusItem {
            phone_number_id: self.outbound.record.phone_number_id.clone(),
            message_id: self.outbound.record.message_id.clone(),
            status: status.into(),
            time_ms: self.context.clock.now().as_millis(),
            error_code: code,
            attempt: self.attempt,
        };
        match self.store.advance_status.call(item).await {
            Ok(advanced) if advanced.number_departed => Handled::Again("moving"),
            Ok(_) => Handled::Done(outcome),
            Err(_) => Handled::Again("store"),
        }
    }
}
