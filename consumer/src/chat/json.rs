//! Events as JSON objects, one a line.
//!
//! Pure. Field names are part of the interface: programs read them.

use sealpost_proto::content::v1::{Content, MediaKind, content::Body};
use serde_json::{Value, json};

use crate::{
    event::{Event, EventKind},
    ids::MessageId,
};

/// One event.
pub(super) fn event(event: &Event) -> Value {
    let mut object = match &event.kind {
        EventKind::Message(message) => json!({
            "event": "message",
            "phone_number_id": message.phone_number_id.as_str(),
            "message_id": message.message_id.to_string(),
            "time_ms": message.time.as_millis(),
            "category": message.category.name(),
            "content": content(&message.content),
        }),
        EventKind::IdentityChanged {
            phone_number_id,
            identity_key,
        } => json!({
            "event": "identity_changed",
            "phone_number_id": phone_number_id.as_str(),
            "identity_key": hex::encode(identity_key),
        }),
        EventKind::Undecryptable {
            phone_number_id,
            message_id,
            attempt,
            last,
        } => json!({
            "event": "undecryptable",
            "phone_number_id": phone_number_id.as_str(),
            "message_id": message_id.to_string(),
            "attempt": attempt,
            "last": last,
        }),
        EventKind::Unreadable {
            phone_number_id,
            message_id,
        } => json!({
            "event": "unreadable",
            "phone_number_id": phone_number_id.as_str(),
            "message_id": message_id.to_string(),
        }),
        EventKind::SendFailed {
            phone_number_id,
            message_id,
        } => json!({
            "event": "send_failed",
            "phone_number_id": phone_number_id.as_str(),
            "message_id": message_id.to_string(),
        }),
    };
    object["sequence"] = event.sequence.into();
    object["redelivered"] = event.redelivered.into();
    object
}

/// A message of ours was sealed and kept.
pub(super) fn sent(message: MessageId) -> Value {
    json!({ "event": "sent", "message_id": message.to_string() })
}

/// A line of input was no use.
pub(super) fn wrong(what: &str) -> Value {
    json!({ "event": "error", "error": what })
}

fn content(content: &Content) -> Value {
    let mut object = match &content.body {
        Some(Body::Text(text)) => {
            json!({ "type": "text", "body": text.body, "preview_url": text.preview_url })
        }
        Some(Body::Media(media)) => json!({
            "type": media_kind(media.kind()),
            "id": media.id,
            "mime_type": media.mime_type,
            "sha256": hex::encode(&media.sha256),
            "key": hex::encode(&media.key),
            "length": media.length,
            "caption": media.caption,
            "filename": media.filename,
        }),
        Some(Body::Reaction(reaction)) => json!({
            "type": "reaction",
            "message_id": id(&reaction.message_id),
            "emoji": reaction.emoji,
        }),
        Some(Body::Location(place)) => json!({
            "type": "location",
            "latitude": place.latitude,
            "longitude": place.longitude,
            "name": place.name,
            "address": place.address,
        }),
        Some(Body::Contacts(cards)) => json!({
            "type": "contacts",
            "contacts": cards.contacts.iter().map(|card| json!({
                "formatted_name": card.formatted_name,
                "first_name": card.first_name,
                "last_name": card.last_name,
                "company": card.company,
                "phones": card.phones.iter().map(|phone| json!({ "phone": phone.phone, "type": phone.r#type })).collect::<Vec<_>>(),
                "emails": card.emails.iter().map(|email| json!({ "email": email.email, "type": email.r#type })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }),
        Some(Body::Interactive(question)) => json!({
            "type": "interactive",
            "header": question.header,
            "body": question.body,
            "footer": question.footer,
            "list_button": question.list_button,
            "choices": question.choices.iter().map(|choice| json!({
                "id": choice.id,
                "title": choice.title,
                "description": choice.description,
            })).collect::<Vec<_>>(),
        }),
        Some(Body::InteractiveReply(reply)) => json!({
            "type": "interactive_reply",
            "id": reply.id,
            "title": reply.title,
        }),
        Some(Body::ReadMark(mark)) => {
            json!({ "type": "read_mark", "message_id": id(&mark.message_id) })
        }
        Some(Body::TypingMark(mark)) => {
            json!({ "type": "typing_mark", "message_id": id(&mark.message_id) })
        }
        None => json!({ "type": "unknown" }),
    };
    if let Some(context) = &content.context {
        object["reply_to"] = id(&context.message_id);
    }
    object
}

fn id(bytes: &[u8]) -> Value {
    MessageId::from_slice(bytes).map_or(Value::Null, |id| id.to_string().into())
}

fn media_kind(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Unspecified => "media",
        MediaKind::Image => "image",
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
        MediaKind::Document => "document",
        MediaKind::Sticker => "sticker",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_runtime::Timestamp;

    use super::*;
    use crate::{Category, Incoming, content as make};

    #[test]
    fn a_message_has_the_fields_that_programs_read() {
        let message_id = MessageId([0x11; 16]);
        let written = event(&Event {
            sequence: 3,
            redelivered: false,
            kind: EventKind::Message(Box::new(Incoming {
                phone_number_id: "106540352242922".parse().unwrap(),
                message_id,
                content: make::in_reply_to(make::text("hi"), MessageId([0x22; 16])),
                time: Timestamp::from_millis(1_700_000_000_000),
                category: Category::Utility,
            })),
        });
        let expected = json!({
            "event": "message",
            "sequence": 3,
            "redelivered": false,
            "phone_number_id": "106540352242922",
            "message_id": "wamid.EREREREREREREREREREREQ",
            "time_ms": 1_700_000_000_000u64,
            "category": "utility",
            "content": {
                "type": "text",
                "body": "hi",
                "preview_url": false,
                "reply_to": "wamid.IiIiIiIiIiIiIiIiIiIiIg",
            },
        });
        assert_eq!(written, expected);
    }
}
