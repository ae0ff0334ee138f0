//! What an item changes: copied before it, put back after it.

use std::collections::{BTreeMap, BTreeSet};

use libsignal_protocol::IdentityKey;
use sealpost_proto::vault::v1::Refusal;

use crate::{
    bundle::VerifiedBundle,
    signal::{Session, SignalError, pinned_identity_key},
    subject::Facts,
};

/// The changing part, copied for one item and put back when the item succeeds.
#[derive(Clone)]
pub(super) struct Next {
    pub(super) facts: Facts,
    pub(super) sessions: BTreeMap<u8, Session>,
    pub(super) moved: BTreeSet<u8>,
}

impl Next {
    /// Makes the bundle's devices the known ones; answers whether the identity is another than the one pinned.
    ///
    /// # Errors
    /// [`Refusal::BundleInvalid`] when the relay has said something else since: an older bundle, though still valid, brings
    /// back no device that is gone.
    pub(super) fn take_devices(&mut self, bundle: &VerifiedBundle) -> Result<bool, Refusal> {
        let identity: Option<[u8; 33]> = bundle.identity.serialize()[..].try_into().ok();
        let listed = bundle
            .devices
            .iter()
            .map(|(id, offer)| (*id, offer.registration_id))
            .collect();
        let older = bundle.issued_at.as_millis() < self.facts.listed_at_ms;
        if older && (self.facts.identity != identity || self.facts.devices != listed) {
            return Err(Refusal::BundleInvalid);
        }
        let changed = self.facts.identity.is_some() && self.facts.identity != identity;
        if changed {
            self.sessions.clear();
        }
        self.facts.identity = identity;
        self.facts.devices = listed;
        self.facts.listed_at_ms = self.facts.listed_at_ms.max(bundle.issued_at.as_millis());
        let devices = &self.facts.devices;
        // A session of a device that is gone, or that registered anew, is a session with nobody.
        self.sessions.retain(|id, session| {
            devices
                .get(id)
                .is_some_and(|registration| session.registration_id() == Some(*registration))
        });
        Ok(changed)
    }

    pub(super) fn identity(&self) -> Result<IdentityKey, SignalError> {
        pinned_identity_key(&self.facts.identity.ok_or(SignalError::State)?)
    }

    pub(super) fn put(&mut self, device: u8, session: Session) {
        self.sessions.insert(device, session);
        self.moved.insert(device);
    }
}
