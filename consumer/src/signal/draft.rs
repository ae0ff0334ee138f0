//! Changes that are not durable yet, over the state that is.
//!
//! Invariant: lookups show the state as it will be once [`Draft::finish`]'s changes are committed. A session is written once a
//! draft, however many messages advanced it.

use std::collections::{BTreeMap, HashSet};

use libsignal_protocol::{IdentityKeyPair, SessionRecord};
use sealpost_runtime::Timestamp;

use crate::{
    SignalFault,
    event::EventKind,
    ids::PhoneNumberId,
    state::{Change, Kept, MessageKey, Model, Outgoing, PrekeyKind, ReceiptMark},
};

/// What a batch of steps has changed so far.
pub(crate) struct Draft<'a> {
    model: &'a Model,
    changes: Vec<Change>,
    sessions: BTreeMap<PhoneNumberId, Option<Box<SessionRecord>>>,
    pins: BTreeMap<PhoneNumberId, [u8; 33]>,
    spent: HashSet<(PrekeyKind, u32)>,
    base_keys: HashSet<(u32, u32, [u8; 33])>,
    seen: HashSet<MessageKey>,
    retries: HashSet<(MessageKey, u32)>,
    outgoing: u64,
    events: u64,
}

/// What one successful step of libsignal wants changed.
#[derive(Default)]
pub(crate) struct Effects {
    pub(super) session: Option<SessionRecord>,
    pub(super) identity_key: Option<[u8; 33]>,
    pub(super) spent: Vec<(PrekeyKind, u32)>,
    pub(super) base_key: Option<(u32, u32, [u8; 33])>,
}

impl Effects {
    /// Whether a one-time prekey is gone.
    pub(crate) fn spend(&self) -> bool {
        !self.spent.is_empty()
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn of(model: &'a Model) -> Self {
        Self {
            model,
            changes: Vec::new(),
            sessions: BTreeMap::new(),
            pins: BTreeMap::new(),
            spent: HashSet::new(),
            base_keys: HashSet::new(),
            seen: HashSet::new(),
            retries: HashSet::new(),
            outgoing: 0,
            events: 0,
        }
    }

    /// The changes, to be committed together.
    pub(crate) fn finish(mut self) -> Vec<Change> {
        for (number, session) in self.sessions {
            self.changes.push(match session {
                Some(record) => Change::Session { number, record },
                None => Change::SessionDropped { number },
            });
        }
        self.changes
    }

    pub(crate) fn model(&self) -> &'a Model {
        self.model
    }

    pub(crate) fn own(&self) -> Result<(IdentityKeyPair, u32), SignalFault> {
        let own = self.model.identity.as_ref().ok_or(SignalFault::OwnKeys)?;
        let pair =
            IdentityKeyPair::try_from(own.key_pair.as_slice()).map_err(|_| SignalFault::OwnKeys)?;
        Ok((pair, own.registration_id))
    }

    pub(crate) fn session(&self, number: &PhoneNumberId) -> Option<&SessionRecord> {
        match self.sessions.get(number) {
            Some(session) => session.as_deref(),
            None => self.model.sessions.get(number).map(Box::as_ref),
        }
    }

    pub(crate) fn pin(&self, number: &PhoneNumberId) -> Option<[u8; 33]> {
        self.pins
            .get(number)
            .or_else(|| self.model.pins.get(number))
            .copied()
    }

    pub(super) fn prekey(&self, kind: PrekeyKind, id: u32) -> Option<&'a [u8]> {
        if self.spent.contains(&(kind, id)) {
            return None;
        }
        self.model.prekeys.get(&(kind, id)).map(Vec::as_slice)
    }

    pub(super) fn base_key_seen(&self, used: &(u32, u32, [u8; 33])) -> bool {
        self.base_keys.contains(used) || self.model.base_keys.contains(used)
    }

    pub(crate) fn has_seen(&self, key: &MessageKey) -> bool {
        self.seen.contains(key) || self.model.has_seen(key)
    }

    pub(crate) fn has_retry(&self, key: &MessageKey, failed_attempt: u32) -> bool {
        let retry = (key.clone(), failed_attempt);
        self.retries.contains(&retry) || self.model.retries.contains(&retry)
    }

    /// Takes a step's effects over. A new identity key of a number is pinned, and told when another was pinned before.
    pub(crate) fn absorb(&mut self, number: &PhoneNumberId, effects: Effects) {
        if let Some(identity_key) = effects.identity_key
            && self.pin(number) != Some(identity_key)
        {
            if self.pin(number).is_some() {
                let phone_number_id = number.clone();
                self.tell(EventKind::IdentityChanged {
                    phone_number_id,
                    identity_key,
                });
            }
            self.pins.insert(number.clone(), identity_key);
            self.changes.push(Change::Pinned {
                number: number.clone(),
                identity_key,
            });
        }
        for (kind, id) in effects.spent {
            self.spent.insert((kind, id));
            self.changes.push(Change::PrekeySpent { kind, id });
        }
        if let Some((kem, signed, base_key)) = effects.base_key {
            self.base_keys.insert((kem, signed, base_key));
            self.changes.push(Change::BaseKeySeen {
                kem,
                signed,
                base_key,
            });
        }
        if let Some(session) = effects.session {
            self.sessions
                .insert(number.clone(), Some(Box::new(session)));
        }
    }

    pub(crate) fn see(&mut self, key: MessageKey, time: Timestamp) {
        self.seen.insert(key.clone());
        self.changes.push(Change::Seen { key, time });
    }

    pub(crate) fn receipt(&mut self, key: MessageKey, mark: ReceiptMark, time: Timestamp) {
        self.changes.push(Change::Receipt { key, mark, time });
    }

    pub(crate) fn retry(&mut self, key: MessageKey, failed_attempt: u32) {
        self.retries.insert((key.clone(), failed_attempt));
        self.changes.push(Change::Retry {
            key,
            failed_attempt,
        });
    }

    pub(crate) fn tell(&mut self, kind: EventKind) {
        let sequence = self.model.next_event() + self.events;
        self.events += 1;
        self.changes.push(Change::Event { sequence, kind });
    }

    pub(crate) fn post(&mut self, message: Outgoing) {
        let sequence = self.model.next_outgoing() + self.outgoing;
        self.outgoing += 1;
        self.changes.push(Change::Outgoing { sequence, message });
    }

    /// Keeps a message that the business may ask for again.
    pub(crate) fn keep(&mut self, envelope_id: [u8; 16], kept: Kept) {
        let message = Box::new(kept);
        self.changes.push(Change::Kept {
            envelope_id,
            message,
        });
    }

    pub(crate) fn add(&mut self, change: Change) {
        self.changes.push(change);
    }
}
