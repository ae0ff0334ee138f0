//! Events in words, safe for a terminal.
//!
//! Pure. Invariant: no control character of a business reaches the screen, and its further lines are indented, so that nothing it
//! writes can look like somebody else's line.

use sealpost_proto::content::v1::{Content, content::Body};

use crate::{
    event::{Event, EventKind},
    ids::{MessageId, PhoneNumberId},
};

/// One event. `known` is the business that the conversation is with.
pub(super) fn event(event: &Event, known: Option<&(PhoneNumberId, String)>) -> String {
    let name = |number: &PhoneNumberId| match known {
        Some((id, name)) if id == number && !name.is_empty() => printable(name),
        _ => number.to_string(),
    };
    match &event.kind {
        EventKind::Message(message) => {
            let again = if event.redelivered {
                " (may be shown already)"
            } else {
                ""
            };
            format!(
                "{}{again}: {}",
                name(&message.phone_number_id),
                content(&message.content)
            )
        }
        EventKind::IdentityChanged {
            phone_number_id, ..
        } => {
            format!(
                "* {} has a new identity key: compare it with them",
                name(phone_number_id)
            )
        }
        EventKind::Undecryptable {
            phone_number_id,
            last: true,
            ..
        } => {
            format!(
                "* a message of {} could not be decrypted",
                name(phone_number_id)
            )
        }
        EventKind::Undecryptable {
            phone_number_id, ..
        } => {
            format!(
                "* waiting for a message of {}: it was asked for again",
                name(phone_number_id)
            )
        }
        EventKind::Unreadable {
            phone_number_id, ..
        } => {
            format!(
                "* {} sent something that this version cannot show",
                name(phone_number_id)
            )
        }
        EventKind::SendFailed {
            phone_number_id, ..
        } => {
            format!(
                "! {} is no business any more: a message was not sent",
                name(phone_number_id)
            )
        }
    }
}

fn content(content: &Content) -> String {
    let words = match &content.body {
        Some(Body::Text(text)) => printable(&text.body),
        Some(Body::Media(media)) => {
            let called = [&media.filename, &media.caption]
                .map(|text| printable(text))
                .join(" ");
            format!(
                "[{}, {} bytes] {}",
                printable(&media.mime_type),
                media.length,
                called.trim()
            )
        }
        Some(Body::Reaction(reaction)) if reaction.emoji.is_empty() => {
            format!("took back the reaction to {}", id(&reaction.message_id))
        }
        Some(Body::Reaction(reaction)) => {
            format!(
                "{} to {}",
                printable(&reaction.emoji),
                id(&reaction.message_id)
            )
        }
        Some(Body::Location(place)) => {
            let called = [&place.name, &place.address]
                .map(|text| printable(text))
                .join(" ");
            format!(
                "[place {:.5} {:.5}] {}",
                place.latitude,
                place.longitude,
                called.trim()
            )
        }
        Some(Body::Contacts(cards)) => {
            let names: Vec<_> = cards
                .contacts
                .iter()
                .map(|card| printable(&card.formatted_name))
                .collect();
            format!("[contacts] {}", names.join(", "))
        }
        Some(Body::Interactive(question)) => {
            let mut words =
                printable(&[&*question.header, &*question.body, &*question.footer].join(" "));
            for choice in &question.choices {
                words.push_str(&format!(
                    "\n  [{}] {}",
                    printable(&choice.id),
                    printable(&choice.title)
                ));
            }
            words
        }
        Some(Body::InteractiveReply(reply)) => format!("chose {}", printable(&reply.title)),
        Some(Body::ReadMark(mark)) => format!("has read {}", id(&mark.message_id)),
        Some(Body::TypingMark(_)) => "is typing".to_owned(),
        None => "[nothing that this version can show]".to_owned(),
    };
    match &content.context {
        Some(context) => format!("(to {}) {words}", id(&context.message_id)),
        None => words,
    }
}

fn id(bytes: &[u8]) -> String {
    MessageId::from_slice(bytes)
        .map_or_else(|_| "an unknown message".to_owned(), |id| id.to_string())
}

/// Text without control characters and without marks that turn the writing direction.
fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\n  "),
            c if c.is_control() || turns(c) || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_forged_lines_do_not_reach_the_screen() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\u{202e}c\u{7}"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}"
        );
        assert_eq!(printable("one\nBank: two"), "one\n  Bank: two");
    }
}
