#![allow(clippy::unwrap_used)]

use sealpost_connector_sdk::{
    Category,
    content::{self, Contacts, Location, Media, Reaction, ReadMark},
};

use super::*;

fn account() -> Account {
    Account {
        id: "77".to_owned(),
        phone_numbers: BTreeMap::from([(number(), Peer::new("15550783881").unwrap())]),
    }
}

fn number() -> NumberId {
    "106540352242922".parse().unwrap()
}

fn message(content: Content) -> Message {
    Message {
        phone_number_id: number(),
        peer: Peer::new("15551234567").unwrap(),
        message_id: MessageId::from_bytes([0; 16]),
        time: UnixMillis(1_800_000_000_999),
        category: Category::Service,
        content,
    }
}

fn shown(content: Content) -> Value {
    let body = account().message(&message(content)).unwrap();
    body["entry"][0]["changes"][0]["value"]["messages"][0].clone()
}

#[test]
fn a_text_is_told_as_the_cloud_api_tells_it() {
    let quoted = MessageId::from_bytes([0xff; 16]);
    let body = account()
        .message(&message(content::answering(content::text("hi"), quoted)))
        .unwrap();
    assert_eq!(
        body,
        json!({
            "object": "whatsapp_business_account",
            "entry": [{
                "id": "77",
                "changes": [{
                    "field": "messages",
                    "value": {
                        "messaging_product": "whatsapp",
                        "metadata": { "display_phone_number": "15550783881", "phone_number_id": "106540352242922" },
                        "contacts": [{ "profile": { "name": "15551234567" }, "wa_id": "15551234567" }],
                        "messages": [{
                            "from": "15551234567",
                            "id": "wamid.AAAAAAAAAAAAAAAAAAAAAA",
                            "timestamp": "1800000000",
                            "type": "text",
                            "text": { "body": "hi" },
                            "context": { "from": "15550783881", "id": "wamid._____________________w" },
                        }],
                    },
                }],
            }],
        })
    );
}

#[test]
fn every_other_type_has_its_own_key() {
    let reaction = shown(content::of(Body::Reaction(Reaction {
        message_id: vec![0; 16].into(),
        emoji: "👍".to_owned(),
    })));
    assert_eq!(
        reaction["reaction"],
        json!({"message_id": "wamid.AAAAAAAAAAAAAAAAAAAAAA", "emoji": "👍"})
    );
    let location = shown(content::of(Body::Location(Location {
        latitude: 1.5,
        longitude: -2.0,
        name: "Here".to_owned(),
        address: String::new(),
    })));
    assert_eq!(
        location["location"],
        json!({"latitude": 1.5, "longitude": -2.0, "name": "Here"})
    );
    let contacts = shown(content::of(Body::Contacts(Contacts {
        contacts: vec![Contact {
            formatted_name: "Ann".to_owned(),
            ..Contact::default()
        }],
    })));
    assert_eq!(contacts["contacts"][0]["name"]["formatted_name"], "Ann");
    let reply = shown(content::of(Body::InteractiveReply(InteractiveReply {
        id: "yes".to_owned(),
        title: "Yes".to_owned(),
    })));
    assert_eq!(
        reply["interactive"]["button_reply"],
        json!({"id": "yes", "title": "Yes"})
    );
}

#[test]
fn what_cannot_be_told_is_unsupported_and_marks_are_silent() {
    for content in [
        content::of(Body::Media(Media::default())),
        Content::default(),
    ] {
        let told = shown(content);
        assert_eq!(told["type"], "unsupported");
        assert_eq!(told["errors"][0]["code"], 131_051);
    }
    let mark = content::of(Body::ReadMark(ReadMark::default()));
    assert!(account().message(&message(mark)).is_none());
}

#[test]
fn a_status_names_the_recipient_and_the_error() {
    let update = StatusUpdate {
        phone_number_id: number(),
        message_id: MessageId::from_bytes([0; 16]),
        peer: Some(Peer::new("15551234567").unwrap()),
        status: DeliveryStatus::Failed,
        error_code: 131_026,
        time: UnixMillis(1_800_000_000_000),
    };
    let body = account().status(&update).unwrap();
    let shown = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
    assert_eq!(shown["status"], "failed");
    assert_eq!(shown["recipient_id"], "15551234567");
    assert_eq!(shown["errors"][0]["code"], 131_026);
    let read = StatusUpdate {
        peer: None,
        status: DeliveryStatus::Read,
        ..update
    };
    let body = account().status(&read).unwrap();
    let shown = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
    assert!(shown.get("errors").is_none() && shown.get("recipient_id").is_none());
}
