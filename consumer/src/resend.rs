//! What becomes of a business's request for a message again.
//!
//! Pure: it writes into a draft. Whoever asks gets nothing but a ciphertext for the identity key that the message was written
//! to: a relay that invents requests learns nothing by them, and one that hands out another key gets no answer. A message is
//! sent again five times at most.

use std::{collections::BTreeMap, time::Duration};

use rand::{CryptoRng, Rng};
use sealpost_runtime::Timestamp;

use crate::{
    SignalFault,
    event::EventKind,
    ids::{PhoneNumber, PhoneNumberId},
    seal,
    signal::{self, Bundle, Draft},
    state::{Change, Kept, Model},
};

/// The last attempt that is made.
const LAST_ATTEMPT: u32 = 5;
/// From this attempt on the session is another than the one that failed.
const FRESH_SESSION: u32 = 2;
/// A message is kept for this long at most: the relay asks for nothing that is older.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What to do about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is about nothing that is kept, or about an attempt that another one followed.
    Nothing,
    /// The message will not arrive.
    GiveUp,
    /// Another attempt.
    Again { attempt: u32, fresh: bool },
}

fn answer(
    draft: &Draft<'_>,
    kept: Option<&Kept>,
    waits: bool,
    failed_attempt: u32,
    now: Timestamp,
) -> Answer {
    let Some(kept) = kept.filter(|kept| kept.attempt == failed_attempt && !waits) else {
        return Answer::Nothing;
    };
    let number = &kept.note.number;
    let attempt = failed_attempt + 1;
    if attempt > LAST_ATTEMPT
        || now - KEPT_FOR > kept.note.time
        || draft.pin(number) != Some(kept.identity_key)
    {
        return Answer::GiveUp;
    }
    let session = draft.session(number);
    let failed_here = signal::base_key(session).is_none_or(|key| key == kept.base_key);
    Answer::Again {
        attempt,
        fresh: !signal::has_session(session, now) || (attempt >= FRESH_SESSION && failed_here),
    }
}

/// The businesses to which the requests that wait need a fresh session.
pub(crate) fn wants_bundles(model: &Model, now: Timestamp) -> Vec<PhoneNumberId> {
    let draft = Draft::of(model);
    let mut numbers = Vec::new();
    for (envelope_id, failed_attempt) in &model.asked {
        let kept = model.kept.get(envelope_id).map(Box::as_ref);
        let waits = model.is_on_its_way(envelope_id);
        if let Answer::Again { fresh: true, .. } = answer(&draft, kept, waits, *failed_attempt, now)
        {
            numbers.extend(kept.map(|kept| kept.note.number.clone()));
        }
    }
    numbers.sort();
    numbers.dedup();
    numbers
}

/// Answers every request that can be answered with these bundles; the others wait. All messages of one business share one
/// fresh session.
pub(crate) fn answer_all(
    draft: &mut Draft<'_>,
    me: &PhoneNumber,
    bundles: &BTreeMap<PhoneNumberId, Bundle>,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) {
    let model = draft.model();
    // In the order in which they were written.
    let mut asked: Vec<_> = model
        .asked
        .iter()
        .map(|(envelope_id, failed)| {
            (
                model.kept.get(envelope_id).map(Box::as_ref),
                *envelope_id,
                *failed,
            )
        })
        .collect();
    asked.sort_by_key(|(kept, ..)| kept.map(|kept| kept.note.time));
    for (kept, envelope_id, failed_attempt) in asked {
        let waits = model.is_on_its_way(&envelope_id);
        let answered = match (answer(draft, kept, waits, failed_attempt, now), kept) {
            (Answer::Again { attempt, fresh }, Some(kept)) => {
                let number = &kept.note.number;
                let begun = match (fresh, bundles.get(number)) {
                    (false, _) => Ok(()),
                    (true, Some(bundle)) => begin(draft, number, kept, bundle, now, rng),
                    (true, None) => continue,
                };
                let note = kept.note.clone();
                begun.and_then(|()| {
                    let sealed = seal::seal(draft, me, note, envelope_id, attempt, now, rng)?;
                    sealed.post(draft);
                    Ok(())
                })
            }
            (Answer::GiveUp, _) => Err(SignalFault::NoSession),
            _ => Ok(()),
        };
        draft.add(Change::AskedDone { envelope_id });
        if let (Err(_), Some(kept)) = (answered, kept) {
            draft.add(Change::KeptDone { envelope_id });
            draft.tell(EventKind::SendFailed {
                phone_number_id: kept.note.number.clone(),
                message_id: kept.note.message_id,
            });
        }
    }
}

/// A fresh session under the identity key that the message was written to, and under no other.
fn begin(
    draft: &mut Draft<'_>,
    number: &PhoneNumberId,
    kept: &Kept,
    bundle: &Bundle,
    now: Timestamp,
    rng: &mut (impl Rng + CryptoRng),
) -> Result<(), SignalFault> {
    if bundle.identity_bytes() != kept.identity_key {
        return Err(SignalFault::Bundle);
    }
    let effects = signal::establish(draft, number, bundle, now, rng)?;
    draft.absorb(number, effects);
    Ok(())
}
