//! Bodies of webhooks in the Cloud API's JSON. Pure: events in, JSON out.

use std::collections::BTreeMap;

use sealpost_connector_sdk::{
    Content, DeliveryStatus, IdentityChange, Message, MessageId, NumberId, Peer, StatusUpdate,
    UnixMillis,
    content::{Body, Contact, InteractiveReply},
    wamid,
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// What webhooks say of the business itself.
#[derive(Clone, Debug)]
pub struct Account {
    /// `entry[].id`.
    pub id: String,
    /// Each number's own phone number.
    pub phone_numbers: BTreeMap<NumberId, Peer>,
}

impl Account {
    /// A consumer's message; none for one that webhooks do not tell (read and typing marks).
    #[must_use]
    pub fn message(&self, message: &Message) -> Option<Value> {
        let peer = message.peer.expose();
        let mut shown = content(&message.content)?;
        shown.insert("from".to_owned(), peer.into());
        shown.insert("id".to_owned(), wamid(message.message_id).into());
        shown.insert("timestamp".to_owned(), seconds(message.time));
        if let Some(context) = &message.content.context {
            // A reply quotes a message of the business.
            let from = self.phone_number(&message.phone_number_id);
            let context = json!({ "from": from, "id": id_text(&context.message_id) });
            shown.insert("context".to_owned(), context);
        }
        Some(self.change(
            &message.phone_number_id,
            json!({ "contacts": [contact(peer)], "messages": [shown] }),
        ))
    }

    /// A status; none for one that webhooks do not tell.
    #[must_use]
    pub fn status(&self, update: &StatusUpdate) -> Option<Value> {
        if update.status == DeliveryStatus::Accepted {
            return None;
        }
        let mut shown = json!({
            "id": wamid(update.message_id),
            "status": update.status.as_str(),
            "timestamp": seconds(update.time),
        });
        if let Some(peer) = &update.peer {
            shown["recipient_id"] = peer.expose().into();
        }
        if update.status == DeliveryStatus::Failed {
            let title = failure(update.error_code);
            shown["errors"] = json!([{
                "code": update.error_code,
                "title": title,
                "message": title,
                "error_data": { "details": title },
            }]);
        }
        Some(self.change(&update.phone_number_id, json!({ "statuses": [shown] })))
    }

    /// A consumer's changed identity key, as a system message; none when the consumer is not known any more.
    #[must_use]
    pub fn identity_change(&self, change: &IdentityChange) -> Option<Value> {
        let peer = change.peer.as_ref()?.expose();
        let id = change.message_id.unwrap_or(MessageId::from_bytes([0; 16]));
        let shown = json!({
            "from": peer,
            "id": wamid(id),
            "timestamp": seconds(change.time),
            "type": "system",
            "system": {
                "type": "customer_identity_changed",
                "customer": peer,
                "body": "The customer's identity key changed",
            },
        });
        Some(self.change(
            &change.phone_number_id,
            json!({ "contacts": [contact(peer)], "messages": [shown] }),
        ))
    }

    fn change(&self, number: &NumberId, facts: Value) -> Value {
        let mut value = json!({
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": self.phone_number(number),
                "phone_number_id": number.as_str(),
            },
        });
        if let (Value::Object(value), Value::Object(facts)) = (&mut value, facts) {
            value.extend(facts);
        }
        json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": self.id, "changes": [{ "value": value, "field": "messages" }] }],
        })
    }

    fn phone_number(&self, number: &NumberId) -> Option<&str> {
        self.phone_numbers.get(number).map(Peer::expose)
    }
}

/// The bytes of a body, the app's own data put into its statuses.
pub(crate) fn bytes(body: &Value, callback: Option<&Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let with_callback = callback.map(|data| {
        let mut body = body.clone();
        let statuses = &mut body["entry"][0]["changes"][0]["value"]["statuses"];
        for status in statuses.as_array_mut().into_iter().flatten() {
            status["biz_opaque_callback_data"] = String::from_utf8_lossy(data).into();
        }
        body
    });
    let body = with_callback.as_ref().unwrap_or(body);
    Zeroizing::new(body.to_string().into_bytes())
}

