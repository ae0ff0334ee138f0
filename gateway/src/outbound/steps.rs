//! What to do next with one message under way.
//!
//! Pure: a step's answer in, the next step out. It never gives up by itself: only the record's last call, a consumer that does
//! not exist, or an answer that time cannot heal ends a message as failed.

use std::fmt;

use sealpost_proto::{
    relay::v1::SubmitOutcome,
    signal::v1::{DeviceAddress, DeviceCiphertext, SignedBundle},
    vault::v1::{EncryptOutcome, Refusal, encrypt_outcome::Outcome},
};

/// Error codes shown to the business with FAILED, as in the Cloud API.
pub mod codes {
    /// Something went wrong that trying again does not heal.
    pub const SOMETHING_WRONG: u32 = 131_000;
    /// The consumer does not exist.
    pub const UNDELIVERABLE: u32 = 131_026;
    /// The record is past its time, or its person was erased.
    pub const EXPIRED: u32 = 131_036;
    /// The consumer's identity key changed and the number demands acknowledgement first.
    pub const IDENTITY_CHANGED: u32 = 137_000;
}

/// Ciphertexts and whom they are for. In memory only; `Debug` says nothing of the consumer.
#[derive(Clone, PartialEq)]
pub struct Addressed {
    /// The consumer, E.164 digits.
    pub peer: String,
    /// Category as in the header.
    pub category: u32,
    /// One for each device.
    pub ciphertexts: Vec<DeviceCiphertext>,
}

impl fmt::Debug for Addressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addressed({} devices)", self.ciphertexts.len())
    }
}

/// What is to be done with a message.
#[derive(Clone, PartialEq)]
pub enum Step {
    /// The vault encrypts its record.
    Encrypt(Option<SignedBundle>),
    /// The relay gives the consumer's devices.
    FetchBundle {
        /// The consumer, E.164 digits.
        peer: String,
        /// Devices that need no prekeys.
        known_devices: Vec<DeviceAddress>,
    },
    /// The relay takes the ciphertexts.
    Submit(Addressed),
    /// The store moves its status.
    Conclude(Ending),
}

/// How a message ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The relay has it.
    Sent,
    /// It will not be delivered, for the reason that this code gives the business.
    Failed(u32),
}

/// What follows from an answer.
#[derive(Clone, PartialEq)]
pub enum Next {
    /// Go on at once.
    Now(Step),
    /// Go on after a wait; the word names the cause in metrics.
    Later(Step, &'static str),
    /// The message came to its end.
    Done,
}

impl Next {
    fn failed(code: u32) -> Self {
        Self::Now(Step::Conclude(Ending::Failed(code)))
    }
}

/// After Encrypt.
#[must_use]
pub fn after_encrypt(outcome: EncryptOutcome) -> Next {
    match outcome.outcome {
        Some(Outcome::Encrypted(encrypted)) => Next::Now(Step::Submit(Addressed {
            peer: encrypted.peer,
            category: encrypted.category,
            ciphertexts: encrypted.ciphertexts,
        })),
        Some(Outcome::SessionRequired(required)) => Next::Now(Step::FetchBundle {
            peer: required.peer,
            known_devices: required.known_devices,
        }),
        Some(Outcome::Refused(refusal)) => {
            after_refusal(Refusal::try_from(refusal).unwrap_or_default())
        }
        None => Next::Later(Step::Encrypt(None), "vault"),
    }
}

fn after_refusal(refusal: Refusal) -> Next {
    let again = |cause| Next::Later(Step::Encrypt(None), cause);
    match refusal {
        Refusal::EpochExpired | Refusal::SubjectErased => Next::failed(codes::EXPIRED),
        Refusal::IdentityUnacknowledged => Next::failed(codes::IDENTITY_CHANGED),
        // The record itself is bad: the vault will say so again whenever it is asked.
        Refusal::Malformed | Refusal::Undecryptable => Next::failed(codes::SOMETHING_WRONG),
        Refusal::Contention | Refusal::ShardElsewhere => again("contention"),
        // A fresh bundle may be better: it may just have expired.
        Refusal::BundleInvalid => again("bundle"),
        Refusal::NumberUnknown
        | Refusal::UnknownContentKey
        | Refusal::KeyExpired
        | Refusal::Duplicate
        | Refusal::BusinessKeysMissing
        | Refusal::ClockUnconfirmed
        | Refusal::SenderUnverified
        | Refusal::Unspecified => again("refused"),
    }
}

/// After FetchBundle: the bundle, or that there is no such consumer.
#[must_use]
pub fn after_fetch(bundle: Option<SignedBundle>) -> Next {
    match bundle {
        Some(bundle) => Next::Now(Step::Encrypt(Some(bundle))),
        None => Next::failed(codes::UNDELIVERABLE),
    }
}

/// After Submit. `stale_before`: the relay refused this message's device list once already.
#[must_use]
pub fn after_submit(addressed: Addressed, outcome: SubmitOutcome, stale_before: bool) -> Next {
    match outcome {
        SubmitOutcome::Accepted => Next::Now(Step::Conclude(Ending::Sent)),
        SubmitOutcome::StaleDevices => {
            // Devices that were encrypted to have sessions: no prekey need be spent on them.
            let known_devices = addressed
                .ciphertexts
                .into_iter()
                .filter_map(|ciphertext| ciphertext.device)
                .collect();
            let fetch = Step::FetchBundle {
                peer: addressed.peer,
                known_devices,
            };
            if stale_before {
                Next::Later(fetch, "stale_devices")
            } else {
                Next::Now(fetch)
            }
        }
        SubmitOutcome::UnknownPeer => Next::failed(codes::UNDELIVERABLE),
        SubmitOutcome::Malformed => Next::failed(codes::SOMETHING_WRONG),
        SubmitOutcome::QueueFull => Next::Later(Step::Submit(addressed), "queue_full"),
        SubmitOutcome::Unspecified => Next::Later(Step::Submit(addressed), "relay"),
    }
}

#[cfg(test)]
mod tests {
    use sealpost_proto::vault::v1::{Encrypted, SessionRequired};

