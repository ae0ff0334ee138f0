//! Contents, made in one call each.

use sealpost_proto::content::v1::{
    Content, InteractiveReply, Location, Reaction, ReadMark, ReplyContext, Text, TypingMark,
    content::Body,
};

use crate::ids::MessageId;

/// Words.
#[must_use]
pub fn text(body: impl Into<String>) -> Content {
    of(Body::Text(Text {
        body: body.into(),
        preview_url: false,
    }))
}

/// An emoji on a message; an empty one takes it back.
#[must_use]
pub fn reaction(message: MessageId, emoji: impl Into<String>) -> Content {
    of(Body::Reaction(Reaction {
        message_id: message.0.to_vec().into(),
        emoji: emoji.into(),
    }))
}

/// A place, in degrees north and east.
#[must_use]
pub fn location(latitude: f64, longitude: f64) -> Content {
    of(Body::Location(Location {
        latitude,
        longitude,
        name: String::new(),
        address: String::new(),
    }))
}

/// What was chosen of an interactive message.
#[must_use]
pub fn choice(id: impl Into<String>, title: impl Into<String>) -> Content {
    of(Body::InteractiveReply(InteractiveReply {
        id: id.into(),
        title: title.into(),
    }))
}

/// Read up to a message, sealed: only the business sees it. [`crate::Client::mark_read`] tells the operator too.
#[must_use]
pub fn read_mark(message: MessageId) -> Content {
    of(Body::ReadMark(ReadMark {
        message_id: message.0.to_vec().into(),
    }))
}

/// Typing.
#[must_use]
pub fn typing() -> Content {
    of(Body::TypingMark(TypingMark::default()))
}

/// The same content, as an answer to a message.
#[must_use]
pub fn in_reply_to(content: Content, message: MessageId) -> Content {
    Content {
        context: Some(ReplyContext {
            message_id: message.0.to_vec().into(),
        }),
        ..content
    }
}

fn of(body: Body) -> Content {
    Content {
        body: Some(body),
        context: None,
    }
}
