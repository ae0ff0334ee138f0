//! A conversation at a terminal, or with a program over JSON lines.
//!
//! Owns words on a screen, no Signal and no network: it drives a [`Client`]. What a business wrote is never written to a terminal
//! as it is: control characters in it could draw anything.

mod command;
mod json;
mod screen;

use std::{io::Write, pin::pin, time::Duration};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use self::command::{Act, Command};
use crate::{
    Client, ConsumerError, Event, EventKind, content,
    ids::{Business, MessageId, PhoneNumber, PhoneNumberId},
};

/// How long the last words may take to reach the relay once the input has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How a conversation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: lines of words, and commands that begin with a slash.
    Text,
    /// For programs: one JSON object a line, both ways; a line that is no object counts as words or a slash command.
    JsonLines,
}

/// Talks with one business until the input ends, `/quit`, or `stop`. Every event that the device receives is shown, also of
/// other businesses.
///
/// Commands: `/read`, `/react EMOJI`, `/reply WORDS`, `/location LATITUDE LONGITUDE`, `/choose ID TITLE`, `/help`, `/quit`; they
/// speak of the last message shown. In JSON: `{"do":"text","body":…}`, `react`, `read`, `location`, `choose`, `quit`, the
/// first three with an optional `message_id`.
///
/// # Errors
/// When the output cannot be written, or the client is at its end.
pub async fn chat<R, W>(
    client: &Client,
    with: &PhoneNumber,
    input: R,
    output: W,
    form: Form,
    stop: impl Future<Output = ()>,
) -> Result<(), ConsumerError>
where
    R: AsyncBufRead + Unpin,
    W: Write,
{
    let mut talk = Talk {
        client,
        with: with.clone().into(),
        name: None,
        last: None,
        output,
        form,
    };
    if let Ok(business) = client.find_business(with).await {
        talk.name = Some((business.phone_number_id, business.display_name));
    }
    let mut lines = input.lines();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            event = client.receive() => {
                let event = event?;
                talk.show(&event)?;
                client.confirm(&event);
            }
            line = lines.next_line() => match line? {
                Some(line) => if !talk.hear(&line).await? { break },
                None => break,
            },
            () = &mut stop => return Ok(()),
        }
    }
    // Without the relay the words wait in the state for the next time.
    let _ = tokio::time::timeout(LAST_WORDS, client.flush()).await;
    Ok(())
}

/// Writes every event as a JSON line, until `count` were written (when there is a count) or `stop`.
///
/// # Errors
/// When the output cannot be written, or the client is at its end.
pub async fn listen<W: Write>(
    client: &Client,
    mut output: W,
    count: Option<u64>,
    stop: impl Future<Output = ()>,
) -> Result<(), ConsumerError> {
    let mut stop = pin!(stop);
    let mut written = 0;
    while count.is_none_or(|count| written < count) {
        tokio::select! {
            event = client.receive() => {
                let event = event?;
                line(&mut output, &json::event(&event).to_string())?;
                client.confirm(&event);
                written += 1;
            }
            () = &mut stop => return Ok(()),
        }
    }
    Ok(())
}

struct Talk<'a, W> {
    client: &'a Client,
    with: Business,
    name: Option<(PhoneNumberId, String)>,
    /// The last message shown.
    last: Option<(PhoneNumberId, MessageId)>,
    output: W,
    form: Form,
}

impl<W: Write> Talk<'_, W> {
    fn show(&mut self, event: &Event) -> Result<(), ConsumerError> {
        if let EventKind::Message(message) = &event.kind {
            self.last = Some((message.phone_number_id.clone(), message.message_id));
        }
        let written = match self.form {
            Form::JsonLines => json::event(event).to_string(),
            Form::Text => screen::event(event, self.name.as_ref()),
        };
        line(&mut self.output, &written)
    }

    /// Answers whether the conversation goes on.
    async fn hear(&mut self, typed: &str) -> Result<bool, ConsumerError> {
        let act = match command::parse(typed, self.form) {
            Ok(None) => return Ok(true),
            Ok(Some(Command { act: Act::Quit, .. })) => return Ok(false),
            Ok(Some(Command { act: Act::Help, .. })) => {
                line(&mut self.output, command::HELP)?;
                return Ok(true);
            }
            Ok(Some(command)) => command,
            Err(wrong) => {
                self.say_wrong(wrong)?;
                return Ok(true);
            }
        };
        match self.perform(act).await {
            Ok(Some(id)) if self.form == Form::JsonLines => {
                line(&mut self.output, &json::sent(id).to_string())?;
            }
            Ok(_) => {}
            Err(ConsumerError::Closed) => return Err(ConsumerError::Closed),
            Err(error) => self.say_wrong(&error.to_string())?,
        }
        Ok(true)
    }

    async fn perform(&self, command: Command) -> Result<Option<MessageId>, ConsumerError> {
        let content = match command.act {
            Act::Text(body) => match command.message {
                Some(message) => content::in_reply_to(content::text(body), message),
                None => content::text(body),
            },
            Act::Reply(body) => {
                content::in_reply_to(content::text(body), self.message(command.message)?.1)
            }
            Act::React(emoji) => content::reaction(self.message(command.message)?.1, emoji),
            Act::Location(latitude, longitude) => content::location(latitude, longitude),
            Act::Choose { id, title } => content::choice(id, title),
            Act::Read => {
                let (number, message) = self.message(command.message)?;
                self.client.mark_read(&number, message).await?;
                return Ok(None);
            }
            Act::Help | Act::Quit => return Ok(None),
        };
        self.client
            .send(self.with.clone(), &content)
            .await
            .map(Some)
    }

    /// The message that a command speaks of: the named one, else the last one shown.
    fn message(
        &self,
        named: Option<MessageId>,
    ) -> Result<(PhoneNumberId, MessageId), ConsumerError> {
        let business = self.name.as_ref().map(|(number, _)| number.clone());
        match (named, business, &self.last) {
            (Some(message), _, Some((number, last))) if *last == message => {
                Ok((number.clone(), message))
            }
            (Some(message), Some(number), _) => Ok((number, message)),
            (None, _, Some(last)) => Ok(last.clone()),
            _ => Err(ConsumerError::Malformed("there is no message yet")),
        }
    }

    fn say_wrong(&mut self, wrong: &str) -> Result<(), ConsumerError> {
        let written = match self.form {
            Form::JsonLines => json::wrong(wrong).to_string(),
            Form::Text => format!("! {wrong}"),
        };
        line(&mut self.output, &written)
    }
}

fn line(output: &mut impl Write, written: &str) -> Result<(), ConsumerError> {
    writeln!(output, "{written}")?;
    Ok(output.flush()?)
}
