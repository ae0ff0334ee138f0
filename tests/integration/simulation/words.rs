//! Contents in words: what the trace has of them.

use sealpost_proto::content::v1::content::Body;
use sealpost_proto::content::v1::{Content, Reaction};

/// A text is what it says; a reaction names its message.
pub fn words(content: &Content) -> String {
    match &content.body {
        Some(Body::Text(text)) => text.body.clone(),
        Some(Body::Reaction(reaction)) => {
            format!(
                "{} on {}",
                reaction.emoji,
                hex::encode(&reaction.message_id)
            )
        }
        other => format!("{other:?}"),
    }
}

/// A reaction that no other of the conversation equals, while there are not too many.
pub fn reaction(to: [u8; 16], nth: usize) -> Content {
    let emoji = u32::try_from(nth % 80).ok();
    let emoji = emoji.and_then(|nth| char::from_u32(0x1_f600 + nth));
    Content {
        body: Some(Body::Reaction(Reaction {
            message_id: to.to_vec().into(),
            emoji: emoji.unwrap_or('!').to_string(),
        })),
        ..Content::default()
    }
}
