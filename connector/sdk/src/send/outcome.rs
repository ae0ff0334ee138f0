//! What an answer of the gateway means for the message. Pure.

use std::time::Duration;

use sealpost_envelope::{MessageId, UnixMillis};
use sealpost_proto::gateway::v1::{self as pb, SendError, send_outcome::Outcome};
use sealpost_runtime::batch::LaneError;
use tonic::Code;

use super::Accepted;
use crate::{DeliveryStatus, SdkError};

/// A gateway that keeps asking for wraps or new keys is sent this many without a pause.
const PROMPT_TRIES: u32 = 3;

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Tell the caller.
    Done(Result<Accepted, SdkError>),
    /// Try again now.
    AtOnce,
    /// Try again after at least this long.
    After(Duration),
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Whether the message may have been accepted without our learning it.
    pub(super) is_outcome_unknown: bool,
    /// What the last try ran into, if it was the number's rate.
    rate: Option<Duration>,
    prompt_tries: u32,
    undecryptable_before: bool,
    unknown_key: bool,
    spent_key: bool,
    unreachable: Option<Code>,
    /// Whether an earlier try may have been accepted.
    was_unknown: bool,
}

impl Trouble {
    /// What the caller hears when the time is up.
    pub(super) fn error(&self) -> SdkError {
        match (self.is_outcome_unknown, self.rate, self.unreachable) {
            (false, Some(retry_after), _) => SdkError::RateLimited { retry_after },
            (false, None, Some(code)) => SdkError::Unavailable(code),
            (is_outcome_unknown, _, _) => SdkError::Deadline { is_outcome_unknown },
        }
    }

    /// Nothing was sent.
    pub(super) fn unreachable(&mut self, code: Code) -> Next {
        self.unreachable = Some(code);
        Next::After(Duration::ZERO)
    }

    /// Whether the wrap must go with the message the next time.
    pub(super) fn take_unknown_key(&mut self) -> bool {
        std::mem::take(&mut self.unknown_key)
    }

    /// Whether another content key must be made.
    pub(super) fn take_spent_key(&mut self) -> bool {
        std::mem::take(&mut self.spent_key)
    }

    fn promptly(&mut self) -> Next {
        self.prompt_tries += 1;
        if self.prompt_tries <= PROMPT_TRIES {
            Next::AtOnce
        } else {
            Next::After(Duration::ZERO)
        }
    }
}

pub(super) fn after_outcome(
    outcome: pb::SendOutcome,
    sent: MessageId,
    trouble: &mut Trouble,
) -> Next {
    trouble.rate = None;
    trouble.unreachable = None;
    match outcome.outcome {
        Some(Outcome::Accepted(accepted)) => Next::Done(read_accepted(&accepted, sent)),
        Some(Outcome::Refused(refused)) => after_refusal(&refused, trouble),
        None => Next::Done(Err(SdkError::Malformed)),
    }
}

fn after_refusal(refused: &pb::Refused, trouble: &mut Trouble) -> Next {
    let wait = Duration::from_millis(refused.retry_after_ms.into());
    let fail = |error| Next::Done(Err(error));
    match refused.error() {
        SendError::Malformed => fail(SdkError::Malformed),
        SendError::NotAllowed => fail(SdkError::NotAllowed),
        SendError::Conflict => fail(SdkError::Conflict),
        SendError::NotProvisioned => fail(SdkError::NotProvisioned),
        SendError::UnknownContentKey => {
            trouble.unknown_key = true;
            trouble.promptly()
        }
        SendError::KeyExpired => {
            trouble.spent_key = true;
            trouble.promptly()
        }
        // A vault that lost its HPKE keys says so too: one fresh key is worth a try.
        SendError::Undecryptable if !trouble.undecryptable_before => {
            trouble.undecryptable_before = true;
            trouble.spent_key = true;
            Next::AtOnce
        }
        SendError::Undecryptable => fail(SdkError::Undecryptable),
        SendError::RateLimited => {
            trouble.rate = Some(wait);
            Next::After(wait)
        }
        SendError::Unavailable => {
            // "Nothing was accepted, or it is unknown whether."
            trouble.is_outcome_unknown = true;
            trouble.was_unknown = true;
            Next::After(wait)
        }
        // Told at once: whoever waits inside here keeps a place that others need. Not so while an earlier try may have been
        // accepted: the caller would take it for refused, and write something else after it.
        SendError::Overloaded if !trouble.was_unknown => {
            fail(SdkError::Overloaded { retry_after: wait })
        }
        SendError::Overloaded => {
            trouble.is_outcome_unknown = true;
            Next::After(wait)
        }
        // Nothing was accepted; or a reason of a later version: only time can help.
        SendError::NumberMoving | SendError::Unspecified => Next::After(wait),
    }
}

