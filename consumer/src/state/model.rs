//! The device's state in memory.
//!
//! Pure. Invariant: it changes only by [`Model::apply`], so that replaying the same changes makes the same state, and
//! [`Model::snapshot`] makes changes that lead back to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use libsignal_protocol::SessionRecord;
use sealpost_runtime::Timestamp;

use super::change::{Change, Device, Kept, MessageKey, Outgoing, PrekeyKind, ReceiptMark};
use crate::{
    event::EventKind,
    ids::{MessageId, PhoneNumber, PhoneNumberId},
};

/// A business that this device has written to.
#[derive(Clone)]
pub(crate) struct KnownBusiness {
    pub(crate) phone: PhoneNumber,
    pub(crate) display_name: String,
}

/// Our own long-lived key.
#[derive(Clone)]
pub(crate) struct OwnIdentity {
    /// libsignal's serialised identity key pair.
    pub(crate) key_pair: Vec<u8>,
    pub(crate) registration_id: u32,
}

/// Everything the device knows.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) identity: Option<OwnIdentity>,
    pub(crate) device: Option<Device>,
    pub(crate) prekeys: BTreeMap<(PrekeyKind, u32), Vec<u8>>,
    pub(crate) uploaded: BTreeMap<PrekeyKind, u32>,
    next_prekey: BTreeMap<PrekeyKind, u32>,
    pub(crate) base_keys: HashSet<(u32, u32, [u8; 33])>,
    pub(crate) businesses: BTreeMap<PhoneNumberId, KnownBusiness>,
    by_phone: HashMap<PhoneNumber, PhoneNumberId>,
    pub(crate) pins: BTreeMap<PhoneNumberId, [u8; 33]>,
    pub(crate) sessions: BTreeMap<PhoneNumberId, Box<SessionRecord>>,
    seen: HashMap<PhoneNumberId, HashSet<MessageId>>,
    seen_by_time: BTreeSet<(Timestamp, PhoneNumberId, MessageId)>,
    pub(crate) outbox: BTreeMap<u64, Outgoing>,
    pub(crate) receipts: BTreeMap<(MessageKey, ReceiptMark), Timestamp>,
    pub(crate) retries: BTreeSet<(MessageKey, u32)>,
    pub(crate) kept: BTreeMap<[u8; 16], Box<Kept>>,
    pub(crate) asked: BTreeMap<[u8; 16], u32>,
    pub(crate) events: BTreeMap<u64, EventKind>,
    next_outgoing: u64,
    next_event: u64,
}

