//! The prekeys of one number that one batch may use.
//!
//! Owns their single use within the batch; across batches the rows' deletion does. Invariant: a one-time prekey taken off
//! the shelf is on it no more, and a base key that met the last-resort KEM prekey is refused the second time.

use std::collections::{BTreeMap, BTreeSet};

use sealpost_database::{Connection, DatabaseError};
use sealpost_envelope::{Entropy, EnvelopeError};

use crate::{
    datastore::{self, KemPrekeyRow},
    number::Number,
    signal::{InboundMessage, SignalError, StepPrekeys, Used},
};

pub(crate) const SIGNED_TABLE: &str = "signed_prekeys";
pub(crate) const ONE_TIME_TABLE: &str = "one_time_prekeys";
pub(crate) const KEM_TABLE: &str = "kem_prekeys";

/// The last-resort KEM prekey's id. The id is associated data of the sealed row, so no other prekey can be passed off as one
/// that lasts, nor this one as one that does not.
pub(crate) const LAST_RESORT_ID: u32 = 0xff_ffff;

/// A use of a KEM prekey: its id, the signed prekey's id, the base key.
type Mark = (u32, u32, Box<[u8]>);

/// Sealed prekeys at hand.
#[derive(Default)]
pub(crate) struct Shelf {
    signed: BTreeMap<u32, Vec<u8>>,
    one_time: BTreeMap<u32, Vec<u8>>,
    kem: BTreeMap<u32, KemPrekeyRow>,
    marks: BTreeSet<Mark>,
}

/// What a new session used up, to be written with it.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pub(crate) one_time: Option<u32>,
    pub(crate) kem: KemUse,
}

/// How a KEM prekey was used up.
#[derive(Clone, Debug)]
pub(crate) enum KemUse {
    /// A one-time one: to be deleted.
    OneTime(u32),
    /// The last-resort one: this use to be marked.
    Marked {
        kem: u32,
        signed: u32,
        base_key: Box<[u8]>,
    },
}

impl Shelf {
    /// Loads what `messages` to the number claim to use.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn load(
        db: &mut Connection,
        number: &str,
        messages: impl Iterator<Item = &InboundMessage>,
    ) -> Result<Self, DatabaseError> {
        let mut shelf = Self::default();
        for message in messages {
            let (Some(ids), Some(base_key)) = (message.prekey_ids(), message.base_key()) else {
                continue;
            };
            if let Some(sealed) = datastore::signed_prekey_find(db, number, ids.signed).await? {
                shelf.signed.insert(ids.signed, sealed);
            }
            if let Some(id) = ids.one_time
                && let Some(sealed) = datastore::one_time_prekey_find(db, number, id).await?
            {
                shelf.one_time.insert(id, sealed);
            }
            if let Some(row) = datastore::kem_prekey_find(db, number, ids.kem).await? {
                shelf.kem.insert(ids.kem, row);
            }
            if datastore::kem_used_exists(db, number, ids.kem, ids.signed, &base_key).await? {
                shelf.marks.insert((ids.kem, ids.signed, base_key));
            }
        }
        Ok(shelf)
    }

    /// Opens what one message may use.
    ///
    /// # Errors
    /// [`SignalError::State`] when a row does not open.
    pub(crate) fn offer(
        &self,
        number: &Number,
        message: &InboundMessage,
    ) -> Result<StepPrekeys, SignalError> {
        let (Some(ids), Some(base_key)) = (message.prekey_ids(), message.base_key()) else {
            return Ok(StepPrekeys::default());
        };
        let open = |table, id: u32, sealed: Option<&Vec<u8>>| {
            sealed
                .map(|sealed| number.open_row(table, &id.to_be_bytes(), 1, sealed))
                .transpose()
                .map_err(|_| SignalError::State)
        };
        let one_time = match ids.one_time {
            Some(id) => open(ONE_TIME_TABLE, id, self.one_time.get(&id))?,
            None => None,
        };
        Ok(StepPrekeys {
            signed: open(SIGNED_TABLE, ids.signed, self.signed.get(&ids.signed))?,
            one_time,
            kem: open(
                KEM_TABLE,
                ids.kem,
                self.kem.get(&ids.kem).map(|row| &row.sealed),
            )?,
            seen_before: self.marks.contains(&(ids.kem, ids.signed, base_key)),
        })
    }

    /// Takes off what a new session used up.
    pub(crate) fn spend(&mut self, used: Used) -> Spent {
        let Used {
            kem,
            signed,
            base_key,
            one_time,
        } = used;
        if let Some(id) = one_time {
            self.one_time.remove(&id);
        }
        let kem = if kem == LAST_RESORT_ID {
            self.marks.insert((kem, signed, base_key.clone()));
            KemUse::Marked {
                kem,
                signed,
                base_key,
            }
        } else {
            self.kem.remove(&kem);
            KemUse::OneTime(kem)
        };
        Spent { one_time, kem }
    }
}

/// Seals a prekey's record for its row.
///
/// # Errors
/// [`EnvelopeError::NoRandomness`].
pub(crate) fn seal(
    number: &Number,
    table: &'static str,
    id: u32,
    record: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, EnvelopeError> {
    number.seal_row(table, &id.to_be_bytes(), 1, record, entropy)
}
