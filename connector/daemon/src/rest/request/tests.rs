#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

const ID: &str = "wamid.AAAAAAAAAAAAAAAAAAAAAA";

fn sent(extra: &Value) -> Result<Box<Send>, CloudError> {
    let mut body = json!({ "messaging_product": "whatsapp", "to": "+1 (555) 123-4567" });
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    match read(body.to_string().as_bytes())? {
        Asked::Send(send) => Ok(send),
        Asked::MarkRead { .. } => panic!("a read mark"),
    }
}

fn code(extra: &Value) -> u32 {
    sent(extra).err().unwrap().code()
}

#[test]
fn a_text_is_read_however_its_number_is_written() {
    let send = sent(
        &json!({ "text": { "body": "hi", "preview_url": true }, "context": { "message_id": ID } }),
    )
    .unwrap();
    assert_eq!(send.to.expose(), "15551234567");
    assert_eq!(send.input, "+1 (555) 123-4567");
    assert_eq!(send.content.context.unwrap().message_id.as_ref(), [0; 16]);
    for to in [
        json!("15551234567"),
        json!(15_551_234_567_u64),
        json!("1.555.123.4567"),
    ] {
        let send = sent(&json!({ "to": to, "text": { "body": "hi" } })).unwrap();
        assert_eq!(send.to.expose(), "15551234567");
    }
    for to in [
        json!("0155512345"),
        json!("123"),
        json!("1555x234567"),
        json!(["1"]),
        json!(-15_551_234_567_i64),
    ] {
        assert!(sent(&json!({ "to": to, "text": { "body": "hi" } })).is_err());
    }
}

#[test]
fn every_supported_type_is_read() {
    let reaction = json!({ "type": "reaction", "reaction": { "message_id": ID, "emoji": "👍" } });
    assert!(matches!(
        sent(&reaction).unwrap().content.body,
        Some(Body::Reaction(_))
    ));
    let location =
        json!({ "type": "location", "location": { "latitude": "1.5", "longitude": -2 } });
    let Some(Body::Location(place)) = sent(&location).unwrap().content.body else {
        panic!()
    };
    assert_eq!((place.latitude, place.longitude), (1.5, -2.0));
    let contacts = json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Ann" }, "phones": [{ "phone": "+1", "type": "CELL" }], "org": { "company": "Lamps" } }] });
    let Some(Body::Contacts(cards)) = sent(&contacts).unwrap().content.body else {
        panic!()
    };
    assert_eq!(cards.contacts[0].company, "Lamps");
}

#[test]
fn what_is_wrong_is_said_with_the_cloud_apis_code() {
    assert_eq!(code(&json!({ "type": "image", "image": {} })), 131_051);
    assert_eq!(code(&json!({ "type": "text" })), 131_008);
    assert_eq!(code(&json!({ "text": { "body": "" } })), 131_009);
    assert_eq!(
        code(&json!({ "messaging_product": "sms", "text": { "body": "x" } })),
        131_009
    );
    assert_eq!(
        code(&json!({ "recipient_type": "group", "text": { "body": "x" } })),
        131_009
    );
    assert_eq!(
        code(&json!({ "context": { "message_id": "x" }, "text": { "body": "x" } })),
        131_009
    );
    assert_eq!(code(&json!({ "text": "x" })), 100);
    assert_eq!(read(b"{").err().unwrap().code(), 100);
    assert_eq!(read(b"{}").err().unwrap().code(), 131_008);
}

#[test]
fn a_read_mark_names_a_message() {
    let mark = |extra: &Value| {
        let mut body = json!({ "messaging_product": "whatsapp", "status": "read" });
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        read(body.to_string().as_bytes())
    };
    assert!(matches!(
        mark(&json!({ "message_id": ID })),
        Ok(Asked::MarkRead { typing: false, .. })
    ));
    let typing = json!({ "message_id": ID, "typing_indicator": { "type": "text" } });
    assert!(matches!(
        mark(&typing),
        Ok(Asked::MarkRead { typing: true, .. })
    ));
    assert!(mark(&json!({})).is_err());
    assert!(mark(&json!({ "message_id": ID, "typing_indicator": { "type": "voice" } })).is_err());
}

#[test]
fn an_error_quotes_nothing_of_the_body() {
    let refused =
        read(br#"{"messaging_product":"whatsapp","to":"x","text":{"body":5,"secret":"hunter2"}}"#);
    let text = format!("{:?}", refused.err().unwrap());
    assert!(!text.contains("hunter2"), "{text}");
}
