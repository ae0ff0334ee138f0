//! What a line of input asks for.
//!
//! Pure.

use serde::Deserialize;

use super::Form;
use crate::ids::MessageId;

/// The commands, for people.
pub(super) const HELP: &str = "\
/read                          say that you have read the last message
/react EMOJI                   react to it; without an emoji, take the reaction back
/reply WORDS                   answer it
/location LATITUDE LONGITUDE   send a place
/choose ID TITLE               answer buttons or a list
/quit                          leave
Everything else is sent as it is.";

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub(super) act: Act,
    /// The message spoken of, when the input names one.
    pub(super) message: Option<MessageId>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Text(String),
    Reply(String),
    React(String),
    /// Degrees north, degrees east.
    Location(f64, f64),
    Choose {
        id: String,
        title: String,
    },
    Read,
    Help,
    Quit,
}

/// Reads one line; nothing for an empty one.
///
/// # Errors
/// What is wrong with it, in words that do not repeat it.
pub(super) fn parse(line: &str, form: Form) -> Result<Option<Command>, &'static str> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    if form == Form::JsonLines && line.starts_with('{') {
        return json(line).map(Some);
    }
    let act = match line.strip_prefix('/') {
        Some(command) => slash(command)?,
        None => Act::Text(line.to_owned()),
    };
    Ok(Some(Command { act, message: None }))
}

fn slash(command: &str) -> Result<Act, &'static str> {
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    Ok(match name {
        "read" => Act::Read,
        "react" => Act::React(rest.to_owned()),
        "reply" if !rest.is_empty() => Act::Reply(rest.to_owned()),
        "reply" => return Err("/reply WORDS"),
        "location" => {
            const SHAPE: &str = "/location LATITUDE LONGITUDE, in degrees";
            let (latitude, longitude) = rest.split_once(char::is_whitespace).ok_or(SHAPE)?;
            let latitude = latitude.parse().map_err(|_| SHAPE)?;
            let longitude = longitude.trim().parse().map_err(|_| SHAPE)?;
            place(latitude, longitude)?
        }
        "choose" => {
            let (id, title) = rest
                .split_once(char::is_whitespace)
                .ok_or("/choose ID TITLE")?;
            Act::Choose {
                id: id.to_owned(),
                title: title.trim().to_owned(),
            }
        }
        "help" => Act::Help,
        "quit" => Act::Quit,
        _ => return Err("no such command; /help lists them"),
    })
}

fn place(latitude: f64, longitude: f64) -> Result<Act, &'static str> {
    if (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) {
        Ok(Act::Location(latitude, longitude))
    } else {
        Err("a latitude is -90 to 90 and a longitude -180 to 180")
    }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Text {
        body: String,
        message_id: Option<String>,
    },
    React {
        emoji: String,
        message_id: Option<String>,
    },
    Read {
        message_id: Option<String>,
    },
    Location {
        latitude: f64,
        longitude: f64,
    },
    Choose {
        id: String,
        title: String,
    },
    Quit {},
}

fn json(line: &str) -> Result<Command, &'static str> {
    let wire = serde_json::from_str(line).map_err(|_| "not a command of this version")?;
    let (act, message) = match wire {
        Wire::Text { body, message_id } => (Act::Text(body), message_id),
        Wire::React { emoji, message_id } => (Act::React(emoji), message_id),
        Wire::Read { message_id } => (Act::Read, message_id),
        Wire::Location {
            latitude,
            longitude,
        } => (place(latitude, longitude)?, None),
        Wire::Choose { id, title } => (Act::Choose { id, title }, None),
        Wire::Quit {} => (Act::Quit, None),
    };
    let message = match message {
        Some(id) => Some(id.parse().map_err(|_| "a message id starts with wamid.")?),
        None => None,
    };
    Ok(Command { act, message })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn act(line: &str, form: Form) -> Act {
        parse(line, form).unwrap().unwrap().act
    }

    #[test]
    fn lines_are_words_unless_they_begin_with_a_slash() {
        assert_eq!(
            act("hello there", Form::Text),
            Act::Text("hello there".into())
        );
        assert_eq!(
            act("{\"do\":\"read\"}", Form::Text),
            Act::Text("{\"do\":\"read\"}".into())
        );
        assert_eq!(act("/read", Form::Text), Act::Read);
        assert_eq!(act("/react 👍", Form::Text), Act::React("👍".into()));
        assert_eq!(
            act("/location 52.5 -13.4", Form::Text),
            Act::Location(52.5, -13.4)
        );
        assert_eq!(
            act("/choose a1 Yes please", Form::Text),
            Act::Choose {
                id: "a1".into(),
                title: "Yes please".into()
            }
        );
        assert!(parse("   ", Form::Text).unwrap().is_none());
        for wrong in [
            "/dance",
            "/reply",
            "/location 52",
            "/location 91 0",
            "/location NaN 0",
            "/choose x",
        ] {
            assert!(parse(wrong, Form::Text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_commands_name_messages_and_refuse_what_they_do_not_know() {
        let id = MessageId([0x11; 16]);
        let command = parse(
            &format!(r#"{{"do":"react","emoji":"👍","message_id":"{id}"}}"#),
            Form::JsonLines,
        );
        assert_eq!(
            command.unwrap().unwrap(),
            Command {
                act: Act::React("👍".into()),
                message: Some(id)
            }
        );
        assert_eq!(
            act(r#"{"do":"text","body":"/quit"}"#, Form::JsonLines),
            Act::Text("/quit".into())
        );
        assert_eq!(act("plain", Form::JsonLines), Act::Text("plain".into()));
        for wrong in [
            r#"{"do":"dance"}"#,
            "{",
            r#"{"do":"read","message_id":"x"}"#,
            r#"{"do":"quit","now":1}"#,
        ] {
            assert!(parse(wrong, Form::JsonLines).is_err(), "{wrong}");
        }
    }
}