/// The gateway must speak of the message that was sent.
fn read_accepted(accepted: &pb::Accepted, sent: MessageId) -> Result<Accepted, SdkError> {
    let message_id = MessageId::try_from(accepted.message_id.as_ref())?;
    let status = DeliveryStatus::from_wire(accepted.status).ok_or(SdkError::Malformed)?;
    if message_id != sent {
        return Err(SdkError::Malformed);
    }
    Ok(Accepted {
        message_id,
        accepted_at: UnixMillis(accepted.accepted_at_ms),
        is_repeated: accepted.repeated,
        status,
    })
}

/// The lane has no outcome.
pub(super) fn after_silence(error: &LaneError, trouble: &mut Trouble) -> Next {
    trouble.rate = None;
    trouble.was_unknown |= error.is_outcome_unknown();
    match (error, error.code()) {
        (LaneError::Closed, _) => Next::Done(Err(SdkError::Closed)),
        (_, Code::Unauthenticated) => Next::Done(Err(SdkError::Unauthenticated)),
        (_, Code::PermissionDenied) => Next::Done(Err(SdkError::NotAllowed)),
        (_, code) => trouble.unreachable(code),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn id() -> MessageId {
        MessageId::from_bytes([3; 16])
    }

    fn refusal(error: SendError, trouble: &mut Trouble) -> Next {
        let refused = pb::Refused {
            error: error.into(),
            retry_after_ms: 40,
        };
        let outcome = pb::SendOutcome {
            outcome: Some(Outcome::Refused(refused)),
        };
        after_outcome(outcome, id(), trouble)
    }

    #[test]
    fn an_answer_about_another_message_is_not_taken() {
        let accepted = pb::Accepted {
            message_id: vec![4; 16].into(),
            accepted_at_ms: 1,
            repeated: false,
            status: pb::Status::Accepted.into(),
        };
        assert!(read_accepted(&accepted, id()).is_err());
    }

    #[test]
    fn a_gateway_that_never_learns_a_key_is_not_asked_without_pause() {
        let mut trouble = Trouble::default();
        for _ in 0..PROMPT_TRIES {
            assert!(matches!(
                refusal(SendError::UnknownContentKey, &mut trouble),
                Next::AtOnce
            ));
            assert!(trouble.take_unknown_key() && !trouble.take_unknown_key());
        }
        assert!(matches!(
            refusal(SendError::KeyExpired, &mut trouble),
            Next::After(_)
        ));
        assert!(trouble.take_spent_key());
    }

    #[test]
    fn what_cannot_be_opened_is_sealed_anew_once() {
        let mut trouble = Trouble::default();
        assert!(matches!(
            refusal(SendError::Undecryptable, &mut trouble),
            Next::AtOnce
        ));
        assert!(trouble.take_spent_key());
        assert!(matches!(
            refusal(SendError::Undecryptable, &mut trouble),
            Next::Done(Err(SdkError::Undecryptable))
        ));
    }

    #[test]
    fn late_callers_hear_what_kept_the_message() {
        let mut trouble = Trouble::default();
        refusal(SendError::RateLimited, &mut trouble);
        assert!(matches!(
            trouble.error(),
            SdkError::RateLimited { retry_after } if retry_after == Duration::from_millis(40)
        ));
        refusal(SendError::Unavailable, &mut trouble);
        assert!(matches!(
            trouble.error(),
            SdkError::Deadline {
                is_outcome_unknown: true
            }
        ));
    }

    #[test]
    fn an_overloaded_gateways_word_is_passed_on_at_once_unless_an_earlier_try_is_open() {
        let mut trouble = Trouble::default();
        assert!(matches!(
            refusal(SendError::Overloaded, &mut trouble),
            Next::Done(Err(SdkError::Overloaded { retry_after })) if retry_after == Duration::from_millis(40)
        ));
        refusal(SendError::Unavailable, &mut trouble);
        assert!(matches!(
            refusal(SendError::Overloaded, &mut trouble),
            Next::After(_)
        ));
        assert!(trouble.is_outcome_unknown);
    }

    #[test]
    fn a_refused_token_is_final() {
        let refused = LaneError::Broken(tonic::Status::unauthenticated("no"));
        assert!(matches!(
            after_silence(&refused, &mut Trouble::default()),
            Next::Done(Err(SdkError::Unauthenticated))
        ));
    }
}
