//! The bytes of events in a record.
//!
//! Pure. A stored format, as in the codec of changes.

use prost::Message;
use sealpost_proto::content::v1::Content;

use super::{
    change_codec::{UNKNOWN, message_key, read_message_key, time},
    codec::{Reader, Writer},
};
use crate::{
    StateError,
    event::{EventKind, Incoming},
    ids::Category,
};

pub(super) fn event(out: &mut Writer, kind: &EventKind) {
    match kind {
        EventKind::Message(message) => {
            out.u8(1);
            message_key(out, &(message.phone_number_id.clone(), message.message_id));
            out.u64(message.time.as_millis());
            out.u8(message.category as u8);
            out.field(&message.content.encode_to_vec());
        }
        EventKind::IdentityChanged {
            phone_number_id,
            identity_key,
        } => {
            out.u8(2);
            out.field(phone_number_id.as_str().as_bytes());
            out.raw(identity_key);
        }
        EventKind::Undecryptable {
            phone_number_id,
            message_id,
            attempt,
            last,
        } => {
            out.u8(3);
            message_key(out, &(phone_number_id.clone(), *message_id));
            out.u32(*attempt);
            out.u8(u8::from(*last));
        }
        EventKind::Unreadable {
            phone_number_id,
            message_id,
        } => {
            out.u8(4);
            message_key(out, &(phone_number_id.clone(), *message_id));
        }
        EventKind::SendFailed {
            phone_number_id,
            message_id,
        } => {
            out.u8(5);
            message_key(out, &(phone_number_id.clone(), *message_id));
        }
    }
}

pub(super) fn read_event(from: &mut Reader<'_>) -> Result<EventKind, StateError> {
    let tag = from.u8()?;
    if tag == 2 {
        return Ok(EventKind::IdentityChanged {
            phone_number_id: from.parsed()?,
            identity_key: from.array()?,
        });
    }
    let (phone_number_id, message_id) = read_message_key(from)?;
    Ok(match tag {
        1 => EventKind::Message(Box::new(Incoming {
            phone_number_id,
            message_id,
            time: time(from)?,
            category: Category::from_wire(from.u8()?).ok_or(UNKNOWN)?,
            content: Content::decode(from.field()?).map_err(|_| UNKNOWN)?,
        })),
        3 => EventKind::Undecryptable {
            phone_number_id,
            message_id,
            attempt: from.u32()?,
            last: from.u8()? != 0,
        },
        4 => EventKind::Unreadable {
            phone_number_id,
            message_id,
        },
        5 => EventKind::SendFailed {
            phone_number_id,
            message_id,
        },
        _ => return Err(UNKNOWN),
    })
}
