//! Reads the Cloud API's JSON into what is to be sent. Pure.
//!
//! Like the Cloud API it passes over fields that it does not know; a type that it does not know it refuses.

use sealpost_connector_sdk::{
    Content, MessageId, Peer,
    content::{
        self, Body, Contact, ContactEmail, ContactPhone, Contacts, Location, Reaction, Text,
    },
    parse_wamid,
};
use serde::Deserialize;
use serde_json::Value;

use super::CloudError;

/// The app's own data may be this long.
const MAX_CALLBACK: usize = 512;

/// What is asked for.
pub(super) enum Asked {
    /// To send a message.
    Send(Box<Send>),
    /// To tell the sender of a message that it was read.
    MarkRead { message_id: MessageId, typing: bool },
}

/// A message to send.
pub(super) struct Send {
    /// As the caller wrote it.
    pub(super) input: String,
    pub(super) to: Peer,
    pub(super) content: Content,
    pub(super) callback: Option<String>,
}

#[derive(Deserialize)]
struct Json {
    messaging_product: Option<String>,
    recipient_type: Option<String>,
    to: Option<Value>,
    r#type: Option<String>,
    text: Option<TextJson>,
    reaction: Option<ReactionJson>,
    location: Option<LocationJson>,
    contacts: Option<Vec<ContactJson>>,
    context: Option<ContextJson>,
    status: Option<String>,
    message_id: Option<String>,
    typing_indicator: Option<TypingJson>,
    biz_opaque_callback_data: Option<String>,
}

#[derive(Deserialize)]
struct TextJson {
    body: String,
    #[serde(default)]
    preview_url: bool,
}

#[derive(Deserialize)]
struct ReactionJson {
    message_id: String,
    #[serde(default)]
    emoji: String,
}

