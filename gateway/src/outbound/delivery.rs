//! Carries one message through its steps: the shell around [`super::steps`].

use std::sync::Arc;

use sealpost_proto::{
    relay::v1::{FetchBundleRequest, SubmitItem, SubmitOutcome},
    store::v1::{AdvanceStatusItem, MessageStatus},
    vault::v1::{EncryptItem, encrypt_outcome::Outcome},
};
use sealpost_runtime::Clock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Accepted, Addressed, Ending, Next, Step, codes,
    steps::{after_encrypt, after_fetch, after_submit},
};
use crate::{
    backoff::{Backoff, Patience},
    meters,
    peers::{CallError, Peers, called},
};

/// What a delivery works with.
pub struct Delivery {
    /// The services.
    pub peers: Arc<Peers>,
    /// The time.
    pub clock: Clock,
    /// Once cancelled, a message that would have to wait is left to the next start.
    pub stop: CancellationToken,
}

impl Delivery {
    /// Carries a message to its end. False: the gateway stops first, and the store still holds it as accepted.
    pub async fn deliver(&self, message: &mut Accepted) -> bool {
        let mut patience = Patience::new(Backoff::CONVERSATION);
        let mut stale_before = false;
        let mut step = match message.addressed.take() {
            Some(addressed) => Step::Submit(addressed),
            None => Step::Encrypt(None),
        };
        loop {
            if !matches!(step, Step::Conclude(_)) && self.clock.now() >= message.outbound.last_call
            {
                step = Step::Conclude(Ending::Failed(codes::EXPIRED));
            }
            let next = self.take(message, step, stale_before).await;
            step = match next {
                Next::Done => return true,
                Next::Now(step) => {
                    stale_before |= matches!(step, Step::FetchBundle { .. });
                    step
                }
                Next::Later(step, cause) => {
                    meters::dispatch_retried(cause);
                    tokio::select! {
                        () = self.stop.cancelled() => return false,
                        () = sleep(patience.next_delay()) => step,
                    }
                }
            };
        }
    }

    async fn take(&self, message: &Accepted, step: Step, stale_before: bool) -> Next {
        match step {
            Step::Encrypt(bundle) => {
                let item = EncryptItem {
                    record: Some(message.outbound.record.clone()),
                    bundle: bundle.clone(),
                    attempt: message.attempt,
                    only_device_id: 0,
                };
                match self.peers.vault.encrypt.call(item).await {
                    Ok(outcome) => {
                        if let Some(Outcome::Encrypted(encrypted)) = &outcome.outcome
                            && encrypted.identity_changed
                        {
                            meters::identity_changed();
                        }
                        after_encrypt(outcome)
                    }
                    Err(_) => Next::Later(Step::Encrypt(bundle), "vault"),
                }
            }
            Step::FetchBundle {
                peer,
                known_devices,
            } => {
                let request = FetchBundleRequest {
                    phone_number_id: message.outbound.record.phone_number_id.clone(),
                    peer: peer.clone(),
                    known_devices: known_devices.clone(),
                    without_prekeys: false,
                };
                let mut relay = self.peers.relay.client.clone();
                match called(relay.fetch_bundle(request)).await {
                    Ok(answer) => after_fetch(answer.bundle),
                    Err(CallError::NotFound) => after_fetch(None),
                    Err(CallError::Expired | CallError::Replaced | CallError::Unreachable(_)) => {
                        Next::Later(
                            Step::FetchBundle {
                                peer,
                                known_devices,
                            },
                            "relay",
                        )
                    }
                }
            }
            Step::Submit(addressed) => {
                let item = submission(message, &addressed);
                match self.peers.relay.submit.call(item).await {
                    Ok(outcome) => {
                        let outcome = SubmitOutcome::try_from(outcome).unwrap_or_default();
                        after_submit(addressed, outcome, stale_before)
                    }
                    // The relay drops what it has already: the same ciphertexts may go again.
                    Err(_) => Next::Later(Step::Submit(addressed), "relay"),
                }
            }
            Step::Conclude(ending) => {
                let item = self.conclusion(message, ending);
                match message.store.advance_status.call(item).await {
                    // Where its record is now, it waits as accepted: it is dispatched from there, and the relay drops what it has.
                    Ok(advanced) if advanced.number_departed => Next::Done,
                    Ok(_) => {
                        let outcome = match ending {
                            Ending::Sent => "sent",
                            Ending::Failed(_) => "failed",
                        };
                        meters::dispatched(outcome, self.clock.now().since(message.accepted_at));
                        Next::Done
                    }
                    Err(_) => Next::Later(Step::Conclude(ending), "store"),
                }
            }
        }
    }

    fn conclusion(&self, message: &Accepted, ending: Ending) -> AdvanceStatusItem {
        let (status, error_code) = match ending {
            Ending::Sent => (MessageStatus::Sent, 0),
            Ending::Failed(code) => (MessageStatus::Failed, code),
        };
        AdvanceStatusItem {
            phone_number_id: message.outbound.record.phone_number_id.clone(),
            message_id: message.outbound.record.message_id.clone(),
            status: status.into(),
            time_ms: self.clock.now().as_millis(),
            error_code,
            attempt: message.attempt,
        }
    }
}

fn submission(message: &Accepted, addressed: &Addressed) -> SubmitItem {
    SubmitItem {
        phone_number_id: message.outbound.record.phone_number_id.clone(),
        peer: addressed.peer.clone(),
        message_id: message.outbound.record.message_id.clone(),
        attempt: message.attempt,
        category: addressed.category,
        ciphertexts: addressed.ciphertexts.clone(),
        expires_at_ms: message.outbound.expires_at.as_millis(),
        one_device: false,
    }
}
