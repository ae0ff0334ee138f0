//! The bytes of changes in a record: a kind, then its values.
//!
//! Pure. Kinds and their values are a stored format: old ones keep their meaning, new ones take the next kind.

use libsignal_protocol::SessionRecord;
use sealpost_runtime::Timestamp;

use super::{
    change::{Change, Device, MessageKey, Outgoing, PrekeyKind, ReceiptMark},
    codec::{Reader, Writer},
    event_codec::{event, read_event},
    kept_codec::{kept, read_kept},
};
use crate::{StateError, ids::MessageId};

impl Change {
    /// The bytes of `changes`, one after the other.
    pub(super) fn encode_all(changes: &[Self]) -> Result<Writer, StateError> {
        let mut out = Writer::default();
        for change in changes {
            change.encode(&mut out)?;
        }
        Ok(out)
    }

    /// Reads changes until the end.
    pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, StateError> {
        let mut reader = Reader(bytes);
        let mut changes = Vec::new();
        while !reader.is_empty() {
            changes.push(Self::decode(&mut reader)?);
        }
        Ok(changes)
    }

    fn encode(&self, out: &mut Writer) -> Result<(), StateError> {
        match self {
            Self::Identity {
                key_pair,
                registration_id,
            } => {
                out.u8(1);
                out.field(key_pair);
                out.u32(*registration_id);
            }
            Self::Registered(device) => {
                out.u8(2);
                out.field(device.phone.as_str().as_bytes());
                out.u32(device.device_id);
                out.field(device.token.as_bytes());
            }
            Self::Prekey { kind, id, record } => {
                out.u8(3);
                out.u8(*kind as u8);
                out.u32(*id);
                out.field(record);
            }
            Self::PrekeySpent { kind, id } => {
                out.u8(4);
                out.u8(*kind as u8);
                out.u32(*id);
            }
            Self::PrekeysUploaded { kind, through } => {
                out.u8(5);
                out.u8(*kind as u8);
                out.u32(*through);
            }
            Self::BaseKeySeen {
                kem,
                signed,
                base_key,
            } => {
                out.u8(6);
                out.u32(*kem);
                out.u32(*signed);
                out.raw(base_key);
            }
            Self::Business {
                number,
                phone,
                display_name,
            } => {
                out.u8(7);
                out.field(number.as_str().as_bytes());
                out.field(phone.as_str().as_bytes());
                out.field(display_name.as_bytes());
            }
            Self::Pinned {
                number,
                identity_key,
            } => {
                out.u8(8);
                out.field(number.as_str().as_bytes());
                out.raw(identity_key);
            }
            Self::Session { number, record } => {
                let record = record
                    .serialize()
                    .map_err(|_| StateError::Damaged("a session cannot be written"))?;
                out.u8(9);
                out.field(number.as_str().as_bytes());
                out.field(&record);
            }
            Self::SessionDropped { number } => {
                out.u8(10);
                out.field(number.as_str().as_bytes());
            }
            Self::Seen { key, time } => {
                out.u8(11);
                message_key(out, key);
                out.u64(time.as_millis());
            }
            Self::SeenForgotten { before } => {
                out.u8(12);
                out.u64(before.as_millis());
            }
            Self::Outgoing { sequence, message } => {
                out.u8(13);
                out.u64(*sequence);
                out.raw(&message.envelope_id);
                message_key(out, &(message.number.clone(), message.message_id));
                out.u8(message.kind);
                out.field(&message.ciphertext);
            }
            Self::OutgoingDone { sequence } => {
                out.u8(14);
                out.u64(*sequence);
            }
            Self::Receipt { key, mark, time } => {
                out.u8(15);
                message_key(out, key);
                out.u8(*mark as u8);
                out.u64(time.as_millis());
            }
            Self::ReceiptDone { key, mark } => {
                out.u8(16);
                message_key(out, key);
                out.u8(*mark as u8);
            }
            Self::Retry {
                key,
                failed_attempt,
            } => {
                out.u8(17);
                message_key(out, key);
                out.u32(*failed_attempt);
            }
            Self::RetryDone {
                key,
                failed_attempt,
            } => {
                out.u8(18);
                message_key(out, key);
                out.u32(*failed_attempt);
            }
            Self::Event { sequence, kind } => {
                out.u8(19);
                out.u64(*sequence);
                event(out, kind);
            }
            Self::Confirmed { through } => {
                out.u8(20);
                out.u64(*through);
            }
            Self::Counters {
                next,
                next_outgoing,
                next_event,
            } => {
                out.u8(21);
                for (kind, id) in next {
                    out.u8(*kind as u8);
                    out.u32(*id);
                }
                out.u64(*next_outgoing);
                out.u64(*next_event);
            }
            Self::Kept {
                envelope_id,
                message,
            } => {
                out.u8(22);
                out.raw(envelope_id);
                kept(out, message);
            }
            Self::KeptDone { envelope_id } => {
                out.u8(23);
                out.raw(envelope_id);
            }
            Self::Asked {
                envelope_id,
                failed_attempt,
            } => {
                out.u8(24);
                out.raw(envelope_id);
                out.u32(*failed_attempt);
            }
            Self::AskedDone { envelope_id } => {
                out.u8(25);
                out.raw(envelope_id);
            }
        }
        Ok(())
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(match from.u8()? {
            1 => Self::Identity {
                key_pair: from.field()?.to_vec(),
                registration_id: from.u32()?,
            },
            2 => Self::Registered(Device {
                phone: from.parsed()?,
                device_id: from.u32()?,
                token: from.text()?.to_owned(),
            }),
            3 => Self::Prekey {
                kind: kind(from)?,
                id: from.u32()?,
                record: from.field()?.to_vec(),
            },
            4 => Self::PrekeySpent {
                kind: kind(from)?,
                id: from.u32()?,
            },
            5 => Self::PrekeysUploaded {
                kind: kind(from)?,
                through: from.u32()?,
            },
            6 => Self::BaseKeySeen {
                kem: from.u32()?,
                signed: from.u32()?,
                base_key: from.array()?,
            },
            7 => Self::Business {
                number: from.parsed()?,
                phone: from.parsed()?,
                display_name: from.text()?.to_owned(),
            },
            8 => Self::Pinned {
                number: from.parsed()?,
                identity_key: from.array()?,
            },
            9 => Self::Session {
                number: from.parsed()?,
                record: SessionRecord::deserialize(from.field()?)
                    .map(Box::new)
                    .map_err(|_| StateError::Damaged("a session does not read"))?,
            },
            10 => Self::SessionDropped {
                number: from.parsed()?,
            },
            11 => Self::Seen {
                key: read_message_key(from)?,
                time: time(from)?,
            },
            12 => Self::SeenForgotten {
                before: time(from)?,
            },
            13 => {
                let sequence = from.u64()?;
                let envelope_id = from.array()?;
                let (number, message_id) = read_message_key(from)?;
                let (kind, ciphertext) = (from.u8()?, from.field()?.to_vec());
                let message = Outgoing {
                    envelope_id,
                    message_id,
                    number,
                    kind,
                    ciphertext,
                };
                Self::Outgoing { sequence, message }
            }
            14 => Self::OutgoingDone {
                sequence: from.u64()?,
            },
            15 => Self::Receipt {
                key: read_message_key(from)?,
                mark: mark(from)?,
                time: time(from)?,
            },
            16 => Self::ReceiptDone {
                key: read_message_key(from)?,
                mark: mark(from)?,
            },
            17 => Self::Retry {
                key: read_message_key(from)?,
                failed_attempt: from.u32()?,
            },
            18 => Self::RetryDone {
                key: read_message_key(from)?,
                failed_attempt: from.u32()?,
            },
            19 => Self::Event {
                sequence: from.u64()?,
                kind: read_event(from)?,
            },
            20 => Self::Confirmed {
                through: from.u64()?,
            },
            21 => {
                let mut next = [(PrekeyKind::OneTime, 0); 3];
                for counter in &mut next {
                    *counter = (kind(from)?, from.u32()?);
                }
                Self::Counters {
                    next,
                    next_outgoing: from.u64()?,
                    next_event: from.u64()?,
                }
            }
            22 => Self::Kept {
                envelope_id: from.array()?,
                message: Box::new(read_kept(from)?),
            },
            23 => Self::KeptDone {
                envelope_id: from.array()?,
            },
            24 => Self::Asked {
                envelope_id: from.array()?,
                failed_attempt: from.u32()?,
            },
            25 => Self::AskedDone {
                envelope_id: from.array()?,
            },
            _ => return Err(UNKNOWN),
        })
    }
}

pub(super) const UNKNOWN: StateError = StateError::Damaged("a record of an unknown kind");

pub(super) fn message_key(out: &mut Writer, (number, message_id): &MessageKey) {
    out.field(number.as_str().as_bytes());
    out.raw(&message_id.0);
}

pub(super) fn read_message_key(from: &mut Reader<'_>) -> Result<MessageKey, StateError> {
    Ok((from.parsed()?, MessageId(from.array()?)))
}

pub(super) fn time(from: &mut Reader<'_>) -> Result<Timestamp, StateError> {
    from.u64().map(Timestamp::from_millis)
}

fn kind(from: &mut Reader<'_>) -> Result<PrekeyKind, StateError> {
    Ok(match from.u8()? {
        1 => PrekeyKind::OneTime,
        2 => PrekeyKind::Signed,
        3 => PrekeyKind::Kem,
        4 => PrekeyKind::LastResortKem,
        _ => return Err(UNKNOWN),
    })
}

fn mark(from: &mut Reader<'_>) -> Result<ReceiptMark, StateError> {
    Ok(match from.u8()? {
        1 => ReceiptMark::Delivered,
        2 => ReceiptMark::Read,
        _ => return Err(UNKNOWN),
    })
}

#[cfg(test)]
mod tests;