#[derive(Deserialize)]
struct LocationJson {
    latitude: Value,
    longitude: Value,
    #[serde(default)]
    name: String,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
struct ContactJson {
    name: NameJson,
    #[serde(default)]
    phones: Vec<PhoneJson>,
    #[serde(default)]
    emails: Vec<EmailJson>,
    org: Option<OrgJson>,
}

#[derive(Deserialize)]
struct NameJson {
    formatted_name: String,
    #[serde(default)]
    first_name: String,
    #[serde(default)]
    last_name: String,
}

#[derive(Deserialize)]
struct PhoneJson {
    #[serde(default)]
    phone: String,
    #[serde(default)]
    r#type: String,
}

#[derive(Deserialize)]
struct EmailJson {
    #[serde(default)]
    email: String,
    #[serde(default)]
    r#type: String,
}

#[derive(Deserialize)]
struct OrgJson {
    #[serde(default)]
    company: String,
}

#[derive(Deserialize)]
struct ContextJson {
    message_id: String,
}

#[derive(Deserialize)]
struct TypingJson {
    r#type: String,
}

/// Reads a request's body.
pub(super) fn read(body: &[u8]) -> Result<Asked, CloudError> {
    let json: Json = serde_json::from_slice(body).map_err(|error| {
        // serde's own text may quote the body.
        let what = if error.is_data() {
            "A field has the wrong type or is missing"
        } else {
            "The body is not JSON"
        };
        CloudError::invalid_parameter(format!(
            "{what} (line {}, column {}).",
            error.line(),
            error.column()
        ))
    })?;
    match json.messaging_product.as_deref() {
        Some("whatsapp") => {}
        Some(_) => {
            return Err(CloudError::invalid_value(
                "messaging_product must be whatsapp.",
            ));
        }
        None => return Err(CloudError::missing("messaging_product")),
    }
    match json.status.as_deref() {
        Some("read") => read_mark(&json),
        Some(_) => Err(CloudError::invalid_value("status must be read.")),
        None => message(json).map(|send| Asked::Send(Box::new(send))),
    }
}

fn read_mark(json: &Json) -> Result<Asked, CloudError> {
    let id = json.message_id.as_deref();
    let id = id.ok_or_else(|| CloudError::missing("message_id"))?;
    let typing = match &json.typing_indicator {
        None => false,
        Some(indicator) if indicator.r#type == "text" => true,
        Some(_) => {
            return Err(CloudError::invalid_value(
                "typing_indicator.type must be text.",
            ));
        }
    };
    Ok(Asked::MarkRead {
        message_id: message_id("message_id", id)?,
        typing,
    })
}

fn message(json: Json) -> Result<Send, CloudError> {
    if !matches!(json.recipient_type.as_deref(), None | Some("individual")) {
        return Err(CloudError::invalid_value(
            "recipient_type must be individual.",
        ));
    }
    let input = match &json.to {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(_) => return Err(CloudError::invalid_value("to must be a phone number.")),
        None => return Err(CloudError::missing("to")),
    };
    let to = phone_number(&input).ok_or_else(|| {
        CloudError::invalid_value("to must be a phone number with its country code.")
    })?;
    let callback = json.biz_opaque_callback_data.clone();
    if callback
        .as_ref()
        .is_some_and(|data| data.chars().count() > MAX_CALLBACK)
    {
        return Err(CloudError::invalid_value(
            "biz_opaque_callback_data has at most 512 characters.",
        ));
    }
    let context = json
        .context
        .as_ref()
        .map(|context| context.message_id.clone());
    let mut content = content::of(body_of(json)?);
    if let Some(id) = context {
        content = content::answering(content, message_id("context.message_id", &id)?);
    }
    content::check(&content).map_err(|error| {
        CloudError::invalid_value(format!("{} {}.", error.field, error.problem))
    })?;
    Ok(Send {
        input,
        to,
        content,
        callback,
    })
}

fn body_of(json: Json) -> Result<Body, CloudError> {
    match json.r#type.as_deref().unwrap_or("text") {
        "text" => {
            let text = json.text.ok_or_else(|| CloudError::missing("text"))?;
            Ok(Body::Text(Text {
                body: text.body,
                preview_url: text.preview_url,
            }))
        }
        "reaction" => {
            let reaction = json
                .reaction
                .ok_or_else(|| CloudError::missing("reaction"))?;
            let id = message_id("reaction.message_id", &reaction.message_id)?;
            Ok(Body::Reaction(Reaction {
                message_id: id.as_bytes().to_vec().into(),
                emoji: reaction.emoji,
            }))
        }
        "location" => {
            let location = json
                .location
                .ok_or_else(|| CloudError::missing("location"))?;
            Ok(Body::Location(Location {
                latitude: degrees("location.latitude", &location.latitude)?,
                longitude: degrees("location.longitude", &location.longitude)?,
                name: location.name,
                address: location.address,
            }))
        }
        "contacts" => {
            let contacts = json
                .contacts
                .ok_or_else(|| CloudError::missing("contacts"))?;
            Ok(Body::Contacts(Contacts {
                contacts: contacts.into_iter().map(card).collect(),
            }))
        }
        _ => Err(CloudError::unsupported_type()),
    }
}

fn card(json: ContactJson) -> Contact {
    let phone = |phone: PhoneJson| ContactPhone {
        phone: phone.phone,
        r#type: phone.r#type,
    };
    let email = |email: EmailJson| ContactEmail {
        email: email.email,
        r#type: email.r#type,
    };
    Contact {
        formatted_name: json.name.formatted_name,
        first_name: json.name.first_name,
        last_name: json.name.last_name,
        phones: json.phones.into_iter().map(phone).collect(),
        emails: json.emails.into_iter().map(email).collect(),
        company: json.org.map(|org| org.company).unwrap_or_default(),
    }
}

/// A phone number as people write it: with or without a plus, with the usual punctuation.
fn phone_number(input: &str) -> Option<Peer> {
    let input = input.trim();
    let input = input.strip_prefix('+').unwrap_or(input);
    let digits: String = input
        .chars()
        .filter(|character| !matches!(character, ' ' | '-' | '(' | ')' | '.' | '/'))
        .collect();
    Peer::new(&digits).ok()
}

/// The Cloud API's clients write degrees as numbers or as text.
fn degrees(field: &str, value: &Value) -> Result<f64, CloudError> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| CloudError::invalid_value(format!("{field} must be a number.")))
}

fn message_id(field: &str, text: &str) -> Result<MessageId, CloudError> {
    parse_wamid(text)
        .map_err(|_| CloudError::invalid_value(format!("{field} is not the id of a message.")))
}

#[cfg(test)]
mod tests;
