//! What a message may say: the limits of `content.proto`, checked before anything is sealed.
//!
//! Invariant: an [`Encoded`] content is within its limits. Says which field is wrong, never what stands in it.

use prost::Message as _;
use sealpost_envelope::{MAX_CONTENT_LEN, MessageId};
pub use sealpost_proto::content::v1::{
    Choice, Contact, ContactEmail, ContactPhone, Contacts, Content, Interactive, InteractiveReply,
    Location, Media, MediaKind, Reaction, ReadMark, ReplyContext, Text, TypingMark, content::Body,
};
use thiserror::Error;
use zeroize::Zeroizing;

const MAX_TEXT: usize = 4096;
const MAX_CAPTION: usize = 1024;
const MAX_EMOJI_BYTES: usize = 64;
const MAX_CHOICE_ID: usize = 256;
const MAX_CHOICE_TITLE: usize = 24;
const ID_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Which field is wrong, as its path in `content.proto`, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
pub struct ContentError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Words.
#[must_use]
pub fn text(body: impl Into<String>) -> Content {
    of(Body::Text(Text {
        body: body.into(),
        preview_url: false,
    }))
}

/// A content with this body that answers nothing.
#[must_use]
pub fn of(body: Body) -> Content {
    Content {
        body: Some(body),
        context: None,
    }
}

/// The same content as an answer to `message_id`.
#[must_use]
pub fn answering(content: Content, message_id: MessageId) -> Content {
    Content {
        context: Some(ReplyContext {
            message_id: message_id.as_bytes().to_vec().into(),
        }),
        ..content
    }
}

/// Checks `content` against its limits, as [`crate::Client::send`] does.
///
/// # Errors
/// The first field that is out of its limits.
pub fn check(content: &Content) -> Result<(), ContentError> {
    if let Some(context) = &content.context {
        message_id("context.message_id", &context.message_id)?;
    }
    match content.body.as_ref() {
        None => refuse("body", "is missing"),
        Some(Body::Text(text)) => words("text.body", &text.body, 1, MAX_TEXT),
        Some(Body::Media(media)) => check_media(media),
        Some(Body::Reaction(reaction)) => {
            message_id("reaction.message_id", &reaction.message_id)?;
            let is_long = reaction.emoji.len() > MAX_EMOJI_BYTES;
            demand(!is_long, "reaction.emoji", "is not one emoji")
        }
        Some(Body::Location(location)) => check_location(location),
        Some(Body::Contacts(contacts)) => check_contacts(contacts),
        Some(Body::Interactive(interactive)) => check_interactive(interactive),
        Some(Body::InteractiveReply(reply)) => {
            words("interactive_reply.id", &reply.id, 1, MAX_CHOICE_ID)
        }
        Some(Body::ReadMark(mark)) => message_id("read_mark.message_id", &mark.message_id),
        Some(Body::TypingMark(mark)) if mark.message_id.is_empty() => Ok(()),
        Some(Body::TypingMark(mark)) => message_id("typing_mark.message_id", &mark.message_id),
    }
}

/// A checked content, serialised. Wiped on drop.
pub(crate) struct Encoded(Zeroizing<Vec<u8>>);

