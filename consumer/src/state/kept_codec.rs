//! The bytes of kept messages in a record.
//!
//! Pure. A stored format, as in the codec of changes.

use zeroize::Zeroizing;

use super::{
    change::Kept,
    change_codec::{message_key, read_message_key, time},
    codec::{Reader, Writer},
};
use crate::{StateError, seal::Note};

pub(super) fn kept(out: &mut Writer, kept: &Kept) {
    let note = &kept.note;
    message_key(out, &(note.number.clone(), note.message_id));
    out.u64(note.time.as_millis());
    out.field(&note.padded);
    out.u32(kept.attempt);
    out.raw(&kept.identity_key);
    out.field(&kept.base_key);
}

pub(super) fn read_kept(from: &mut Reader<'_>) -> Result<Kept, StateError> {
    let (number, message_id) = read_message_key(from)?;
    Ok(Kept {
        note: Note {
            number,
            message_id,
            time: time(from)?,
            padded: Zeroizing::new(from.field()?.to_vec()),
        },
        attempt: from.u32()?,
        identity_key: from.array()?,
        base_key: from.field()?.to_vec(),
    })
}
