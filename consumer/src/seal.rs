//! Content on its way out: a frame, its ciphertext, and what is kept of it.
//!
//! Pure: it writes into a draft. The business may be unable to decrypt, so a message is kept, sealed in the state, until the
//! relay says that the business's side has it; the answer to "again" is the same message under another message key.

use rand::{CryptoRng, Rng};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use crate::{
    SignalFault,
    frame::Frame,
    ids::{Category, MessageId, PhoneNumber, PhoneNumberId},
    signal::{self, Draft},
    state::{Kept, Outgoing},
};

/// A message as it was written.
#[derive(Clone)]
pub(crate) struct Note {
    pub(crate) number: PhoneNumberId,
    pub(crate) message_id: MessageId,
    pub(crate) time: Timestamp,
    pub(crate) padded: Zeroizing<Vec<u8>>,
}

/// One attempt to bring a note to its business.
pub(crate) struct Sealed {
    pub(crate) outgoing: Outgoing,
    pub(crate) kept: Kept,
}

/// Seals a note for the session that the draft has; the session moves on.
pub(crate) fn seal(
    draft: &mut Draft<'_>,
    me: &PhoneNumber,
    note: Note,
    envelope_id: [u8; 16],
    attempt: u32,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<Sealed, SignalFault> {
    let frame = Frame {
        message_id: note.message_id,
        from: me.as_str().to_owned(),
        to: note.number.as_str().to_owned(),
        time: note.time,
        category: Category::Service,
        padded: note.padded.clone(),
    };
    let number = &note.number;
    let (kind, ciphertext, effects) = signal::encrypt(draft, number, &frame.encode()?, now, rng)?;
    draft.absorb(number, effects);
    let outgoing = Outgoing {
        envelope_id,
        message_id: note.message_id,
        number: number.clone(),
        kind,
        ciphertext,
    };
    let kept = Kept {
        attempt,
        identity_key: draft.pin(number).ok_or(SignalFault::NoSession)?,
        base_key: signal::base_key(draft.session(number)).ok_or(SignalFault::NoSession)?,
        note,
    };
    Ok(Sealed { outgoing, kept })
}

impl Sealed {
    /// On its way, and kept.
    pub(crate) fn post(self, draft: &mut Draft<'_>) {
        draft.keep(self.outgoing.envelope_id, self.kept);
        draft.post(self.outgoing);
    }
}
