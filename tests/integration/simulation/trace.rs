//! What was done and seen in one conversation, in the order in which it was: what the model judges.

use sealpost_connector_sdk::DeliveryStatus;

/// A message's id: 16 bytes.
pub type Id = [u8; 16];

/// One thing done or seen. Contents are words; those of one conversation are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The business begins to send under a key, of which the id follows.
    Sends {
        key: String,
        id: Id,
        content: String,
    },
    /// It was told that the message is durable, and whether it had been before.
    Accepted {
        key: String,
        id: Id,
        content: String,
        repeated: bool,
    },
    /// It was told that the key has another content.
    Conflicted { key: String, content: String },
    /// It was refused for another reason.
    Refused { key: String, why: String },
    /// The business begins to ask how far a message is: what it is told meanwhile may be newer than the answer.
    Asks { id: Id },
    /// It asked how far a message is.
    Asked { id: Id, answer: Answer },
    /// The consumer begins to write.
    Writes { content: String },
    /// The consumer was shown a message; `again` when the device says that it may have shown it before.
    Shown {
        id: Id,
        content: String,
        again: bool,
    },
    /// The consumer read it.
    Reads { id: Id },
    /// The consumer went offline in order.
    Left,
    /// The consumer's device ended without confirming.
    Crashed,
    /// The consumer came back.
    Came,
    /// The business's program was told of a consumer's message.
    Heard { content: String },
    /// It was told how far its message is.
    Told { id: Id, status: DeliveryStatus },
    /// It ended and began again at its last acknowledgement.
    Reconnected,
    /// The consumer's identity changed, a message did not open, or whatever else nobody should see here.
    Surprised { by: String },
    /// The person was erased.
    Erased,
    /// Every clock moved forward, in seconds.
    Advanced { seconds: u64 },
    /// Everything that was to arrive has had its time.
    Settled,
}

/// How far a message is, as an answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So far.
    At(DeliveryStatus),
    /// There is no such message, or it is past its time.
    Gone,
}
