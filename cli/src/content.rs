//! A message's content in words for a terminal, and as JSON for programs.
//!
//! Pure. Invariant: no control character of a sender reaches the terminal.

use sealpost_connector_sdk::content::{Body, Content};
use sealpost_connector_sdk::{MessageId, wamid};
use serde_json::{Value, json};

/// In words.
pub fn words(content: &Content) -> String {
    let words = match &content.body {
        Some(Body::Text(text)) => text.body.clone(),
        Some(Body::Media(media)) => format!("[{}, {} bytes]", media.mime_type, media.length),
        Some(Body::Reaction(reaction)) if reaction.emoji.is_empty() => {
            format!(
                "took back the reaction to {}",
                id_text(&reaction.message_id)
            )
        }
        Some(Body::Reaction(reaction)) => {
            format!("{} to {}", reaction.emoji, id_text(&reaction.message_id))
        }
        Some(Body::Location(place)) => format!(
            "[place {:.5} {:.5}] {}",
            place.latitude, place.longitude, place.name
        ),
        Some(Body::Contacts(cards)) => {
            let names: Vec<_> = cards
                .contacts
                .iter()
                .map(|card| card.formatted_name.as_str())
                .collect();
            format!("[contacts] {}", names.join(", "))
        }
        Some(Body::Interactive(question)) => format!("[choices] {}", question.body),
        Some(Body::InteractiveReply(reply)) => format!("chose {}", reply.title),
        Some(Body::ReadMark(mark)) => format!("has read {}", id_text(&mark.message_id)),
        Some(Body::TypingMark(_)) => "is typing".to_owned(),
        None => "[nothing that this version can show]".to_owned(),
    };
    printable(&words)
}

/// As JSON; `type` says what it is.
pub fn as_json(content: &Content) -> Value {
    let mut object = match &content.body {
        Some(Body::Text(text)) => {
            json!({"type": "text", "body": text.body, "preview_url": text.preview_url})
        }
        Some(Body::Media(media)) => json!({
            "type": "media",
            "kind": media.kind().as_str_name(),
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
            "message_id": id_json(&reaction.message_id),
            "emoji": reaction.emoji,
        }),
        Some(Body::Location(place)) => json!({
            "type": "location",
            "latitude": place.latitude,
            "longitude": place.longitude,
            "name": place.name,
            "address": place.address,
        }),
        Some(Body::Contacts(cards)) => {
            let names: Vec<_> = cards.contacts.iter().map(contact).collect();
            json!({"type": "contacts", "contacts": names})
        }
        Some(Body::Interactive(question)) => {
            json!({"type": "interactive", "body": question.body})
        }
        Some(Body::InteractiveReply(reply)) => {
            json!({"type": "interactive_reply", "id": reply.id, "title": reply.title})
        }
        Some(Body::ReadMark(mark)) => {
            json!({"type": "read_mark", "message_id": id_json(&mark.message_id)})
        }
        Some(Body::TypingMark(_)) => json!({"type": "typing_mark"}),
        None => json!({"type": "unknown"}),
    };
    if let Some(context) = &content.context {
        object["reply_to"] = id_json(&context.message_id);
    }
    object
}

fn contact(card: &sealpost_connector_sdk::content::Contact) -> Value {
    let phones: Vec<_> = card
        .phones
        .iter()
        .map(|phone| json!({"phone": phone.phone, "type": phone.r#type}))
        .collect();
    let emails: Vec<_> = card
        .emails
        .iter()
        .map(|email| json!({"email": email.email, "type": email.r#type}))
        .collect();
    json!({
        "formatted_name": card.formatted_name,
        "company": card.company,
        "phones": phones,
        "emails": emails,
    })
}

fn id_json(bytes: &[u8]) -> Value {
    MessageId::try_from(bytes).map_or(Value::Null, |id| wamid(id).into())
}

fn id_text(bytes: &[u8]) -> String {
    MessageId::try_from(bytes).map_or_else(|_| "an unknown message".to_owned(), wamid)
}

/// Text without control characters, and without marks that turn the writing direction.
fn printable(text: &str) -> String {
    let harmful = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(harmful, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use sealpost_connector_sdk::content::{answering, text};

    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal_and_stay_whole_in_json() {
        let content = text("a\u{1b}[2J\nb\u{202e}");
        assert_eq!(words(&content), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
        assert_eq!(as_json(&content)["body"], "a\u{1b}[2J\nb\u{202e}");
    }

    #[test]
    fn an_answer_names_the_message_that_it_answers() {
        let content = answering(text("yes"), MessageId::from_bytes([0x11; 16]));
        assert_eq!(
            as_json(&content)["reply_to"],
            "wamid.EREREREREREREREREREREQ"
        );
    }
}
