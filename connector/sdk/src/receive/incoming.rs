//! What a subscription hands out.

use std::fmt;

use sealpost_envelope::{
    Category, Direction, EnvelopeError, MessageId, NumberId, Peer, UnixMillis,
};
use thiserror::Error;

use super::ReplayKey;
use crate::{Content, DeliveryStatus};

/// An event.
#[derive(Debug)]
pub enum Incoming {
    /// A consumer's message, authenticated from end to end.
    Message(Box<Message>),
    /// A status of a message that the business sent, as the gateway says.
    Status(StatusUpdate),
    /// A consumer's identity key changed, as the gateway says.
    IdentityChange(IdentityChange),
    /// An event that was not accepted. Worth an alarm: an honest gateway sends none.
    Warning(Warning),
}

/// A consumer's message. Everything in it was sealed by the number's vault.
pub struct Message {
    /// The number that it was sent to.
    pub phone_number_id: NumberId,
    /// The consumer.
    pub peer: Peer,
    /// Its id, of the consumer's making.
    pub message_id: MessageId,
    /// When the consumer sent it, by the consumer's clock.
    pub time: UnixMillis,
    /// Why.
    pub category: Category,
    /// What it says; without a body when this version cannot read it.
    pub content: Content,
}

impl Message {
    /// What tells it from every other message.
    #[must_use]
    pub fn replay_key(&self) -> ReplayKey {
        ReplayKey {
            number: self.phone_number_id.clone(),
            peer: self.peer.clone(),
            direction: Direction::Inbound,
            message_id: self.message_id,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", self.message_id)
    }
}

/// A status. The vault vouches for the peer; that it got there, and when, is the gateway's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The number that sent the message.
    pub phone_number_id: NumberId,
    /// The message.
    pub message_id: MessageId,
    /// The consumer; none when the message's record is past its time.
    pub peer: Option<Peer>,
    /// Where it is.
    pub status: DeliveryStatus,
    /// With [`DeliveryStatus::Failed`]: the error code as in the Cloud API, else 0.
    pub error_code: u32,
    /// When it got there.
    pub time: UnixMillis,
}

/// A consumer's identity key changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityChange {
    /// The number.
    pub phone_number_id: NumberId,
    /// The consumer; none when the record that it showed on is past its time.
    pub peer: Option<Peer>,
    /// The message that it showed on.
    pub message_id: Option<MessageId>,
    /// When.
    pub time: UnixMillis,
}

/// Why an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The number's vault key does not match the pinned fingerprint: its events are not fetched until it does.
    #[error("the vault key is not to be trusted")]
    UntrustedVault,
    /// It is of a number that this subscription does not serve.
    #[error("an event of another number")]
    UnknownNumber,
    /// A field is missing or no value of its kind.
    #[error("a malformed event")]
    Malformed,
    /// Its content key never came.
    #[error("the content key never came")]
    UnknownContentKey,
    /// The wrap of its content key was refused.
    #[error("the wrap was refused: {0}")]
    Wrap(EnvelopeError),
    /// It does not open as what it is said to be.
    #[error("the message was refused: {0}")]
    Message(EnvelopeError),
    /// The header is that of another message than the event speaks of.
    #[error("the header belongs to another message")]
    WrongMessage,
}

impl Refusal {
    /// Whether asking for the event once more may bring one that opens.
    #[must_use]
    pub fn is_transient(self) -> bool {
        use EnvelopeError::{KeyExpired, KeyNotYetValid};
        matches!(
            self,
            Self::UnknownContentKey
                | Self::Wrap(KeyExpired | KeyNotYetValid)
                | Self::Message(KeyExpired | KeyNotYetValid)
        )
    }

    /// Whether it is a matter of the time alone, which the vault and this process do not agree on: the event opens as soon as they do.
    #[must_use]
    pub fn waits_for_clock(self) -> bool {
        self.is_transient() && self != Self::UnknownContentKey
    }
}

/// An event that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The number that the gateway named, when it is one of ours.
    pub phone_number_id: Option<NumberId>,
    /// Why not.
    pub refusal: Refusal,
}