impl Model {
    /// Makes one change.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Identity {
                key_pair,
                registration_id,
            } => {
                self.identity = Some(OwnIdentity {
                    key_pair,
                    registration_id,
                });
            }
            Change::Registered(device) => self.device = Some(device),
            Change::Prekey { kind, id, record } => {
                self.prekeys.insert((kind, id), record);
                let next = self.next_prekey.entry(row(kind)).or_insert(1);
                *next = (*next).max(id.saturating_add(1));
            }
            Change::PrekeySpent { kind, id } => {
                self.prekeys.remove(&(kind, id));
                match kind {
                    PrekeyKind::LastResortKem => self.base_keys.retain(|(kem, _, _)| *kem != id),
                    PrekeyKind::Signed => self.base_keys.retain(|(_, signed, _)| *signed != id),
                    PrekeyKind::OneTime | PrekeyKind::Kem => {}
                }
            }
            Change::PrekeysUploaded { kind, through } => {
                self.uploaded.insert(kind, through);
            }
            Change::BaseKeySeen {
                kem,
                signed,
                base_key,
            } => {
                self.base_keys.insert((kem, signed, base_key));
            }
            Change::Business {
                number,
                phone,
                display_name,
            } => {
                self.by_phone.insert(phone.clone(), number.clone());
                self.businesses.insert(
                    number,
                    KnownBusiness {
                        phone,
                        display_name,
                    },
                );
            }
            Change::Pinned {
                number,
                identity_key,
            } => {
                self.pins.insert(number, identity_key);
            }
            Change::Session { number, record } => {
                self.sessions.insert(number, record);
            }
            Change::SessionDropped { number } => {
                self.sessions.remove(&number);
            }
            Change::Seen {
                key: (number, message_id),
                time,
            } => {
                self.seen
                    .entry(number.clone())
                    .or_default()
                    .insert(message_id);
                self.seen_by_time.insert((time, number, message_id));
            }
            Change::SeenForgotten { before } => self.forget_seen(before),
            Change::Outgoing { sequence, message } => {
                self.next_outgoing = self.next_outgoing.max(sequence + 1);
                self.outbox.insert(sequence, message);
            }
            Change::OutgoingDone { sequence } => {
                self.outbox.remove(&sequence);
            }
            Change::Receipt { key, mark, time } => {
                self.receipts.insert((key, mark), time);
            }
            Change::ReceiptDone { key, mark } => {
                self.receipts.remove(&(key, mark));
            }
            Change::Retry {
                key,
                failed_attempt,
            } => {
                self.retries.insert((key, failed_attempt));
            }
            Change::RetryDone {
                key,
                failed_attempt,
            } => {
                self.retries.remove(&(key, failed_attempt));
            }
            Change::Kept {
                envelope_id,
                message,
            } => {
                self.kept.insert(envelope_id, message);
            }
            Change::KeptDone { envelope_id } => {
                self.kept.remove(&envelope_id);
            }
            Change::Asked {
                envelope_id,
                failed_attempt,
            } => {
                self.asked.insert(envelope_id, failed_attempt);
            }
            Change::AskedDone { envelope_id } => {
                self.asked.remove(&envelope_id);
            }
            Change::Event { sequence, kind } => {
                self.next_event = self.next_event.max(sequence + 1);
                self.events.insert(sequence, kind);
            }
            Change::Confirmed { through } => {
                self.events = self.events.split_off(&through.saturating_add(1));
            }
            Change::Counters {
                next,
                next_outgoing,
                next_event,
            } => {
                self.next_prekey.extend(next);
                self.next_outgoing = next_outgoing;
                self.next_event = next_event;
            }
        }
    }

    /// Changes that make this state from nothing.
    pub(super) fn snapshot(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        changes.extend(self.identity.clone().map(|own| Change::Identity {
            key_pair: own.key_pair,
            registration_id: own.registration_id,
        }));
        changes.extend(self.device.clone().map(Change::Registered));
        changes.extend(
            self.prekeys
                .iter()
                .map(|((kind, id), record)| Change::Prekey {
                    kind: *kind,
                    id: *id,
                    record: record.clone(),
                }),
        );
        changes.extend(
            self.uploaded
                .iter()
                .map(|(kind, through)| Change::PrekeysUploaded {
                    kind: *kind,
                    through: *through,
                }),
        );
        let mut base_keys: Vec<_> = self.base_keys.iter().copied().collect();
        base_keys.sort_unstable();
        changes.extend(
            base_keys
                .into_iter()
                .map(|(kem, signed, base_key)| Change::BaseKeySeen {
                    kem,
                    signed,
                    base_key,
                }),
        );
        changes.extend(
            self.businesses
                .iter()
                .map(|(number, business)| Change::Business {
                    number: number.clone(),
                    phone: business.phone.clone(),
                    display_name: business.display_name.clone(),
                }),
        );
        changes.extend(
            self.pins
                .iter()
                .map(|(number, identity_key)| Change::Pinned {
                    number: number.clone(),
                    identity_key: *identity_key,
                }),
        );
        changes.extend(
            self.sessions
                .iter()
                .map(|(number, record)| Change::Session {
                    number: number.clone(),
                    record: record.clone(),
                }),
        );
        changes.extend(
            self.seen_by_time
                .iter()
                .map(|(time, number, message_id)| Change::Seen {
                    key: (number.clone(), *message_id),
                    time: *time,
                }),
        );
        changes.extend(
            self.outbox
                .iter()
                .map(|(sequence, message)| Change::Outgoing {
                    sequence: *sequence,
                    message: message.clone(),
                }),
        );
        changes.extend(
            self.receipts
                .iter()
                .map(|((key, mark), time)| Change::Receipt {
                    key: key.clone(),
                    mark: *mark,
                    time: *time,
                }),
        );
        changes.extend(
            self.retries
                .iter()
                .map(|(key, failed_attempt)| Change::Retry {
                    key: key.clone(),
                    failed_attempt: *failed_attempt,
                }),
        );
        changes.extend(self.kept.iter().map(|(id, message)| Change::Kept {
            envelope_id: *id,
            message: message.clone(),
        }));
        changes.extend(self.asked.iter().map(|(id, failed)| Change::Asked {
            envelope_id: *id,
            failed_attempt: *failed,
        }));
        changes.extend(self.events.iter().map(|(sequence, kind)| Change::Event {
            sequence: *sequence,
            kind: kind.clone(),
        }));
        changes.push(Change::Counters {
            next: [PrekeyKind::OneTime, PrekeyKind::Signed, PrekeyKind::Kem]
                .map(|kind| (kind, self.next_prekey(kind))),
            next_outgoing: self.next_outgoing(),
            next_event: self.next_event(),
        });
        changes
    }

    /// The id that the next prekey of this kind takes; ids are never taken twice.
    pub(crate) fn next_prekey(&self, kind: PrekeyKind) -> u32 {
        self.next_prekey.get(&row(kind)).copied().unwrap_or(1)
    }

    /// The place of the next outgoing message, from 1.
    pub(crate) fn next_outgoing(&self) -> u64 {
        self.next_outgoing.max(1)
    }

    /// The place of the next event, from 1.
    pub(crate) fn next_event(&self) -> u64 {
        self.next_event.max(1)
    }

    /// The prekeys of a kind by ascending id.
    pub(crate) fn prekeys_of(&self, kind: PrekeyKind) -> impl Iterator<Item = (u32, &[u8])> {
        self.prekeys
            .range((kind, 0)..=(kind, u32::MAX))
            .map(|((_, id), record)| (*id, record.as_slice()))
    }

    /// Whether this message was taken in before.
    pub(crate) fn has_seen(&self, (number, message_id): &MessageKey) -> bool {
        self.seen
            .get(number)
            .is_some_and(|seen| seen.contains(message_id))
    }

    /// When the oldest message that is still remembered was taken in.
    pub(crate) fn oldest_seen(&self) -> Option<Timestamp> {
        self.seen_by_time.first().map(|(time, _, _)| *time)
    }

    /// The id of the business with this phone number, when it is known.
    pub(crate) fn number_of(&self, phone: &PhoneNumber) -> Option<&PhoneNumberId> {
        self.by_phone.get(phone)
    }

    /// How much has yet to reach the relay.
    pub(crate) fn pending(&self) -> usize {
        self.outbox.len() + self.receipts.len() + self.retries.len() + self.asked.len()
    }

    /// Whether an attempt of this message has yet to reach the relay.
    pub(crate) fn is_on_its_way(&self, envelope_id: &[u8; 16]) -> bool {
        let mut outbox = self.outbox.values();
        outbox.any(|message| message.envelope_id == *envelope_id)
    }

    fn forget_seen(&mut self, before: Timestamp) {
        while self.oldest_seen().is_some_and(|time| time < before) {
            let Some((_, number, message_id)) = self.seen_by_time.pop_first() else {
                break;
            };
            if let Some(seen) = self.seen.get_mut(&number) {
                seen.remove(&message_id);
                if seen.is_empty() {
                    self.seen.remove(&number);
                }
            }
        }
    }
}

/// The row of ids that a kind counts in.
fn row(kind: PrekeyKind) -> PrekeyKind {
    match kind {
        PrekeyKind::LastResortKem => PrekeyKind::Kem,
        other => other,
    }
}

#[cfg(test)]
mod tests;