impl Encoded {
    pub(crate) fn of(content: &Content) -> Result<Self, ContentError> {
        check(content)?;
        let len = content.encoded_len();
        demand(len <= MAX_CONTENT_LEN, "content", "is longer than 64 KiB")?;
        // Sized once: growing would leave a copy in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        content.encode_raw(&mut *bytes);
        Ok(Self(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn check_media(media: &Media) -> Result<(), ContentError> {
    let has_kind = !matches!(media.kind(), MediaKind::Unspecified);
    demand(has_kind, "media.kind", "is missing")?;
    demand(!media.id.is_empty(), "media.id", "is missing")?;
    demand(
        media.sha256.len() == KEY_LEN,
        "media.sha256",
        "has not 32 bytes",
    )?;
    demand(media.key.len() == KEY_LEN, "media.key", "has not 32 bytes")?;
    words("media.caption", &media.caption, 0, MAX_CAPTION)
}

fn check_location(location: &Location) -> Result<(), ContentError> {
    let (north, east) = (location.latitude, location.longitude);
    demand(
        (-90.0..=90.0).contains(&north),
        "location.latitude",
        "is not -90 to 90",
    )?;
    demand(
        (-180.0..=180.0).contains(&east),
        "location.longitude",
        "is not -180 to 180",
    )
}

fn check_contacts(contacts: &Contacts) -> Result<(), ContentError> {
    demand(
        !contacts.contacts.is_empty(),
        "contacts.contacts",
        "is empty",
    )?;
    let is_named = |contact: &Contact| !contact.formatted_name.trim().is_empty();
    let all_named = contacts.contacts.iter().all(is_named);
    demand(all_named, "contacts.contacts.formatted_name", "is missing")
}

fn check_interactive(interactive: &Interactive) -> Result<(), ContentError> {
    let is_list = !interactive.list_button.is_empty();
    let most = if is_list { 10 } else { 3 };
    let count = interactive.choices.len();
    demand(
        (1..=most).contains(&count),
        "interactive.choices",
        "is not 1 to 10, as buttons 3",
    )?;
    for choice in &interactive.choices {
        words("interactive.choices.id", &choice.id, 1, MAX_CHOICE_ID)?;
        words(
            "interactive.choices.title",
            &choice.title,
            1,
            MAX_CHOICE_TITLE,
        )?;
        let is_plain = is_list || choice.description.is_empty();
        demand(
            is_plain,
            "interactive.choices.description",
            "stands in lists only",
        )?;
    }
    Ok(())
}

fn words(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), ContentError> {
    let count = text.chars().take(most + 1).count();
    demand(count >= least, field, "is empty")?;
    demand(count <= most, field, "is too long")
}

fn message_id(field: &'static str, id: &[u8]) -> Result<(), ContentError> {
    demand(id.len() == ID_LEN, field, "has not 16 bytes")
}

fn demand(holds: bool, field: &'static str, problem: &'static str) -> Result<(), ContentError> {
    if holds {
        Ok(())
    } else {
        refuse(field, problem)
    }
}

fn refuse(field: &'static str, problem: &'static str) -> Result<(), ContentError> {
    Err(ContentError { field, problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(body: Body) -> &'static str {
        check(&of(body)).unwrap_err().field
    }

    #[test]
    fn a_text_has_between_one_and_4096_characters() {
        assert!(check(&text("ä".repeat(4096))).is_ok());
        assert_eq!(
            check(&text("ä".repeat(4097))).unwrap_err().problem,
            "is too long"
        );
        assert_eq!(check(&text("")).unwrap_err().problem, "is empty");
    }

    #[test]
    fn a_content_says_something() {
        assert_eq!(check(&Content::default()).unwrap_err().field, "body");
    }

    #[test]
    fn an_answer_names_a_message() {
        let mut content = answering(text("yes"), MessageId::from_bytes([1; 16]));
        assert!(check(&content).is_ok());
        content.context = Some(ReplyContext {
            message_id: vec![1; 15].into(),
        });
        assert_eq!(check(&content).unwrap_err().field, "context.message_id");
    }

    #[test]
    fn a_place_is_on_earth() {
        for (latitude, longitude) in [
            (90.1, 0.0),
            (0.0, -180.5),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            let place = Location {
                latitude,
                longitude,
                ..Location::default()
            };
            assert!(refused(Body::Location(place)).starts_with("location."));
        }
    }

    #[test]
    fn contacts_have_names() {
        assert_eq!(
            refused(Body::Contacts(Contacts::default())),
            "contacts.contacts"
        );
        let nameless = Contacts {
            contacts: vec![Contact::default()],
        };
        assert_eq!(
            refused(Body::Contacts(nameless)),
            "contacts.contacts.formatted_name"
        );
    }

    #[test]
    fn buttons_are_three_at_most_and_a_list_ten() {
        let choice = |index: usize| Choice {
            id: index.to_string(),
            title: "yes".to_owned(),
            description: String::new(),
        };
        let with = |count, list_button: &str| {
            check(&of(Body::Interactive(Interactive {
                list_button: list_button.to_owned(),
                choices: (0..count).map(choice).collect(),
                ..Interactive::default()
            })))
        };
        assert!(with(3, "").is_ok());
        assert!(with(4, "").is_err());
        assert!(with(10, "open").is_ok());
        assert!(with(11, "open").is_err());
        assert!(with(0, "open").is_err());
    }

    #[test]
    fn what_is_encoded_fits_a_message() {
        let contact = Contact {
            formatted_name: "n".repeat(40_000),
            ..Contact::default()
        };
        let contacts = |count| {
            of(Body::Contacts(Contacts {
                contacts: vec![contact.clone(); count],
            }))
        };
        assert!(Encoded::of(&contacts(1)).is_ok());
        assert!(Encoded::of(&contacts(2)).is_err());
    }
}
