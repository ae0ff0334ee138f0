//! One change of the device's state.
//!
//! Pure. Everything durable is a sequence of these; a snapshot is the shortest sequence that makes the same state.

use std::fmt;

use libsignal_protocol::SessionRecord;
use sealpost_runtime::Timestamp;

use crate::{
    event::EventKind,
    ids::{MessageId, PhoneNumber, PhoneNumberId},
    seal::Note,
};

/// Kinds of prekey. One-time KEM and last-resort KEM prekeys share one row of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum PrekeyKind {
    OneTime = 1,
    Signed = 2,
    Kem = 3,
    LastResortKem = 4,
}

/// What happened to a message of a business, as receipts say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum ReceiptMark {
    Delivered = 1,
    Read = 2,
}

/// The device as the relay knows it.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) phone: PhoneNumber,
    pub(crate) device_id: u32,
    pub(crate) token: String,
}

/// A message sealed and not yet accepted by the relay: a retry sends the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) envelope_id: [u8; 16],
    pub(crate) message_id: MessageId,
    pub(crate) number: PhoneNumberId,
    /// libsignal's number of the ciphertext's kind.
    pub(crate) kind: u8,
    pub(crate) ciphertext: Vec<u8>,
}

/// A message that its business may still ask for again.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) note: Note,
    /// The latest attempt, from 0.
    pub(crate) attempt: u32,
    /// The identity key that it was written to: it is sealed for no other.
    pub(crate) identity_key: [u8; 33],
    /// The base key of the session that sealed the latest attempt.
    pub(crate) base_key: Vec<u8>,
}

/// One message of one number.
pub(crate) type MessageKey = (PhoneNumberId, MessageId);

/// One change. It does not print what it holds.
#[derive(Clone)]
pub(crate) enum Change {
    Identity {
        key_pair: Vec<u8>,
        registration_id: u32,
    },
    Registered(Device),
    Prekey {
        kind: PrekeyKind,
        id: u32,
        record: Vec<u8>,
    },
    PrekeySpent {
        kind: PrekeyKind,
        id: u32,
    },
    /// Prekeys of this kind up to this id are at the relay.
    PrekeysUploaded {
        kind: PrekeyKind,
        through: u32,
    },
    /// A last-resort KEM prekey was used with this signed prekey and base key.
    BaseKeySeen {
        kem: u32,
        signed: u32,
        base_key: [u8; 33],
    },
    Business {
        number: PhoneNumberId,
        phone: PhoneNumber,
        display_name: String,
    },
    Pinned {
        number: PhoneNumberId,
        identity_key: [u8; 33],
    },
    Session {
        number: PhoneNumberId,
        record: Box<SessionRecord>,
    },
    SessionDropped {
        number: PhoneNumberId,
    },
    Seen {
        key: MessageKey,
        time: Timestamp,
    },
    SeenForgotten {
        before: Timestamp,
    },
    Outgoing {
        sequence: u64,
        message: Outgoing,
    },
    OutgoingDone {
        sequence: u64,
    },
    Receipt {
        key: MessageKey,
        mark: ReceiptMark,
        time: Timestamp,
    },
    ReceiptDone {
        key: MessageKey,
        mark: ReceiptMark,
    },
    Retry {
        key: MessageKey,
        failed_attempt: u32,
    },
    RetryDone {
        key: MessageKey,
        failed_attempt: u32,
    },
    Event {
        sequence: u64,
        kind: EventKind,
    },
    Kept {
        envelope_id: [u8; 16],
        message: Box<Kept>,
    },
    KeptDone {
        envelope_id: [u8; 16],
    },
    /// The business could not decrypt this attempt.
    Asked {
        envelope_id: [u8; 16],
        failed_attempt: u32,
    },
    AskedDone {
        envelope_id: [u8; 16],
    },
    /// The application has every event up to this one.
    Confirmed {
        through: u64,
    },
    /// Where counting goes on; only in snapshots.
    Counters {
        next: [(PrekeyKind, u32); 3],
        next_outgoing: u64,
        next_event: u64,
    },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change(…)")
    }
}