    use super::*;

    fn addressed() -> Addressed {
        Addressed {
            peer: "4915112345678".into(),
            category: 1,
            ciphertexts: vec![DeviceCiphertext {
                device: Some(DeviceAddress {
                    device_id: 1,
                    registration_id: 7,
                }),
                ..DeviceCiphertext::default()
            }],
        }
    }

    fn encrypted(outcome: Outcome) -> Next {
        after_encrypt(EncryptOutcome {
            shard: 0,
            outcome: Some(outcome),
        })
    }

    fn refused(refusal: Refusal) -> Next {
        encrypted(Outcome::Refused(refusal.into()))
    }

    fn is(next: &Next, expected: &Next) -> bool {
        next == expected
    }

    #[test]
    fn a_message_goes_from_encryption_to_the_relay_to_sent() {
        let from = addressed();
        let next = encrypted(Outcome::Encrypted(Encrypted {
            peer: from.peer.clone(),
            category: from.category,
            ciphertexts: from.ciphertexts.clone(),
            ..Encrypted::default()
        }));
        assert!(is(&next, &Next::Now(Step::Submit(from.clone()))));
        let next = after_submit(from, SubmitOutcome::Accepted, false);
        assert!(is(&next, &Next::Now(Step::Conclude(Ending::Sent))));
    }

    #[test]
    fn a_missing_session_is_made_from_the_relays_bundle() {
        let next = encrypted(Outcome::SessionRequired(SessionRequired {
            peer: "4915112345678".into(),
            known_devices: vec![],
        }));
        assert!(matches!(next, Next::Now(Step::FetchBundle { .. })));
        let next = after_fetch(Some(SignedBundle::default()));
        assert!(matches!(next, Next::Now(Step::Encrypt(Some(_)))));
    }

    #[test]
    fn a_stale_device_list_is_fetched_at_once_and_then_with_a_wait() {
        let fetch = Step::FetchBundle {
            peer: "4915112345678".into(),
            known_devices: vec![DeviceAddress {
                device_id: 1,
                registration_id: 7,
            }],
        };
        let first = after_submit(addressed(), SubmitOutcome::StaleDevices, false);
        assert!(is(&first, &Next::Now(fetch.clone())));
        let second = after_submit(addressed(), SubmitOutcome::StaleDevices, true);
        assert!(is(&second, &Next::Later(fetch, "stale_devices")));
    }

    #[test]
    fn only_what_time_cannot_heal_fails() {
        let failed = |code| Next::Now(Step::Conclude(Ending::Failed(code)));
        assert!(is(&after_fetch(None), &failed(131_026)));
        let unknown = after_submit(addressed(), SubmitOutcome::UnknownPeer, false);
        assert!(is(&unknown, &failed(131_026)));
        assert!(is(&refused(Refusal::EpochExpired), &failed(131_036)));
        assert!(is(&refused(Refusal::SubjectErased), &failed(131_036)));
        assert!(is(
            &refused(Refusal::IdentityUnacknowledged),
            &failed(137_000)
        ));
        for healing in [
            Refusal::Contention,
            Refusal::BundleInvalid,
            Refusal::ClockUnconfirmed,
            Refusal::NumberUnknown,
            Refusal::Unspecified,
        ] {
            assert!(matches!(
                refused(healing),
                Next::Later(Step::Encrypt(None), _)
            ));
        }
        let full = after_submit(addressed(), SubmitOutcome::QueueFull, false);
        assert!(is(
            &full,
            &Next::Later(Step::Submit(addressed()), "queue_full")
        ));
    }
}
