//! What the application is told.
//!
//! Invariant: an event is durable in the device's state before anyone sees it, and stays there until confirmed.

use std::fmt;

use sealpost_proto::content::v1::Content;
use sealpost_runtime::Timestamp;

use crate::ids::{Category, MessageId, PhoneNumberId};

/// Something happened; confirm it by its sequence once it is dealt with.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its place, from 1, ascending for as long as the state lives.
    pub sequence: u64,
    /// It was waiting unconfirmed when the state was opened: it may have been shown before.
    pub redelivered: bool,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// A message came.
    Message(Box<Incoming>),
    /// A business number has another identity key than the one pinned. The new one is pinned and the old session dropped.
    IdentityChanged {
        /// Whose.
        phone_number_id: PhoneNumberId,
        /// The new key, 33 bytes.
        identity_key: [u8; 33],
    },
    /// A message could not be decrypted; it was asked for again, unless `last`.
    Undecryptable {
        /// From whom.
        phone_number_id: PhoneNumberId,
        /// Which, as the relay says.
        message_id: MessageId,
        /// The attempt that failed, from 0.
        attempt: u32,
        /// Whether it will not come again.
        last: bool,
    },
    /// A message was decrypted, but what it holds is no content that this version knows how to read.
    Unreadable {
        /// From whom.
        phone_number_id: PhoneNumberId,
        /// Which.
        message_id: MessageId,
    },
    /// A message of ours will not arrive: the relay knows no such business number, or the business could not decrypt it in six
    /// attempts, or has another identity key than the one that it was written to.
    SendFailed {
        /// For whom.
        phone_number_id: PhoneNumberId,
        /// Which.
        message_id: MessageId,
    },
}

/// A message from a business.
#[derive(Clone, PartialEq)]
pub struct Incoming {
    /// From whom.
    pub phone_number_id: PhoneNumberId,
    /// Which.
    pub message_id: MessageId,
    /// What it says.
    pub content: Content,
    /// When the business's side accepted it.
    pub time: Timestamp,
    /// What it is for.
    pub category: Category,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("phone_number_id", &self.phone_number_id)
            .field("message_id", &self.message_id)
            .field("time", &self.time)
            .field("category", &self.category)
            .finish_non_exhaustive()
    }
}
