//! What a message may be, as the Cloud API writes it on one side and Signal's content on the other.

use std::collections::BTreeSet;

use anyhow::Context;
use sealpost_consumer::content_v1::content::Body;
use sealpost_consumer::content_v1::{Contact, ContactPhone, Contacts, Content};
use sealpost_consumer::{MessageId, content};
use sealpost_tests::Suite;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use serde_json::json;

use super::SOON;

fn wamid(id: &str) -> anyhow::Result<MessageId> {
    Ok(id.parse()?)
}

/// The body of the newest message of a consumer.
async fn next_body(consumer: &Consumer, count: usize) -> anyhow::Result<Content> {
    let messages = consumer.wait_for(count, SOON).await?;
    Ok(messages[count - 1].content.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_places_contacts_and_answers_go_out_as_they_were_written() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let to = consumer.phone.as_str();
    let number = suite.number(0);
    let first = consumer.text(suite, 0, "Which one is yours?").await?;
    suite.webhook.wait_for_messages(to, 1, SOON).await?;

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "reaction",
        "reaction": {"message_id": first.to_string(), "emoji": "👍"},
    })).await?;
    let Some(Body::Reaction(reaction)) = next_body(&consumer, 1).await?.body else {
        panic!("a reaction")
    };
    assert_eq!(
        (reaction.message_id.as_ref(), reaction.emoji.as_str()),
        (&first.0[..], "👍")
    );

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "to": to, "type": "location",
        "location": {"latitude": 52.520_008, "longitude": -13.404_954, "name": "Here", "address": "A street 1"},
    })).await?;
    let Some(Body::Location(place)) = next_body(&consumer, 2).await?.body else {
        panic!("a place")
    };
    assert!(
        (place.latitude - 52.520_008).abs() < 1e-9 && (place.longitude + 13.404_954).abs() < 1e-9
    );
    assert_eq!(
        (place.name.as_str(), place.address.as_str()),
        ("Here", "A street 1")
    );

    rest.send(
        number,
        &json!({
            "messaging_product": "whatsapp", "to": to, "type": "contacts",
            "contacts": [{
                "name": {"formatted_name": "Ada L.", "first_name": "Ada", "last_name": "L."},
                "phones": [{"phone": "+1 555 0100", "type": "WORK"}],
                "emails": [{"email": "ada@example.com", "type": "HOME"}],
                "org": {"company": "Engines"},
            }],
        }),
    )
    .await?;
    let Some(Body::Contacts(cards)) = next_body(&consumer, 3).await?.body else {
        panic!("contact cards")
    };
    let card = &cards.contacts[0];
    assert_eq!(
        (
            card.formatted_name.as_str(),
            card.first_name.as_str(),
            card.company.as_str()
        ),
        ("Ada L.", "Ada", "Engines")
    );
    assert_eq!(
        (
            card.phones[0].phone.as_str(),
            card.phones[0].r#type.as_str()
        ),
        ("+1 555 0100", "WORK")
    );
    assert_eq!(card.emails[0].email, "ada@example.com");

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "This one.", "preview_url": true},
        "context": {"message_id": first.to_string()},
    })).await?;
    let answer = next_body(&consumer, 4).await?;
    assert_eq!(
        answer
            .context
            .context("what it answers")?
            .message_id
            .as_ref(),
        &first.0[..]
    );
    let Some(Body::Text(text)) = answer.body else {
        panic!("a text")
    };
    assert!(text.preview_url && text.body == "This one.");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_places_contacts_and_answers_come_in_as_the_cloud_api_shows_them()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let id = Rest::of(suite)?
        .send(suite.number(0), &rest::text(&consumer.phone, "Choose."))
        .await?;
    consumer.wait_for(1, SOON).await?;

    let card = Contact {
        formatted_name: "Ada L.".to_owned(),
        phones: vec![ContactPhone {
            phone: "+1 555 0100".to_owned(),
            r#type: "CELL".to_owned(),
        }],
        ..Contact::default()
    };
    let cards = Content {
        body: Some(Body::Contacts(Contacts {
            contacts: vec![card],
        })),
        context: None,
    };
    for content in [
        content::reaction(wamid(&id)?, "🎉"),
        content::location(1.5, -2.25),
        cards,
        content::in_reply_to(content::text("This one"), wamid(&id)?),
    ] {
        consumer.send(suite, 0, &content).await?;
    }
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 4, SOON)
        .await?;
    let objects: Vec<_> = heard.iter().map(|message| &message.object).collect();
    assert_eq!(objects[0]["type"], "reaction");
    assert_eq!(
        objects[0]["reaction"],
        json!({"message_id": id, "emoji": "🎉"})
    );
    assert_eq!(objects[1]["type"], "location");
    assert_eq!(
        (
            &objects[1]["location"]["latitude"],
            &objects[1]["location"]["longitude"]
        ),
        (&json!(1.5), &json!(-2.25))
    );
    assert_eq!(objects[2]["type"], "contacts");
    assert_eq!(
        objects[2]["contacts"][0]["name"]["formatted_name"],
        "Ada L."
    );
    assert_eq!(
        objects[2]["contacts"][0]["phones"][0]["phone"],
        "+1 555 0100"
    );
    assert_eq!(objects[3]["text"]["body"], "This one");
    assert_eq!(objects[3]["context"]["id"], id.as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_and_typing_marks_reach_the_consumer() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let first = consumer.text(suite, 0, "Hello?").await?;
    suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, SOON)
        .await?;
    let mark = json!({
        "messaging_product": "whatsapp", "status": "read", "message_id": first.to_string(),
        "typing_indicator": {"type": "text"},
    });
    let answer = rest.post(suite.number(0), None, &mark).await?;
    assert_eq!(
        (answer.status, &answer.body["success"]),
        (200, &json!(true)),
        "{}",
        answer.body
    );
    let messages = consumer.wait_for(2, SOON).await?;
    let mut kinds = BTreeSet::new();
    for message in messages {
        match message.content.body {
            Some(Body::ReadMark(mark)) => {
                assert_eq!(mark.message_id.as_ref(), &first.0[..]);
                kinds.insert("read");
            }
            Some(Body::TypingMark(_)) => {
                kinds.insert("typing");
            }
            other => panic!("neither read nor typing: {}", other.is_some()),
        }
    }
    assert_eq!(kinds, BTreeSet::from(["read", "typing"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_text_passes_and_a_longer_one_is_refused() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let longest = "ü".repeat(4096);
    rest.send(suite.number(0), &rest::text(&consumer.phone, &longest))
        .await?;
    consumer.wait_for(1, SOON).await?;
    assert_eq!(
        consumer.texts_from(suite.number(0)),
        std::slice::from_ref(&longest)
    );
    let answer = rest
        .post(
            suite.number(0),
            None,
            &rest::text(&consumer.phone, &format!("{longest}ü")),
        )
        .await?;
    assert_eq!(answer.status, 400, "{}", answer.body);
    Ok(())
}