/// The part of a message that depends on its type; none for one that webhooks do not tell.
pub(crate) fn content(content: &Content) -> Option<Map<String, Value>> {
    let (kind, value) = match &content.body {
        Some(Body::Text(text)) => ("text", json!({ "body": text.body })),
        Some(Body::Reaction(reaction)) => {
            let id = id_text(&reaction.message_id);
            (
                "reaction",
                json!({ "message_id": id, "emoji": reaction.emoji }),
            )
        }
        Some(Body::Location(location)) => {
            let mut value = json!({
                "latitude": location.latitude,
                "longitude": location.longitude,
            });
            put_words(&mut value, "name", &location.name);
            put_words(&mut value, "address", &location.address);
            ("location", value)
        }
        Some(Body::Contacts(contacts)) => {
            ("contacts", contacts.contacts.iter().map(card).collect())
        }
        Some(Body::InteractiveReply(reply)) => ("interactive", choice(reply)),
        Some(Body::ReadMark(_) | Body::TypingMark(_)) => return None,
        // Media, questions from a consumer, and what a later version may send.
        Some(Body::Media(_) | Body::Interactive(_)) | None => return Some(unsupported()),
    };
    let mut shown = Map::new();
    shown.insert("type".to_owned(), kind.into());
    shown.insert(kind.to_owned(), value);
    Some(shown)
}

fn unsupported() -> Map<String, Value> {
    let error = json!({
        "code": 131_051,
        "title": "Message type unknown",
        "message": "Message type unknown",
        "error_data": { "details": "Message type is currently not supported." },
    });
    Map::from_iter([
        ("type".to_owned(), "unsupported".into()),
        ("errors".to_owned(), json!([error])),
    ])
}

/// A reply does not say whether it was chosen from buttons or a list; what has a short label and no more is a button.
fn choice(reply: &InteractiveReply) -> Value {
    json!({
        "type": "button_reply",
        "button_reply": { "id": reply.id, "title": reply.title },
    })
}

fn card(contact: &Contact) -> Value {
    let mut name = json!({ "formatted_name": contact.formatted_name });
    put_words(&mut name, "first_name", &contact.first_name);
    put_words(&mut name, "last_name", &contact.last_name);
    let phones: Value = contact
        .phones
        .iter()
        .map(|phone| json!({ "phone": phone.phone, "type": phone.r#type }))
        .collect();
    let emails: Value = contact
        .emails
        .iter()
        .map(|email| json!({ "email": email.email, "type": email.r#type }))
        .collect();
    let mut card = json!({ "name": name, "phones": phones, "emails": emails });
    if !contact.company.is_empty() {
        card["org"] = json!({ "company": contact.company });
    }
    card
}

fn put_words(value: &mut Value, key: &str, words: &str) {
    if !words.is_empty() {
        value[key] = words.into();
    }
}

/// No profile names travel here; apps that expect one see the number.
fn contact(peer: &str) -> Value {
    json!({ "profile": { "name": peer }, "wa_id": peer })
}

/// The Cloud API writes times as seconds, in a string.
fn seconds(time: UnixMillis) -> Value {
    (time.0 / 1000).to_string().into()
}

/// None for what is no message id; consumers may send anything.
fn id_text(bytes: &[u8]) -> Option<String> {
    MessageId::try_from(bytes).ok().map(wamid)
}

fn failure(code: u32) -> &'static str {
    match code {
        131_026 => "Message undeliverable",
        131_036 => "Message could not be delivered before its record expired",
        137_000 => "The customer's identity key changed and was not acknowledged",
        _ => "Message failed to send",
    }
}

#[cfg(test)]
mod tests;
