//! The device's state: keys, sessions, pins, what was seen, what waits to go out and what waits to be read.
//!
//! Owns durability, and knows nothing of Signal's steps or of the network. Its invariant: changes are durable, all of a commit
//! or none, before memory shows them; so whatever leaves the device afterwards rests on them.

mod change;
mod change_codec;
mod codec;
mod event_codec;
mod kept_codec;
mod log;
mod model;
mod sealing;

use std::path::Path;

pub(crate) use change::{Change, Device, Kept, MessageKey, Outgoing, PrekeyKind, ReceiptMark};
use log::StateLog;
pub(crate) use model::{Model, OwnIdentity};

use crate::{
    StateError,
    ids::{PhoneNumber, PhoneNumberId},
};

/// A consumer device's state. Open one, register it, and connect a [`crate::Client`] with it.
pub struct State {
    model: Model,
    keeping: Keeping,
}

enum Keeping {
    Memory,
    File(Box<StateLog>),
}

/// Who this device is at the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its phone number.
    pub phone: PhoneNumber,
    /// Its device id.
    pub device_id: u32,
}

impl State {
    /// A state that is gone with the process: for benchmarks and tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            model: Model::default(),
            keeping: Keeping::Memory,
        }
    }

    /// Opens the state file at `path`, or makes it. Its key lies beside it in `path.key` and its lock in `path.lock`; all three
    /// are readable by their owner alone.
    ///
    /// # Errors
    /// When another process has it open, when it is damaged, or when the system refuses.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let (log, records) = StateLog::open(path)?;
        let mut model = Model::default();
        for record in records {
            for change in Change::decode_all(&record)? {
                model.apply(change);
            }
        }
        Ok(Self {
            model,
            keeping: Keeping::File(Box::new(log)),
        })
    }

    /// Who this device is; none before it was registered.
    #[must_use]
    pub fn registration(&self) -> Option<Registration> {
        self.model.device.as_ref().map(|device| Registration {
            phone: device.phone.clone(),
            device_id: device.device_id,
        })
    }

    /// This device's public identity key, 33 bytes; none before it was registered.
    #[must_use]
    pub fn identity_key(&self) -> Option<Box<[u8]>> {
        let own = self.model.identity.as_ref()?;
        let pair = libsignal_protocol::IdentityKeyPair::try_from(own.key_pair.as_slice()).ok()?;
        Some(pair.identity_key().serialize())
    }

    /// The identity key pinned for a business number, 33 bytes: compare it with the business's, out of band.
    #[must_use]
    pub fn pinned_identity(&self, number: &PhoneNumberId) -> Option<[u8; 33]> {
        self.model.pins.get(number).copied()
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.keeping, Keeping::Memory)
    }

    /// Makes all the changes durable at once, then shows them. Blocks on the disk.
    pub(crate) fn commit(&mut self, changes: Vec<Change>) -> Result<(), StateError> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Keeping::File(log) = &mut self.keeping {
            log.append(&Change::encode_all(&changes)?.0)?;
        }
        for change in changes {
            self.model.apply(change);
        }
        if let Keeping::File(log) = &mut self.keeping
            && log.wants_compaction()
        {
            let snapshot = Change::encode_all(&self.model.snapshot())?;
            if let Err(error) = log.compact(&snapshot.0) {
                // The commit itself stands in the old log; the next one tries again.
                tracing::warn!(%error, "the state's log could not be compacted");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
